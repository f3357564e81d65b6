import { productOf } from '../model/numbers.js';
import type { Stored } from './stored.js';

/** Stored numbers, seen as a tensor: those of a constant, possibly with its axes permuted. */
export interface View {
  readonly stored: Stored;
  readonly shape: readonly number[];
  /** How far two neighbours along each axis are apart. */
  readonly strides: readonly number[];
}

/** A constant as it is stored. */
export function wholeView(stored: Stored, shape: readonly number[]): View {
  return { stored, shape, strides: stridesOf(shape) };
}

export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

/** Calls `each` with the place of every number whose index along some axes is given. */
export function eachPlace(
  { shape, strides }: View,
  at: ReadonlyMap<number, number>,
  each: (place: number) => boolean | void,
): boolean {
  let start = 0;
  const free: number[] = [];
  for (const axis of shape.keys()) {
    const index = at.get(axis);
    if (index === undefined) free.push(axis);
    else start += index * strides[axis]!;
  }
  const visit = (depth: number, place: number): boolean => {
    const axis = free[depth];
    if (axis === undefined) return each(place) === true;
    const stride = strides[axis]!;
    for (let index = 0; index < shape[axis]!; index++) if (visit(depth + 1, place + index * stride)) return true;
    return false;
  };
  return visit(0, start);
}

/** What is known of the numbers of a value: the one that is at each index of an axis, wherever that is on other axes. */
export interface Known {
  readonly axis: number;
  /** NaN where it is not known. */
  readonly numbers: Float64Array;
  /** Where several numbers may be: the least and the largest of them. NaN where these are not known either. */
  readonly ranges?: Ranges | undefined;
  /** The numbers by their index along several axes, where those along one of them differ. */
  readonly spread?: Spread | undefined;
}

export interface Spread {
  /** In order. */
  readonly axes: readonly number[];
  /** NaN where one is not known. */
  readonly numbers: Float64Array;
}

export interface Ranges {
  readonly least: Float64Array;
  readonly most: Float64Array;
}

/** What is known of numbers that are between two limits; undefined if nothing is. */
export function knownBetween(axis: number, least: Float64Array, most: Float64Array): Known | undefined {
  const numbers = least.map((number, index) => (number === most[index] ? number + 0 : NaN));
  if (!least.some((number, index) => !Number.isNaN(number + most[index]!))) return undefined;
  return { axis, numbers, ranges: { least, most } };
}

/** What is known of stored numbers if they are all the same. */
export function knownOfAll({ stored, shape, strides }: View): Known | undefined {
  return knownIn({ stored, shape: [1, ...shape], strides: [0, ...strides] }, 0);
}

/** What is known of stored numbers along an axis. */
export function knownIn(view: View, axis: number): Known | undefined {
  const size = view.shape[axis] ?? 1;
  const numbers = new Float64Array(size).fill(NaN);
  if (productOf(view.shape) === 0) return undefined;
  const isVector = productOf(view.shape) === size;
  let isAny = false;
  for (let index = 0; index < size; index++) {
    if (isVector) {
      const number = view.stored.at(index * (view.strides[axis] ?? 0));
      if (!Number.isFinite(number)) continue;
      numbers[index] = number + 0;
      isAny = true;
      continue;
    }
    let first: number | undefined;
    const differs = eachPlace(view, new Map([[axis, index]]), (place) => {
      const number = view.stored.at(place);
      first ??= number;
      return !Object.is(number + 0, first + 0);
    });
    if (differs || !Number.isFinite(first)) continue;
    numbers[index] = first! + 0;
    isAny = true;
  }
  return isAny ? { axis, numbers } : undefined;
}

/** The most numbers that are looked at. */
const mostNumbers = 1 << 22;

/** What is known by the index along each axis on which it depends. */
export const spreadOf = ({ axis, numbers, spread }: Known): Spread => spread ?? { axes: [axis], numbers };

/** The numbers by their index along these axes, in the order given: those that are the same along all others. */
export function numbersOver(
  { axes: own, numbers }: Spread,
  shape: readonly number[],
  axes: readonly number[],
): Float64Array {
  const all = [...new Set([...own, ...axes])];
  const sizes = all.map((axis) => shape[axis]!);
  const steps = (of: readonly number[]) => {
    const strides = stridesOf(of.map((axis) => shape[axis]!));
    return all.map((axis) => (of.includes(axis) ? strides[of.indexOf(axis)]! : 0));
  };
  const [from, to] = [steps(own), steps(axes)];
  const result = new Float64Array(productOf(axes.map((axis) => shape[axis]!)));
  if (productOf(sizes) > mostNumbers) return result.fill(NaN);
  const isSeen = new Uint8Array(result.length);
  const visit = (depth: number, source: number, target: number) => {
    if (depth < all.length) {
      for (let index = 0; index < sizes[depth]!; index++)
        visit(depth + 1, source + index * from[depth]!, target + index * to[depth]!);
    } else if (isSeen[target] === 0) [result[target], isSeen[target]] = [numbers[source]!, 1];
    else if (result[target] !== numbers[source]) result[target] = NaN;
  };
  visit(0, 0, 0);
  return result;
}

/** The numbers of some indices of an axis. */
export function selected(spread: Spread, shape: readonly number[], axis: number, indices: readonly number[]): Spread {
  const { axes, numbers } = spread;
  const place = axes.indexOf(axis);
  if (place < 0) return spread;
  const inner = productOf(axes.slice(place + 1).map((each) => shape[each]!));
  const size = shape[axis]!;
  const outer = numbers.length / inner / size;
  const result = new Float64Array(outer * indices.length * inner);
  for (const [at, index] of indices.entries()) {
    for (let first = 0; first < outer; first++) {
      const start = (first * size + index) * inner;
      result.set(numbers.subarray(start, start + inner), (first * indices.length + at) * inner);
    }
  }
  return { axes, numbers: result };
}

/** The numbers of a view by their index along some axes: those that are the same along all others. */
export function storedOver(view: View, axes: readonly number[]): Float64Array {
  const sizes = axes.map((axis) => view.shape[axis]!);
  const strides = stridesOf(sizes);
  const numbers = new Float64Array(productOf(sizes)).fill(NaN);
  for (const index of numbers.keys()) {
    const at = new Map(axes.map((axis, place) => [axis, Math.floor(index / strides[place]!) % sizes[place]!]));
    let first: number | undefined;
    const differs = eachPlace(view, at, (place) => {
      const number = view.stored.at(place);
      first ??= number;
      return number !== first;
    });
    if (!differs && Number.isFinite(first)) numbers[index] = first! + 0;
  }
  return numbers;
}
