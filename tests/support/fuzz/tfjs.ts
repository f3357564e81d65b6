// Models of TensorFlow.js, with the files of their weights.
import { isDeepStrictEqual } from 'node:util';
import { differsAt } from '../bytes.js';
import { concat } from '../onnx-builder.js';
import { filesOf, floats, graphOf, saved, textOf, tf, type Entry } from '../tfjs.js';
import { foldersOf } from './cases.js';
import type { Input } from './input.js';
import { checkModel } from './models.js';
import type { Target } from './target.js';

type Bytes = Uint8Array<ArrayBuffer>;

interface Content {
  readonly weightsManifest?: Manifest;
}
type Manifest = readonly { readonly paths: readonly string[] }[];

/** The content, without the sign of zeros, which JSON is not written with. */
const jsonOf = (bytes: Uint8Array) =>
  JSON.parse(new TextDecoder().decode(bytes), (_, value: unknown) => (value === 0 ? 0 : value)) as Content | Manifest;

const manifestOf = (content: Content | Manifest): Manifest =>
  'weightsManifest' in content ? content.weightsManifest! : (content as Manifest);

/** The files of weights get other names, and the JSON is written anew, but means the same. */
function difference({ bytes, further = {} }: Input, files: ReadonlyMap<string, Uint8Array>): string | undefined {
  const before = jsonOf(bytes);
  const after = jsonOf([...files.values()][0]!);
  const groups = [manifestOf(before), manifestOf(after)] as const;
  for (const [place, { paths }] of groups[0].entries()) {
    const is = concat(...groups[1][place]!.paths.map((path) => files.get(path)!));
    // Empty parts of paths do not count.
    const was = concat(...paths.map((path) => further[path] ?? further[path.replace(/(^|\/)(\.?\/)+/g, '$1')]!));
    if (differsAt(is, was) >= 0) return `the weights of group ${place + 1} differ`;
  }
  for (const group of groups.flat()) (group as { paths: unknown }).paths = [];
  return isDeepStrictEqual(before, after) ? undefined : 'the JSON differs';
}

const check = (given: Input): Promise<boolean> =>
  checkModel(given, {
    format: 'TensorFlow.js',
    options: ({ further = {} }) => ({ shards: (name) => further[name]! }),
    difference,
  });

const inputOf = (topology: unknown, entries: readonly Entry[], shardBytes?: number): Input => {
  const { json, shards } = filesOf(topology, entries, shardBytes);
  return { bytes: textOf(json) as Bytes, further: Object.fromEntries(shards) as Record<string, Bytes> };
};

/** The same with its text changed. */
const edited = ({ bytes, further }: Input, from: string | RegExp, to: string): Input => ({
  bytes: new Uint8Array(Buffer.from(Buffer.from(bytes).toString().replace(from, to))),
  further: further!,
});

const kernel: Entry = { name: 'd/kernel', shape: [2, 3], dtype: 'float32', bytes: floats(1, -2, 3, -4, 5, -6) };
const bias: Entry = { name: 'd/bias', shape: [3], dtype: 'float32', bytes: floats(1, 2, 3) };
const codes: Entry = {
  name: 'd/kernel',
  shape: [2, 3],
  dtype: 'float32',
  quantization: { dtype: 'uint8', scale: 0.5, min: -1 },
  bytes: Uint8Array.of(0, 1, 2, 3, 4, 255),
};
const dense = {
  class_name: 'Sequential',
  config: [{ class_name: 'Dense', config: { name: 'd', units: 3, activation: 'relu' } }],
};
const plain = inputOf(dense, [kernel, bias]);
const quantised = inputOf(dense, [codes, bias]);

const texts = (bytes: Uint8Array, shape = [1]): Input =>
  inputOf(dense, [kernel, { name: 'words', shape, dtype: 'string', bytes }]);

/** With what readers of a model.json have failed in public, or could: whatever the topology is. */
const hostileManifests: Readonly<Record<string, Input>> = {
  'weights in two files': inputOf(dense, [kernel, bias], 8),
  'weights as codes': quantised,
  'weights as floats of 16 bits': inputOf(dense, [
    { ...kernel, bytes: new Uint8Array(12), quantization: { dtype: 'float16' } },
  ]),
  'a topology that is a text': inputOf(JSON.stringify(dense), [kernel, bias]),
  'a file above': edited(plain, 'group1', '../group1'),
  'an absolute path': edited(plain, 'group1', '/group1'),
  'a file of another host': edited(plain, 'group1', 'http://a/group1'),
  'a file with the name of a property': edited(plain, /"group1[^"]*"/, '"__proto__"'),
  'one file twice': edited(plain, /"paths":\["(.*?)"\]/, '"paths":["$1","$1"]'),
  'sizes whose product is above 2^53': edited(plain, '[2,3]', '[4294967296,4294967296]'),
  'a negative size': edited(plain, '[2,3]', '[-2,-3]'),
  'an infinite size': edited(plain, '[2,3]', '[1e999,3]'),
  'a size that is a text': edited(plain, '[2,3]', '["2",3]'),
  'an empty weight beside others': inputOf(dense, [
    kernel,
    bias,
    { ...kernel, name: 'e/kernel', shape: [0, 2 ** 40], bytes: new Uint8Array(0) },
  ]),
  'a name twice': inputOf(dense, [kernel, kernel]),
  'an unknown type': edited(plain, '"float32"', '"float31"'),
  'a type with the name of a property': edited(plain, '"float32"', '"__proto__"'),
  'a scale of 0': edited(quantised, '0.5', '0'),
  'a scale that is infinite': edited(quantised, '0.5', '1e999'),
  'a scale that is too small to divide by': edited(quantised, '0.5', '1e-320'),
  'a scale with which codes overflow': edited(quantised, '0.5', '1e308'),
  'a number of the topology that is infinite': edited(plain, '"units":3', '"units":3,"a":1e999'),
  'a number of the topology that is minus 0': edited(plain, '"units":3', '"units":3,"a":-0'),
  'a key of the topology that is a property': edited(plain, '"units":3', '"units":3,"__proto__":{"units":4}'),
  'a key of the manifest that is a property': edited(plain, '"paths"', '"__proto__":[],"paths"'),
  'half of a surrogate pair in a name': edited(plain, '"d/kernel"', '"d\\ud800/kernel"'),
  'lists in each other': edited(plain, '"units":3', `"units":${'['.repeat(300)}${']'.repeat(300)}`),
  'two topologies': edited(plain, '"weightsManifest"', '"modelTopology":{},"weightsManifest"'),
  'texts of a length beyond the file': texts(Uint8Array.of(255, 255, 255, 255, 1)),
  'more texts than bytes': texts(Uint8Array.of(1, 0, 0, 0, 65), [2 ** 40]),
  texts: texts(Uint8Array.of(1, 0, 0, 0, 65)),
};

const integers = (name: string, ...list: number[]): Entry => ({
  name,
  shape: [list.length],
  dtype: 'int32',
  bytes: new Uint8Array(Int32Array.from(list).buffer),
});
const filters = (name: string, shape: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: floats(...Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, at) => at - 5)),
});

const convolved = [
  ...[
    filters('w', [1, 1, 2, 3]),
    filters('v', [3, 3, 3, 2]),
    filters('depthwise', [1, 1, 3, 2]),
    filters('gamma', [3]),
  ],
  ...[integers('shape', -1, 2, 3), integers('axis', 1), integers('last', -1), integers('order', 0, 3, 1, 2)],
  ...[integers('paddings', 0, 0, 1, 1, 1, 1, 0, 0), integers('space', 1, 2), integers('begin', 1), integers('end', 2)],
  ...[integers('sizes', 1, 9, 9, 3), integers('two', 2)],
];
const strides = { strides: { list: { i: ['1', '2', '2', '1'] } }, padding: { s: 'VkFMSUQ=' } };
/** One after another that reads them, the moves that channels are followed through. */
const moves = inputOf(
  graphOf(convolved, [
    ['conv', 'Conv2D', ['x', 'w'], { ...strides, dilations: { list: { i: ['1', '1', '1', '1'] } } }],
    ['normal', 'FusedBatchNormV3', ['conv', 'gamma', 'gamma', 'gamma', 'gamma'], {}],
    ['relu', 'Relu', ['normal']],
    ['padded', 'Pad', ['relu', 'paddings']],
    ['filtered', 'DepthwiseConv2dNative', ['padded', 'depthwise'], strides],
    [
      'next',
      'Conv2D',
      ['padded', 'v'],
      {
        ...strides,
        explicit_paddings: { list: { i: ['0', '0', '1', '1', '0', '2', '0', '0'] } },
        padding: { s: 'RVhQTElDSVQ=' },
      },
    ],
    ['expanded', 'ExpandDims', ['relu', 'axis']],
    ['squeezed', 'Squeeze', ['expanded'], { squeeze_dims: { list: { i: ['1'] } } }],
    ['turned', 'Transpose', ['squeezed', 'order']],
    ['mean', 'Mean', ['relu', 'space'], { keep_dims: { b: false } }],
    ['joined', 'ConcatV2', ['relu', 'conv', 'last']],
    ['again', 'Conv2D', ['joined', 'v'], strides],
    ['shaped', 'Reshape', ['mean', 'shape']],
    ['flat', 'Reshape', ['relu', 'packed']],
    ['sized', 'Shape', ['relu']],
    ['size', 'StridedSlice', ['sized', 'begin', 'end', 'axis'], { shrink_axis_mask: { i: '1' } }],
    ['twice', 'Mul', ['size', 'two']],
    ['longer', 'AddV2', ['twice', 'two']],
    ['packed', 'Pack', ['axis', 'longer', 'longer', 'two']],
    ['up', 'Conv2DBackpropInput', ['packed', 'v', 'relu'], strides],
    ['up9', 'Conv2DBackpropInput', ['sizes', 'v', 'relu'], strides],
    ['raised', 'Sigmoid', ['conv']],
    ['sum', 'AddV2', ['raised', 'gamma']],
    ['prelu', 'Prelu', ['sum', 'gamma']],
    ['parts', 'Split', ['axis', 'prelu'], { num_split: { i: '3' } }],
    ['end', 'Identity', ['parts']],
  ]),
  convolved,
);

/** Layers of most types, as TensorFlow.js itself writes them. */
async function manyLayers(): Promise<Input> {
  const { layers } = tf;
  const image = tf.input({ shape: [6, 6, 2] });
  const conv = layers
    .conv2d({ filters: 3, kernelSize: 3, padding: 'same', name: 'a' })
    .apply(image) as tf.SymbolicTensor;
  const normal = layers.batchNormalization({ name: 'b' }).apply(conv) as tf.SymbolicTensor;
  const joined = layers.concatenate({ name: 'c' }).apply([normal, conv]) as tf.SymbolicTensor;
  const rest = [
    layers.reLU({ name: 'd' }),
    layers.depthwiseConv2d({ kernelSize: 2, depthMultiplier: 2, name: 'e' }),
    layers.zeroPadding2d({ name: 'f' }),
    layers.separableConv2d({ filters: 4, kernelSize: 2, strides: 2, name: 'g' }),
    layers.conv2dTranspose({ filters: 2, kernelSize: 3, strides: 2, name: 'h' }),
    layers.maxPooling2d({ poolSize: 2, name: 'i' }),
    layers.globalAveragePooling2d({ name: 'j' }),
    layers.repeatVector({ n: 2, name: 'k' }),
    layers.lstm({ units: 3, returnSequences: true, name: 'l' }),
    layers.gru({ units: 2, name: 'm' }),
    layers.dropout({ rate: 0.5, name: 'n' }),
    layers.dense({ units: 4, activation: 'sigmoid', name: 'o' }),
    layers.reshape({ targetShape: [2, 2], name: 'p' }),
    layers.flatten({ name: 'q' }),
    layers.prelu({ name: 'r' }),
    layers.dense({ units: 2, name: 's' }),
  ].reduce((value, layer) => layer.apply(value) as tf.SymbolicTensor, joined);
  const words = tf.input({ shape: [3] });
  const embedded = layers.embedding({ inputDim: 5, outputDim: 2, name: 't' }).apply(words) as tf.SymbolicTensor;
  const convolved = layers.conv1d({ filters: 2, kernelSize: 2, padding: 'causal', name: 'u' }).apply(embedded);
  const { json, shards } = await saved(
    tf.model({ inputs: [image, words], outputs: [rest, convolved as tf.SymbolicTensor] }),
  );
  // Its own numbers are others each time.
  const further = Array.from(shards, ([name, { length }]) => {
    return [name, new Uint8Array(Float32Array.from({ length: length / 4 }, (_, at) => (at % 7) - 3).buffer)] as const;
  });
  return { bytes: textOf(json) as Bytes, further: Object.fromEntries(further) };
}

/** A manifest alone, of layers that only their names tell. */
const bare = ({ bytes, further }: Input): Input => ({
  bytes: textOf((jsonOf(bytes) as Content).weightsManifest) as Bytes,
  further: further!,
});

const branch = { node: [{ name: 'w', op: 'Const' }] };
const hostileGraphs: Readonly<Record<string, Input>> = {
  'a node that reads itself': inputOf(graphOf([kernel], [['y', 'MatMul', ['y', 'd/kernel']]]), [kernel]),
  'nodes that read each other': inputOf(
    graphOf(
      [kernel],
      [
        ['y', 'MatMul', ['z', 'd/kernel']],
        ['z', 'Relu', ['y']],
      ],
    ),
    [kernel],
  ),
  'a node without a name': inputOf({ node: [{ op: 'Const' }, { name: 'd/kernel' }] }, [kernel]),
  'a function that calls itself': inputOf(
    {
      node: [
        { name: 'd/kernel', op: 'Const' },
        { name: 'y', op: 'f', input: ['d/kernel'] },
      ],
      library: {
        function: [
          {
            signature: { name: 'f', inputArg: [{ name: 'a' }], outputArg: [{ name: 'b' }] },
            nodeDef: [{ name: 'c', op: 'f', input: ['a'] }],
            ret: { b: 'c' },
          },
        ],
      },
    },
    [kernel],
  ),
  'a graph that is no list': inputOf({ node: branch }, [kernel]),
};

const keras: Readonly<Record<string, Input>> = {
  'a dense layer': plain,
  'a model within itself by name': inputOf(
    {
      class_name: 'Functional',
      config: {
        name: 'm',
        layers: [
          { class_name: 'InputLayer', name: 'i', config: { name: 'i' }, inbound_nodes: [] },
          { class_name: 'Dense', name: 'd', config: { name: 'd', units: 3 }, inbound_nodes: [[['d', 0, 0, {}]]] },
        ],
        input_layers: [['i', 0, 0]],
        output_layers: [['d', 0, 0]],
      },
    },
    [kernel, bias],
  ),
};

const names = ['keras', 'scopes', 'names', 'claims', 'flow'].map((name) => `formats/tfjs/${name}`);
const common = [
  'structure/',
  'coding',
  'describe',
  'format',
  'manifest',
  'outputs',
  'quantization',
  'storing',
  'geometry',
].map((name) => `formats/tfjs/${name}`);
const isGraph = ([, { bytes }]: [string, Input]) => /"(node|library)":/.test(Buffer.from(bytes).toString());

export const tfjsLayers: Target = {
  files: [...common, ...names],
  seeds: async () => ({
    ...Object.fromEntries(Object.entries(await foldersOf(/^tfjs_/)).filter((each) => !isGraph(each))),
    ...keras,
    'layers of most types': await manyLayers(),
    'weights without a topology': bare(
      inputOf(dense, [
        filters('conv0/filters', [3, 3, 2, 3]),
        filters('conv0/bias', [3]),
        filters('fc/weights', [4, 2]),
        filters('dw/depthwise_filter', [3, 3, 2, 1]),
        filters('dw/pointwise_filter', [1, 1, 2, 3]),
      ]),
    ),
    ...hostileManifests,
  }),
  check,
};

export const tfjsGraph: Target = {
  files: [...common, 'formats/tfjs/graph', 'formats/tfjs/claims', 'formats/tfjs/flow'],
  seeds: async () => ({
    ...Object.fromEntries(Object.entries(await foldersOf(/^tfjs_/)).filter(isGraph)),
    'a product': inputOf(
      graphOf(
        [kernel, bias],
        [['y', '_FusedMatMul', ['x', 'd/kernel', 'd/bias'], { fused_ops: { list: { s: ['BiasAdd'] } } }]],
      ),
      [kernel, bias],
    ),
    'a product with codes': inputOf(graphOf([codes], [['y', 'MatMul', ['x', 'd/kernel']]]), [codes]),
    'all moves of channels': moves,
    ...hostileGraphs,
  }),
  check,
};
