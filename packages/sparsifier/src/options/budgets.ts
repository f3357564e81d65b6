import type { WeightTensor } from '../model/model.js';
import { unitsToRemove, type Amount } from './amounts.js';

/** How the amount of a ranking over several layers is shared out among them. */
export type Budget = 'uniform' | 'erk' | 'lamp';
export const budgets: readonly Budget[] = ['uniform', 'erk', 'lamp'];

/** A layer as far as its part of a budget is concerned. */
export interface Share {
  readonly tensor: WeightTensor;
  readonly units: number;
  /** The most units that may go. */
  readonly limit: number;
}

/**
 * How many units each layer of a ranking loses, where a rule and not the ranking decides.
 *
 * `uniform`: the same share of every layer, as in the local context. `erk` (Erdős-Rényi kernel; Evci et al. 2020,
 * "Rigging the lottery"): the share of units that a layer keeps is proportional to the sum of its dimensions divided by
 * their product, at most 1, so that small layers stay denser. In whole units that add up exactly, by largest remainder.
 */
export function shared(budget: 'uniform' | 'erk', amount: Amount, layers: readonly Share[]): number[] {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  const units = sum(layers.map((layer) => layer.units));
  const keep = units - Math.min(unitsToRemove(amount, units), sum(layers.map(({ limit }) => limit)));
  const weight = ({ tensor, units }: Share) => (budget === 'erk' ? denseUnits(tensor, units) : units);
  const kept = proportional(
    keep,
    layers.map((layer) => ({ weight: weight(layer), least: layer.units - layer.limit, most: layer.units })),
  );
  return layers.map((layer, index) => layer.units - kept[index]!);
}

/** The units of a layer times the sum of its dimensions divided by their product, whatever the stored layout. */
function denseUnits({ kind, roles, shape, groups }: WeightTensor, units: number): number {
  const sizeOf = (role: string) => shape.filter((_, axis) => roles[axis] === role).reduce((a, b) => a * b, 1);
  const isTransposed = kind.startsWith('convTranspose');
  const dimensions = [
    sizeOf('out') * sizeOf('multiplier') * (isTransposed ? groups : 1),
    sizeOf('in') / (isTransposed ? groups : 1),
    ...shape.filter((_, axis) => ['depth', 'height', 'width'].includes(roles[axis]!)),
  ];
  // Rounded once, so that equal claims are equal numbers.
  return (dimensions.reduce((a, b) => a + b, 0) * units) / dimensions.reduce((a, b) => a * b, 1);
}

interface Claim {
  readonly weight: number;
  readonly least: number;
  readonly most: number;
}

/**
 * Whole numbers in proportion to the claims' weights that add up to `total`; those that would pass their limits get
 * just these, and what is left is shared out again. Remainders go to the largest first, equal ones in order.
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
    // The limits that weigh more on the whole hold; the others may yet be reached from the other side.
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
    open = open.filter((index) => !held.includes(index));
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
