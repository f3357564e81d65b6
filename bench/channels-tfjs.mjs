// Measures what models of TensorFlow.js gain without half of their channels, in its wasm backend on one thread: a network like
// MobileNetV2 with random weights, one that enlarges pictures and one that hears notes. Dense and without these channels they run
// in one process, taking turns. Each layer but the last loses the second half of its filters, so that coupled layers agree.
// What the networks compute is not looked at. `cannot shrink` is the share of the time of the dense network in kernels that are
// the same in the smaller one. Words choose networks.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { Sparsifier } from 'sparsifier';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { root } from '../scripts/steps.mjs';
import { takingTurns } from './sessions.mjs';

const require = createRequire(import.meta.url);
setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
setThreadsCount(1);
await tf.setBackend('wasm');

const inPackage = (...parts) => readTfjs(join(root, 'node_modules', ...parts));
const networks = [
  { name: 'like MobileNetV2', shape: [1, 224, 224, 3], last: ['classes'], read: mobileNet },
  {
    ...{ name: 'enlarges pictures', shape: [1, 128, 128, 3], last: ['SR'] },
    read: () => inPackage('@upscalerjs', 'default-model', 'models', 'model.json'),
  },
  {
    ...{
      name: 'hears notes',
      shape: [1, 43844, 1],
      last: ['**/cq_t2010v2*/**', '**contours-reduced**', '**conv2d_3/**', '**conv2d_5/**'],
    },
    read: () => inPackage('@spotify', 'basic-pitch', 'model', 'model.json'),
  },
];
const roundings = [8, 1];

const words = process.argv.slice(2);
console.log(row('network', 'file', 'MB', 'parameters', 'ms', 'speed', 'cannot shrink'));
for (const { name, shape, last, read } of networks) {
  if (!words.every((word) => name.includes(word))) continue;
  const model = await read();
  const dense = await loaded(await model.toFiles());
  const files = [{ title: 'dense', model: dense, bytes: await bytesOf(model), parameters: '' }];
  await new Sparsifier(model, {
    ...{ granularity: 'filter', criteria: firstOnes, layerType: 'all', exclude: last },
  }).sparsifyModel(50);
  for (const roundTo of roundings) {
    const plan = await planRemoval(model, { roundTo, inputShapes: { [await inputOf(model)]: shape } });
    const { model: small, report } = await removeChannels(model, plan);
    const { before, after } = report.parameters;
    const parameters = `${((100 * after) / before).toFixed(1)} %`;
    const title = `half, rounded to ${roundTo}`;
    files.push({ title, model: await loaded(await small.toFiles()), bytes: await bytesOf(small), parameters });
  }
  const input = tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, at) => Math.sin(at * 0.01)),
    shape,
  );
  const times = await takingTurns(files.map((file) => () => run(file.model, input)));
  const kernels = [];
  for (const file of files) kernels.push(await kernelsOf(file.model, input));
  for (const [place, { title, bytes, parameters }] of files.entries()) {
    const speed = `${(times[0] / times[place]).toFixed(2)} x`;
    const same = place === 0 ? '' : `${(100 * shareOfSame(kernels[0], kernels[place])).toFixed(0)} %`;
    console.log(row(name, title, (bytes / 1e6).toFixed(2), parameters, times[place].toFixed(1), speed, same));
  }
}
process.exit();

function row(...cells) {
  const widths = [-20, -22, 7, 12, 9, 8, 15];
  return cells
    .map((cell, place) => (widths[place] < 0 ? cell.padEnd(-widths[place]) : cell.padStart(widths[place])))
    .join('');
}

/** A criterion that keeps the first output channels. */
function firstOnes({ roles, shape, weights }) {
  const isCounted = (axis) => roles[axis] === 'out' || roles[axis] === 'multiplier';
  return weights.map((_, at) => {
    let [channel, inner, rest] = [0, 1, at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const index = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
      if (!isCounted(axis)) continue;
      channel += index * inner;
      inner *= shape[axis];
    }
    return 1 / (1 + channel);
  });
}

async function bytesOf(model) {
  return [...(await model.toFiles()).values()].reduce((sum, bytes) => sum + bytes.length, 0);
}

/** The model of TensorFlow.js for files, the main one first. */
function loaded(files) {
  const [[, main], ...shards] = [...files];
  const { weightsManifest, ...rest } = JSON.parse(new TextDecoder().decode(main));
  const handler = tf.io.fromMemory({
    ...rest,
    weightSpecs: weightsManifest.flatMap(({ weights }) => weights),
    weightData: Buffer.concat(shards.map(([, bytes]) => bytes)).buffer,
  });
  return rest.modelTopology.node ? tf.loadGraphModel(handler) : tf.loadLayersModel(handler);
}

/** The name of the only input. */
async function inputOf(model) {
  return Object.keys((await planRemoval(model)).followed[0])[0];
}

async function run(model, input) {
  const outputs = [model.predict(input)].flat();
  await outputs[0].data();
  tf.dispose(outputs);
}

/** The kernels that a model runs, with their shapes and times. */
async function kernelsOf(model, input) {
  const { kernels } = await tf.profile(() => model.predict(input));
  const found = [];
  for (const kernel of kernels) {
    const shapes = JSON.stringify([kernel.name, kernel.inputShapes, kernel.outputShapes]);
    found.push({ shapes, time: await kernel.kernelTimeMs });
  }
  return found;
}

function shareOfSame(dense, small) {
  const total = (kernels) => kernels.reduce((sum, { time }) => sum + time, 0);
  return total(dense.filter(({ shapes }, place) => shapes === small[place]?.shapes)) / total(dense);
}

/** A network of the size and shape of MobileNetV2, as a file. */
async function mobileNet() {
  const { layers } = tf;
  let count = 0;
  const named = (kind) => ({ name: `${kind}_${count++}` });
  const normalised = (x, isActive) => {
    const value = layers.batchNormalization(named('norm')).apply(x);
    return isActive ? layers.reLU({ maxValue: 6, ...named('relu') }).apply(value) : value;
  };
  const conv = (x, filters, kernelSize, strides, isActive) =>
    normalised(
      layers.conv2d({ filters, kernelSize, strides, padding: 'same', useBias: false, ...named('conv') }).apply(x),
      isActive,
    );
  const input = tf.input({ shape: [224, 224, 3], name: 'image' });
  let [x, width] = [conv(input, 32, 3, 2, true), 32];
  const blocks = [
    ...[
      [1, 16, 1, 1],
      [6, 24, 2, 2],
      [6, 32, 3, 2],
      [6, 64, 4, 2],
    ],
    ...[
      [6, 96, 3, 1],
      [6, 160, 3, 2],
      [6, 320, 1, 1],
    ],
  ];
  for (const [times, filters, repeats, stride] of blocks) {
    for (let repeat = 0; repeat < repeats; repeat++) {
      const strides = repeat === 0 ? stride : 1;
      const wide = times === 1 ? x : conv(x, times * width, 1, 1, true);
      const depthwise = layers.depthwiseConv2d({
        kernelSize: 3,
        strides,
        padding: 'same',
        useBias: false,
        ...named('depthwise'),
      });
      const value = conv(normalised(depthwise.apply(wide), true), filters, 1, 1, false);
      x = strides === 1 && width === filters ? layers.add(named('add')).apply([x, value]) : value;
      width = filters;
    }
  }
  const features = layers.globalAveragePooling2d(named('mean')).apply(conv(x, 1280, 1, 1, true));
  const model = tf.model({ inputs: input, outputs: layers.dense({ units: 1000, name: 'classes' }).apply(features) });
  let artifacts;
  await model.save({
    save: async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    },
  });
  model.dispose();
  const { modelTopology, weightSpecs, weightData } = artifacts;
  const json = { modelTopology, weightsManifest: [{ paths: ['weights.bin'], weights: weightSpecs }] };
  const bytes = new Uint8Array([weightData].flat()[0]);
  return readTfjs(new TextEncoder().encode(JSON.stringify(json)), { shards: () => bytes });
}
