import fc from 'fast-check';
import { Sparsifier, type SparsifierOptions } from 'sparsifier';
import { fromTfjs, readTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { furtherFiles } from '../../support/model-files.js';
import { filesOf, handlerOf, jsonOf, saved, textOf, tf, type Entry, type Files } from '../../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const words: SparsifierOptions = {
  granularity: 'filter',
  context: 'local',
  criteria: 'magnitude',
  layerType: 'all',
};

const readable = ({ json, shards }: Files) =>
  [
    textOf(json) as Uint8Array<ArrayBuffer>,
    { shards: (name: string) => shards.get(name)! as Uint8Array<ArrayBuffer> },
  ] as const;

/** A model after half of the channels of one layer were removed. */
interface Pruned {
  readonly files: { readonly json: Uint8Array; readonly shards: Map<string, Uint8Array> };
  readonly removed: readonly number[];
  readonly partners: number;
  readonly leaks: readonly string[];
}

async function pruned(files: Files, layer: string): Promise<Pruned> {
  using model = await readTfjs(...readable(files));
  const sparsifier = new Sparsifier(model, words);
  await sparsifier.sparsifyLayer(layer, 50);
  const tensor = model.tensors.find(({ name }) => name === layer)!;
  const { data } = sparsifier.mask(layer);
  return {
    files: { json: await model.bytes(), shards: await furtherFiles(model) },
    removed: [...data.keys()].filter((channel) => data[channel] === 0),
    partners: tensor.partners.length,
    leaks: (tensor.leaks ?? []).map(({ name }) => name),
  };
}

type Result = { readonly shape: number[]; dataSync(): Float32Array };
const ones = (shape: readonly number[]) => tf.randomNormal(shape as [number], 0, 1, 'float32', 7);

/** The largest number in these channels, the last axis, of an intermediate value. */
function largestOf(value: Result, removed: readonly number[]): number {
  const channels = value.shape.at(-1)!;
  const numbers = value.dataSync().filter((_, at) => removed.includes(at % channels));
  expect(numbers.length).toBe((value.dataSync().length / channels) * removed.length);
  return numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0);
}

describe('removed channels that nothing is added to', () => {
  const filesOfCase = async (name: string): Promise<Files> => ({
    json: jsonOf(await readBytes(`cases/${name}/model.json`)),
    shards: new Map([['w.bin', await readBytes(`cases/${name}/w.bin`)]]),
  });

  test.each([
    ['tfjs_g_tensordot', 'mm', 'y', [2, 5, 8]],
    ['tfjs_g_conv1d', 'c', 'y', [2, 7, 3]],
    ['tfjs_g_conv1d_folded', 'c', 'y', [2, 7, 3]],
    ['tfjs_g_muladd', 'c', 'y', [2, 6, 6, 3]],
  ])('TensorFlow.js computes zeros for removed channels of a GraphModel: %s', async (name, layer, node, shape) => {
    const { files, removed, leaks } = await pruned(await filesOfCase(name), layer);
    expect(removed).toHaveLength(3);
    expect(leaks).toEqual([]);
    const model = await tf.loadGraphModel(handlerOf(files.json, files.shards));
    expect(largestOf(model.execute(ones(shape), node) as Result, removed)).toBe(0);
    model.dispose();
  });

  test.each([
    ['tfjs_bn_outside', 'c1', 'bn'],
    ['tfjs_bn_inside', 'c1', 'top'],
    ['tfjs_bn_slash', 'Conv', 'Conv/BatchNorm'],
    ['tfjs_keras3_vars', 'conv2d', 'batch_normalization'],
    ['tfjs_densenet_names', 'conv1/conv', 'conv1/bn'],
  ])('TensorFlow.js computes zeros for removed channels of a LayersModel: %s', async (name, layer, last) => {
    const { files, removed, leaks } = await pruned(await filesOfCase(name), layer);
    expect(removed.length).toBeGreaterThan(1);
    expect(leaks).toEqual([]);
    // The variances are made-up numbers, too, of which roots are taken.
    const absolute = new Float32Array(files.shards.get('group1-shard1of1.bin')!.slice().buffer).map(Math.abs);
    const shards = new Map([['group1-shard1of1.bin', new Uint8Array(absolute.buffer)]]);
    const model = await tf.loadLayersModel(handlerOf(files.json, shards));
    const outputs = model.getLayer(last).inboundNodes.at(-1)!.outputTensors;
    const inside = tf.model({ inputs: model.inputs, outputs });
    expect(largestOf(inside.predict(ones([1, 8, 8, 3])) as Result, removed)).toBe(0);
    model.dispose();
  });
});

/** Whether the output of a model depends on what a later weight does with removed channels. */
async function reachesNext(
  { files, removed }: Pruned,
  reader: string,
  run: (files: Pruned['files']) => Promise<Float32Array>,
): Promise<boolean> {
  const before = await run(files);
  const changed = {
    json: files.json,
    shards: new Map([...files.shards].map(([name, bytes]) => [name, bytes.slice()])),
  };
  const { weightsManifest } = jsonOf(files.json) as unknown as {
    weightsManifest: { weights: { name: string; shape: number[] }[] }[];
  };
  const [bytes] = changed.shards.values();
  const numbers = new Float32Array(bytes!.buffer as ArrayBuffer);
  let start = 0;
  for (const { name, shape } of weightsManifest[0]!.weights) {
    const length = shape.reduce((product, size) => product * size, 1);
    // Inputs are the second axis from the end, outputs the last.
    const [inputs, outputs] = shape.slice(-2) as [number, number];
    for (let at = 0; at < length; at++) {
      if (name === reader && removed.includes(Math.floor(at / outputs) % inputs)) numbers[start + at]! += 3;
    }
    start += length;
  }
  const after = await run(changed);
  return before.some((number, at) => number !== after[at]);
}

/** Steps behind a convolution of four channels, some of which add to removed ones. */
const kerasSteps = {
  norm: () => tf.layers.batchNormalization({ ...noisy, momentum: 0.5 }),
  normWithoutGamma: () => tf.layers.batchNormalization({ ...noisy, scale: false }),
  normWithoutBeta: () => tf.layers.batchNormalization({ ...noisy, center: false }),
  layerNorm: () => tf.layers.layerNormalization({ gammaInitializer: noise(7), betaInitializer: noise(8) }),
  prelu: () => tf.layers.prelu({ alphaInitializer: noise(9), sharedAxes: [1, 2] }),
  relu: () => tf.layers.reLU(),
  tanh: () => tf.layers.activation({ activation: 'tanh' }),
  leaky: () => tf.layers.leakyReLU(),
  sigmoid: () => tf.layers.activation({ activation: 'sigmoid' }),
  softplus: () => tf.layers.activation({ activation: 'softplus' }),
  pool: () => tf.layers.maxPooling2d({ poolSize: 2, strides: 1, padding: 'same' }),
  average: () => tf.layers.averagePooling2d({ poolSize: 2, strides: 1, padding: 'same' }),
  pad: () => tf.layers.zeroPadding2d({ padding: 1 }),
  up: () => tf.layers.upSampling2d({ size: [2, 2] }),
  drop: () => tf.layers.dropout({ rate: 0.5 }),
  nested: () => {
    const input = tf.input({ shape: [null, null, 4] });
    const norm = tf.layers.batchNormalization(noisy);
    return tf.model({ inputs: input, outputs: tf.layers.reLU().apply(norm.apply(input)) as tf.SymbolicTensor });
  },
  inSequence: () => tf.sequential({ layers: [tf.layers.reLU({ inputShape: [null, null, 4] })] }),
};
const noise = (seed: number) => tf.initializers.randomUniform({ minval: 0.5, maxval: 1.5, seed });
const noisy = {
  gammaInitializer: noise(1),
  betaInitializer: noise(2),
  // A mean above 0 would be subtracted, and then removed by a ReLU.
  movingMeanInitializer: tf.initializers.randomUniform({ minval: -1.5, maxval: -0.5, seed: 3 }),
  movingVarianceInitializer: noise(4),
};

describe('removed channels that are not zero', () => {
  // Takes more than 5 s: each of the models runs twice.
  test('Removed channels are other than 0 behind a chain of Keras layers exactly if the layer has leaks', async () => {
    const step = fc.constantFrom(...(Object.keys(kerasSteps) as (keyof typeof kerasSteps)[]));
    let [nonzero, zero] = [0, 0];
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 4 }),
        fc.boolean(),
        fc.constantFrom('linear' as const, 'relu' as const, 'sigmoid' as const),
        async (names, useBias, activation) => {
          const shape = [3, 3, 2] as const;
          const input = tf.input({ shape: [...shape] });
          const conv = { filters: 4, kernelSize: 1, name: 'first', useBias, activation, biasInitializer: noise(5) };
          let value = tf.layers.conv2d({ ...conv, kernelInitializer: noise(6) }).apply(input) as tf.SymbolicTensor;
          for (const name of names) value = kerasSteps[name]().apply(value) as tf.SymbolicTensor;
          const output = tf.layers.conv2d({ filters: 2, kernelSize: 1, name: 'last' }).apply(value);
          const built = tf.model({ inputs: input, outputs: output as tf.SymbolicTensor });
          const each = await pruned(await saved(built), 'first');
          const run = async ({ json, shards }: Pruned['files']) => {
            const model = await tf.loadLayersModel(handlerOf(json, shards));
            const result = (model.predict(ones([1, ...shape])) as Result).dataSync();
            model.dispose();
            return result;
          };
          const isNonzero = await reachesNext(each, 'last/kernel', run);
          expect(isNonzero, `${activation} ${names.join(' ')}: ${each.leaks.join()}`).toBe(each.leaks.length > 0);
          if (isNonzero) nonzero++;
          else zero++;
          built.dispose();
        },
      ),
      { numRuns: 80, seed: 5 },
    );
    expect(Math.min(nonzero, zero)).toBeGreaterThan(10);
  });

  // Takes more than 5 s: each of the graphs runs twice.
  test('Removed channels are other than 0 behind a chain of nodes exactly if the layer has leaks', async () => {
    let [nonzero, zero] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...Object.keys(graphSteps)), { maxLength: 5 }), async (names) => {
        const each = await pruned(graphFiles(names), 'first');
        const run = async ({ json, shards }: Pruned['files']) => {
          const model = await tf.loadGraphModel(handlerOf(json, shards));
          const result = (model.execute({ x: ones([1, 3, 3, 2]) }, 'last') as Result).dataSync();
          model.dispose();
          return result;
        };
        const isNonzero = await reachesNext(each, 'k2', run);
        expect(isNonzero, `${names.join(' ')}: ${each.leaks.join()}`).toBe(each.leaks.length > 0);
        if (isNonzero) nonzero++;
        else zero++;
      }),
      { numRuns: 120, seed: 3 },
    );
    expect(Math.min(nonzero, zero)).toBeGreaterThan(10);
  });
});

describe('the output channels of a node', () => {
  const product = { transpose_a: { b: false }, transpose_b: { b: false } };
  const batches = { adj_x: { b: false }, adj_y: { b: false } };
  const einsum = (equation: string) => ({ equation: text(equation), N: { i: '2' } });
  const conv = {
    strides: integers(1, 1, 1, 1),
    padding: text('SAME'),
    data_format: text('NHWC'),
    dilations: integers(1, 1, 1, 1),
  };
  test.each<[string, string, object, number[], number[], (readonly [string, ...number[]])[]]>([
    ['of MatMul', 'MatMul', product, [3, 4], [5, 3], []],
    ['of MatMul, transposed', 'MatMul', { ...product, transpose_b: { b: true } }, [4, 3], [5, 3], []],
    ['of MatMul behind Transpose', 'MatMul', product, [4, 3], [5, 3], [['Transpose', 1, 0]]],
    ['of BatchMatMulV2 with a leading 1', 'BatchMatMulV2', batches, [1, 3, 4], [2, 5, 3], []],
    ['of several matrices', 'BatchMatMulV2', batches, [2, 3, 4], [2, 5, 3], []],
    ['of several matrices, transposed', 'BatchMatMulV2', { ...batches, adj_y: { b: true } }, [2, 4, 3], [2, 5, 3], []],
    ['of Einsum', 'Einsum', einsum('abc,cd->abd'), [3, 4], [2, 5, 3], []],
    ['of Einsum, outputs first', 'Einsum', einsum('abc,dc->adb'), [4, 3], [2, 5, 3], []],
    ['of Einsum with heads', 'Einsum', einsum('abc,cde->abde'), [3, 2, 2], [2, 5, 3], []],
    ['of Einsum over heads', 'Einsum', einsum('abde,dec->abc'), [2, 3, 4], [2, 5, 2, 3], []],
    ['of Einsum of batches', 'Einsum', einsum('eac,ecd->ead'), [2, 3, 4], [2, 5, 3], []],
    ['of Conv2D behind ExpandDims', 'Conv2D', conv, [3, 3, 4], [1, 1, 5, 3], [['ExpandDims', 0]]],
    ['of DepthwiseConv2dNative', 'DepthwiseConv2dNative', conv, [3, 3, 2, 2], [1, 5, 5, 2], []],
    [
      'of DepthwiseConv2dNative behind Reshape',
      'DepthwiseConv2dNative',
      conv,
      [3, 4],
      [1, 5, 5, 4],
      [['Reshape', 3, 1, 4, 1]],
    ],
    ['of Conv2D of one place', 'Conv2D', conv, [3, 4], [1, 5, 5, 3], [['Reshape', 1, 1, 3, 4]]],
  ])(
    'Half of the outputs %s are zero once half of its channels are removed',
    async (_title, op, attr, shape, given, views) => {
      const entries: Entry[] = [constant('w', ...shape)];
      const nodes: GraphNode[] = [['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' } }]];
      let value = 'w';
      for (const [index, [view, ...places]] of views.entries()) {
        entries.push(
          view === 'ExpandDims' ? { ...list(`i${index}`, ...places), shape: [] } : list(`i${index}`, ...places),
        );
        nodes.push([`v${index}`, view, [value, `i${index}`]]);
        value = `v${index}`;
      }
      nodes.push(['y', op, ['x', value], attr]);
      const { files, removed } = await pruned(graphOfNodes(entries, nodes), 'y');
      const model = await tf.loadGraphModel(handlerOf(files.json, files.shards));
      const result = (model.execute({ x: tf.abs(ones(given)).add(0.1) }, 'y') as Result).dataSync();
      const channels = removed.length * 2;
      expect(channels).toBeGreaterThan(3);
      expect(result.filter((number) => number === 0)).toHaveLength(result.length / 2);
      model.dispose();
    },
  );
});

test('A damaged node without the bias that it names is read, and its weight can be pruned', async () => {
  const attributes = { strides: integers(1, 1, 1, 1), padding: text('SAME'), data_format: text('NHWC') };
  const damaged = { ...attributes, fused_ops: { list: { s: [text('BiasAdd').s, text('Relu').s] } } };
  const files = graphOfNodes(
    [constant('k', 1, 1, 2, 4)],
    [
      ['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' } }],
      ['y', '_FusedConv2D', ['x', 'k'], damaged],
    ],
  );
  expect((await pruned(files, 'y')).removed).toHaveLength(2);
});

test('Behind channels that are padded, a layer has its own part of a batch normalisation', async () => {
  const attributes = { strides: integers(1, 1, 1, 1), padding: text('SAME'), data_format: text('NHWC') };
  const conv = { ...attributes, dilations: integers(1, 1, 1, 1) };
  const norm = { epsilon: { f: 0.001 }, data_format: text('NHWC'), is_training: { b: false } };
  const parts = ['g', 'b', 'm', 'v'];
  const paddings = { ...list('paddings', 0, 0, 0, 0, 0, 0, 1, 2), shape: [4, 2] };
  const files = graphOfNodes(
    [
      constant('k1', 1, 1, 2, 2),
      constant('k2', 1, 1, 2, 4),
      paddings,
      { ...list('axis', 3), shape: [] },
      ...parts.map((part) => constant(part, 9)),
    ],
    [
      ['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' } }],
      ['short', 'Conv2D', ['x', 'k1'], conv],
      ['padded', 'Pad', ['short', 'paddings']],
      ['own', 'Conv2D', ['x', 'k2'], conv],
      ['joined', 'ConcatV2', ['padded', 'own', 'axis'], { N: { i: '2' } }],
      ['norm', 'FusedBatchNormV3', ['joined', ...parts], norm],
    ],
  );
  const { files: written, removed, partners, leaks } = await pruned(files, 'own');
  expect([removed.length, partners, leaks]).toEqual([2, 2, []]);
  const model = await tf.loadGraphModel(handlerOf(written.json, written.shards));
  const result = model.execute({ x: ones([1, 3, 3, 2]) }, 'norm') as Result;
  expect(
    largestOf(
      result,
      removed.map((channel) => 5 + channel),
    ),
  ).toBe(0);
  expect(largestOf(result, [0, 1, 2, 3, 4])).toBeGreaterThan(0);
  model.dispose();
});

describe('channels that are joined or filtered', () => {
  const input = () => tf.input({ shape: [4, 4, 3] });
  const conv = (name: string, filters = 4) =>
    tf.layers.conv2d({ filters, kernelSize: 1, name, useBias: false, kernelInitializer: noise(filters) });
  const model = (inputs: tf.SymbolicTensor, outputs: unknown) =>
    tf.model({ inputs, outputs: outputs as tf.SymbolicTensor });

  test('Behind a concatenation, each layer has its own part of a batch normalisation', async () => {
    const x = input();
    const joined = tf.layers.concatenate().apply([conv('a').apply(x), conv('b', 6).apply(x)] as tf.SymbolicTensor[]);
    const norm = tf.layers.batchNormalization({ ...noisy, name: 'norm' }).apply(joined);
    const built = model(x, tf.layers.conv2d({ filters: 2, kernelSize: 1, name: 'last' }).apply(norm));
    const files = await saved(built);
    for (const [name, start, count] of [
      ['a', 0, 4],
      ['b', 4, 6],
    ] as const) {
      const { files: written, removed, leaks } = await pruned(files, name);
      expect([leaks, removed.length]).toEqual([[], count / 2]);
      const loaded = await tf.loadLayersModel(handlerOf(written.json, written.shards));
      const places = removed.map((channel) => start + channel);
      for (const weight of loaded.getLayer('norm').weights.slice(0, 2)) {
        const values = [...(await weight.read().data())];
        expect([...values.keys()].filter((at) => values[at] === 0)).toEqual(places);
      }
      const inside = model(loaded.inputs[0]!, loaded.getLayer('norm').getOutputAt(0));
      expect(largestOf(inside.predict(ones([1, 4, 4, 3])) as Result, places)).toBe(0);
    }
    // The masks of training are those of whole variables.
    const { tensors } = fromTfjs(tf, built);
    expect(tensors[0]!.leaks?.map(({ name }) => name)).toEqual(['norm/gamma', 'norm/beta']);
  });

  test('Quantised entries of several layers stay as they are, and are named', async () => {
    const x = input();
    const joined = tf.layers.concatenate().apply([conv('a').apply(x), conv('b', 6).apply(x)] as tf.SymbolicTensor[]);
    const { json, shards } = await saved(
      model(x, tf.layers.batchNormalization({ ...noisy, name: 'norm' }).apply(joined)),
    );
    const [group] = json.weightsManifest as { weights: { name: string; shape: number[]; quantization?: object }[] }[];
    for (const weight of group!.weights) weight.quantization = { dtype: 'uint8', scale: 0.01, min: 0 };
    const bytes = group!.weights.reduce((all, { shape }) => all + shape.reduce((count, size) => count * size, 1), 0);
    const codes = Uint8Array.from({ length: bytes }, (_, at) => 1 + (at % 200));
    using read = await readTfjs(textOf(json) as Uint8Array<ArrayBuffer>, { shards: () => codes });
    expect(shards.size).toBe(1);
    expect(read.tensors[0]!.leaks?.map(({ name }) => name)).toEqual(['norm/gamma', 'norm/beta']);
  });

  test('A depthwise convolution names the layers whose channels it filters', async () => {
    const x = input();
    const first = tf.layers.batchNormalization().apply(conv('first').apply(x));
    const active = tf.layers.reLU().apply(first);
    const depthwise = tf.layers.depthwiseConv2d({ kernelSize: 3, name: 'depthwise', padding: 'same' }).apply(active);
    const joined = tf.layers.concatenate().apply([depthwise, conv('other').apply(x)] as tf.SymbolicTensor[]);
    const separable = tf.layers.separableConv2d({ kernelSize: 3, filters: 2, name: 'separable' }).apply(joined);
    using read = await readTfjs(...readable(await saved(model(x, separable))));
    expect(Object.fromEntries(read.tensors.map(({ name, channelsFrom }) => [name, channelsFrom]))).toEqual({
      first: undefined,
      depthwise: ['first'],
      other: undefined,
      separable: ['depthwise', 'other'],
      'separable.pointwise': undefined,
    });
  });
});

type GraphNode = readonly [name: string, op: string, inputs: readonly string[], attributes?: object];
interface Step {
  readonly constants?: readonly Entry[];
  readonly nodes: readonly GraphNode[];
}

let seed = 0;
const numbers = (length: number): Uint8Array =>
  new Uint8Array(
    Float32Array.from({ length }, () => 0.5 + ((seed = (seed * 16_807 + 12_345) % 2_147_483_647) % 1000) / 1000).buffer,
  );
const constant = (name: string, ...shape: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: numbers(shape.reduce((product, size) => product * size, 1)),
});
const list = (name: string, ...integers: number[]): Entry => ({
  name,
  shape: [integers.length],
  dtype: 'int32',
  bytes: new Uint8Array(Int32Array.from(integers).buffer),
});
const text = (value: string) => ({ s: btoa(value) });
const integers = (...values: number[]) => ({ list: { i: values.map(String) } });
const float = { T: { type: 'DT_FLOAT' } };
const window = { ksize: integers(1, 2, 2, 1), strides: integers(1, 1, 1, 1), padding: text('SAME') };

/** Steps behind a convolution of four channels on pictures of 3 x 3. `n` is the name of the step, `x` its input. */
const graphSteps: Readonly<Record<string, (n: string, x: string) => Step>> = {
  bias: (n, x) => ({ constants: [constant(`${n}/b`, 4)], nodes: [[n, 'BiasAdd', [x, `${n}/b`]]] }),
  add: (n, x) => ({ constants: [constant(`${n}/b`, 1, 1, 4)], nodes: [[n, 'AddV2', [`${n}/b`, x]]] }),
  addToAll: (n, x) => ({ constants: [constant(`${n}/b`)], nodes: [[n, 'AddV2', [x, `${n}/b`]]] }),
  addToRows: (n, x) => ({ constants: [constant(`${n}/b`, 3, 1)], nodes: [[n, 'AddV2', [x, `${n}/b`]]] }),
  subtract: (n, x) => ({ constants: [constant(`${n}/b`, 4)], nodes: [[n, 'Sub', [x, `${n}/b`]]] }),
  shared: (n, x) => ({
    constants: [constant(`${n}/b`, 4)],
    nodes: [
      [`${n}/other`, 'Sum', [`${n}/b`, 'axes']],
      [n, 'AddV2', [x, `${n}/b`]],
    ],
  }),
  times: (n, x) => ({ constants: [constant(`${n}/g`, 4)], nodes: [[n, 'Mul', [x, `${n}/g`]]] }),
  norm: (n, x) => ({
    constants: ['g', 'b', 'm', 'v'].map((part) => constant(`${n}/${part}`, 4)),
    nodes: [
      [
        n,
        'FusedBatchNormV3',
        [x, ...['g', 'b', 'm', 'v'].map((part) => `${n}/${part}`)],
        { epsilon: { f: 0.001 }, data_format: text('NHWC'), is_training: { b: false } },
      ],
    ],
  }),
  prelu: (n, x) => ({ constants: [constant(`${n}/a`, 4)], nodes: [[n, 'Prelu', [x, `${n}/a`]]] }),
  atLeast: (n, x) => ({ constants: [constant(`${n}/m`, 4)], nodes: [[n, 'Maximum', [x, `${n}/m`]]] }),
  halves: (n, x) => ({
    nodes: [
      [`${n}/s`, 'Split', ['last axis', x], { num_split: { i: '2' } }],
      [n, 'ConcatV2', [`${n}/s`, `${n}/s:1`, 'last axis'], { N: { i: '2' } }],
    ],
  }),
  relu: (n, x) => ({ nodes: [[n, 'Relu', [x]]] }),
  tanh: (n, x) => ({ nodes: [[n, 'Tanh', [x]]] }),
  sigmoid: (n, x) => ({ nodes: [[n, 'Sigmoid', [x]]] }),
  exp: (n, x) => ({
    nodes: [
      [`${n}/neg`, 'Neg', [x]],
      [n, 'Exp', [`${n}/neg`]],
    ],
  }),
  swish: (n, x) => ({
    nodes: [
      [`${n}/s`, 'Sigmoid', [x]],
      [n, 'Mul', [`${n}/s`, x]],
    ],
  }),
  hardSwish: (n, x) => ({
    constants: [constant(`${n}/three`), constant(`${n}/sixth`)],
    nodes: [
      [`${n}/a`, 'AddV2', [x, `${n}/three`]],
      [`${n}/r`, 'Relu6', [`${n}/a`]],
      [`${n}/m`, 'Mul', [x, `${n}/r`]],
      [n, 'Mul', [`${n}/m`, `${n}/sixth`]],
    ],
  }),
  curve: (n, x) => ({
    nodes: [
      [`${n}/t`, 'Tanh', [x]],
      [`${n}/e`, 'Expm1', [`${n}/t`]],
      [`${n}/a`, 'Abs', [`${n}/e`]],
      [n, 'Log1p', [`${n}/a`]],
    ],
  }),
  inBatch: (n, x) => ({
    constants: [
      list(`${n}/block`, 2, 2),
      { ...list(`${n}/borders`, 0, 1, 0, 1), shape: [2, 2] },
      constant(`${n}/b`, 4),
    ],
    nodes: [
      [`${n}/s`, 'SpaceToBatchND', [x, `${n}/block`, `${n}/borders`]],
      [`${n}/r`, 'Relu', [`${n}/s`]],
      [`${n}/o`, 'BatchToSpaceND', [`${n}/r`, `${n}/block`, `${n}/borders`]],
      [n, 'BiasAdd', [`${n}/o`, `${n}/b`]],
    ],
  }),
  twice: (n, x) => ({ nodes: [[n, 'AddV2', [x, x]]] }),
  pool: (n, x) => ({ nodes: [[n, 'MaxPool', [x], window]] }),
  identity: (n, x) => ({ nodes: [[n, 'Identity', [`${x}:0`]]] }),
  flatAndBack: (n, x) => ({
    constants: [list(`${n}/flat`, 9, 4), constant(`${n}/b`, 4), list(`${n}/back`, 1, 3, 3, 4)],
    nodes: [
      [`${n}/f`, 'Reshape', [x, `${n}/flat`]],
      [`${n}/a`, 'BiasAdd', [`${n}/f`, `${n}/b`]],
      [n, 'Reshape', [`${n}/a`, `${n}/back`]],
    ],
  }),
  turned: (n, x) => ({
    constants: [list(`${n}/to`, 0, 3, 1, 2), constant(`${n}/b`, 4, 1, 1), list(`${n}/back`, 0, 2, 3, 1)],
    nodes: [
      [`${n}/t`, 'Transpose', [x, `${n}/to`]],
      [`${n}/a`, 'AddV2', [`${n}/t`, `${n}/b`]],
      [n, 'Transpose', [`${n}/a`, `${n}/back`]],
    ],
  }),
  split: (n, x) => ({
    constants: [list(`${n}/heads`, 9, 2, 2), constant(`${n}/b`, 2, 2), list(`${n}/back`, 1, 3, 3, 4)],
    nodes: [
      [`${n}/h`, 'Reshape', [x, `${n}/heads`]],
      [`${n}/a`, 'AddV2', [`${n}/h`, `${n}/b`]],
      [n, 'Reshape', [`${n}/a`, `${n}/back`]],
    ],
  }),
  extreme: (n, x) => ({
    constants: [constant(`${n}/g`)],
    nodes: [
      [`${n}/m`, 'Mul', [x, `${n}/g`]],
      [n, 'Maximum', [x, `${n}/m`]],
    ],
  }),
};

function graphFiles(names: readonly string[]): Files {
  const entries: Entry[] = [constant('k1', 1, 1, 2, 4), constant('k2', 1, 1, 4, 2), list('axes', 0)];
  entries.push({ ...list('last axis', 3), shape: [] });
  const conv = {
    strides: integers(1, 1, 1, 1),
    padding: text('SAME'),
    data_format: text('NHWC'),
    dilations: integers(1, 1, 1, 1),
  };
  const shape = { shape: { dim: [1, 3, 3, 2].map((size) => ({ size: String(size) })) } };
  const nodes: GraphNode[] = [
    ['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }],
    ['first', 'Conv2D', ['x', 'k1'], conv],
  ];
  let last = 'first';
  for (const [index, name] of names.entries()) {
    const { constants = [], nodes: own } = graphSteps[name]!(`${index}`, last);
    entries.push(...constants);
    nodes.push(...own);
    last = `${index}`;
  }
  nodes.push(['last', 'Conv2D', [last, 'k2'], conv]);
  return graphOfNodes(entries, nodes);
}

/** A GraphModel that TensorFlow.js runs. */
function graphOfNodes(entries: readonly Entry[], nodes: readonly GraphNode[]): Files {
  const types = { float32: 'DT_FLOAT', int32: 'DT_INT32' } as Readonly<Record<string, string>>;
  const node = [
    ...entries.map(({ name, dtype }) => ({ name, op: 'Const', input: [], attr: { dtype: { type: types[dtype] } } })),
    ...nodes.map(([name, op, input, attr = {}]) => ({ name, op, input, attr: { ...float, ...attr } })),
  ];
  const { json, shards } = filesOf({ node, library: {}, versions: {} }, entries);
  return { json: { format: 'graph-model', ...json }, shards };
}
