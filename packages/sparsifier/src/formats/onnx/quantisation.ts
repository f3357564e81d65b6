import { productOf } from '../../model/numbers.js';
import type { Node, Value } from './graph.js';
import type { View } from './views.js';

/** What the codes of a constant stand for: `(code - zero point) * scale`. */
export interface Quantisation {
  readonly scale: Parameter;
  readonly zeroPoint: Parameter | undefined;
}

/** A scale or zero point, which has a number for all codes or for some of them. */
export interface Parameter {
  readonly value: Value | undefined;
  /** Which of its numbers belongs to a code, or why it does not fit. */
  readonly places: readonly Place[] | string;
}

/**
 * How the place of a number depends on an axis of the codes: the code at `index` in stored order has the number at the
 * sum of `floor(floor(index / inner) % size / block) * stride` over all of these.
 */
export interface Place {
  /** How many codes lie between two neighbours along the axis. */
  readonly inner: number;
  /** The size of the axis. */
  readonly size: number;
  /** How many codes along the axis share a number. */
  readonly block: number;
  /** How many numbers lie between those of two neighbours. */
  readonly stride: number;
}

export const differently = 'it is decoded with different scales or zero points';

const notFitting = 'the shapes of its scale and zero point do not fit';

/** What a `DequantizeLinear` makes of codes. */
export function quantisationOf(view: View, { inputs, attributes }: Node): Quantisation {
  const axis = view.axes.at(attributes.get('axis')?.integer ?? 1);
  const block = attributes.get('block_size')?.integer ?? 0;
  const parameter = (value: Value | undefined) => ({ value, places: placesAlong(view, axis, block, value) });
  return { scale: parameter(inputs[1]), zeroPoint: inputs[2] && parameter(inputs[2]) };
}

/** A scale or zero point that has one number for all codes, or one for each index of a stored axis. */
export const parameterAlong = (view: View, axis: number, value: Value | undefined): Parameter => ({
  value,
  places: placesAlong(view, axis, 0, value),
});

/**
 * @param axis the stored axis along which numbers differ; undefined if the node names an axis that the codes do not have
 * @param block how many codes along the axis share a number, if the parameter has as many axes as the codes; 0 otherwise
 */
function placesAlong(
  { axes, constant }: View,
  axis: number | undefined,
  block: number,
  value: Value | undefined,
): readonly Place[] | string {
  const { shape } = constant.tensor;
  const length = value?.view?.constant.tensor.length ?? 1;
  if (length === 1) return [];
  if (block > 0 && !axes.every((stored, place) => stored === place)) {
    return 'its codes are in blocks that are transposed before they are decoded';
  }
  const size = axis === undefined ? undefined : shape[axis];
  if (size === undefined) return notFitting;
  if (block === 0) return length === size ? [{ inner: after(shape, axis!), size, block: 1, stride: 1 }] : notFitting;
  const blocks = shape.map((size, place) => (place === axis ? Math.ceil(size / block) : size));
  if (length !== productOf(blocks)) return notFitting;
  return shape.map((size, place) => ({
    inner: after(shape, place),
    size,
    block: place === axis ? block : 1,
    stride: after(blocks, place),
  }));
}

/** How many numbers lie between two neighbours along an axis. */
const after = (shape: readonly number[], axis: number): number => productOf(shape.slice(axis + 1));

/**
 * A constant that is broadcast to the shape of codes, as their scale or zero point. Undefined if it changes that shape, or
 * has a number for each code along several axes, as weights have that codes are a mask of.
 */
export function alignedWith(view: View, value: Value | undefined): Parameter | undefined {
  if (value === undefined || !value.isConstant) return undefined;
  if (value.view === undefined) return { value, places: [] };
  const { axes, constant } = value.view;
  const { shape } = view.constant.tensor;
  const places: Place[] = [];
  const first = view.axes.length - axes.length;
  if (first < 0) return undefined;
  for (const [place, axis] of axes.entries()) {
    const size = constant.tensor.shape[axis] ?? 1;
    const along = view.axes[first + place]!;
    if (size === 1) continue;
    if (size !== shape[along]) return undefined;
    places.push({ inner: after(shape, along), size, block: 1, stride: after(constant.tensor.shape, axis) });
  }
  return places.length > 1 && constant.tensor.length === view.constant.tensor.length ? undefined : { value, places };
}

/** Whether both decode codes in the same way. */
export function sameQuantisation(first: Quantisation, second: Quantisation): boolean {
  return isSame(first.scale, second.scale) && isSame(first.zeroPoint, second.zeroPoint);
}

function isSame(first: Parameter | undefined, second: Parameter | undefined): boolean {
  const [one, other] = [first?.value, second?.value];
  const isSameValue = one === other || (one?.view !== undefined && one.view.constant === other?.view?.constant);
  return isSameValue && JSON.stringify(first?.places) === JSON.stringify(second?.places);
}
