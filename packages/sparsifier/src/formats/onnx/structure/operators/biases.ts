import type { Tensor } from '../../../../structure/network.js';
import type { Known } from '../../../../structure/numbers.js';
import { asKnown, knownAlong } from './known.js';

export function withBias(axis: number, numbers: Float64Array, bias: Tensor | undefined): Known | undefined {
  if (bias !== undefined) {
    const known = knownAlong(bias, 0, [numbers.length]);
    for (const index of numbers.keys()) numbers[index]! += known?.[index] ?? NaN;
  }
  return asKnown(axis, numbers);
}

/** Whether numbers can be added to a bias, which has to be one number for each output. */
export function foldsInto(bias: Tensor | undefined, shape: readonly number[]): boolean {
  if (bias === undefined) return true;
  const known = knownAlong(bias, shape.length - 1, shape);
  return known !== undefined && !known.some(Number.isNaN);
}
