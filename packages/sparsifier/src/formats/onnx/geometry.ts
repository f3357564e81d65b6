import { isRecurrent } from '../../model/channels.js';
import type { Geometry } from '../../model/geometry.js';
import type { Node, Value } from './graph.js';
import type { Layer } from './layers.js';
import { attributeOf } from './shapes.js';
import { shapeOf } from './views.js';

/** What the weight of a layer is multiplied with. */
export interface Incoming {
  readonly value: Value;
  readonly geometry: Geometry;
}

/** The activations that the weight of a layer is multiplied with; undefined if there are none. */
export function incomingOf(layer: Layer): Incoming | undefined {
  const { node, input, view, layout } = layer;
  const { kind } = layout;
  const at = (place: number, geometry: Geometry): Incoming | undefined => {
    const value = node.inputs[place];
    return value === undefined || value.isConstant ? undefined : { value, geometry };
  };
  if (kind.startsWith('conv')) return at(0, node.op === 'ConvTranspose' ? transposed(layer) : convolution(layer));
  if (kind === 'dense') {
    const { incoming } = layout;
    if (incoming === undefined) return at(1 - input, matrix(factorAxis(node, 1 - input)));
    return incoming.axis === undefined ? undefined : at(1 - input, matrix(incoming.axis));
  }
  // The other weight of a recurrent layer is multiplied with its own hidden state.
  if (!isRecurrent(kind) || input !== 1) return undefined;
  // A part of a constant may have other inputs than the whole. The last axis of the weight counts them.
  return view.cut?.includes(view.axes.at(-1)!) ? undefined : at(0, matrix(-1));
}

/** A layer without space: each vector along an axis of the input is a row. */
const matrix = (channelAxis: number): Geometry => ({
  channelAxis,
  strides: [],
  dilations: [],
  pads: [],
  outputPadding: [],
});

/** The axis of a factor of a product that the sum runs along. */
function factorAxis(node: Node, input: number): number {
  const side = input === 0 ? 'A' : 'B';
  const isFlagged = (name: string) => node.op !== 'MatMul' && attributeOf(node, `${name}${side}`, 0) !== 0;
  const isLast = (input === 0) !== isFlagged('trans');
  if (isLast) return -1;
  // Where the first axis is moved behind those that count matrices, it is the last but one.
  return node.op === 'com.microsoft.FusedMatMul' && isFlagged('transBatch') ? 0 : -2;
}

/** The attributes that all convolutions have. */
function movesOf({ node, view }: Layer) {
  const kernel = shapeOf(view).slice(2);
  const numbers = (name: string, otherwise: number): readonly number[] => {
    const stated = node.attributes.get(name)?.integers ?? [];
    return stated.length > 0 ? stated : kernel.map(() => otherwise);
  };
  const [strides, dilations] = [numbers('strides', 1), numbers('dilations', 1)];
  const stated = node.attributes.get('pads')?.integers ?? [];
  return {
    automatic: node.attributes.get('auto_pad')?.text || 'NOTSET',
    strides,
    dilations,
    pads: kernel.map((_, axis) => [stated[axis] ?? 0, stated[axis + kernel.length] ?? 0] as const),
    outputPadding: numbers('output_padding', 0),
    /** How far the kernel reaches over the input. */
    reach: kernel.map((size, axis) => (size - 1) * dilations[axis]! + 1),
    /** The size of the input along each axis, where it is known. */
    sizes: kernel.map((_, axis) => node.inputs[0]?.shape?.[axis + 2]),
  };
}

const none = [0, 0] as const;

/** Zeros on both sides, the odd one at the end or at the beginning. */
const halves = (total: number, isUpper: boolean): readonly [number, number] => {
  const [less, more] = [Math.floor(Math.max(0, total) / 2), Math.ceil(Math.max(0, total) / 2)];
  return isUpper ? [less, more] : [more, less];
};

function convolution(layer: Layer): Geometry {
  const { automatic, strides, dilations, pads, reach, sizes } = movesOf(layer);
  const geometry = { channelAxis: 1, strides, dilations, outputPadding: reach.map(() => 0) };
  if (automatic === 'NOTSET') return { ...geometry, pads };
  if (automatic === 'VALID') return { ...geometry, pads: reach.map(() => none) };
  const isUpper = automatic === 'SAME_UPPER';
  const totals = reach.map((each, axis) => {
    const [stride, size] = [strides[axis]!, sizes[axis]];
    // With a stride of 1 the output is as large as the input, whatever size that has.
    if (stride === 1) return each - 1;
    return typeof size === 'number' ? (Math.ceil(size / stride) - 1) * stride + each - size : undefined;
  });
  if (!totals.every((total) => total !== undefined)) return { ...geometry, pads: isUpper ? 'sameUpper' : 'sameLower' };
  return { ...geometry, pads: totals.map((total) => halves(total, isUpper)) };
}

function transposed(layer: Layer): Geometry {
  const { automatic, strides, dilations, pads, outputPadding, reach, sizes } = movesOf(layer);
  const geometry = { channelAxis: 1, strides, dilations, outputPadding };
  // With the sizes of the output, which may include those of the batch and the channels, there are no other pads.
  const outputSizes = layer.node.attributes.get('output_shape')?.integers.slice(-reach.length) ?? [];
  const isUpper = automatic === 'SAME_UPPER';
  if (outputSizes.length > 0) {
    const totals = reach.map((each, axis) => {
      const size = sizes[axis];
      if (typeof size !== 'number') return undefined;
      return (size - 1) * strides[axis]! + each + outputPadding[axis]! - outputSizes[axis]!;
    });
    if (totals.every((total) => total !== undefined)) {
      return { ...geometry, pads: totals.map((total) => halves(total, isUpper)), outputSizes };
    }
    return { ...geometry, pads: isUpper ? 'sameUpper' : 'sameLower', outputSizes };
  }
  if (automatic === 'NOTSET') return { ...geometry, pads };
  if (automatic === 'VALID') return { ...geometry, pads: reach.map(() => none) };
  // That the output has the size of the input times the stride does not depend on the size.
  const totals = reach.map((each, axis) => each + outputPadding[axis]! - strides[axis]!);
  return { ...geometry, pads: totals.map((total) => halves(total, isUpper)) };
}
