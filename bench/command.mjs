// The whole command on an ONNX file of 100 MB, beside `cp` and a script of onnx and numpy: time from start to end, and
// peak memory, which only Linux tells of a process that runs.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder, root } from '../scripts/steps.mjs';
import { expected, models } from './cases.mjs';
import { median, weightsOf } from './support.mjs';

const main = join(packageFolder, 'dist', 'cli', 'main.js');

/** Besides one that warms up and is not counted. */
const rounds = 5;

/** @returns the file's size, and medians of each program; nothing where /proc is missing */
export async function measureCommand(python, folder) {
  if (process.platform !== 'linux') {
    console.log('\nThe whole command is measured on Linux only.');
    return;
  }
  const file = join(folder, 'model.onnx');
  writeModel(file);
  const out = join(folder, 'out.onnx');
  const script = join(root, 'bench', 'engines', 'prune_onnx.py');
  const programs = [
    { name: 'cp', words: ['cp', file, out], zeros: 0 },
    { name: 'sparsifier prune', words: [process.execPath, main, 'prune', file, '-s', '50', '-o', out] },
    ...(python ? [{ name: 'onnx and numpy', words: [python, script, file, out] }] : []),
  ].map((program) => ({ ...program, ended: [] }));
  const wanted = expected({ model: 'ResNet-50', granularity: 'weight', context: 'local' });
  for (let round = 0; round <= rounds; round++) {
    for (const { name, words, zeros = wanted.zeros, ended } of programs) {
      const each = await watch(words);
      const found = zerosIn(out);
      // The script keeps what equals its thresholds.
      if (Math.abs(found - zeros) > (name === 'onnx and numpy' ? wanted.rankings : 0)) {
        throw new Error(`${name}: ${found} zeros instead of ${zeros}`);
      }
      rmSync(out);
      if (round > 0) ended.push(each);
    }
  }
  return {
    bytes: statSync(file).size,
    programs: programs.map(({ name, ended }) => ({
      name,
      time: Math.round(median(ended.map(({ time }) => time))),
      peakMemory: Math.max(...ended.map(({ peakMemory }) => peakMemory)),
    })),
  };
}

/** Runs a program; time in milliseconds, memory in bytes. */
function watch([program, ...words]) {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] });
    let peak = 0;
    const timer = setInterval(() => {
      const [, kilobytes] = readFileSync(`/proc/${child.pid}/status`, 'utf8').match(/VmHWM:\s*(\d+) kB/) ?? [];
      peak = Math.max(peak, Number(kilobytes ?? 0));
    }, 3);
    child.on('error', reject);
    child.on('exit', (code) => {
      const time = performance.now() - begun;
      clearInterval(timer);
      if (code === 0) resolve({ time, peakMemory: 1024 * peak });
      else reject(new Error(`${program} ${words.join(' ')}: ended with ${code}`));
    });
  });
}

function zerosIn(file) {
  const { status, stdout } = spawnSync(process.execPath, [main, 'inspect', file, '--json'], { maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${file} cannot be read`);
  return JSON.parse(stdout.toString()).total.zeros;
}

/** ResNet-50's weights as an ONNX file: its convolutions beside each other, and its last matrix. */
function writeModel(file) {
  const layers = [...models['ResNet-50'].map((shape) => ({ op: 'Conv', shape })), { op: 'Gemm', shape: [2048, 1000] }];
  const named = layers.map((layer, index) => ({ ...layer, name: `${layer.op.toLowerCase()}${index}` }));
  const graph = [
    ...named.flatMap(({ op, name }) =>
      field(1, [...text(1, 'input'), ...text(1, name), ...text(2, `${name}.out`), ...text(3, name), ...text(4, op)]),
    ),
    ...text(2, 'graph'),
    ...named.flatMap(({ name, shape }, index) => {
      const weights = weightsOf(
        'normal',
        shape.reduce((a, b) => a * b),
        index,
      );
      const numbers = new Uint8Array(weights.buffer);
      return field(5, [
        ...shape.flatMap((size) => number(1, size)),
        ...number(2, 1),
        ...text(8, name),
        ...field(9, [numbers]),
      ]);
    }),
    ...field(11, text(1, 'input')),
    ...field(12, text(1, 'output')),
  ];
  const descriptor = openSync(file, 'w');
  for (const part of [...number(1, 8), ...field(8, number(2, 17)), ...field(7, graph)]) writeSync(descriptor, part);
  closeSync(descriptor);
}

/** Fields of protobuf as lists of pieces. */
const field = (tag, pieces) => [
  varint(8 * tag + 2),
  varint(pieces.reduce((sum, { length }) => sum + length, 0)),
  ...pieces,
];
const text = (tag, value) => field(tag, [Buffer.from(value)]);
const number = (tag, value) => [varint(8 * tag), varint(value)];

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}
