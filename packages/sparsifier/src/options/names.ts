import { SparsifyError } from '../errors.js';

/** A layer as far as amounts are concerned. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
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
