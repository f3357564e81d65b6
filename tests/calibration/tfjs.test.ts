import fc from 'fast-check';
import { Sparsifier } from 'sparsifier';
import { calibrateTfjs, type Statistics } from 'sparsifier/calibration';
import { fromTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { apart, meanOf, momentOf, normOf, rowsOfProduct } from '../support/naive-moments.js';
import { filesOf, floats, graphOf, handlerOf, textOf, tf, type Entry } from '../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const close = 1e-6;
const numbersIn = (tensor: tf.Tensor) => ({ shape: tensor.shape, data: tensor.dataSync() });
const random = (shape: readonly number[], seed: number) => tf.randomNormal(shape as [number], 0.5, 1, 'float32', seed);
const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Statistics of a layer without held-out batches, and the rows and inputs that they should be of. */
function checkStatistics(
  statistics: Statistics,
  name: string,
  { rows, inputs, axis = -1 }: { rows: number[][][]; inputs: readonly tf.Tensor[]; axis?: number },
): void {
  const layer = statistics.layers.get(name)!;
  expect([layer.groups, layer.columns, layer.rows]).toEqual([rows.length, rows[0]![0]!.length, rows[0]!.length]);
  expect(apart(layer.moment, momentOf(rows))).toBeLessThan(close);
  expect(apart(layer.mean, meanOf(rows))).toBeLessThan(close);
  expect(apart(layer.norm!, [...normOf(inputs.map(numbersIn), axis)])).toBeLessThan(close);
}

/**
 * The rows of an image, as TensorFlow.js itself gathers them: a convolution whose outputs are the single numbers under
 * its kernel.
 */
function patches(x: tf.Tensor4D, size: number, strides: number, pad: 'same' | 'valid', dilations = 1): number[][] {
  const channels = x.shape[3];
  const count = channels * size * size;
  return tf.tidy(() => {
    // Columns are in the order input, height, width.
    const one = tf.reshape(tf.eye(count), [channels, size, size, count]);
    const kernel = tf.transpose(one, [1, 2, 0, 3]) as tf.Tensor4D;
    const rows = tf.conv2d(x, kernel, strides, pad, 'NHWC', dilations);
    return tf.reshape(rows, [-1, count]).arraySync() as number[][];
  });
}

const all = { holdOut: 0 };

describe('Statistics of a LayersModel', () => {
  test('Are those of the rows that each layer reads, and no tensor is left over', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({
          ...{ inputShape: [5, 6, 2], filters: 4, kernelSize: 3, strides: 2, padding: 'same' },
          ...{ activation: 'relu', name: 'conv' },
        }),
        tf.layers.depthwiseConv2d({ kernelSize: 2, name: 'depthwise' }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 3, name: 'dense' }),
      ],
    });
    const batches = [1, 2, 3].map((seed) => random([2, 5, 6, 2], seed));
    const after = (layers: number) =>
      batches.map((batch) =>
        model.layers.slice(0, layers).reduce((value, layer) => layer.apply(value) as typeof batch, batch),
      );
    const [conv, depthwise, dense] = [0, 1, 3].map(after);
    const { numTensors } = tf.memory();
    const statistics = await calibrateTfjs(tf, model, { ...all, batches: () => batches });
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(batches.every((batch) => !batch.isDisposed)).toBe(true);
    expect(statistics.skipped).toEqual([]);
    checkStatistics(statistics, 'conv', {
      rows: [conv!.flatMap((x) => patches(x as tf.Tensor4D, 3, 2, 'same'))],
      inputs: conv!,
    });
    const single = (channel: number) =>
      depthwise!.flatMap((x) =>
        patches(tf.slice(x as tf.Tensor4D, [0, 0, 0, channel], [-1, -1, -1, 1]), 2, 1, 'valid'),
      );
    checkStatistics(statistics, 'depthwise', { rows: [0, 1, 2, 3].map(single), inputs: depthwise! });
    checkStatistics(statistics, 'dense', {
      rows: [dense!.flatMap((x) => rowsOfProduct(numbersIn(x))[0]!)],
      inputs: dense!,
    });
    expect(await statistics.check(fromTfjs(tf, model))).toEqual([]);
  });

  test('Add up the rows of all uses of a layer, in this model only', async () => {
    const layer = tf.layers.dense({ units: 2, name: 'twice' });
    const input = tf.input({ shape: [2] });
    const once = layer.apply(input);
    const model = tf.model({ inputs: input, outputs: layer.apply(once) as tf.SymbolicTensor });
    layer.apply(tf.input({ shape: [2] }));
    const x = random([4, 2], 1);
    const inputs = [x, layer.apply(x) as tf.Tensor];
    const statistics = await calibrateTfjs(tf, model, { ...all, batches: () => [x] });
    checkStatistics(statistics, 'twice', {
      rows: [inputs.flatMap((each) => rowsOfProduct(numbersIn(each))[0]!)],
      inputs,
    });
  });

  test('Of steps in time, each is a sample', async () => {
    const inner = tf.layers.conv2d({ filters: 2, kernelSize: 2 });
    const model = tf.sequential({
      layers: [
        tf.layers.timeDistributed({ inputShape: [2, 3, 4, 2], layer: inner as never, name: 'timed' }),
        tf.layers.reshape({ targetShape: [2, 12] }),
        tf.layers.lstm({ units: 2, name: 'lstm' }),
      ],
    });
    const x = random([2, 2, 3, 4, 2], 1);
    const statistics = await calibrateTfjs(tf, model, { ...all, batches: () => [x] });
    const images = tf.reshape(x, [4, 3, 4, 2]) as tf.Tensor4D;
    checkStatistics(statistics, 'timed', { rows: [patches(images, 2, 1, 'valid')], inputs: [x] });
    const steps = model.layers.slice(0, 2).reduce((value, layer) => layer.apply(value) as tf.Tensor, x);
    checkStatistics(statistics, 'lstm', { rows: rowsOfProduct(numbersIn(steps)), inputs: [steps] });
    const inside = 'its input lies inside another layer or model';
    expect(statistics.skipped).toEqual([{ name: 'lstm.recurrent', reason: inside }]);
  });

  test('A layer inside another model does not get the inputs of a layer of its name', async () => {
    const inner = tf.sequential({ layers: [tf.layers.dense({ inputShape: [2], units: 2, name: 'd' })] });
    const input = tf.input({ shape: [2] });
    const relu = tf.layers.activation({ activation: 'relu', name: 'd' }).apply(inner.apply(input));
    const head = tf.layers.dense({ units: 1, name: 'head' }).apply(relu);
    const model = tf.model({ inputs: input, outputs: head as never });
    const { layers, skipped } = await calibrateTfjs(tf, model, { batches: () => [tf.ones([1, 2])] });
    expect([...layers.keys()]).toEqual(['head']);
    expect(skipped).toEqual([{ name: 'd', reason: 'its input lies inside another layer or model' }]);
  });

  test('Layers that have none are listed with the reason', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.embedding({ inputDim: 5, outputDim: 4, inputLength: 4, name: 'table' }),
        tf.layers.reshape({ targetShape: [4, 4, 1] }),
        tf.layers.separableConv2d({ filters: 1, kernelSize: 2, name: 'separable' }),
        tf.layers.depthwiseConv2d({ kernelSize: 2, dilationRate: 2, name: 'dilated' }),
      ],
    });
    const { layers, skipped } = await calibrateTfjs(tf, model, { batches: () => [tf.tensor2d([[0, 1, 2, 3]])] });
    expect([...layers.keys()]).toEqual(['separable']);
    expect(skipped).toEqual([
      { name: 'table', reason: 'it looks up rows, and has no input activations' },
      { name: 'separable.pointwise', reason: 'its input lies inside another layer or model' },
      { name: 'dilated', reason: 'it is not known how it goes over its input' },
    ]);
  });

  const small = (inputs = 3) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ inputShape: [inputs], units: inputs, name: 'first' }),
        tf.layers.dense({ units: 2, name: 'second' }),
      ],
    });

  test('Do not depend on how many layers a pass measures, and hold whole batches out', async () => {
    const model = small(16);
    const batches = Array.from({ length: 4 }, (_, seed) => random([3, 16], seed));
    const run = async (memory = 2 ** 16) => {
      let passes = 0;
      const list = () => {
        passes++;
        return batches;
      };
      return { statistics: await calibrateTfjs(tf, model, { batches: list, memory }), passes };
    };
    const { statistics: once, passes } = await run();
    expect(passes).toBe(1);
    const { numTensors } = tf.memory();
    // As little memory as makes the two layers take turns.
    let turns = await run();
    for (let memory = 2 ** 16; turns.passes === 1 && memory > 2 ** 10; memory *= 0.9) turns = await run(memory);
    expect(turns.passes).toBeGreaterThan(1);
    expect(tf.memory().numTensors).toBe(numTensors);
    expect([...turns.statistics.layers]).toEqual([...once.layers]);
    const { rows, heldOut, norm } = once.layers.get('first')!;
    expect([rows, heldOut?.rows]).toEqual([9, 3]);
    expect([...norm!]).toEqual([...normOf(batches.slice(0, 3).map(numbersIn), -1)]);
    expect([...heldOut!.norm!]).toEqual([...normOf(batches.slice(3).map(numbersIn), -1)]);
  });

  test('Errors say what is wrong, and leave no tensor', async () => {
    const model = small();
    const bad = tf.tensor2d([[1, NaN, 3]]);
    const { numTensors } = tf.memory();
    const failing = (batches: unknown[]) => errorOf(() => calibrateTfjs(tf, model, { batches: () => batches }));
    expect((await failing([])).message).toMatch(/no batch/);
    expect((await failing([bad])).message).toMatch(/first.*not a number/);
    expect((await errorOf(() => calibrateTfjs(tf, model, { batches: [bad] as never }))).code).toBe('usage');
    expect((await errorOf(() => calibrateTfjs(tf, model, { batches: () => [], share: 1 } as never))).code).toBe(
      'usage',
    );
    expect(tf.memory().numTensors).toBe(numTensors);
    bad.dispose();
    const stop = new AbortController();
    const reason = new Error('enough');
    const aborting = calibrateTfjs(tf, model, {
      batches: function* () {
        yield tf.ones([1, 3]);
        stop.abort(reason);
        yield tf.ones([1, 3]);
      },
      signal: stop.signal,
    });
    await expect(aborting).rejects.toBe(reason);
  });
});

type Node = readonly [name: string, op: string, input: readonly string[], attr?: object];
const text = (value: string) => ({ s: btoa(value) });
const product = { transpose_a: { b: false }, transpose_b: { b: false } };
const weight = (name: string, ...shape: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: floats(...random(shape, 2).dataSync()),
});

async function graphModel(entries: readonly Entry[], nodes: readonly Node[], ...inputShape: number[]) {
  const shape = { shape: { dim: inputShape.map((size) => ({ size: String(size) })) } };
  const graph = graphOf(entries, [['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }], ...nodes]);
  for (const node of (graph as { node: { name: string; op: string; attr: object }[] }).node) {
    const entry = entries.find(({ name }) => name === node.name);
    if (entry) node.attr = { dtype: { type: entry.dtype === 'int32' ? 'DT_INT32' : 'DT_FLOAT' } };
  }
  const { json, shards } = filesOf({ ...graph, versions: {} }, entries);
  return tf.loadGraphModel(handlerOf(textOf({ ...json, format: 'graph-model' }), shards));
}

describe('Statistics of a GraphModel', () => {
  test('Are those of what each node multiplies with its weight, and no tensor is left over', async () => {
    const window = {
      strides: { list: { i: ['1', '2', '2', '1'] } },
      dilations: { list: { i: ['1', '1', '1', '1'] } },
      padding: text('SAME'),
      data_format: text('NHWC'),
    };
    const rows: Entry = {
      name: 'rows',
      shape: [2],
      dtype: 'int32',
      bytes: new Uint8Array(Int32Array.of(-1, 4).buffer),
    };
    const nodes: Node[] = [
      ['conv', 'Conv2D', ['x', 'k'], window],
      ['r', 'Relu', ['conv']],
      ['flat', 'Reshape', ['r', 'rows']],
      ['again', 'MatMul', ['flat', 'w'], product],
      ['y', 'MatMul', ['again', 'w'], product],
    ];
    const model = await graphModel([weight('k', 3, 3, 2, 4), weight('w', 4, 4), rows], nodes, 1, 5, 4, 2);
    const batches = [1, 2].map((seed) => random([1, 5, 4, 2], seed));
    const values = (name: string) => batches.map((batch) => model.execute(batch, name) as tf.Tensor);
    const [flat, again] = ['flat', 'again'].map(values);
    const { numTensors } = tf.memory();
    const statistics = await calibrateTfjs(tf, model, { ...all, batches: () => batches });
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(batches.every((batch) => !batch.isDisposed)).toBe(true);
    checkStatistics(statistics, 'conv', {
      rows: [batches.flatMap((x) => patches(x as tf.Tensor4D, 3, 2, 'same'))],
      inputs: batches,
    });
    // Two nodes share the weight.
    const inputs = batches.flatMap((_, index) => [flat![index]!, again![index]!]);
    checkStatistics(statistics, 'again', {
      rows: [inputs.flatMap((each) => rowsOfProduct(numbersIn(each))[0]!)],
      inputs,
    });
    expect(statistics.skipped).toEqual([]);
    model.dispose();
  });

  test('Read the output of a node that is meant, and axes that a sum joins', async () => {
    const two: Entry = { name: 'axis', shape: [], dtype: 'int32', bytes: new Uint8Array(Int32Array.of(2).buffer) };
    const nodes: Node[] = [
      ['s', 'Split', ['axis', 'x'], { num_split: { i: '2' } }],
      ['y', 'Einsum', ['s:1', 'w'], { equation: text('acd,cdf->af') }],
    ];
    const model = await graphModel([weight('w', 3, 2, 5), two], nodes, 4, 3, 4);
    const x = random([4, 3, 4], 1);
    const { numTensors } = tf.memory();
    const statistics = await calibrateTfjs(tf, model, { ...all, batches: () => [x] });
    expect(tf.memory().numTensors).toBe(numTensors);
    const read = tf.reshape(tf.slice(x, [0, 0, 2], [-1, -1, 2]), [4, 6]);
    checkStatistics(statistics, 'y', { rows: rowsOfProduct(numbersIn(read)), inputs: [read] });
    model.dispose();
  });
});

test('Statistics of random layers are those of the rows that TensorFlow.js gathers', async () => {
  const small = (most: number) => fc.integer({ min: 1, max: most });
  const cases = fc.record({
    ...{ size: small(3), strides: small(2), dilations: small(2), channels: small(3), filters: small(2) },
    ...{ height: small(4), width: small(4), pad: fc.constantFrom('same' as const, 'valid' as const) },
  });
  const check = async ({
    size,
    channels,
    filters,
    pad,
    ...given
  }: typeof cases extends fc.Arbitrary<infer Each> ? Each : never) => {
    const strides = given.dilations > 1 ? 1 : given.strides;
    const reach = (size - 1) * given.dilations;
    const inputShape = [given.height + reach, given.width + reach, channels] as [number, number, number];
    const layer = tf.layers.conv2d({
      ...{ inputShape, filters, kernelSize: size, strides, dilationRate: given.dilations, padding: pad, name: 'conv' },
    });
    const x = random([2, ...inputShape], sizeOf(inputShape)) as tf.Tensor4D;
    const statistics = await calibrateTfjs(tf, tf.sequential({ layers: [layer] }), { ...all, batches: () => [x] });
    checkStatistics(statistics, 'conv', { rows: [patches(x, size, strides, pad, given.dilations)], inputs: [x] });
  };
  await fc.assert(fc.asyncProperty(cases, check), { seed: 16, numRuns: 25 });
});

test('A Sparsifier prunes a model in use by its activations', async () => {
  const model = tf.sequential({ layers: [tf.layers.dense({ inputShape: [3], units: 4, name: 'd' })] });
  const { layers } = await calibrateTfjs(tf, model, { batches: () => [random([5, 3], 1)] });
  const activations = { d: layers.get('d')!.norm! };
  const options = {
    granularity: 'weight',
    context: 'local',
    criteria: 'wanda',
    layerType: 'all',
    activations,
  } as const;
  const report = await new Sparsifier(fromTfjs(tf, model), options).sparsifyModel(50);
  expect(report.total.removedWeights).toBe(6);
});
