import type { Reader } from './network.js';

/** Whether what is known of an index that an operator reads is that it adds nothing. */
export function isZero({ known, factor }: Reader, index: number): boolean {
  return known?.numbers[index] === 0 || factor?.numbers[index] === 0;
}

/** Whether an index is known to be a number that stays the same. */
export const isConstant = ({ known }: Reader, index: number): boolean => !Number.isNaN(known?.numbers[index] ?? NaN);

/** How far the number at an index is from 0. */
export const sizeAt = ({ known }: Reader, index: number): number => Math.abs(known!.numbers[index]!);

/** A constant carries those that are at most so many times as large: the error of a small one counts as often. */
const largestRatio = 4096;

/** Whether constants reach the weights of two readers in the same way. */
export const isAlike = (one: Reader, other: Reader): boolean =>
  one.known?.numbers === other.known?.numbers && one.weights!.isLike(other.weights!);

/** Whether all that read a weight see the same ratio of two constants. */
export function isSameRatio(readers: readonly Reader[], { weights, known }: Reader, from: number, to: number): boolean {
  const ratio = known!.numbers[from]! / known!.numbers[to]!;
  if (!(Math.abs(ratio) <= largestRatio)) return false;
  return readers.every((other) => {
    if (!other.weights!.isLike(weights!)) return false;
    const numbers = other.known?.numbers;
    const own = numbers && numbers[from]! / numbers[to]!;
    return own === ratio;
  });
}
