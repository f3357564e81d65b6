import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { byName, type Named } from './names.js';

/** How much to remove: a percentage of units from 0 to 100, or how many units to keep or to remove. */
export type Amount = number | { readonly keep: number } | { readonly remove: number };

/** One amount for all layers, one per layer in model order, or amounts by layer name or glob (`*`, `?`). */
export type Sparsity = Amount | readonly Amount[] | Readonly<Record<string, Amount>> | ReadonlyMap<string, Amount>;

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

/** The limits to what is removed of one layer. */
export interface Limits {
  readonly allowEmpty: boolean;
  readonly minKeep: number;
  readonly maxSparsity: number;
}

const isKeep = (amount: object): amount is { readonly keep: number } => 'keep' in amount;

/** An object with just the key `keep` or `remove` and a number is an amount, not a list of layers. */
export function isAmount(sparsity: Sparsity): sparsity is Amount {
  if (typeof sparsity === 'number') return true;
  if (sparsity === null || typeof sparsity !== 'object' || Array.isArray(sparsity) || sparsity instanceof Map)
    return false;
  const entries = Object.entries(sparsity);
  return entries.length === 1 && /^(keep|remove)$/.test(entries[0]![0]) && typeof entries[0]![1] === 'number';
}

/** @throws SparsifyError `sparsity` where the amount is not a percentage or a count */
export function checkAmount(amount: Amount, subject?: string): void {
  const about = subject === undefined ? {} : { subject };
  if (typeof amount === 'number') {
    if (amount >= 0 && amount <= 100) return;
    throw new SparsifyError('sparsity', 'a percentage is a number from 0 to 100', {
      ...about,
      asked: amount,
      hint: 'Write 50 for half of the units, or { keep: 8 } or { remove: 8 } for a number of units',
    });
  }
  const count = amount && typeof amount === 'object' ? Object.values(amount)[0] : undefined;
  if (count !== undefined && isAmount(amount) && Number.isInteger(count) && count >= 0) return;
  throw new SparsifyError(
    'sparsity',
    'an amount is a percentage from 0 to 100, or { keep: n } or { remove: n } with a whole number',
    {
      ...about,
      asked: amount,
    },
  );
}

/** How many of `units` an amount removes; halves go to the even number. */
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

/** How many of `units` may go at most. */
export function limitOf(units: number, { allowEmpty, minKeep, maxSparsity }: Limits): number {
  const kept = Math.max(minKeep, units - Math.floor((maxSparsity * units) / 100), allowEmpty ? 0 : 1);
  return Math.max(0, units - kept);
}

/**
 * How many units go where the number kept is to be a multiple of `multiple`: kept units are raised to the next multiple,
 * at least one multiple, at most all.
 */
export function rounded(removed: number, units: number, multiple: number | undefined): number {
  if (multiple === undefined) return removed;
  const kept = units - removed;
  return units - Math.min(units, Math.max(multiple, Math.ceil(kept / multiple) * multiple));
}

/**
 * The amount of each of `layers`; undefined for those that are left alone.
 *
 * A key that equals a name is that name; else `*` is any run of characters and `?` is one. A name beats a glob.
 *
 * @param others names of layers that exist but are not among `layers`, for a better message
 * @throws SparsifyError `sparsity` for a list of another length, or two amounts for one layer; `layer` for a key that
 *   matches nothing
 */
export function amountsOf(
  sparsity: Sparsity,
  layers: readonly Named[],
  others: readonly string[] = [],
): (Amount | undefined)[] {
  const names = layers.map(({ name }) => name);
  if (isAmount(sparsity)) {
    checkAmount(sparsity);
    return layers.map(() => sparsity);
  }
  if (Array.isArray(sparsity)) {
    if (sparsity.length !== layers.length) {
      throw new SparsifyError('sparsity', `a list has one amount per layer, ${layers.length} in all`, {
        asked: `a list of ${sparsity.length}`,
        found: `the layers ${names.join(', ')}`,
      });
    }
    // A loop by index, which sees the holes of a list.
    for (let index = 0; index < sparsity.length; index++) checkAmount(sparsity[index], names[index]);
    return [...sparsity];
  }
  if (sparsity === null || typeof sparsity !== 'object') {
    throw new SparsifyError('sparsity', 'unknown form of sparsity', {
      asked: sparsity,
      hint: 'Give a percentage, { keep: n } or { remove: n }, a list of these, or an object of layer names and amounts',
    });
  }
  const entries: [string, Amount][] =
    sparsity instanceof Map ? [...sparsity] : Object.entries(sparsity as Readonly<Record<string, Amount>>);
  for (const [key, amount] of entries) checkAmount(amount, key);
  return byName(entries, layers, others);
}

function checkCount(count: number): void {
  if (Number.isInteger(count) && count >= 0) return;
  throw new SparsifyError('sparsity', 'a number of units to keep is a whole number', {
    subject: 'minKeep',
    asked: count,
  });
}

function checkShare(share: number): void {
  if (typeof share === 'number' && share >= 0 && share <= 100) return;
  throw new SparsifyError('sparsity', 'a percentage is a number from 0 to 100', {
    subject: 'maxSparsity',
    asked: share,
  });
}

/** The limits of each layer. */
export function limitsOf(
  { allowEmpty = false, minKeep = 0, maxSparsity = 100 }: LimitOptions,
  tensors: readonly WeightTensor[],
): Limits[] {
  const perLayer = (value: PerLayer, otherwise: number, check: (value: number) => void): number[] => {
    const entries: [string, number][] = typeof value === 'number' ? [['*', value]] : Object.entries(value);
    for (const [, each] of entries) check(each);
    return typeof value === 'number'
      ? tensors.map(() => value)
      : byName(entries, tensors).map((each) => each ?? otherwise);
  };
  const keeps = perLayer(minKeep, 0, checkCount);
  const shares = perLayer(maxSparsity, 100, checkShare);
  return tensors.map((_, index) => ({ allowEmpty, minKeep: keeps[index]!, maxSparsity: shares[index]! }));
}
