import { attempt, SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { aBoolean, type Check, type Shape } from './check.js';
import { defaults } from './defaults.js';
import { byName, type LeftOut, type Named } from './names.js';

/** How much to remove: a percentage of units from 0 to 100, or how many units to keep or to remove. */
export type Amount = number | { readonly keep: number } | { readonly remove: number };

/** One amount for all layers, one per layer in model order, or amounts by layer name or glob (`*`, `?`). */
export type Sparsity = Amount | readonly Amount[] | Readonly<Record<string, Amount>> | ReadonlyMap<string, Amount>;

const isKeep = (amount: object): amount is { readonly keep: number } => 'keep' in amount;

/** An object whose only key is `keep` or `remove`, with a number, is an amount and not amounts by layer. */
export function isAmount(sparsity: Sparsity): sparsity is Amount {
  if (typeof sparsity === 'number') return true;
  if (sparsity === null || typeof sparsity !== 'object' || Array.isArray(sparsity) || sparsity instanceof Map)
    return false;
  const entries = Object.entries(sparsity);
  return entries.length === 1 && /^(keep|remove)$/.test(entries[0]![0]) && typeof entries[0]![1] === 'number';
}

/** @throws SparsifyError `sparsity` where the amount is not a percentage or a count */
export function checkAmount(amount: Amount, subject?: string): void {
  attempt(subject ?? 'the amount', () => refuseUnlessAmount(amount, subject));
}

function refuseUnlessAmount(amount: Amount, subject: string | undefined): void {
  const about = subject === undefined ? {} : { subject };
  if (typeof amount === 'number') {
    if (amount >= 0 && amount <= 100) return;
    throw new SparsifyError('sparsity', 'a percentage is a number from 0 to 100', {
      ...about,
      given: amount,
      hint: 'Write 50 for half of the units. For a number of units, give `{ keep: 8 }` or `{ remove: 8 }`',
    });
  }
  const count = amount && typeof amount === 'object' ? Object.values(amount)[0] : undefined;
  if (count !== undefined && isAmount(amount) && Number.isInteger(count) && count >= 0) return;
  throw new SparsifyError(
    'sparsity',
    'an amount is a percentage from 0 to 100, or { keep: n } or { remove: n } with a whole number',
    { ...about, given: amount },
  );
}

/** How many of `units` an amount removes. A percentage is rounded to the nearest whole number, halves to the even one. */
export function unitsToRemove(amount: Amount, units: number): number {
  if (typeof amount === 'number') return roundHalfToEven((amount * units) / 100);
  return isKeep(amount) ? Math.max(0, units - amount.keep) : Math.min(units, amount.remove);
}

/** Whether there are as many units as an amount counts. */
export function fits(amount: Amount, units: number): boolean {
  return typeof amount === 'number' || (isKeep(amount) ? amount.keep : amount.remove) <= units;
}

function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}

/**
 * How many units are removed where the number kept must be a multiple of `multiple`: it is raised to the next multiple,
 * at least one of them, at most all units.
 */
export function rounded(removed: number, units: number, multiple: number | undefined): number {
  if (multiple === undefined) return removed;
  const kept = units - removed;
  return units - Math.min(units, Math.max(multiple, Math.ceil(kept / multiple) * multiple));
}

/**
 * The amount of each of `layers`; undefined for those that no key matches.
 * @param others layers that exist but are not among `layers`, and why, for the error's hint
 * @throws SparsifyError `sparsity` for a list of another length, or two amounts for one layer; `layer` for a key that
 *   matches nothing
 */
export function amountsOf(
  sparsity: Sparsity,
  layers: readonly Named[],
  others: readonly LeftOut[] = [],
): (Amount | undefined)[] {
  const names = layers.map(({ name }) => name);
  if (isAmount(sparsity)) {
    checkAmount(sparsity);
    return layers.map(() => sparsity);
  }
  if (Array.isArray(sparsity)) {
    if (sparsity.length !== layers.length) {
      throw new SparsifyError('sparsity', `a list has one amount per layer, ${layers.length} in all`, {
        given: `a list of ${sparsity.length}`,
        found: `the layers ${names.slice(0, 4).join(', ')}${names.length > 4 ? ` and ${names.length - 4} more` : ''}`,
        hint: '`explain()` shows which layers are pruned, in this order',
      });
    }
    // By index, which also visits the holes of a sparse array.
    for (let index = 0; index < sparsity.length; index++) checkAmount(sparsity[index], names[index]);
    return [...sparsity];
  }
  if (sparsity === null || typeof sparsity !== 'object') {
    throw new SparsifyError('sparsity', 'unknown form of sparsity', {
      given: sparsity,
      hint: 'Give a percentage, `{ keep: n }` or `{ remove: n }`, a list of these, or an object of layer names and amounts',
    });
  }
  const entries: [string, Amount][] =
    sparsity instanceof Map ? [...sparsity] : Object.entries(sparsity as Readonly<Record<string, Amount>>);
  for (const [key, amount] of entries) checkAmount(amount, key);
  return byName(entries, layers, others);
}

/** One value for all layers, or values by layer name or glob. */
export type PerLayer = number | Readonly<Record<string, number>>;

/** Options that limit what is removed of a layer. */
export interface LimitOptions {
  /** Whether a layer may lose all its units; otherwise the best one stays. */
  readonly allowEmpty?: boolean;
  /** The least number of units that a layer keeps. */
  readonly minKeep?: PerLayer;
  /** The largest percentage of units that a layer loses, 0 to 100. */
  readonly maxSparsity?: PerLayer;
}

/** The limits of one layer. */
export interface Limits {
  readonly allowEmpty: boolean;
  readonly minKeep: number;
  readonly maxSparsity: number;
}

/** `sparsity` for a value out of range. */
export const limitsShape: Shape<LimitOptions> = {
  allowEmpty: aBoolean,
  minKeep: forLayers('`minKeep` is a whole number of units from 0', (count) => Number.isInteger(count) && count >= 0),
  maxSparsity: forLayers('`maxSparsity` is a percentage from 0 to 100', (share) => share >= 0 && share <= 100),
};

/** Checks one number for all layers, or each of those by name or glob. */
function forLayers(what: string, is: (value: number) => boolean): Check<PerLayer> {
  return (value) => {
    const isPerLayer = typeof value === 'object' && value !== null && !(Symbol.iterator in value);
    for (const each of isPerLayer ? Object.values(value) : [value]) {
      if (typeof each !== 'number' || !is(each)) throw new SparsifyError('sparsity', what, { given: each });
    }
    return isPerLayer ? { ...value } : (value as number);
  };
}

/** The limits of each layer. @throws SparsifyError `layer` for a name without layer */
export function limitsOf(
  { allowEmpty, minKeep, maxSparsity }: Required<LimitOptions>,
  tensors: readonly WeightTensor[],
): Limits[] {
  const keeps = perLayer(minKeep, tensors, defaults.minKeep);
  const shares = perLayer(maxSparsity, tensors, defaults.maxSparsity);
  return tensors.map((_, index) => ({ allowEmpty, minKeep: keeps[index]!, maxSparsity: shares[index]! }));
}

function perLayer(value: PerLayer, tensors: readonly WeightTensor[], otherwise: number): number[] {
  if (typeof value === 'number') return tensors.map(() => value);
  return byName(Object.entries(value), tensors).map((each) => each ?? otherwise);
}

/** The most of `units` that may be removed. */
export function limitOf(units: number, { allowEmpty, minKeep, maxSparsity }: Limits): number {
  const kept = Math.max(minKeep, units - Math.floor((maxSparsity * units) / 100), allowEmpty ? 0 : 1);
  return Math.max(0, units - kept);
}
