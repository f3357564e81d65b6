import { SparsifyError } from '../errors.js';

/** How much to remove: a percentage of units from 0 to 100, or how many units to keep or to remove. */
export type Amount = number | { readonly keep: number } | { readonly remove: number };

/** One amount for all layers, one per layer in model order, or amounts by layer name or glob (`*`, `?`). */
export type Sparsity = Amount | readonly Amount[] | Readonly<Record<string, Amount>> | ReadonlyMap<string, Amount>;

/** A layer as far as amounts are concerned. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
}

/** Limits to what a call may remove. */
export interface Floors {
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
export function removedBy(amount: Amount, units: number): number {
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
export function limitOf(units: number, { allowEmpty, minKeep, maxSparsity }: Floors): number {
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

/**
 * The value that names and globs give each of `layers`; undefined for those that no key matches.
 * @param clash the error where two keys of one rank disagree about a layer
 * @throws SparsifyError `layer` for a key that matches nothing, or that one
 */
export function byName<Value>(
  entries: readonly (readonly [string, Value])[],
  layers: readonly Named[],
  others: readonly string[] = [],
  clash: (layer: string, entries: readonly (readonly [string, Value])[]) => SparsifyError = twoValues,
): (Value | undefined)[] {
  const found: ({ readonly key: string; readonly value: Value; readonly exact: boolean } | undefined)[] = layers.map(
    () => undefined,
  );
  const isName = (key: string) => layers.some(({ name, aliases }) => name === key || aliases.includes(key));
  // Names first: globs that disagree about a layer do not matter where its name decides.
  const ordered = [...entries.filter(([key]) => isName(key)), ...entries.filter(([key]) => !isName(key))];
  for (const [key, value] of ordered) {
    const exact = isName(key);
    const pattern = exact ? undefined : globOf(key);
    let matches = 0;
    layers.forEach(({ name, aliases }, index) => {
      const all = [name, ...aliases];
      if (!(pattern ? all.some((each) => pattern.test(each)) : all.includes(key))) return;
      matches++;
      const other = found[index];
      if (other === undefined) found[index] = { key, value, exact };
      else if (other.exact === exact && !same(other.value, value)) {
        throw clash(name, [
          [other.key, other.value],
          [key, value],
        ]);
      }
    });
    if (matches === 0) {
      const elsewhere = others.includes(key)
        ? { hint: 'A layer of this name exists, but layerType, include or exclude leaves it out' }
        : {};
      const allowed = layers.map(({ name }) => name);
      throw new SparsifyError('layer', 'no layer has this name or matches this glob', {
        asked: key,
        allowed,
        ...elsewhere,
      });
    }
  }
  return found.map((entry) => entry?.value);
}

const twoValues = (subject: string, entries: readonly (readonly [string, unknown])[]): SparsifyError =>
  new SparsifyError('sparsity', 'two keys give this layer different values', {
    subject,
    asked: entries.map(([key]) => key).join(' and '),
    hint: 'Give the layer its value by its own name',
  });

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** A glob as an expression: `*` is any run of characters, `?` is one. */
export const globOf = (glob: string): RegExp =>
  new RegExp(
    `^${[...glob].map((each) => (each === '*' ? '.*' : each === '?' ? '.' : each.replace(/[\\^$.|+()[\]{}/]/u, '\\$&'))).join('')}$`,
    'su',
  );
