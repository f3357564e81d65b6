import { Sparsifier } from 'sparsifier';
import { calibrateTfjs } from 'sparsifier/calibration';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { tf } from '../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const distance = (first: tf.Tensor, second: tf.Tensor): number =>
  tf.tidy(() => tf.norm(tf.sub(first, second)).dataSync()[0]!);

test.each([
  ['conv2d', () => tf.layers.conv2d({ inputShape: [6, 5, 4], filters: 5, kernelSize: 3, padding: 'same' })],
  ['depthwiseConv2d', () => tf.layers.depthwiseConv2d({ inputShape: [6, 5, 4], kernelSize: 3, depthMultiplier: 2 })],
  [
    'conv2dTranspose',
    () => tf.layers.conv2dTranspose({ inputShape: [6, 5, 4], filters: 3, kernelSize: 2, strides: 2 }),
  ],
  ['dense', () => tf.layers.dense({ inputShape: [6, 5, 4], units: 7 })],
])('A live model with a layer %s is repaired, and restored to its bits', async (_, layer) => {
  const model = tf.sequential({ layers: [layer()] });
  const inputs = tf.randomNormal([8, 6, 5, 4], 1, 1, 'float32', 3);
  const statistics = await calibrateTfjs(tf, model, { batches: () => [inputs], holdOut: 0 });
  const dense = model.predict(inputs) as tf.Tensor;
  const before = model.getWeights().map((weight) => weight.dataSync().slice());
  const { numTensors } = tf.memory();
  const sparsifier = new Sparsifier(fromTfjs(tf, model), { layerType: 'all', criteria: 'fluctuation', statistics });
  await sparsifier.sparsifyModel(50);
  const masked = model.predict(inputs) as tf.Tensor;
  const {
    layers: [report],
    skipped,
  } = await sparsifier.repair({ steps: 30 });
  const repaired = model.predict(inputs) as tf.Tensor;
  expect(skipped).toEqual([]);
  expect([report!.bias, report!.isRepaired]).toEqual(['own', true]);
  const found = distance(repaired, dense) / distance(masked, dense);
  expect(found).toBeCloseTo(report!.repaired! / report!.masked!, 4);
  expect(found).toBeLessThan(0.95);
  const { data } = sparsifier.mask(report!.name);
  const kernel = model.getWeights()[0]!.dataSync();
  expect(data.every((kept, at) => kept === 1 || Object.is(kernel[at], 0))).toBe(true);
  await sparsifier.restore();
  expect(model.getWeights().map((weight) => weight.dataSync().slice())).toEqual(before);
  sparsifier.clear();
  for (const tensor of [masked, repaired]) tensor.dispose();
  expect(tf.memory().numTensors).toBe(numTensors);
});
