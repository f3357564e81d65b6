// A model with a single node for each ONNX operator that `sparsifier doctor` knows.
import {
  bytesField,
  graph,
  integerAttribute,
  integerField,
  integersAttribute,
  list,
  concat,
  node,
  numbers,
  tensor,
  textAttribute,
  textField,
  type DataType,
} from './onnx-builder.js';

type Constant = readonly [name: string, bytes: Uint8Array];

/** What an operator gets: by default the input `x` alone, of four axes. */
interface Row {
  /** Inputs of the model by name, with the number of their type and their sizes. */
  readonly inputs?: Readonly<Record<string, { readonly shape: readonly number[]; readonly type?: number }>>;
  readonly initializers?: readonly Constant[];
  readonly attributes?: readonly Uint8Array[];
  readonly outputs?: string;
  /** The inputs of the node: by default all inputs of the model and all initializers. */
  readonly reads?: string;
  readonly opset?: number;
}

const image = { shape: [1, 4, 8, 8] };
const matrix = { shape: [2, 8] };
const [uint8, bool, int64] = [2, 9, 7];
const two = { inputs: { x: image, z: image } };
const twoBools = { inputs: { x: { ...image, type: bool }, z: { ...image, type: bool } } };
const filled = (name: string, shape: readonly number[], dtype: DataType = 'float32'): Constant => [
  name,
  tensor(name, shape, { dtype }),
];
const integers = (name: string, ...values: readonly number[]): Constant => [name, list(name, ...values)];
const indices = (...shape: readonly number[]): Constant => {
  const zeros = Array<number>(shape.reduce((product, size) => product * size, 1)).fill(0);
  return ['indices', tensor('indices', shape, { dtype: 'int64', data: numbers('int64', zeros) })];
};
const scalar = (name: string, dtype: 'float32' | 'uint8' | 'int64', value: number): Constant => [
  name,
  tensor(name, [], { dtype, data: numbers(dtype, [value]) }),
];
const channels = (...names: readonly string[]) => names.map((name) => filled(name, [4]));
const whole = (name: string, value: number) => integerAttribute(name, value);
const window = integersAttribute('kernel_shape', [2, 2]);
const codes = { x: { ...image, type: uint8 } };
const steps = [scalar('s', 'float32', 1), scalar('n', 'uint8', 0)];
const gates = (count: number) => ({
  inputs: { x: { shape: [3, 1, 8] } },
  initializers: [filled('w', [1, 4 * count, 8]), filled('r', [1, 4 * count, 4])],
  attributes: [whole('hidden_size', 4)],
});

const scales: Constant = ['scales', tensor('scales', [4], { data: numbers('float32', [1, 1, 2, 2]) })];

const rows: Readonly<Record<string, Row>> = {
  ...Object.fromEntries(
    ['Add', 'Div', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'MatMul', 'Max', 'Mean', 'Min', 'Mul']
      .concat(['PRelu', 'Pow', 'Sub', 'Sum'])
      .map((op) => [op, two]),
  ),
  ...Object.fromEntries(['And', 'Or', 'Xor'].map((op) => [op, twoBools])),
  AveragePool: { attributes: [window] },
  BatchNormalization: { initializers: channels('s', 'b', 'm', 'v') },
  Cast: { attributes: [whole('to', 6)] },
  CastLike: { initializers: [filled('t', [1], 'int32')] },
  Concat: { ...two, attributes: [whole('axis', 1)] },
  ConstantOfShape: { inputs: { x: { shape: [2], type: int64 } } },
  Conv: { initializers: [filled('w', [8, 4, 3, 3])] },
  ConvInteger: { inputs: codes, initializers: [filled('w', [8, 4, 3, 3], 'int8')] },
  ConvTranspose: { initializers: [filled('w', [4, 8, 3, 3])] },
  CumSum: { initializers: [scalar('axis', 'int64', 1)] },
  DepthToSpace: { attributes: [whole('blocksize', 2)] },
  DequantizeLinear: { inputs: codes, initializers: steps.slice(0, 1) },
  Det: { inputs: { x: { shape: [2, 8, 8] } } },
  DynamicQuantizeLinear: { outputs: 'y scale zero' },
  Einsum: { ...two, attributes: [textAttribute('equation', 'bcij,bcjk->bcik')] },
  Expand: { initializers: [integers('shape', 2, 4, 8, 8)] },
  GRU: gates(3),
  Gather: { initializers: [integers('indices', 0, 1)] },
  GatherElements: { initializers: [indices(1, 1, 1, 2)] },
  GatherND: { initializers: [indices(1, 2)] },
  Gelu: { opset: 20 },
  Gemm: { inputs: { x: matrix }, initializers: [filled('w', [8, 4]), filled('b', [4])] },
  GridSample: { initializers: [filled('grid', [1, 4, 4, 2])] },
  GroupNormalization: { initializers: channels('s', 'b'), attributes: [whole('num_groups', 2)], opset: 21 },
  InstanceNormalization: { initializers: channels('s', 'b') },
  LRN: { attributes: [whole('size', 3)] },
  LSTM: gates(4),
  LayerNormalization: { initializers: [filled('s', [8]), filled('b', [8])] },
  LpPool: { attributes: [window] },
  MatMulInteger: { inputs: { x: { ...matrix, type: uint8 } }, initializers: [filled('w', [8, 4], 'int8')] },
  MaxPool: { attributes: [window] },
  Mod: { ...two, attributes: [whole('fmod', 1)] },
  NonMaxSuppression: { inputs: { x: { shape: [1, 8, 4] } }, initializers: [filled('scores', [1, 1, 8])] },
  Not: { inputs: { x: { ...image, type: bool } } },
  OneHot: {
    inputs: { x: { shape: [4], type: int64 } },
    initializers: [scalar('depth', 'int64', 4), filled('values', [2])],
  },
  Pad: { initializers: [integers('pads', 0, 0, 1, 1, 0, 0, 1, 1)] },
  QLinearConv: {
    inputs: codes,
    initializers: [...steps, filled('w', [8, 4, 3, 3], 'uint8')],
    reads: 'x s n w s n s n',
  },
  QLinearMatMul: {
    inputs: { x: { ...matrix, type: uint8 } },
    initializers: [...steps, filled('w', [8, 4], 'uint8')],
    reads: 'x s n w s n s n',
  },
  QuantizeLinear: { initializers: steps.slice(0, 1) },
  RNN: gates(1),
  Range: { inputs: { x: { shape: [] }, limit: { shape: [] }, delta: { shape: [] } } },
  Reshape: { initializers: [integers('shape', 1, -1)] },
  Resize: { initializers: [scales], reads: 'x - scales', attributes: [textAttribute('mode', 'linear')] },
  RoiAlign: { initializers: [filled('rois', [1, 4]), integers('batch', 0)] },
  ScatterElements: {
    initializers: [indices(1, 1, 1, 2), filled('updates', [1, 1, 1, 2])],
  },
  ScatterND: {
    initializers: [indices(1, 2), filled('updates', [1, 8, 8])],
  },
  Slice: { initializers: [integers('starts', 0), integers('ends', 1)] },
  SpaceToDepth: { attributes: [whole('blocksize', 2)] },
  Split: { initializers: [integers('split', 2, 2)], attributes: [whole('axis', 1)], outputs: 'y y2' },
  Squeeze: { initializers: [integers('axes', 0)] },
  Tile: { initializers: [integers('repeats', 2, 1, 1, 1)] },
  TopK: { initializers: [integers('k', 2)], outputs: 'y indices' },
  Unsqueeze: { initializers: [integers('axes', 0)] },
  Upsample: { initializers: [scales], opset: 9 },
  Where: { inputs: { condition: { ...image, type: bool }, x: image, z: image } },
  'com.microsoft.DynamicQuantizeMatMul': {
    inputs: { x: matrix },
    initializers: [filled('w', [8, 4], 'int8'), scalar('s', 'float32', 1)],
  },
  'com.microsoft.MatMulNBits': {
    inputs: { x: { shape: [2, 32] } },
    initializers: [filled('w', [4, 1, 16], 'uint8'), filled('s', [4])],
    attributes: [whole('K', 32), whole('N', 4), whole('bits', 4), whole('block_size', 32)],
  },
};

/** A model with one node of this operator. */
export function modelWith(operator: string): Uint8Array<ArrayBuffer> {
  const { inputs = { x: image }, initializers = [], outputs = 'y', opset = 17, ...row } = rows[operator] ?? {};
  const [, domain, op = operator] = /^(.*)\.(\w+)$/.exec(operator) ?? [];
  const names = initializers.map(([name]) => name);
  const reads = row.reads ?? [...Object.keys(inputs), ...names].join(' ');
  const own = node(op, reads, outputs, { attributes: row.attributes ?? [], ...(domain ? { domain } : {}) });
  const imported = domain === undefined ? [] : [concat(textField(1, domain), integerField(2, 1))];
  return concat(
    integerField(1, 8),
    ...[integerField(2, opset), ...imported].map((bytes) => bytesField(8, bytes)),
    bytesField(
      7,
      concat(
        graph({ nodes: [own], initializers: initializers.map(([, bytes]) => bytes), inputs }),
        // The type of an output follows from its node.
        ...outputs.split(' ').map((name) => bytesField(12, textField(1, name))),
      ),
    ),
  );
}
