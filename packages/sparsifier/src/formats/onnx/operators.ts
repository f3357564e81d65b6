import type { Kind, Role } from '../../model/model.js';
import { einsum, longestEquation } from './einsum.js';
import type { Node, Value } from './graph.js';
import { shapeOf, type View } from './views.js';

/** How a node reads its weight. */
export interface Layout {
  readonly kind: Kind;
  /** One per axis, in stored order. Neighbours of one role are one axis. */
  readonly roles: readonly Role[];
  /** One per axis, in stored order. */
  readonly shape: readonly number[];
  readonly groups: number;
  /** Undefined if an output channel is more than a row of the weight, as in recurrent layers, and for embeddings. */
  readonly channels: Channels | undefined;
  /** The axis of the activations that the sum runs along, where the operator alone does not tell; undefined if unknown. */
  readonly incoming?: { readonly axis: number | undefined };
}

/** The output channels of a layer. */
interface Channels {
  /** The number of channels, over all groups. */
  readonly count: number;
  /** The axis of the output that they are on, if known. The last axis is 1, the one before it 2. */
  readonly axis: number | undefined;
}

/** An operator with weights. */
export interface Operator {
  /** The inputs of a node that are its weights. */
  weights(node: Node): readonly number[];
  /** How a node reads a stored weight, or why it cannot be pruned. */
  layout(node: Node, view: View, input: number): Layout | string;
  /** What its weights after the first are called, behind the name of the node. */
  readonly furtherNames?: readonly string[];
  /** What its other inputs are, where a word says more than their operator. */
  readonly others?: Readonly<Record<number, string>>;
  /** The input that is its bias, of an operator that adds one to its output channels. */
  readonly bias?: number;
  /** Whether it takes weights that are put together from several constants, or are parts of them. */
  readonly takesParts?: boolean;
  /** The inputs that are codes, of an operator that decodes them or computes with them. */
  readonly codes?: readonly number[];
  /** The inputs that are scales and zero points of codes. */
  readonly parameters?: readonly number[];
  /** The shape of the weights, if a number of the stored tensor holds the codes of several. */
  unpacked?(node: Node): readonly number[] | undefined;
}

const convolutions: Operator = { weights: () => [1], layout: convolution, bias: 2 };
const products: Operator = { weights: constantAmong(1, 0), layout: dense };
const quantised = (...codes: readonly number[]): Operator => ({
  weights: constantAmong(...codes),
  codes,
  layout: ({ op }) => `${op} computes with integers; only codes that are decoded can be pruned`,
});
/** Operators whose weights `dequantize` makes floats of. */
const coded = (bits: (node: Node) => number, ...codes: readonly number[]): Operator => ({
  ...quantised(...codes),
  layout: (node) =>
    `it is stored as ${bits(node)}-bit codes (${node.op.replace('com.microsoft.', '')}); dequantize the model to prune it`,
});
const eight = () => 8;
const cells = (kind: 'lstm' | 'gru' | 'rnn', gates: number): Operator => ({
  weights: () => [1, 2],
  layout: recurrent(kind, gates),
  furtherNames: ['recurrent'],
  others: { 3: 'the bias', 5: 'the initial state', 6: 'the initial state', 7: 'the peephole weights' },
  takesParts: true,
});
const scaled: Operator = { weights: () => [], layout: quantised().layout, parameters: [1, 2] };
const decoding: Operator = { ...scaled, codes: [0] };
const tables = { weights: () => [2, 3, 4], furtherNames: ['position', 'segment'] };

/** By name, prefixed with the domain unless that is ONNX's own. A new operator is a new row. */
export const operators: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Conv', convolutions],
  ['ConvTranspose', convolutions],
  ['com.microsoft.FusedConv', convolutions],
  ['com.microsoft.nchwc.Conv', { weights: () => [1], layout: laidOut }],
  ['Gemm', { ...products, bias: 2 }],
  ['MatMul', products],
  ['com.microsoft.FusedGemm', { ...products, bias: 2 }],
  ['com.microsoft.FusedMatMul', products],
  ['com.microsoft.TransposeMatMul', products],
  ['Einsum', { weights: constantAmong(1, 0), layout: equation }],
  ['com.microsoft.Attention', { weights: () => [1], layout: projection, bias: 2 }],
  ['Gather', { weights: lookupTable, layout: embedding }],
  ['com.microsoft.EmbedLayerNormalization', { ...tables, layout: embedding }],
  ['LSTM', cells('lstm', 4)],
  ['GRU', cells('gru', 3)],
  ['RNN', cells('rnn', 1)],
  ['QuantizeLinear', scaled],
  ['DequantizeLinear', decoding],
  ['com.microsoft.QuantizeLinear', scaled],
  ['com.microsoft.DequantizeLinear', decoding],
  ['QLinearConv', quantised(3)],
  ['com.microsoft.QLinearConv', quantised(3)],
  ['ConvInteger', coded(eight, 1)],
  ['QLinearMatMul', quantised(3, 0)],
  ['MatMulInteger', coded(eight, 1, 0)],
  ['com.microsoft.QGemm', quantised(3)],
  ['com.microsoft.QAttention', quantised(1)],
  ['com.microsoft.QEmbedLayerNormalization', { ...quantised(2, 3, 4), ...tables }],
  ['com.microsoft.MatMulIntegerToFloat', quantised(1, 0)],
  ['com.microsoft.DynamicQuantizeMatMul', coded(eight, 1)],
  ['com.microsoft.DynamicQuantizeLSTM', { ...quantised(1, 2), weights: () => [1, 2], furtherNames: ['recurrent'] }],
  ['com.microsoft.MatMulNBits', { ...coded(bitsIn, 1), unpacked: matrixIn, parameters: [2, 3] }],
  ['com.microsoft.MatMulBnb4', { ...quantised(1), unpacked: matrixIn }],
  ['com.microsoft.MatMulFpQ4', quantised(1)],
  ['com.microsoft.GatherBlockQuantized', quantised(0)],
  ['com.microsoft.QMoE', { ...quantised(2, 5, 8), weights: () => [2, 5, 8] }],
]);

const spatialRoles: Readonly<Record<number, readonly Role[]>> = {
  3: ['width'],
  4: ['height', 'width'],
  5: ['depth', 'height', 'width'],
};

/**
 * The first of these inputs that is a constant. There may be none, since both factors of a product may be activations.
 * Codes with a scale that is computed while the model runs are stored all the same.
 */
function constantAmong(...candidates: readonly number[]): Operator['weights'] {
  const isStored = (value: Value | undefined) => value?.isConstant || value?.view !== undefined;
  return ({ inputs }) => candidates.filter((input) => isStored(inputs[input])).slice(0, 1);
}

/** The table of a Gather. Computed constants do not count, since they are used to compute shapes. */
function lookupTable({ inputs }: Node): readonly number[] {
  return inputs[0]?.view ? [0] : [];
}

/** How many bits a code of `MatMulNBits` has. */
export function bitsIn({ attributes }: Node): number {
  return attributes.get('bits')?.integer ?? 4;
}

/** The shape (out, in) of the weights that `MatMulNBits` reads. */
function matrixIn({ attributes }: Node): readonly number[] | undefined {
  const [out, inputs] = [attributes.get('N')?.integer, attributes.get('K')?.integer];
  return out !== undefined && inputs !== undefined && out > 0 && inputs > 0 ? [out, inputs] : undefined;
}

const flag = ({ attributes }: Node, name: string): boolean => (attributes.get(name)?.integer ?? 0) !== 0;

function convolution({ op, attributes }: Node, view: View): Layout | string {
  const shape = shapeOf(view);
  const rank = shape.length;
  const spatial = spatialRoles[rank];
  const [first, second] = shape;
  if (spatial === undefined || first === undefined || second === undefined) {
    return `${op} with a weight of ${rank} axes is not supported`;
  }
  const groups = attributes.get('group')?.integer ?? 1;
  if (groups < 1 || first % groups !== 0) return `its ${first} channels cannot be divided into ${groups} groups`;
  const dimensions = spatial.length as 1 | 2 | 3;
  const isTransposed = op === 'ConvTranspose';
  return layoutOf(view, {
    kind: isTransposed ? `convTranspose${dimensions}d` : `conv${dimensions}d`,
    roles: isTransposed ? ['in', 'out', ...spatial] : ['out', 'in', ...spatial],
    groups,
    channels: { count: isTransposed ? second * groups : first, axis: rank - 1 },
  });
}

function laidOut(): string {
  return 'its weight is laid out for one machine; save the model with extended optimisation instead';
}

/** A product of matrices. The leading axes of a `MatMul` count matrices. */
function dense(node: Node, view: View, input: number): Layout | string {
  const { op, inputs, outputs } = node;
  if (inputs[1 - input]?.isConstant) return `both inputs of ${op} are constants`;
  const isGemm = op.endsWith('Gemm');
  const shape = shapeOf(view);
  const rank = shape.length;
  if (rank < 2 || (isGemm && rank !== 2)) return `${op} with a constant of ${rank} axes is not supported`;
  const isLeft = input === 0;
  const side = isLeft ? 'A' : 'B';
  const isTransposed = op !== 'MatMul' && flag(node, `trans${side}`);
  // The axes in the order of a product of matrices: those that count matrices, then two.
  const places = shape.map((_, place) => place);
  if (op === 'com.microsoft.FusedMatMul' && flag(node, `transBatch${side}`)) {
    if (isTransposed) return `${op} that transposes its constant twice is not supported`;
    places.splice(-1, 0, places.shift()!);
  }
  const isBatch = places.slice(0, -2).some((place) => shape[place] !== 1);
  const out: Role = isBatch ? 'multiplier' : 'out';
  const matrix: Role[] = isLeft === isTransposed ? ['in', out] : [out, 'in'];
  const roles: (Role | undefined)[] = [];
  places.forEach((place, index) => {
    roles[place] = index < rank - 2 ? (shape[place] === 1 ? undefined : 'out') : matrix[index - (rank - 2)];
  });
  // With a constant on the left the channels are the rows of the output, or its only axis if the other factor is a
  // vector.
  const outputRank = isGemm ? 2 : (outputs[0]?.rank ?? inputs[1]?.rank);
  const axis = !isLeft || outputRank === 1 ? 1 : outputRank === undefined ? undefined : 2;
  return layoutOf(view, {
    kind: 'dense',
    roles,
    groups: 1,
    channels: isBatch ? undefined : { count: shape[roles.indexOf('out')]!, axis },
  });
}

function equation({ attributes, inputs }: Node, view: View, input: number): Layout | string {
  if (inputs[1 - input]?.isConstant) return 'both inputs of Einsum are constants';
  const text = attributes.get('equation')?.text ?? '';
  if (text.length > longestEquation) return `an Einsum with an equation of ${text.length} characters is not supported`;
  const product = inputs.length === 2 ? einsum(text, input, shapeOf(view)) : undefined;
  if (product === undefined) return `Einsum '${text}' is not a product of matrices`;
  const { roles, channel, activation } = product;
  return layoutOf(view, {
    kind: 'dense',
    roles,
    groups: 1,
    channels: channel === undefined ? undefined : { count: shapeOf(view)[roles.indexOf('out')]!, axis: channel },
    incoming: { axis: activation && -activation },
  });
}

/** The weight of query, key and value. Their axis is not in the output. */
function projection({ op }: Node, view: View): Layout | string {
  const shape = shapeOf(view);
  if (shape.length !== 2) return `${op} with a weight of ${shape.length} axes is not supported`;
  return layoutOf(view, {
    kind: 'dense',
    roles: ['in', 'out'],
    groups: 1,
    channels: { count: shape[1]!, axis: undefined },
  });
}

function embedding({ op, attributes }: Node, view: View): Layout | string {
  const rank = view.axes.length;
  if (rank !== 2) return `${op} with a constant of ${rank} axes is not supported`;
  const axis = attributes.get('axis')?.integer ?? 0;
  if (axis !== 0 && axis !== -rank) return `it is gathered along axis ${axis}, not along its rows`;
  return layoutOf(view, { kind: 'embedding', roles: ['out', 'in'], groups: 1, channels: undefined });
}

/** LSTM, GRU and RNN: both weights are (direction, gate x unit, input). The first two axes are one, `out`. */
function recurrent(kind: 'lstm' | 'gru' | 'rnn', gates: number): Operator['layout'] {
  return ({ op, inputs: values }, view, input) => {
    const [, rows, inputs] = shapeOf(view);
    if (view.axes.length !== 3 || rows === undefined || inputs === undefined) {
      return `${op} with a weight of ${view.axes.length} axes is not supported`;
    }
    // Parts of a weight may have any number of rows.
    if (values[input]?.view !== undefined && rows % gates !== 0) {
      return `its ${rows} rows cannot be divided into ${gates} gates`;
    }
    return layoutOf(view, { kind, roles: ['out', 'out', 'in'], groups: 1, channels: undefined });
  };
}

interface Reading extends Omit<Layout, 'roles' | 'shape'> {
  /** In the order of the node's input; undefined for an axis of size 1 that has no meaning. */
  readonly roles: readonly (Role | undefined)[];
}

/** The layout of a weight as it is stored, given how a node reads it. */
function layoutOf(view: View, { roles, ...rest }: Reading): Layout | string {
  const { axes, constant } = view;
  const stored: Role[] = [];
  const shape: number[] = [];
  let last = -1;
  for (const [axis, size] of constant.tensor.shape.entries()) {
    const place = axes.indexOf(axis);
    const role = roles[place];
    if (role === undefined) continue;
    if (role === stored.at(-1)) {
      if (place < last) return 'its axes are transposed in a way that no layer can describe';
      shape[shape.length - 1]! *= size;
    } else if (stored.includes(role)) return 'the axes of its channels are not stored beside each other';
    else {
      stored.push(role);
      shape.push(size);
    }
    last = place;
  }
  return stored.includes('out') ? { ...rest, roles: stored, shape } : 'no stored axis counts its output channels';
}
