import { Sparsifier, type SparsifierOptions } from 'sparsifier';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../../support/layers.js';
import { filesOf, floats, graphOf, handlerOf, textOf, tf } from '../../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const words: SparsifierOptions = { granularity: 'weight', context: 'local', criteria: 'magnitude', layerType: 'all' };

const network = () =>
  tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [5, 5, 2], filters: 4, kernelSize: 3, name: 'conv', useBias: false }),
      tf.layers.batchNormalization({ name: 'norm', gammaInitializer: 'ones', betaInitializer: 'ones' }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 3, name: 'head', biasInitializer: 'ones' }),
    ],
  });

const numbersOf = async (model: ReturnType<typeof network>, name: string) => [
  ...(await model.weights
    .find(({ originalName }) => originalName === name)!
    .read()
    .data()),
];

describe('a LayersModel in use', () => {
  test('loses what the masks say, in its own variables, and nothing leaks', async () => {
    const model = network();
    model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    const [x, y] = [tf.ones([4, 5, 5, 2]), tf.zeros([4, 3])];
    await model.fit(x, y, { epochs: 1, verbose: 0 });
    const before = await Promise.all(['conv/kernel', 'head/kernel'].map((name) => numbersOf(model, name)));
    const variables = model.weights.map((weight) => weight.read());
    const { numTensors } = tf.memory();
    const sparsifier = new Sparsifier(fromTfjs(tf, model), { ...words, criteria: 'movement' });
    // The initial weights are clones, which share their numbers with the model until it changes.
    expect(tf.memory().numTensors).toBe(numTensors + 2);
    const { numDataBuffers } = tf.memory();
    await sparsifier.sparsifyModel(50);
    expect(tf.memory().numDataBuffers).toBe(numDataBuffers + 2);
    sparsifier.rewindPoint();
    expect(tf.memory().numTensors).toBe(numTensors + 2);
    sparsifier.clear();
    sparsifier.clear();
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(model.weights.map((weight) => weight.read())).toEqual(variables);
    for (const [index, name] of ['conv', 'head'].entries()) {
      const after = await numbersOf(model, `${name}/kernel`);
      expect(after.filter((value) => value === 0).length).toBe(after.length / 2);
      for (const [at, value] of after.entries()) if (value !== 0) expect(value).toBe(before[index]![at]);
    }
    // What is compiled goes on.
    const steps = model.optimizer.iterations;
    await model.fit(x, y, { epochs: 1, verbose: 0 });
    expect(model.optimizer.iterations).toBe(steps + 1);
  });

  test('is compared with what it was before the last call', async () => {
    const model = network();
    const { numTensors } = tf.memory();
    const sparsifier = new Sparsifier(fromTfjs(tf, model), { ...words, criteria: 'updatingMovement' });
    const kernel = model.getLayer('head').weights[0]!;
    for (const [index, amount] of [20, 40].entries()) {
      // Only the weights from here on move, so that some of those before go.
      tf.tidy(() => {
        const moved = tf
          .range(0, 108)
          .greaterEqual(50 * (index + 1))
          .toFloat()
          .reshape([36, 3]);
        kernel.write(tf.add(kernel.read(), moved));
      });
      await sparsifier.sparsifyLayer('head', { remove: amount });
      const { data } = sparsifier.mask('head');
      const gone = [...data.keys()].filter((unit) => data[unit] === 0);
      expect(gone).toHaveLength(amount);
      expect(Math.max(...gone)).toBeLessThan(50 * (index + 1));
      // What moved before the last call does not count any more.
      if (index === 1) expect(Math.max(...gone)).toBeGreaterThanOrEqual(50);
    }
    sparsifier.clear();
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('a filter takes its batch normalisation along, a row of a dense layer its bias', async () => {
    const model = network();
    const sparsifier = new Sparsifier(fromTfjs(tf, model), { ...words, granularity: 'filter' });
    await sparsifier.sparsifyModel({ conv: 50, head: 34 });
    const { data } = sparsifier.mask('conv');
    expect(await numbersOf(model, 'norm/gamma')).toEqual([...data]);
    expect(await numbersOf(model, 'norm/beta')).toEqual([...data]);
    expect(await numbersOf(model, 'norm/moving_variance')).toEqual([1, 1, 1, 1]);
    expect(await numbersOf(model, 'head/bias')).toEqual([...sparsifier.mask('head').data]);
  });

  test('a bias and a gamma of another layer keep every bit', async () => {
    class Own extends tf.layers.Layer {
      static className = 'Own';
      override build() {
        this.addWeight('dense/bias', [4], 'float32', tf.initializers.ones());
        this.addWeight('norm/gamma', [4], 'float32', tf.initializers.ones());
        super.build([null, 4]);
      }
      override call(inputs: unknown) {
        return Array.isArray(inputs) ? inputs[0] : inputs;
      }
    }
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ inputShape: [3], units: 4, name: 'dense', useBias: false }),
        tf.layers.batchNormalization({ name: 'norm', scale: false, betaInitializer: 'ones' }),
        new Own({ name: 'own' }),
      ],
    });
    const sparsifier = new Sparsifier(fromTfjs(tf, model), { ...words, granularity: 'filter' });
    await sparsifier.sparsifyModel(50);
    expect(await numbersOf(model, 'norm/beta')).toEqual([...sparsifier.mask('dense').data]);
    for (const name of ['own/dense/bias', 'own/norm/gamma']) expect(await numbersOf(model, name)).toEqual([1, 1, 1, 1]);
  });

  test('a call that fails changes nothing; a disposed model is told', async () => {
    const model = network();
    const kernel = model.getLayer('head').weights[0]!;
    kernel.write(tf.mul(kernel.read(), NaN));
    const before = await numbersOf(model, 'conv/kernel');
    const live = fromTfjs(tf, model);
    expect((await errorOf(() => new Sparsifier(live, words).sparsifyModel(50))).message).toMatch(/head.*not a number/);
    expect(await numbersOf(model, 'conv/kernel')).toEqual(before);
    model.dispose();
    const error = await errorOf(() => new Sparsifier(live, words).sparsifyModel(50));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/disposed/)]);
    expect((await errorOf(() => fromTfjs(tf, model))).message).toMatch(/disposed/);
  });

  test.each([
    [{}, 'tf.LayersModel or a tf.GraphModel'],
    [undefined, 'tf.LayersModel or a tf.GraphModel'],
    [{ weights: { a: [] } }, 'readTfjs'],
  ])('%j is no model', async (model, message) => {
    expect((await errorOf(() => fromTfjs(tf, model as never))).message).toContain(message);
  });
});

test('a GraphModel in use computes with the weights that are left', async () => {
  const weights = [{ name: 'w', shape: [2, 2], dtype: 'float32', bytes: floats(1, 2, 3, 4) }];
  const graph = graphOf(weights, [
    [
      'x',
      'Placeholder',
      [],
      { dtype: { type: 'DT_FLOAT' }, shape: { shape: { dim: [{ size: '1' }, { size: '2' }] } } },
    ],
    ['y', 'MatMul', ['x', 'w'], { transpose_a: { b: false }, transpose_b: { b: false } }],
  ]);
  (graph as { node: { name: string; attr: object }[] }).node[0]!.attr = { dtype: { type: 'DT_FLOAT' } };
  const { json, shards } = filesOf({ ...graph, versions: {} }, weights);
  const model = await tf.loadGraphModel(handlerOf(textOf({ ...json, format: 'graph-model' }), shards));
  const { numTensors } = tf.memory();
  await new Sparsifier(fromTfjs(tf, model), words).sparsifyModel(50);
  const result = tf.tidy(() => [...(model.predict(tf.tensor2d([[10, 1]])) as { dataSync(): Float32Array }).dataSync()]);
  expect(result).toEqual([3, 4]);
  expect(tf.memory().numTensors).toBe(numTensors);
  model.dispose();
});
