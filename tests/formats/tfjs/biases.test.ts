import { fromTfjs, readTfjs, type LiveModel } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { filesOf, floats, graphOf, handlerOf, saved, textOf, tf, type Entry, type Files } from '../../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const readable = ({ json, shards }: Files) =>
  [
    textOf(json) as Uint8Array<ArrayBuffer>,
    { shards: (name: string) => shards.get(name)! as Uint8Array<ArrayBuffer> },
  ] as const;

const biasOf = ({ tensors }: Pick<LiveModel, 'tensors'>, name: string) =>
  tensors.find((tensor) => tensor.name === name)!.bias;

/** The channels of an output, the last axis, that change when a number is added to one number of a bias. */
async function changed(
  live: LiveModel,
  layer: string,
  channel: number,
  run: () => tf.Tensor,
): Promise<{ readonly channels: readonly number[]; readonly rises: boolean }> {
  const { values, sign } = biasOf(live, layer)!;
  const place = live.placeOf(values);
  const before = run();
  const numbers = Float32Array.from(await place.tensor().data());
  numbers[channel]! += 2 * sign;
  place.replace(tf.tensor(numbers, place.tensor().shape, 'float32'));
  const difference = tf.sub(run(), before);
  const count = before.shape.at(-1)!;
  const data = [...(await difference.data())];
  // Every number of a channel changes, or none does.
  const channels = [...new Set(data.flatMap((number, at) => (number === 0 ? [] : [at % count])))];
  expect(data.filter((number) => number !== 0)).toHaveLength((data.length / count) * channels.length);
  return { channels, rises: data.every((number) => number >= 0) };
}

const positive = () => tf.initializers.randomUniform({ minval: 0.5, maxval: 2, seed: 3 });
const norm = (more: object = {}) =>
  tf.layers.batchNormalization({ gammaInitializer: positive(), movingVarianceInitializer: positive(), ...more });
const conv = (more: object = {}) =>
  tf.layers.conv2d({ filters: 4, kernelSize: 2, name: 'layer', useBias: false, ...more });

describe('The bias of a Keras layer', () => {
  test.each<[string, number, () => tf.layers.Layer[]]>([
    ['its own', 1, () => [conv({ useBias: true })]],
    [
      'of a depthwise layer',
      1,
      () => [tf.layers.depthwiseConv2d({ kernelSize: 2, depthMultiplier: 2, name: 'layer' })],
    ],
    ['of a transposed layer', 1, () => [tf.layers.conv2dTranspose({ filters: 3, kernelSize: 2, name: 'layer' })]],
    ['of a dense layer', 1, () => [tf.layers.dense({ units: 3, name: 'layer' })]],
    ['in the mean of a normalisation', -1, () => [conv(), norm()]],
    ['in a mean without gamma and beta', -1, () => [conv(), norm({ scale: false, center: false })]],
    ['in a mean behind dropout', -1, () => [conv(), tf.layers.dropout({ rate: 0.5 }), norm()]],
  ])('Changes the outputs of one channel: %s', async (_, sign, layers) => {
    const model = tf.sequential({ layers: [tf.layers.inputLayer({ inputShape: [4, 4, 4] }), ...layers()] });
    const live = fromTfjs(tf, model);
    expect(biasOf(live, 'layer')!.sign).toBe(sign);
    const x = tf.randomNormal([2, 4, 4, 4], 0, 1, 'float32', 5);
    const { channels, rises } = await changed(live, 'layer', 1, () => model.predict(x) as tf.Tensor);
    expect(channels).toEqual([1]);
    expect(rises).toBe(true);
    using stored = await readTfjs(...readable(await saved(model)));
    expect(stored.tensors.map(({ bias }) => bias && [bias.sign, bias.values.length])).toEqual(
      live.tensors.map(({ bias }) => bias && [bias.sign, bias.values.length]),
    );
    expect(await stored.copy(biasOf(stored, 'layer')!.values)).toEqual(await live.copy(biasOf(live, 'layer')!.values));
  });

  test('Of channels that come first, it is in the mean of a normalisation along their axis', () => {
    // TensorFlow.js computes such normalisations along another axis on its backend cpu.
    const layers = (axis: number) => [conv({ inputShape: [4, 4, 4], dataFormat: 'channelsFirst' }), norm({ axis })];
    const biasAlong = (axis: number) => biasOf(fromTfjs(tf, tf.sequential({ layers: layers(axis) })), 'layer');
    expect(biasAlong(1)?.sign).toBe(-1);
    expect(biasAlong(1)?.values.length).toBe(4);
    expect(biasAlong(2)).toBeUndefined();
  });

  test('Of a separable layer, it belongs to the second kernel', async () => {
    const layer = tf.layers.separableConv2d({ inputShape: [4, 4, 3], filters: 3, kernelSize: 2, name: 'layer' });
    const model = tf.sequential({ layers: [layer] });
    const live = fromTfjs(tf, model);
    expect(biasOf(live, 'layer')).toBeUndefined();
    const x = tf.ones([1, 4, 4, 3]);
    const { channels } = await changed(live, 'layer.pointwise', 2, () => model.predict(x) as tf.Tensor);
    expect(channels).toEqual([2]);
  });

  test.each<[string, (input: tf.SymbolicTensor) => tf.SymbolicTensor | tf.SymbolicTensor[]]>([
    [
      'behind an activation of the layer',
      (x) => norm().apply(conv({ activation: 'relu' }).apply(x)) as tf.SymbolicTensor,
    ],
    ['behind an activation', (x) => norm().apply(tf.layers.reLU().apply(conv().apply(x))) as tf.SymbolicTensor],
    ['along another axis', (x) => norm({ axis: 1 }).apply(conv({ kernelSize: 1 }).apply(x)) as tf.SymbolicTensor],
    [
      'beside another reader',
      (x) => {
        const y = conv().apply(x);
        return tf.layers.add().apply([norm().apply(y), y] as tf.SymbolicTensor[]) as tf.SymbolicTensor;
      },
    ],
    [
      'of an output of the model',
      (x) => {
        const y = conv().apply(x) as tf.SymbolicTensor;
        return [y, norm().apply(y) as tf.SymbolicTensor];
      },
    ],
    [
      'that normalises other outputs, too',
      (x) => {
        const shared = norm();
        const all = [conv(), conv({ name: 'other' })].map((layer) => shared.apply(layer.apply(x)));
        return tf.layers.add().apply(all as tf.SymbolicTensor[]) as tf.SymbolicTensor;
      },
    ],
  ])('Is not the mean of a normalisation %s', (_, build) => {
    const input = tf.input({ shape: [4, 4, 4] });
    const model = tf.model({ inputs: input, outputs: build(input) });
    expect(biasOf(fromTfjs(tf, model), 'layer')).toBeUndefined();
  });

  test('Is not that of a recurrent layer, and not one that is stored as integers', async () => {
    const model = tf.sequential({ layers: [tf.layers.gru({ units: 2, inputShape: [3, 2], name: 'layer' })] });
    expect(biasOf(fromTfjs(tf, model), 'layer')).toBeUndefined();
    const dense = { class_name: 'Dense', config: { name: 'layer', units: 2, use_bias: true } };
    const topology = { class_name: 'Sequential', config: { name: 'm', layers: [dense] } };
    const entries = (quantization?: Entry['quantization']): Entry[] => [
      { name: 'layer/kernel', shape: [1, 2], dtype: 'float32', bytes: floats(1, 2) },
      {
        name: 'layer/bias',
        shape: [2],
        dtype: 'float32',
        ...(quantization && { quantization }),
        bytes: quantization ? Uint8Array.of(1, 2) : floats(1, 2),
      },
    ];
    using plain = await readTfjs(...readable(filesOf(topology, entries())));
    expect(biasOf(plain, 'layer')).toBeDefined();
    using coded = await readTfjs(...readable(filesOf(topology, entries({ dtype: 'uint8', scale: 1, min: 0 }))));
    expect(biasOf(coded, 'layer')).toBeUndefined();
  });
});

type Node = readonly [name: string, op: string, input: readonly string[], attr?: object];
const text = (value: string) => ({ s: btoa(value) });
const fused = (...ops: string[]) => ({ fused_ops: { list: { s: ops.map((op) => btoa(op)) } }, num_args: { i: '1' } });
const product = { transpose_a: { b: false }, transpose_b: { b: false } };
const window = {
  strides: { list: { i: ['1', '1', '1', '1'] } },
  dilations: { list: { i: ['1', '1', '1', '1'] } },
  padding: text('SAME'),
  data_format: text('NHWC'),
};
const entry = (name: string, shape: number[], dtype = 'float32'): Entry => {
  const count = shape.reduce((product, size) => product * size, 1);
  const numbers = Array.from({ length: count }, (_, at) => 1 + ((at * 7) % 5));
  const bytes = dtype === 'int32' ? new Uint8Array(Int32Array.from(numbers).buffer) : floats(...numbers);
  return { name, shape, dtype, bytes };
};
const lists = (name: string, ...numbers: number[]): Entry => ({
  ...entry(name, [numbers.length], 'int32'),
  bytes: new Uint8Array(Int32Array.from(numbers).buffer),
});

/** A graph of a convolution `layer` of [1, 1, 2, 4] over `x`, with biases `b` and `c` and what normalisations need. */
async function graphModel(
  nodes: readonly Node[],
  more: { readonly signature?: object; readonly weight?: number[] } = {},
) {
  const four = ['b', 'c', 'scale', 'offset', 'mean', 'variance'].map((name) => entry(name, [4]));
  const shapes = [lists('rows', -1, 4), lists('pairs', 9, 2), entry('one', [1, 1, 1, 4]), entry('scalar', [])];
  const entries = [entry('w', more.weight ?? [1, 1, 2, 4]), ...four, ...shapes];
  const shape = { shape: { dim: ['1', '3', '3', '2'].map((size) => ({ size })) } };
  const graph = graphOf(entries, [['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }], ...nodes]);
  for (const node of (graph as { node: { name: string; attr: object }[] }).node) {
    const found = entries.find(({ name }) => name === node.name);
    if (found) node.attr = { dtype: { type: found.dtype === 'int32' ? 'DT_INT32' : 'DT_FLOAT' } };
  }
  const { json, shards } = filesOf({ ...graph, versions: {} }, entries);
  const { signature } = more;
  const files = { json: { ...json, format: 'graph-model', ...(signature && { signature }) }, shards };
  using stored = await readTfjs(...readable(files));
  const loaded = await tf.loadGraphModel(handlerOf(textOf(files.json), shards));
  const live = fromTfjs(tf, loaded);
  expect(biasOf(live, 'layer')?.sign).toBe(biasOf(stored, 'layer')?.sign);
  return { live, loaded };
}

const layer: Node = ['layer', 'Conv2D', ['x', 'w'], window];
const normalise = (from: string, training = false): Node => [
  'y',
  'FusedBatchNormV3',
  [from, 'scale', 'offset', 'mean', 'variance'],
  { epsilon: { f: 0.001 }, data_format: text('NHWC'), is_training: { b: training } },
];

describe('The bias of a node', () => {
  test.each<[string, 1 | -1, Node[]]>([
    ['BiasAdd', 1, [layer, ['y', 'BiasAdd', ['layer', 'b']]]],
    ['Add with the constant first', 1, [layer, ['y', 'AddV2', ['b', 'layer']]]],
    ['Add with a constant of as many axes', 1, [layer, ['y', 'Add', ['layer', 'one']]]],
    ['Sub', -1, [layer, ['y', 'Sub', ['layer', 'b']]]],
    [
      'fused',
      1,
      [
        ['layer', '_FusedConv2D', ['x', 'w', 'b'], { ...window, ...fused('BiasAdd') }],
        ['y', 'Identity', ['layer']],
      ],
    ],
    ['a mean', -1, [layer, normalise('layer')]],
    ['behind Identity', 1, [layer, ['i', 'Identity', ['layer']], ['y', 'BiasAdd', ['i', 'b']]]],
    ['behind Reshape', 1, [layer, ['r', 'Reshape', ['layer', 'rows']], ['y', 'BiasAdd', ['r', 'b']]]],
    [
      'of two nodes that share both',
      1,
      [
        layer,
        ['again', 'Conv2D', ['x', 'w'], window],
        ['y1', 'BiasAdd', ['layer', 'b']],
        ['y2', 'BiasAdd', ['again', 'b']],
        ['y', 'AddV2', ['y1', 'y2']],
      ],
    ],
  ])('Changes the outputs of one channel: %s', async (_, sign, nodes) => {
    const { live, loaded } = await graphModel(nodes);
    expect(biasOf(live, 'layer')?.sign).toBe(sign);
    const x = tf.randomNormal([1, 3, 3, 2], 0, 1, 'float32', 5);
    const { channels, rises } = await changed(live, 'layer', 3, () => loaded.execute(x, 'y') as tf.Tensor);
    expect(channels).toEqual([3]);
    expect(rises).toBe(true);
    loaded.dispose();
  });

  test.each<[string, Node[], object?]>([
    ['behind an activation', [layer, ['r', 'Relu', ['layer']], ['y', 'BiasAdd', ['r', 'b']]]],
    ['behind a factor', [layer, ['m', 'Mul', ['layer', 'c']], ['y', 'BiasAdd', ['m', 'b']]]],
    ['subtracted from', [layer, ['y', 'Sub', ['b', 'layer']]]],
    ['of one number', [layer, ['y', 'AddV2', ['layer', 'scalar']]]],
    ['beside another reader', [layer, ['z', 'BiasAdd', ['layer', 'b']], ['y', 'AddV2', ['layer', 'z']]]],
    ['that another node reads', [layer, ['z', 'BiasAdd', ['layer', 'b']], ['y', 'Mul', ['z', 'b']]]],
    [
      'fused, and read again',
      [
        ['layer', '_FusedConv2D', ['x', 'w', 'b'], { ...window, ...fused('BiasAdd') }],
        ['y', 'Mul', ['layer', 'b']],
      ],
    ],
    [
      'of an output of the model',
      [layer, ['y', 'BiasAdd', ['layer', 'b']]],
      { outputs: { a: { name: 'layer:0' }, y: { name: 'y:0' } } },
    ],
    ['in the mean of a batch in training', [layer, normalise('layer', true)]],
    [
      'of two nodes that share the weight alone',
      [
        layer,
        ['again', 'Conv2D', ['x', 'w'], window],
        ['y1', 'BiasAdd', ['layer', 'b']],
        ['y2', 'BiasAdd', ['again', 'c']],
        ['y', 'AddV2', ['y1', 'y2']],
      ],
    ],
  ])('Is not a constant %s', async (_, nodes, signature) => {
    const { live, loaded } = await graphModel(nodes, signature ? { signature } : {});
    expect(biasOf(live, 'layer')).toBeUndefined();
    loaded.dispose();
  });

  test('Is not that of a stack of matrices', async () => {
    const batches = { adj_x: { b: false }, adj_y: { b: false } };
    const nodes: Node[] = [
      ['layer', 'BatchMatMulV2', ['x', 'w'], batches],
      ['y', 'AddV2', ['layer', 'b']],
    ];
    const { live } = await graphModel(nodes, { weight: [3, 2, 4] });
    expect(live.tensors[0]).toMatchObject({ roles: ['out', 'in', 'multiplier'] });
    expect(biasOf(live, 'layer')).toBeUndefined();
    const single: Node[] = [
      ['layer', 'MatMul', ['r', 'w'], product],
      ['r', 'Reshape', ['x', 'pairs']],
      ['y', 'AddV2', ['layer', 'b']],
    ];
    expect(biasOf((await graphModel(single, { weight: [2, 4] })).live, 'layer')).toBeDefined();
  });
});
