import { Sparsifier } from 'sparsifier';
import { gradientsOfTfjs } from 'sparsifier/calibration';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { tf } from '../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const network = () =>
  tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [3, 3, 2], filters: 4, kernelSize: 2, activation: 'relu', name: 'conv' }),
      tf.layers.depthwiseConv2d({ kernelSize: 1, name: 'depthwise' }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 3, name: 'dense' }),
    ],
  });
type Network = ReturnType<typeof network>;
const inputs = () => [1, 2].map((seed) => tf.randomNormal([2, 3, 3, 2], 0, 1, 'float32', seed));

describe('gradients', () => {
  const lossOf = (model: Network) => (x: ReturnType<typeof inputs>[number]) =>
    tf.mean(tf.square(model.apply(x) as typeof x));

  test('Gradients are the means of those of the loss, by finite differences', async () => {
    const model = network();
    const batches = inputs();
    const { numTensors } = tf.memory();
    const { gradient, skipped } = await gradientsOfTfjs(tf, model, batches, lossOf(model));
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(skipped).toEqual([]);
    expect(Object.keys(gradient)).toEqual(['conv', 'depthwise', 'dense']);
    const kernel = model.getLayer('dense').weights[0]!;
    const before = Float32Array.from(await kernel.read().data());
    const total = () =>
      tf.tidy(() => batches.reduce((sum, batch) => sum + lossOf(model)(batch).dataSync()[0]!, 0)) as unknown as number;
    for (const index of [0, 7, 40]) {
      const at = (value: number) => {
        const changed = before.slice();
        changed[index] = value;
        kernel.write(tf.tensor(changed, kernel.shape as number[]));
        return total();
      };
      const step = 1e-2;
      const difference = (at(before[index]! + step) - at(before[index]! - step)) / (2 * step) / batches.length;
      expect(gradient.dense![index]).toBeCloseTo(difference, 3);
    }
    kernel.write(tf.tensor(before, kernel.shape as number[]));
    const words = { granularity: 'weight', context: 'local', criteria: 'taylor', layerType: 'all', gradient } as const;
    const sparsifier = new Sparsifier(fromTfjs(tf, model), words);
    await sparsifier.sparsifyLayer('dense', 50);
    const scores = before.map((weight, index) => (weight * gradient.dense![index]!) ** 2);
    const { data } = sparsifier.mask('dense');
    const kept = scores.filter((_, index) => data[index] === 1);
    const gone = scores.filter((_, index) => data[index] === 0);
    expect(Math.min(...kept)).toBeGreaterThanOrEqual(Math.max(...gone));
  });

  test('Frozen layers and layers that the loss does not depend on are listed with the reason', async () => {
    const model = network();
    model.getLayer('conv').trainable = false;
    const before = (x: unknown) =>
      model.layers.slice(0, 3).reduce((value, layer) => layer.apply(value as never) as never, x);
    const batches = inputs();
    const { numTensors } = tf.memory();
    const { gradient, skipped } = await gradientsOfTfjs(tf, model, batches, (x) => tf.mean(before(x) as typeof x));
    expect(Object.keys(gradient)).toEqual(['depthwise']);
    expect(skipped).toEqual([
      { name: 'conv', reason: 'it is not trainable' },
      { name: 'dense', reason: 'the loss does not depend on it' },
    ]);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('Gradients need at least one batch', async () => {
    const model = network();
    expect((await errorOf(() => gradientsOfTfjs(tf, model, [], lossOf(model)))).message).toMatch(/no batch/);
  });
});
