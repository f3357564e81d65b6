import type { WeightTensor } from '../model/model.js';
import { unitsToRemove, type Amount } from './amounts.js';
import { productOf, sumOf } from '../model/numbers.js';

export const budgets = ['uniform', 'erk', 'lamp', 'error'] as const;
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

/** The error of a layer that lost this many units. */
export interface ErrorPoint {
  readonly removed: number;
  /** The squares of the differences of its outputs, as a share of what they are without any weight. */
  readonly error: number;
}

/**
 * How many units each layer loses so that the sum of their errors is least, for the budget `error`. Between the points of a
 * layer's curve, and from {0, 0} to the first, errors are those of its lower convex hull, on which the least sum for a total
 * is where all slopes are alike. Equal slopes are taken in the order of the layers. The results have the exact total.
 * @param layers each with the points of its curve, in ascending order of `removed`; the last is the layer's limit
 */
export function removalsByError(
  amount: Amount,
  layers: readonly (Omit<Share, 'tensor'> & { readonly curve: readonly ErrorPoint[] })[],
): number[] {
  const units = sumOf(layers.map((layer) => layer.units));
  let left = Math.min(unitsToRemove(amount, units), sumOf(layers.map(({ limit }) => limit)));
  const steps = layers.flatMap(({ curve }, layer) => stepsOf(curve).map((step) => ({ ...step, layer })));
  const removes: number[] = layers.map(() => 0);
  // Within a layer slopes ascend, so the order of its steps is kept.
  for (const { layer, length } of steps.sort((a, b) => a.slope - b.slope || a.layer - b.layer)) {
    const taken = Math.min(left, length);
    removes[layer]! += taken;
    left -= taken;
  }
  return removes;
}

/** The sides of the lower convex hull of a curve that begins at {0, 0}, from left to right. */
function stepsOf(curve: readonly ErrorPoint[]): { readonly length: number; readonly slope: number }[] {
  const slope = (from: ErrorPoint, to: ErrorPoint) => (to.error - from.error) / (to.removed - from.removed);
  const hull: ErrorPoint[] = [{ removed: 0, error: 0 }];
  for (const point of curve) {
    while (hull.length > 1 && slope(hull.at(-2)!, hull.at(-1)!) >= slope(hull.at(-1)!, point)) hull.pop();
    hull.push(point);
  }
  return hull.slice(1).map((to, index) => ({
    length: to.removed - hull[index]!.removed,
    slope: slope(hull[index]!, to),
  }));
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
