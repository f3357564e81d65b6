import { isObject } from '../../model/json.js';
import type { Kind, Role } from '../../model/model.js';
import {
  integersIn,
  isChannelsFirst,
  isTrue,
  textOf,
  type Attributes,
  type Constant,
  type Node,
} from './graph-node.js';

/** Where the output channels of a weight are in the output of a node. */
interface Channels {
  /** The last of the axes that count them, from the end: -1 is the last one; undefined if it is not known. */
  readonly axis: number | undefined;
  /** The sizes of these axes, which are adjacent. */
  readonly sizes: readonly number[];
}

/** How a node reads its weight. */
export interface Layout {
  readonly kind: Kind;
  /** One per axis of the shape. */
  readonly roles: readonly Role[];
  /** The stored shape without axes of size 1 that the node does not read, and with adjacent axes of one role as one. */
  readonly shape: readonly number[];
  readonly groups: number;
  /** Undefined if the output has none. */
  readonly channels: Channels | undefined;
}

/** An operator with a weight. */
interface Operator {
  /** The input of its activations, by the input of its weight. Other inputs cannot be its weight. */
  readonly activations: ReadonlyMap<number, number>;
  /** How it reads the weight, or why that cannot be pruned. */
  readonly layout: (node: Node, constant: Constant, input: number) => Layout | string;
}

export const spatial: readonly Role[] = ['depth', 'height', 'width'];

/**
 * A convolution.
 * @param roles those of the axes of the weight as the node reads it
 */
const convolution = (family: 'conv' | 'convTranspose', ...roles: Role[]): Operator['layout'] => {
  return ({ op, attributes }, constant) => {
    if (constant.axes.length !== roles.length) {
      return `${op} with a weight of ${constant.axes.length} axes is not supported`;
    }
    const stored = storedRoles(constant, roles);
    const kept = spatial.filter((role) => stored.includes(role));
    // A multiplier of 1 may have been added.
    if (roles.some((role) => (role === 'in' || role === 'out') && !stored.includes(role))) {
      return `${op} reads it with an axis of channels that is not stored`;
    }
    // A kernel whose height was added is that of a convolution in one dimension.
    const renamed = new Map(kept.map((role, at) => [role, spatial[3 - kept.length + at]!]));
    const [storedAxes, shape] = merged(
      stored.map((role) => role && (renamed.get(role) ?? role)),
      constant.entry.shape,
    );
    const isDepthwise = roles.includes('multiplier');
    if (kept.length === 0 && isDepthwise) return `${op} multiplies each channel by a number`;
    const out = shape[storedAxes.indexOf('out')]!;
    const channels = isDepthwise ? out * (shape[storedAxes.indexOf('multiplier')] ?? 1) : out;
    return {
      kind: kept.length === 0 ? 'dense' : (`${family}${kept.length as 1 | 2 | 3}d` as const),
      roles: storedAxes,
      shape,
      groups: isDepthwise ? out : 1,
      channels: { axis: isChannelsFirst(attributes) ? 1 - roles.length : -1, sizes: [channels] },
    };
  };
};

/** Whether a product of matrices transposes this input. */
export const isTransposedInput = (attributes: Attributes, input: number): boolean =>
  (input === 0 ? ['transpose_a', 'adj_x'] : ['transpose_b', 'adj_y']).some((key) => isTrue(attributes[key]));

/** A product of matrices, or of batches of them. */
const product: Operator['layout'] = ({ op, attributes, inputs }, constant, input) => {
  const { axes } = constant;
  if (axes.length < 2) return `${op} with a constant of ${axes.length} axes is not supported`;
  const isTransposed = isTransposedInput(attributes, input);
  // The rows of a weight on the left are its output channels, unless it is transposed.
  const isOutFirst = (input === 0) !== isTransposed;
  const last: Part[] = isOutFirst ? ['out', 'in'] : ['in', 'out'];
  const parts = [...axes.slice(2).map((): Part => 'batch'), ...last];
  if (input === 0 && inputs[1]?.constant !== undefined) return `${op} multiplies it with a stored tensor`;
  return matrix(op, constant, parts, input === 0 ? -2 : -1);
};

/** The labels of an Einsum of two operands: the output is undefined if it has more, or does not say what it gives. */
export function termsOf({ attributes: { equation } }: Node, input: number) {
  const [left = '', output] = textOf(isObject(equation) ? equation.s : undefined)
    .replaceAll(' ', '')
    .split('->');
  const terms = left.split(',');
  const [own = '', other = ''] = [terms[input], terms[1 - input]];
  return { own, other, output: terms.length === 2 ? output : undefined };
}

/** A sum of products over the labels of the axes, where it is a product of matrices. */
const einsum: Operator['layout'] = (node, constant, input) => {
  const { own, other, output } = termsOf(node, input);
  const isProduct = output !== undefined && /^\w+$/.test(own) && own.length === constant.axes.length;
  if (!isProduct || new Set(own).size !== own.length) return 'this Einsum is not a product of two matrices';
  if (input === 0 && node.inputs[1]?.constant !== undefined) return 'Einsum multiplies it with a stored tensor';
  const parts: Part[] = [];
  for (const label of own) {
    const [isInOther, isInOutput] = [other.includes(label), output.includes(label)];
    if (!isInOther && !isInOutput) return 'this Einsum sums over an axis of the weight alone';
    parts.push(!isInOutput ? 'in' : isInOther ? 'batch' : 'out');
  }
  const labels = [...own].filter((_, axis) => parts[axis] === 'out').join('');
  const place = labels === '' ? -1 : output.indexOf(labels);
  const isCounted = place >= 0 && !output.slice(place).includes('.');
  const axis = isCounted ? place + labels.length - 1 - output.length : undefined;
  return matrix('Einsum', constant, parts, axis);
};

/** The part of an axis in a product: batches are multiplied one by one. */
type Part = 'batch' | 'in' | 'out';

function matrix(op: string, constant: Constant, parts: readonly Part[], axis: number | undefined): Layout | string {
  const { shape: sizes } = constant.entry;
  const stored = storedRoles(constant, parts).map((part, axis) =>
    part === 'batch' && sizes[axis] === 1 ? undefined : part,
  );
  const [merging, shape] = merged(stored, sizes);
  // Batches of outputs are counted together: the outputs of a batch are the second part of the output channel.
  const hasBatches = merging.includes('batch');
  if (!merging.includes('out') || !merging.includes('in')) return `${op} reads it with an axis that is not stored`;
  if (new Set(merging).size !== merging.length) return `${op} sums over axes that are not adjacent`;
  const roleOf = { in: 'in', out: hasBatches ? 'multiplier' : 'out', batch: 'out' } as const;
  return {
    kind: 'dense',
    roles: merging.map((part) => roleOf[part]),
    shape,
    groups: 1,
    channels: {
      axis: hasBatches ? undefined : axis,
      sizes: constant.axes.flatMap((at, place) => (parts[place] === 'out' ? [at === undefined ? 1 : sizes[at]!] : [])),
    },
  };
}

/** The roles of the stored axes. An axis of size 1 that was removed gets that of an axis that was added. */
function storedRoles<Name>({ entry, axes }: Constant, names: readonly Name[]): (Name | undefined)[] {
  const stored = entry.shape.map((_, axis) => names[axes.indexOf(axis)]);
  const added = names.filter((_, axis) => axes[axis] === undefined);
  return stored.map((name) => name ?? added.shift());
}

/** Roles and sizes of axes, without those of size 1 that have no role, or whose role another axis has. */
function merged<Name>(
  roles: readonly (Name | undefined)[],
  shape: readonly number[],
): [roles: Name[], shape: number[]] {
  const [names, sizes]: [Name[], number[]] = [[], []];
  for (const [axis, role] of roles.entries()) {
    if (role === undefined || (shape[axis] === 1 && roles.indexOf(role) < axis)) continue;
    if (role === names.at(-1)) sizes[sizes.length - 1]! *= shape[axis]!;
    else {
      names.push(role);
      sizes.push(shape[axis]!);
    }
  }
  return [names, sizes];
}

/** A table of which rows are read. */
const lookup: Operator['layout'] = ({ op, inputs }, constant) => {
  const [roles, shape] = merged<Role>(storedRoles(constant, ['out', 'in']), constant.entry.shape);
  const axis = op === 'GatherV2' ? (integersIn(inputs[2])?.[0] ?? 0) : 0;
  if (constant.axes.length !== 2) return `${op} with a table of ${constant.axes.length} axes is not supported`;
  if (axis !== 0 && axis !== -2) return `${op} reads its columns instead of rows`;
  return { kind: 'embedding', roles, shape, groups: 1, channels: undefined };
};

const at = (weight: number, activations: number) => new Map([[weight, activations]]);
const either = new Map([
  [1, 0],
  [0, 1],
]);
const conv2d: Operator = { activations: at(1, 0), layout: convolution('conv', 'height', 'width', 'in', 'out') };
const depthwise: Operator = {
  activations: at(1, 0),
  layout: convolution('conv', 'height', 'width', 'out', 'multiplier'),
};
const matMul: Operator = { activations: either, layout: product };
const table: Operator = { activations: new Map([[0, 1]]), layout: lookup };

export const operators: ReadonlyMap<string, Operator> = new Map([
  ['Conv1D', { activations: at(1, 0), layout: convolution('conv', 'width', 'in', 'out') }],
  ['Conv2D', conv2d],
  ['_FusedConv2D', conv2d],
  ['DepthwiseConv2d', depthwise],
  ['DepthwiseConv2dNative', depthwise],
  ['FusedDepthwiseConv2dNative', depthwise],
  ['Conv3D', { activations: at(1, 0), layout: convolution('conv', 'depth', 'height', 'width', 'in', 'out') }],
  // The first input of a transposed convolution is the shape of its output.
  [
    'Conv2DBackpropInput',
    { activations: at(1, 2), layout: convolution('convTranspose', 'height', 'width', 'out', 'in') },
  ],
  [
    'Conv3DBackpropInputV2',
    { activations: at(1, 2), layout: convolution('convTranspose', 'depth', 'height', 'width', 'out', 'in') },
  ],
  ['MatMul', matMul],
  ['_FusedMatMul', matMul],
  ['BatchMatMul', matMul],
  ['BatchMatMulV2', matMul],
  ['Einsum', { activations: either, layout: einsum }],
  ['Gather', table],
  ['GatherV2', table],
  ['ResourceGather', table],
  ['SparseSegmentMean', table],
  ['SparseSegmentSum', table],
]);
