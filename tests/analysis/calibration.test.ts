import { Sparsifier } from 'sparsifier';
import { activationsOfTfjs, gradientsOfTfjs } from 'sparsifier/calibration';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { filesOf, floats, graphOf, handlerOf, textOf, tf } from '../support/tfjs.js';

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

/** The norms of the channels along the last axis. */
async function normsOf(tensors: { data(): Promise<ArrayLike<number>>; shape: number[] }[]): Promise<number[]> {
  const sums = Array<number>(tensors[0]!.shape.at(-1)!).fill(0);
  for (const tensor of tensors) {
    const numbers = await tensor.data();
    for (let at = 0; at < numbers.length; at++) sums[at % sums.length]! += numbers[at]! ** 2;
  }
  return sums.map(Math.sqrt);
}

describe('activations', () => {
  test('The activations of a LayersModel are the norms of the inputs of each layer, and no tensor leaks', async () => {
    const model = network();
    const batches = inputs();
    const { numTensors } = tf.memory();
    const { activations, skipped } = await activationsOfTfjs(tf, model, batches);
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(batches.every((batch) => !batch.isDisposed)).toBe(true);
    expect(skipped).toEqual([]);
    const after = (layers: number) =>
      batches.map((batch) =>
        model.layers.slice(0, layers).reduce((value, layer) => layer.apply(value) as typeof batch, batch),
      );
    for (const [name, layers] of [
      ['conv', 0],
      ['depthwise', 1],
      ['dense', 3],
    ] as const) {
      const expected = await normsOf(after(layers));
      expect(activations[name]).toHaveLength(expected.length);
      for (const [index, norm] of activations[name]!.entries()) expect(norm).toBeCloseTo(expected[index]!, 4);
    }
    const words = {
      granularity: 'weight',
      context: 'local',
      criteria: 'wanda',
      layerType: 'all',
      activations,
    } as const;
    expect((await new Sparsifier(fromTfjs(tf, model), words).sparsifyModel(50)).layers).toHaveLength(3);
  });

  test('The activations of a GraphModel are the norms of the inputs of its nodes', async () => {
    const weights = [
      { name: 'w', shape: [2, 3], dtype: 'float32', bytes: floats(1, 2, 3, 4, 5, 6) },
      { name: 'v', shape: [3, 1], dtype: 'float32', bytes: floats(1, 1, 1) },
    ];
    const product = { transpose_a: { b: false }, transpose_b: { b: false } };
    const graph = graphOf(weights, [
      [
        'x',
        'Placeholder',
        [],
        { dtype: { type: 'DT_FLOAT' }, shape: { shape: { dim: [{ size: '-1' }, { size: '2' }] } } },
      ],
      ['h', 'MatMul', ['x', 'w'], product],
      ['y', 'MatMul', ['h', 'v'], product],
    ]);
    for (const node of (graph as { node: { op: string; attr: object }[] }).node)
      if (node.op === 'Const') node.attr = { dtype: { type: 'DT_FLOAT' } };
    const { json, shards } = filesOf({ ...graph, versions: {} }, weights);
    const model = await tf.loadGraphModel(handlerOf(textOf({ ...json, format: 'graph-model' }), shards));
    const batch = tf.tensor2d([
      [3, 0],
      [4, 1],
    ]);
    const { numTensors } = tf.memory();
    const { activations } = await activationsOfTfjs(tf, model, [batch]);
    expect(tf.memory().numTensors).toBe(numTensors);
    expect([...activations.h!]).toEqual([5, 1]);
    for (const [index, norm] of [Math.hypot(3, 8), Math.hypot(6, 13), Math.hypot(9, 18)].entries())
      expect(activations.y![index]).toBeCloseTo(norm, 4);
    model.dispose();
  });

  test('A layer inside another model does not get the activations of a layer of its name', async () => {
    const inner = tf.sequential({ layers: [tf.layers.dense({ inputShape: [2], units: 2, name: 'd' })] });
    const input = tf.input({ shape: [2] });
    const relu = tf.layers.activation({ activation: 'relu', name: 'd' }).apply(inner.apply(input));
    const head = tf.layers.dense({ units: 1, name: 'head' }).apply(relu);
    const model = tf.model({ inputs: input, outputs: head as never });
    const { activations, skipped } = await activationsOfTfjs(tf, model, [tf.ones([1, 2])]);
    expect(Object.keys(activations)).toEqual(['head']);
    expect(skipped).toEqual([{ name: 'd', reason: 'its input lies inside another layer or model' }]);
  });

  test('Layers whose activations are not available are listed with the reason', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.embedding({ inputDim: 5, outputDim: 3, inputLength: 4, name: 'table' }),
        tf.layers.gru({ units: 2, name: 'gru', recurrentInitializer: 'zeros' }),
      ],
    });
    const { activations, skipped } = await activationsOfTfjs(tf, model, [tf.tensor2d([[0, 1, 2, 3]])]);
    expect(Object.keys(activations)).toEqual(['gru']);
    expect(skipped).toEqual([
      { name: 'table', reason: 'it looks up rows, and has no input activations' },
      { name: 'gru.recurrent', reason: 'its input lies inside another layer or model' },
    ]);
    expect((await errorOf(() => activationsOfTfjs(tf, network(), []))).message).toMatch(/no batch/);
  });
});

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
    // Where its layers are used in another model, too, the activations are still its own.
    const { activations } = await activationsOfTfjs(tf, model, batches);
    before(tf.input({ shape: [3, 3, 2] }));
    expect((await activationsOfTfjs(tf, model, batches)).activations).toEqual(activations);
  });

  test('Gradients need at least one batch', async () => {
    const model = network();
    expect((await errorOf(() => gradientsOfTfjs(tf, model, [], lossOf(model)))).message).toMatch(/no batch/);
  });
});
