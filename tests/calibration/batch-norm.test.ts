import { recalibrateBatchNorm } from 'sparsifier/calibration';
import { beforeAll, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { filesOf, floats, graphOf, handlerOf, textOf, tf } from '../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const random = (shape: readonly number[], seed: number) => tf.randomNormal(shape as [number], 3, 2, 'float32', seed);

/** The moving mean and variance of a layer. */
const statisticsOf = (layer: tf.layers.Layer): number[][] =>
  ['moving_mean', 'moving_variance'].map((part) => [
    ...layer.weights
      .find(({ originalName }) => originalName.endsWith(part))!
      .read()
      .dataSync(),
  ]);

/** The mean and variance of the channels along an axis, of all numbers in these tensors. */
function momentsOf(tensors: readonly tf.Tensor[], axis = -1): number[][] {
  const channels: number[][] = Array.from({ length: tensors[0]!.shape.at(axis)! }, () => []);
  for (const tensor of tensors) {
    const data = tensor.dataSync();
    const inner = tensor.shape.slice(axis < 0 ? tensor.shape.length + axis + 1 : axis + 1).reduce((a, b) => a * b, 1);
    for (const [index, number] of data.entries()) channels[Math.floor(index / inner) % channels.length]!.push(number);
  }
  const mean = (numbers: readonly number[]) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  const means = channels.map(mean);
  return [means, channels.map((numbers, channel) => mean(numbers.map((each) => (each - means[channel]!) ** 2)))];
}

const near = (found: readonly number[][], expected: readonly number[][]) => {
  for (const [index, numbers] of expected.entries()) {
    expect(found[index]).toHaveLength(numbers.length);
    for (const [channel, number] of numbers.entries()) {
      expect(Math.abs(found[index]![channel]! - number)).toBeLessThan(1e-5 * Math.max(1, Math.abs(number)));
    }
  }
};

const network = () =>
  tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [4, 4, 2], filters: 3, kernelSize: 2, name: 'conv' }),
      tf.layers.batchNormalization({ name: 'first' }),
      tf.layers.reLU(),
      tf.layers.conv2d({ filters: 2, kernelSize: 2, name: 'conv2' }),
      tf.layers.batchNormalization({ name: 'second', trainable: false, scale: false, center: false }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 2, name: 'dense' }),
    ],
  });

test('From front to back, each layer gets the mean and variance of its inputs, and no tensor is left over', async () => {
  const model = network();
  const batches = [random([2, 4, 4, 2], 1), random([3, 4, 4, 2], 2)];
  const { numTensors } = tf.memory();
  let passes = 0;
  const report = await recalibrateBatchNorm(tf, model, async function* () {
    passes++;
    for (const batch of batches) yield batch;
  });
  expect(tf.memory().numTensors).toBe(numTensors);
  expect(batches.every((batch) => !batch.isDisposed)).toBe(true);
  expect(passes).toBe(3);
  expect(report).toEqual({
    layers: [
      { name: 'first', count: 5 * 9 },
      { name: 'second', count: 5 * 4 },
    ],
    skipped: [],
  });
  // With the new statistics of the first one, since inputs are computed by the layers as they are now.
  const after = (layers: number) =>
    batches.map((batch) => model.layers.slice(0, layers).reduce((value, layer) => layer.apply(value) as never, batch));
  near(statisticsOf(model.getLayer('first')), momentsOf(after(1)));
  near(statisticsOf(model.getLayer('second')), momentsOf(after(4)));
  const normalised = momentsOf(after(2));
  near([normalised[0]!], [[0, 0, 0]]);
  // Nothing is left of how the inputs were seen.
  expect(Object.hasOwn(model.getLayer('first'), 'call')).toBe(false);
});

test('Normalisations in other models, in wrappers and along other axes are found, and shared ones see all uses', async () => {
  const norm = (name: string, more: object = {}) => tf.layers.batchNormalization({ name, ...more });
  const inner = tf.sequential({ name: 'inner', layers: [norm('norm', { inputShape: [3, 2] })] });
  const input = tf.input({ shape: [3, 2] });
  const shared = norm('norm', { axis: 1 });
  const timed = tf.layers.timeDistributed({ layer: norm('timed') as never, name: 'wrapper' });
  const once = shared.apply(timed.apply(inner.apply(input)));
  const model = tf.model({ inputs: input, outputs: shared.apply(tf.layers.reLU().apply(once)) as tf.SymbolicTensor });
  const x = random([4, 3, 2], 1);
  const { numTensors } = tf.memory();
  const { layers, skipped } = await recalibrateBatchNorm(tf, model, () => [x]);
  expect(tf.memory().numTensors).toBe(numTensors);
  expect(skipped).toEqual([]);
  // One step after the other, each of 4 samples; two uses of 4 samples with 2 numbers per channel.
  expect(layers).toEqual([
    { name: 'inner/norm', count: 12 },
    { name: 'timed', count: 12 },
    { name: 'norm', count: 16 },
  ]);
  near(statisticsOf(inner.layers[0]!), momentsOf([x]));
  near(statisticsOf((timed as unknown as { layer: tf.layers.Layer }).layer), momentsOf([inner.apply(x) as tf.Tensor]));
});

test('Numbers that are far from zero do not lose their variance', async () => {
  const model = tf.sequential({ layers: [tf.layers.batchNormalization({ inputShape: [1], name: 'norm' })] });
  const batches = [tf.tensor2d([[4096], [4097]]), tf.tensor2d([[4098]])];
  await recalibrateBatchNorm(tf, model, () => batches);
  expect(statisticsOf(model.getLayer('norm'))).toEqual([[4097], [Math.fround(2 / 3)]]);
});

test('Layers that are as before are listed with the reason', async () => {
  const input = tf.input({ shape: [2] });
  const norm = tf.layers.batchNormalization({ name: 'norm' });
  const single = tf.model({ inputs: input, outputs: norm.apply(input) as tf.SymbolicTensor });
  const before = statisticsOf(norm);
  expect(await recalibrateBatchNorm(tf, single, () => [tf.ones([1, 2])])).toEqual({
    layers: [],
    skipped: [{ name: 'norm', reason: 'a single number per channel has no variance' }],
  });
  expect(statisticsOf(norm)).toEqual(before);
  const none = tf.sequential({ layers: [tf.layers.dense({ inputShape: [2], units: 1 })] });
  expect(await recalibrateBatchNorm(tf, none, () => [])).toEqual({ layers: [], skipped: [] });
});

test('After an error all layers are as before, and no tensor is left over', async () => {
  const model = network();
  const all = () => ['first', 'second'].map((name) => statisticsOf(model.getLayer(name)));
  const before = all();
  const good = random([2, 4, 4, 2], 1);
  const bad = tf.tidy(() => tf.mul(good, NaN));
  const { numTensors } = tf.memory();
  const failing = (batches: unknown) => errorOf(() => recalibrateBatchNorm(tf, model, batches as () => never[]));
  expect((await failing(() => [])).message).toMatch(/no batch/);
  expect((await failing(() => [good, bad])).message).toMatch(/first.*not a number/);
  // The first layer was changed already.
  let passes = 0;
  expect((await failing(() => (++passes > 2 ? [good, bad] : [good]))).message).toMatch(/second.*not a number/);
  expect((await failing([good])).code).toBe('usage');
  expect(all()).toEqual(before);
  expect(tf.memory().numTensors).toBe(numTensors);
});

test('Only a LayersModel can be recalibrated', async () => {
  const weights = [{ name: 'w', shape: [1, 1], dtype: 'float32', bytes: floats(1) }];
  const shape = { shape: { dim: [{ size: '1' }, { size: '1' }] } };
  const graph = graphOf(weights, [
    ['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }],
    ['y', 'MatMul', ['x', 'w'], { transpose_a: { b: false }, transpose_b: { b: false } }],
  ]);
  for (const node of (graph as { node: { op: string; attr: object }[] }).node)
    if (node.op === 'Const') node.attr = { dtype: { type: 'DT_FLOAT' } };
  const { json, shards } = filesOf({ ...graph, versions: {} }, weights);
  const model = await tf.loadGraphModel(handlerOf(textOf({ ...json, format: 'graph-model' }), shards));
  const error = await errorOf(() => recalibrateBatchNorm(tf, model as never, () => []));
  expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/tf.GraphModel/)]);
  expect((await errorOf(() => recalibrateBatchNorm({} as never, model as never, () => []))).code).toBe('usage');
  expect((await errorOf(() => recalibrateBatchNorm(tf, undefined as never, () => []))).code).toBe('usage');
  model.dispose();
});
