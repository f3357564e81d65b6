import type { Tensor } from '../../../../structure/network.js';
import { type Known, knownIn, knownOfAll, numbersOver, type Ranges, spreadOf } from '../../../../structure/numbers.js';
import type { Operator } from '../site.js';

/** What is known of a value that is broadcast, along an axis of the result. */
export function knownAlong(tensor: Tensor, axis: number, shape: readonly number[]): Float64Array | undefined {
  const size = shape[axis]!;
  const place = axis - shape.length + tensor.shape.length;
  if (tensor.list?.numbers.length === 1) return new Float64Array(size).fill(tensor.list.numbers[0]! + 0);
  let known: Known | undefined;
  if (tensor.view !== undefined) known = place < 0 ? knownOfAll(tensor.view) : knownIn(tensor.view, place);
  else if (tensor.known?.axis === place) known = tensor.known;
  else if (tensor.known?.spread?.axes.includes(place))
    known = { axis: place, numbers: numbersOver(tensor.known.spread, tensor.shape, [place]) };
  else if (tensor.known?.numbers.length === 1) known = tensor.known;
  if (known === undefined) return undefined;
  return known.numbers.length === size ? known.numbers : new Float64Array(size).fill(known.numbers[0]!);
}

/** The axis of an output along which something is known of values that are broadcast to it. */
export function knownAxis(tensors: readonly Tensor[], rank: number): number | undefined {
  for (const { shape, known, view } of tensors) {
    if (known !== undefined && view === undefined) return known.axis + rank - shape.length;
  }
  for (const { shape, known } of tensors) if (known !== undefined) return known.axis + rank - shape.length;
  return undefined;
}

/** The axes of an output on which depends what is known of values that are broadcast to it, if one depends on several. */
export function knownAxes(tensors: readonly Tensor[], shape: readonly number[]): number[] {
  if (!tensors.some(({ known }) => known?.spread !== undefined)) return [];
  const axes = tensors.flatMap(({ known, shape: own, view }) => {
    if (known === undefined || view !== undefined) return [];
    return spreadOf(known)
      .axes.map((axis) => axis + shape.length - own.length)
      .filter((axis) => own[axis - shape.length + own.length] === shape[axis]);
  });
  return [...new Set(axes)].sort((one, other) => one - other);
}

/** The limits of numbers that are broadcast along an axis of the result. */
export function rangesAlong({ known, shape: own }: Tensor, axis: number, shape: readonly number[]): Ranges | undefined {
  const isThere = known?.ranges !== undefined && known.axis + shape.length - own.length === axis;
  return isThere && known.numbers.length === shape[axis] ? known.ranges : undefined;
}

/** What is known of a value along an axis. */
export const along = (tensor: Tensor, axis: number): Known | undefined => {
  const numbers = knownAlong(tensor, axis, tensor.shape);
  return numbers && { axis, numbers };
};

export const isKnown = (numbers: Float64Array): boolean => numbers.some((number) => !Number.isNaN(number));

/** Numbers along an axis, if any of them is known. */
export const asKnown = (axis: number, numbers: Float64Array): Known | undefined =>
  isKnown(numbers) ? { axis, numbers } : undefined;

export const onlyZeros = ({ axis, numbers }: Known): Known | undefined =>
  asKnown(
    axis,
    numbers.map((number) => (number === 0 ? 0 : NaN)),
  );

/** The zeros of an operator that makes 0 of them. */
export const zerosOf: Operator['constant'] = (site) => {
  const { known } = site.input(0);
  return known && onlyZeros(known);
};
