import { isObject } from '../../model/json.js';
import type { Geometry } from '../../model/model.js';
import { cutting, denseAlong, leavesOut, samePads, type Window } from './geometry.js';
import {
  integersIn,
  integersOf,
  isChannelsFirst,
  shapeOf,
  textOf,
  type Attributes,
  type Node,
  type Value,
} from './graph-node.js';
import { isTransposedInput, operators, spatial, termsOf, type Layout } from './graph-operators.js';
import type { Use } from './graph-structure.js';
import { identities } from './graph-views.js';

/**
 * How a node goes over the input that it multiplies with a weight. Undefined if it reads rows of a table or a stack of
 * matrices, or the graph does not tell.
 */
export function geometryOf(use: Use, { kind, roles }: Layout): Geometry | undefined {
  if (kind === 'embedding' || (kind === 'dense' && roles.includes('multiplier'))) return undefined;
  const { op, attributes } = use.node;
  if (op.includes('Conv')) return convolution(use, roles.filter((role) => spatial.includes(role)).length);
  if (op === 'Einsum') {
    const summed = summedAxes(use);
    return summed && denseAlong(summed.last);
  }
  return denseAlong(isTransposedInput(attributes, 1 - use.input) === (use.input === 1) ? -2 : -1);
}

/** How many axes of the activations are one axis of the weight: those up to the axis of their geometry. */
export const joinedAxes = (use: Use): number => (use.node.op === 'Einsum' ? (summedAxes(use)?.count ?? 1) : 1);

/** The adjacent axes of the activations that an Einsum sums over: the last one, from the end, and how many there are. */
function summedAxes({ node, input, constant }: Use): { readonly last: number; readonly count: number } | undefined {
  const { own, other, output = '' } = termsOf(node, input);
  const axes = [...Array(own.length).keys()].filter((axis) => !output.includes(own[axis]!));
  const count = axes.length;
  const place = other.indexOf(axes.map((axis) => own[axis]).join(''));
  const isInOrder = axes.every((axis, at) => at === 0 || constant.axes[axis]! > constant.axes[axes[at - 1]!]!);
  const isKnown = place >= 0 && isInOrder && !other.slice(place + count).includes('.');
  return isKnown ? { last: place + count - 1 - other.length, count } : undefined;
}

/**
 * Spatial axes that were added to a kernel are left out. Their positions are those of further samples, so that each
 * position of the input must be one of the output.
 * @param kept how many of the spatial axes of the kernel are stored
 */
function convolution({ node, input, constant }: Use, kept: number): Geometry | undefined {
  const { op, attributes } = node;
  const isFirst = isChannelsFirst(attributes);
  const all = shapeOf(constant).slice(0, -2);
  const axes = all.map((_, axis) => axis + (isFirst ? 2 : 1));
  const [stride, dilation] = op === 'Conv1D' ? ['stride', 'dilation'] : ['strides', 'dilations'];
  const strides = perAxis(attributes[stride!], axes);
  const dilations = perAxis(attributes[dilation!], axes);
  const padding = textOf(isObject(attributes.padding) ? attributes.padding.s : undefined);
  const pads = padding === 'EXPLICIT' ? explicitPads(attributes, axes) : all.map(() => [0, 0] as const);
  if (strides === undefined || dilations === undefined || pads === undefined) return undefined;
  const added = all.length - kept;
  const isEach = (size: number, axis: number) => size === 1 && strides[axis] === 1 && String(pads[axis]) === '0,0';
  const isInFront = added === 0 || kept === 0 || !isFirst;
  if (!isInFront || !all.slice(0, added).every(isEach)) return undefined;
  const [sizes, own, explicit] = [all.slice(added), axes.slice(added), pads.slice(added)];
  const window = { sizes, strides: strides.slice(added), dilations: dilations.slice(added) };
  if (padding === 'SAME' && all.length === 3 && leavesOut(window)) return undefined;
  const geometry = {
    channelAxis: isFirst ? -1 - all.length : -1,
    strides: window.strides,
    dilations: window.dilations,
    pads: padding === 'SAME' ? samePads(window) : explicit,
    outputPadding: sizes.map(() => 0),
  };
  if (!op.includes('Backprop')) return geometry;
  // TensorFlow.js ignores these dilations.
  if (window.dilations.some((each) => each !== 1)) return undefined;
  const activations = node.inputs[operators.get(op)!.activations.get(input)!];
  const outputs = own.map((axis) => outputSize(node.inputs[0], activations, axis));
  const cut = cutFrom(window, outputs, padding === 'SAME' ? undefined : explicit);
  return cut && { ...geometry, ...cut };
}

/**
 * What a transposed convolution cuts from its output or adds to it, given the sizes of the output.
 * @param pads undefined for SAME
 */
function cutFrom(
  { sizes, strides }: Window,
  outputs: readonly (Size | undefined)[],
  pads: readonly (readonly [number, number])[] | undefined,
): Pick<Geometry, 'pads' | 'outputPadding'> | undefined {
  const shorter = sizes.map((size, axis) => {
    const [stride, output] = [strides[axis]!, outputs[axis]];
    if (output?.factor === stride) return size - stride - output.more;
    if (output?.factor !== 0) return undefined;
    // The size of the input follows from that of the output.
    const length = output.more;
    const last = pads
      ? Math.floor((length + pads[axis]![0] + pads[axis]![1] - size) / stride)
      : Math.ceil(length / stride) - 1;
    return last * stride + size - length;
  });
  const isKnown = !shorter.includes(undefined);
  return isKnown
    ? cutting(
        shorter as number[],
        pads?.map(([before]) => before),
      )
    : undefined;
}

/** A size that is `factor` times that of the node's input along the same axis, and `more`. */
interface Size {
  readonly factor: number;
  readonly more: number;
}

/** The size of the output of a transposed convolution along an axis; undefined if it is computed in another way. */
function outputSize(sizes: Value | undefined, activations: Value | undefined, axis: number): Size | undefined {
  const known = integersIn(sizes)?.[axis];
  if (known !== undefined) return { factor: 0, more: known };
  const packed = behind(sizes);
  const source = behind(activations);
  return packed?.op === 'Pack' && source ? sizeOf(packed.inputs[axis], { source, axis }, 0) : undefined;
}

/** Sizes are computed in a few steps. */
const mostSteps = 8;

function sizeOf(
  value: Value | undefined,
  own: { readonly source: Node; readonly axis: number },
  steps: number,
): Size | undefined {
  const known = integersIn(value)?.[0];
  if (known !== undefined) return { factor: 0, more: known };
  const node = behind(value);
  if (node === undefined || steps === mostSteps) return undefined;
  if (node.op === 'StridedSlice') {
    const shape = behind(node.inputs[0]);
    const isOwn = shape?.op === 'Shape' && behind(shape.inputs[0]) === own.source;
    return isOwn && integersIn(node.inputs[1])?.[0] === own.axis ? { factor: 1, more: 0 } : undefined;
  }
  if (!/^(Add(V2)?|Sub|Mul)$/.test(node.op)) return undefined;
  const [first, second] = node.inputs.slice(0, 2).map((each) => sizeOf(each, own, steps + 1));
  if (first === undefined || second === undefined) return undefined;
  if (node.op.startsWith('Add')) return { factor: first.factor + second.factor, more: first.more + second.more };
  if (node.op === 'Sub') return { factor: first.factor - second.factor, more: first.more - second.more };
  if (first.factor * second.factor !== 0) return undefined;
  const [scaled, by] = second.factor === 0 ? [first, second.more] : [second, first.more];
  return { factor: scaled.factor * by, more: scaled.more * by };
}

/** The node that computes a value, before those that return it as it is. */
function behind(value: Value | undefined): Node | undefined {
  let node = value?.node;
  for (let steps = 0; node !== undefined && identities.has(node.op) && steps < mostSteps; steps++) {
    node = node.inputs[0]?.node;
  }
  return node;
}

/** Numbers of an attribute along these axes, by default 1. A Conv1D of TensorFlow.js has one number. */
function perAxis(attribute: unknown, axes: readonly number[]): number[] | undefined {
  const single = isObject(attribute) ? attribute.i : undefined;
  const list = integersOf(attribute) ?? [];
  const numbers = axes.map((axis) => (single !== undefined ? Number(single) : list.length === 0 ? 1 : list[axis]!));
  return numbers.every((number) => Number.isInteger(number) && number > 0) ? numbers : undefined;
}

/** Two numbers for each axis of the input. */
function explicitPads(
  { explicit_paddings: attribute }: Attributes,
  axes: readonly number[],
): (readonly [number, number])[] | undefined {
  const list = integersOf(attribute) ?? [];
  const pads = axes.map((axis) => [list[2 * axis]!, list[2 * axis + 1]!] as const);
  return pads.flat().every((pad) => Number.isInteger(pad) && pad >= 0) ? pads : undefined;
}
