// Compares the whole command on an ONNX file of 100 MB with `cp` and a script that uses onnx and numpy: total time and
// peak memory, which only Linux reports for a running process.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder, root } from '../scripts/steps.mjs';
import { expected, models } from './cases.mjs';
import { median, weightsOf } from './support.mjs';

const main = join(packageFolder, 'dist', 'cli', 'main.js');

/** After one round for warm-up, which is not counted. */
const rounds = 5;

/** @returns the size of the file and the medians of each program; undefined without /proc */
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
      // The script keeps weights that equal its thresholds.
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

/** Runs a program. Returns its time in milliseconds and its memory in bytes. */
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

/** The weights of ResNet-50 as an ONNX file: its convolutions, which are not connected, and its last matrix. */
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

/** Protobuf fields as lists of byte arrays. */
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
