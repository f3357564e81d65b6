import { SparsifyError, type ErrorCode } from '../errors.js';

/** A name as this package spells it: fasterai's `large_final` is `largeFinal`. */
export const withoutUnderscores = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Rejects options that do not exist, since a misspelt one would silently do nothing.
 * @throws SparsifyError `usage` for a key of `options` that is not in `names`
 */
export function checkNames(options: object, names: readonly string[]): void {
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  throw new SparsifyError('usage', 'unknown option', {
    given: unknown.join(', '),
    allowed: names,
    hint: didYouMean(unknown, names),
  });
}

/** The error for a value that is not among those allowed. @param hint where none of them is spelt like it */
export const unknownValue = (
  code: ErrorCode,
  what: string,
  value: unknown,
  allowed: readonly string[],
  hint?: string,
): SparsifyError =>
  new SparsifyError(code, `unknown ${what}`, { given: value, allowed, hint: didYouMean([value], allowed) ?? hint });

/** Asks whether similar names were meant; undefined where there are none. */
export function didYouMean(words: readonly unknown[], names: readonly string[]): string | undefined {
  const similar = words.flatMap((word) => (typeof word === 'string' ? similarNames(word, names) : []));
  if (similar.length === 0) return undefined;
  return `Did you mean ${new Intl.ListFormat('en', { type: 'disjunction' }).format(similar)}?`;
}

/** Former names of options, which are spelt quite differently. */
const renamed: Readonly<Record<string, string>> = { groups: 'rankTogether' };

/** The names that differ least from a word, and in no more than a third of their letters. */
function similarNames(word: string, names: readonly string[]): string[] {
  const current = Object.hasOwn(renamed, word) ? renamed[word]! : word;
  if (names.includes(current)) return [current];
  const distances = names.map((name) => distance(word.toLowerCase(), name.toLowerCase()));
  const least = Math.min(...distances);
  return names.filter((name, index) => distances[index] === least && least <= Math.max(word.length, name.length) / 3);
}

/**
 * How many letters must be added, removed or replaced, or neighbours exchanged, to turn one word into the other
 * (Damerau 1964, in the form that is called optimal string alignment).
 */
function distance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row++) {
    const [last, now] = [rows[row - 1]!, [row]];
    for (let column = 1; column <= to.length; column++) {
      const replaced = last[column - 1]! + (from[row - 1] === to[column - 1] ? 0 : 1);
      const isExchange = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const exchanged = isExchange ? rows[row - 2]![column - 2]! + 1 : Infinity;
      now.push(Math.min(replaced, exchanged, last[column]! + 1, now[column - 1]! + 1));
    }
    rows.push(now);
  }
  return rows[from.length]![to.length]!;
}
