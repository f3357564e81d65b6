import { Sparsifier, type Model, type SparsifierOptions } from 'sparsifier';
import { fromTfjs, readTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../../support/layers.js';
import { filesOf, floats, graphOf, handlerOf, saved, textOf, tf } from '../../support/tfjs.js';

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
  test('The variables of a live LayersModel lose the masked weights, and no tensors leak', async () => {
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

  test('An updating criterion compares a live model with its weights before the last call', async () => {
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

  test('A filter is removed with its batch normalisation, and a row of a dense layer with its bias', async () => {
    const model = network();
    const sparsifier = new Sparsifier(fromTfjs(tf, model), { ...words, granularity: 'filter' });
    await sparsifier.sparsifyModel({ conv: 50, head: 34 });
    const { data } = sparsifier.mask('conv');
    expect(await numbersOf(model, 'norm/gamma')).toEqual([...data]);
    expect(await numbersOf(model, 'norm/beta')).toEqual([...data]);
    expect(await numbersOf(model, 'norm/moving_variance')).toEqual([1, 1, 1, 1]);
    expect(await numbersOf(model, 'head/bias')).toEqual([...sparsifier.mask('head').data]);
  });

  test('The bias and the gamma of another layer are not changed', async () => {
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

  const inner = (name: string, layer: tf.layers.Layer) => {
    const input = tf.input({ shape: [4, 4, 2] });
    const norm = tf.layers.batchNormalization({ name: 'n', betaInitializer: 'ones' });
    return tf.model({ inputs: input, outputs: norm.apply(layer.apply(input)) as never, name });
  };
  const conv = () => tf.layers.conv2d({ filters: 4, kernelSize: 3, name: 'd', biasInitializer: 'ones' });
  const outer = (...models: tf.LayersModel[]) => {
    const input = tf.input({ shape: [4, 4, 2] });
    const outputs = models.map((model) => model.apply(input)) as never[];
    return tf.model({ inputs: input, outputs: tf.layers.concatenate({ name: 'joined' }).apply(outputs) as never });
  };
  /** The numbers of each weight of a layer inside a model, by the last parts of their names. */
  const numbersIn = async (model: tf.LayersModel, name: string): Promise<Record<string, number[]>> =>
    Object.fromEntries(
      await Promise.all(
        model
          .getLayer(name)
          .weights.map(async (weight) => [weight.originalName.split('/').at(-1), [...(await weight.read().data())]]),
      ),
    );

  test('A live model has the same layers and partners as its files', async () => {
    const input = tf.input({ shape: [8, 8, 4] });
    const conv = tf.layers.conv2d({ filters: 6, kernelSize: 3, name: 'conv', useBias: false }).apply(input);
    const norm = tf.layers.batchNormalization({ name: 'norm' }).apply(conv);
    const separable = tf.layers.separableConv2d({ filters: 3, kernelSize: 1, name: 'sep' }).apply(norm);
    const steps = tf.layers.reshape({ targetShape: [36, 3] }).apply(separable);
    const timed = tf.layers
      .timeDistributed({ layer: tf.layers.dense({ units: 5, name: 'x' }) as never, name: 'td' })
      .apply(steps);
    const both = tf.layers
      .bidirectional({
        layer: tf.layers.lstm({ units: 4, name: 'cell', returnSequences: true }) as never,
        name: 'both',
        mergeMode: 'concat',
      })
      .apply(timed);
    const cell = tf.layers
      .rnn({ cell: tf.layers.gruCell({ units: 3, name: 'gru' }) as never, name: 'rnn' })
      .apply(both);
    const head = tf.layers.dense({ units: 2, name: 'head' }).apply(cell);
    const model = tf.model({ inputs: input, outputs: head as never });
    const { json, shards } = await saved(model);
    using stored = await readTfjs(textOf(json), { shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer> });
    const live = fromTfjs(tf, model);
    const plain = ({ tensors, skipped }: Model) => ({
      skipped,
      tensors: tensors.map(({ values, partners, bias, ...rest }) => ({
        ...rest,
        length: values.length,
        bias: bias && [bias.sign, bias.values.length],
        partners: partners.map(({ part, values: { length } }) => [part, length]),
      })),
    });
    const names = ['conv', 'sep', 'sep.pointwise', 'td', 'forward_cell', 'forward_cell.recurrent'];
    expect(live.tensors.map(({ name }) => name)).toEqual([
      ...names,
      ...['backward_cell', 'backward_cell.recurrent', 'rnn', 'rnn.recurrent', 'head'],
    ]);
    const { tensors, skipped } = plain(stored);
    expect(plain(live)).toEqual({ skipped, tensors: tensors.map(({ storage: _, ...tensor }) => tensor) });
    for (const [index, { values }] of live.tensors.entries()) {
      expect(await live.copy(values)).toEqual(await stored.copy(stored.tensors[index]!.values));
    }
  });

  test('Layers with the same name in different models are listed and changed under unique names', async () => {
    const [a, b] = [inner('a', conv()), inner('b', conv())];
    const live = fromTfjs(tf, outer(a, b));
    expect(live.tensors.map(({ name }) => name)).toEqual(['a/d', 'b/d']);
    expect(live.skipped).toEqual([]);
    const before = { d: await numbersIn(a, 'd'), n: await numbersIn(a, 'n') };
    const sparsifier = new Sparsifier(live, { ...words, granularity: 'filter' });
    const { layers } = await sparsifier.sparsifyModel({ 'b/d': 50 });
    expect(layers.map(({ name }) => name)).toEqual(['b/d']);
    expect({ d: await numbersIn(a, 'd'), n: await numbersIn(a, 'n') }).toEqual(before);
    const kept = [...sparsifier.mask('b/d').data];
    const { kernel, bias } = await numbersIn(b, 'd');
    expect(kernel!.map((value) => Number(value !== 0))).toEqual(kernel!.map((_, at) => kept[at % 4]));
    expect(bias).toEqual(kept);
    expect(await numbersIn(b, 'n')).toMatchObject({ gamma: kept, beta: kept });
  });

  test('A layer that two models share is listed once, next to another with the same name', async () => {
    const shared = conv();
    const [a, b, c] = [inner('a', shared), inner('b', conv()), inner('c', shared)];
    const live = fromTfjs(tf, outer(b, a, c));
    expect(live.tensors.map(({ name }) => name)).toEqual(['b/d', 'a/d']);
    const before = { d: await numbersIn(b, 'd'), n: await numbersIn(b, 'n') };
    await new Sparsifier(live, { ...words, granularity: 'filter' }).sparsifyModel({ 'a/d': 50 });
    expect({ d: await numbersIn(b, 'd'), n: await numbersIn(b, 'n') }).toEqual(before);
    const { bias } = await numbersIn(c, 'd');
    expect(bias!.filter((value) => value === 0)).toHaveLength(2);
  });

  test('A batch normalisation that two models share belongs to both, and not to another with the same name', async () => {
    const input = tf.input({ shape: [4, 4, 2] });
    const norm = tf.layers.batchNormalization({ name: 'n', betaInitializer: 'ones' });
    const own = (name: string, layer: string, after: tf.layers.Layer) =>
      tf.model({
        inputs: input,
        outputs: after.apply(tf.layers.conv2d({ filters: 4, kernelSize: 3, name: layer }).apply(input)) as never,
        name,
      });
    const other = tf.layers.batchNormalization({ name: 'n', betaInitializer: 'ones' });
    const models = [own('a', 'd', norm), own('b', 'e', other), own('c', 'f', norm)];
    await new Sparsifier(fromTfjs(tf, outer(...models)), { ...words, granularity: 'filter' }).sparsifyModel({ f: 50 });
    expect((await numbersIn(models[1]!, 'n')).beta).toEqual([1, 1, 1, 1]);
  });

  test('Layers with the same name inside wrappers, or inside a layer whose path has that name, are distinguished', async () => {
    const timed = (name: string) => {
      const layer = tf.sequential({ name: 'm', layers: [tf.layers.dense({ inputShape: [2], units: 2, name: 'd' })] });
      return tf.layers.timeDistributed({ layer: layer as never, name });
    };
    const input = tf.input({ shape: [3, 2] });
    const [s, t] = [timed('s'), timed('t')];
    const below = tf.layers.dense({ units: 2, name: 's/d' }).apply(t.apply(s.apply(input)));
    const model = tf.model({ inputs: input, outputs: below as never });
    const live = fromTfjs(tf, model);
    expect(live.tensors.map(({ name }) => name)).toEqual(['s/d', 't/d', 's/d#2']);
    expect(new Set(live.tensors.map(({ values }) => live.placeOf(values).tensor())).size).toBe(3);
    expect(live.tensors.map(({ partners }) => partners.length)).toEqual([1, 1, 1]);
    for (const [index, layer] of [s, t, model.getLayer('s/d')].entries()) {
      const variables = layer.weights.map((weight) => weight.read());
      expect(variables).toContain(live.placeOf(live.tensors[index]!.values).tensor());
    }
  });

  test('A call that fails changes nothing, and a disposed model is an error', async () => {
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
  ])('%j is refused as a model', async (model, message) => {
    expect((await errorOf(() => fromTfjs(tf, model as never))).message).toContain(message);
  });
});

test('A live GraphModel computes with the remaining weights', async () => {
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
