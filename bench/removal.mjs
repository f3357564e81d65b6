// Measures how long it takes to plan and carry out the removal of channels, and how much memory: a ResNet-50 of full size,
// with 25.5 million weights. Each case runs in its own process. Times are CPU time of all threads, the least of the rounds,
// with what it takes to copy the bytes of the file once in the same process; memory is what the process adds to that of the
// model that was read, in sizes of the file. `npm run bench -- removal filters` measures the cases whose names contain a word.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import {
  graph,
  integerField,
  integersAttribute,
  integerAttribute,
  bytesField,
  node,
  opset,
  tensor,
} from './onnx-models.mjs';
import { median, weightsOf } from './support.mjs';

const rounds = Number(process.env.ROUNDS ?? 5);
/** Of the channels of each layer. */
const share = 0.3;
const cases = [
  { name: 'nothing dead', dead: undefined, hasNorms: false },
  { name: 'whole groups dead', dead: 'group', hasNorms: false },
  { name: 'filters dead', dead: 'filters', hasNorms: false },
  { name: 'filters dead, batch norms', dead: 'filters', hasNorms: true },
];

if (process.argv[2] === '--measure')
  console.log(JSON.stringify(await measure(process.argv[3], Number(process.argv[4]))));
else show(process.argv[2] ?? '');

function show(word) {
  console.log(
    `${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}; the least of ${rounds} rounds\n`,
  );
  console.log(row('ResNet-50', 'round to', 'plan', 'all', 'copies', 'memory', 'weights'));
  const folder = mkdtempSync(join(tmpdir(), 'sparsifier-removal-'));
  const file = join(folder, 'model.onnx');
  try {
    for (const each of cases.filter(({ name }) => name.includes(word))) {
      writeFileSync(file, resNet50(each));
      for (const roundTo of [1, 8]) console.log(line(each.name, file, roundTo));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function row(name, ...cells) {
  return [name.padEnd(28), ...cells.map((cell) => cell.padStart(12))].join('');
}

function line(name, file, roundTo) {
  const words = ['--expose-gc', fileURLToPath(import.meta.url), '--measure', file, roundTo];
  const results = Array.from({ length: rounds }, () => {
    const child = spawnSync(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.status !== 0) process.exit(1);
    return JSON.parse(child.stdout.toString());
  });
  const least = (key) => Math.min(...results.map((each) => each[key]));
  const copies = median(results.map(({ time, copy }) => time / copy));
  return row(
    name,
    String(roundTo),
    `${least('plan').toFixed(0)} ms`,
    `${least('time').toFixed(0)} ms`,
    copies.toFixed(1),
    `${least('memory').toFixed(2)} files`,
    `${(results[0].weights / 1e6).toFixed(1)} M`,
  );
}

/** CPU milliseconds of a plan, and of all; those of a copy of the file; the memory that is added, in sizes of the file. */
async function measure(file, roundTo) {
  const model = await readOnnx(file);
  globalThis.gc();
  const before = process.memoryUsage().rss;
  const begun = process.cpuUsage();
  const spent = (since) => {
    const { user, system } = process.cpuUsage(since);
    return (user + system) / 1000;
  };
  const planned = await planRemoval(model, { roundTo });
  const plan = spent(begun);
  const { report } = await removeChannels(model, planned);
  const time = spent(begun);
  const most = process.resourceUsage().maxRSS * 1024;
  const bytes = readFileSync(file);
  const copying = process.cpuUsage();
  new Uint8Array(bytes.length).set(bytes);
  return { plan, time, copy: spent(copying), memory: (most - before) / bytes.length, weights: report.parameters.after };
}

/** An ONNX file with random weights of which some channels are dead. */
function resNet50({ dead, hasNorms }) {
  const nodes = [];
  const initializers = [];
  let seed = 0;
  const floats = (name, shape, zeros, first = 0) => {
    const numbers = weightsOf(
      'normal',
      shape.reduce((a, b) => a * b, 1),
      ++seed,
    ).map((number) => first + number / 32);
    const run = numbers.length / shape[0];
    for (const index of zeros) numbers.fill(0, index * run, (index + 1) * run);
    initializers.push(tensor(name, shape, { data: Buffer.from(numbers.buffer) }));
    return name;
  };
  const some = (count) =>
    Array.from({ length: count }, (_, index) => (index * 7919) % count).slice(0, Math.floor(share * count));
  const conv = (input, from, to, size, stride, zeros) => {
    const name = `conv${nodes.length}`;
    const none = dead === undefined ? [] : zeros;
    const vectors = dead === 'group' ? none : [];
    const padding = Math.floor(size / 2);
    const attributes = [
      integersAttribute('kernel_shape', [size, size]),
      integersAttribute('strides', [stride, stride]),
      integersAttribute('pads', [padding, padding, padding, padding]),
    ];
    const inputs = [input, floats(`${name}.weight`, [to, from, size, size], none)];
    if (!hasNorms) inputs.push(floats(`${name}.bias`, [to], vectors));
    nodes.push(node('Conv', inputs, [name], { name, attributes }));
    if (!hasNorms) return name;
    const norms = ['scale', 'bias', 'mean'].map((kind) =>
      floats(`${name}.${kind}`, [to], vectors, kind === 'scale' ? 1 : 0),
    );
    const variance = floats(`${name}.variance`, [to], [], 1);
    nodes.push(node('BatchNormalization', [name, ...norms, variance], [`${name}.norm`]));
    return `${name}.norm`;
  };
  const after = (op, inputs, attributes) => {
    const name = `${op}${nodes.length}`;
    nodes.push(node(op, inputs, [name], { attributes }));
    return name;
  };
  let [value, channels] = [after('Relu', [conv('x', 3, 64, 7, 2, some(64))]), 64];
  value = after(
    'MaxPool',
    [value],
    [
      integersAttribute('kernel_shape', [3, 3]),
      integersAttribute('strides', [2, 2]),
      integersAttribute('pads', [1, 1, 1, 1]),
    ],
  );
  for (const [stage, blocks] of [3, 4, 6, 3].entries()) {
    const width = 64 * 2 ** stage;
    for (let block = 0; block < blocks; block++) {
      const stride = block === 0 && stage > 0 ? 2 : 1;
      const inner = after('Relu', [conv(value, channels, width, 1, 1, some(width))]);
      const outer = after('Relu', [conv(inner, width, width, 3, stride, some(width))]);
      const branch = conv(outer, width, 4 * width, 1, 1, some(4 * width));
      const other = block > 0 ? value : conv(value, channels, 4 * width, 1, stride, some(4 * width));
      value = after('Relu', [after('Add', [branch, other])]);
      channels = 4 * width;
    }
  }
  const flat = after('Flatten', [after('GlobalAveragePool', [value])]);
  const weight = floats('fc.weight', [1000, 2048], []);
  nodes.push(
    node('Gemm', [flat, weight, floats('fc.bias', [1000], [])], ['y'], { attributes: [integerAttribute('transB', 1)] }),
  );
  const content = graph({ nodes, initializers, inputs: [['x', [1, 3, 224, 224]]], outputs: ['y'] });
  return Buffer.concat([integerField(1, 8), opset(17), bytesField(7, content)].flat(Infinity));
}
