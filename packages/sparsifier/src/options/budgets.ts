import type { WeightTensor } from '../model/model.js';
import { unitsToRemove, type Amount } from './amounts.js';
import { productOf, sumOf } from '../model/numbers.js';

export const budgets = ['uniform', 'erk', 'lamp'] as const;
/** How the amount of a ranking over several layers is divided among them. */
export type Budget = (typeof budgets)[number];

/** A layer among which an amount is divided. */
export interface Share {
  readonly tensor: WeightTensor;
  readonly units: number;
  /** The most units that may be removed. */
  readonly limit: number;
}

/**
 * How many units each layer of a ranking loses where a rule decides, and not the ranking.
 *
 * `uniform`: the same share of every layer, as in the local context. `erk` (Erdős-Rényi kernel; Evci et al. 2020,
 * "Rigging the lottery"): the share of units that a layer keeps is proportional to the sum of its dimensions divided by
 * their product, at most 1, so that small layers stay denser. The results are whole numbers with the exact total, by the
 * method of the largest remainder.
 */
export function removalsByBudget(budget: 'uniform' | 'erk', amount: Amount, layers: readonly Share[]): number[] {
  const units = sumOf(layers.map((layer) => layer.units));
  const keep = units - Math.min(unitsToRemove(amount, units), sumOf(layers.map(({ limit }) => limit)));
  const weight = ({ tensor, units }: Share) => (budget === 'erk' ? denseUnits(tensor, units) : units);
  const kept = proportional(
    keep,
    layers.map((layer) => ({ weight: weight(layer), least: layer.units - layer.limit, most: layer.units })),
  );
  return layers.map((layer, index) => layer.units - kept[index]!);
}

/** The units of a layer times the sum of its dimensions divided by their product; the same for every stored layout. */
function denseUnits({ kind, roles, shape, groups }: WeightTensor, units: number): number {
  const sizeOf = (role: string) => productOf(shape.filter((_, axis) => roles[axis] === role));
  const isTransposed = kind.startsWith('convTranspose');
  const dimensions = [
    sizeOf('out') * sizeOf('multiplier') * (isTransposed ? groups : 1),
    sizeOf('in') / (isTransposed ? groups : 1),
    ...shape.filter((_, axis) => ['depth', 'height', 'width'].includes(roles[axis]!)),
  ];
  // Rounded once, so that equal claims are equal numbers.
  return (dimensions.reduce((a, b) => a + b, 0) * units) / productOf(dimensions);
}

interface Claim {
  readonly weight: number;
  readonly least: number;
  readonly most: number;
}

/**
 * Whole numbers with the sum `total`, in proportion to the claims' weights. A claim that would exceed one of its limits
 * gets that limit, and the rest is divided among the others again. The units that rounding down leaves go to the largest
 * remainders, and of equal ones to the first.
 */
function proportional(total: number, claims: readonly Claim[]): number[] {
  const exact: number[] = claims.map(() => 0);
  let open = claims.map((_, index) => index);
  let rest = total;
  while (open.length > 0) {
    const weights = open.reduce((sum, index) => sum + claims[index]!.weight, 0);
    const part = (index: number) => (rest * claims[index]!.weight) / weights;
    const clamp = (index: number) => Math.min(claims[index]!.most, Math.max(claims[index]!.least, part(index)));
    for (const index of open) exact[index] = clamp(index);
    // Fix the claims at upper or at lower limits, whichever change the total more; those at the others may yet leave them.
    const excess = open.reduce((sum, index) => sum + exact[index]! - part(index), 0);
    const held = open.filter((index) =>
      excess > 0
        ? exact[index]! > part(index)
        : excess < 0
          ? exact[index]! < part(index)
          : exact[index] !== part(index),
    );
    if (held.length === 0) break;
    for (const index of held) rest -= exact[index]!;
    const fixed = new Set(held);
    open = open.filter((index) => !fixed.has(index));
  }
  const whole = exact.map(Math.floor);
  const remainders = exact.map((value, index) => value - whole[index]!);
  const order = claims.map((_, index) => index).sort((a, b) => remainders[b]! - remainders[a]! || a - b);
  let missing = total - whole.reduce((sum, value) => sum + value, 0);
  for (const index of order) {
    if (missing <= 0) break;
    if (whole[index]! >= claims[index]!.most) continue;
    whole[index]!++;
    missing--;
  }
  return whole;
}
