import { SparsifyError, type ErrorCode } from '../errors.js';
import { meaningOf, plainWord, type Topic } from './words.js';

/** A name as this package spells it: fasterai's `large_final` is `largeFinal`. */
export const withoutUnderscores = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Rejects options that do not exist, since a misspelt one would silently do nothing.
 * @throws SparsifyError `usage` for a key of `options` that is not in `names`
 */
export function checkNames(options: object, names: readonly string[]): void {
  // A list, a map or a promise has no options either, which would silently do nothing.
  const isOther = options === null || typeof options !== 'object' || Symbol.iterator in options || 'then' in options;
  if (isOther) {
    throw new SparsifyError('usage', 'options are given as an object', { given: options, allowed: names });
  }
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  throw new SparsifyError('usage', 'unknown option', {
    given: unknown.join(', '),
    allowed: names,
    hint: didYouMean(unknown, names),
  });
}

/** The error for a value that is not among those allowed. @param hint where none of them is meant */
export const unknownValue = (
  code: ErrorCode,
  what: string,
  value: unknown,
  allowed: readonly string[],
  { topic, hint }: { readonly topic?: Topic; readonly hint?: string } = {},
): SparsifyError =>
  new SparsifyError(code, `unknown ${what}`, {
    given: value,
    allowed,
    hint: didYouMean([value], allowed, topic) ?? hint,
  });

/** Asks whether others of the names were meant; undefined where none of them is similar. */
export function didYouMean(
  words: readonly unknown[],
  names: readonly string[],
  topic: Topic = 'option',
): string | undefined {
  return asked(words.flatMap((word) => (typeof word === 'string' ? meantNames(word, names, topic) : [])));
}

/** Asks whether one of these was meant; undefined if there are none. */
export const asked = (names: readonly string[]): string | undefined =>
  names.length === 0
    ? undefined
    : `Did you mean ${new Intl.ListFormat('en', { type: 'disjunction' }).format([...new Set(names)])}?`;

/** What a word means elsewhere, or the names that are spelt most like it. */
function meantNames(word: string, names: readonly string[], topic: Topic): readonly string[] {
  const all = meaningOf(word, topic) ?? [];
  const named = all.filter((each) => names.includes(each.split(' ')[0]!));
  const meant = named.length > 0 ? named : all.filter((each) => each.startsWith('`'));
  return meant.length > 0 ? meant : similarNames(plainWord(word), names, (name) => [plainWord(name)]);
}

/** Longer words are not compared: the work is the product of both lengths. */
const longestCompared = 300;

/**
 * The names that differ least from a word, and in no more than a third of their letters.
 * @param formsOf in which forms a name is compared with the word
 */
export function similarNames(
  word: string,
  names: readonly string[],
  formsOf: (name: string) => readonly string[] = (name) => [name],
): string[] {
  const distances = names.map((name) =>
    Math.min(
      ...formsOf(name).map((form) => {
        const most = Math.max(word.length, form.length) / 3;
        if (Math.abs(word.length - form.length) > most || most > longestCompared / 3) return Infinity;
        const apart = distance(word.toLowerCase(), form.toLowerCase());
        return apart <= most ? apart : Infinity;
      }),
    ),
  );
  const least = Math.min(...distances);
  return names.filter((_, index) => distances[index] === least && least < Infinity);
}

/**
 * How many letters must be added, removed or replaced, or neighbours exchanged, to turn one word into the other
 * (Damerau 1964, in the form that is called optimal string alignment). Characters that look alike, as O and 0 do, are
 * half a letter apart.
 */
function distance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row++) {
    const [last, now] = [rows[row - 1]!, [row]];
    for (let column = 1; column <= to.length; column++) {
      const replaced = last[column - 1]! + difference(from[row - 1]!, to[column - 1]!);
      const isExchange = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const exchanged = isExchange ? rows[row - 2]![column - 2]! + 1 : Infinity;
      now.push(Math.min(replaced, exchanged, last[column]! + 1, now[column - 1]! + 1));
    }
    rows.push(now);
  }
  return rows[from.length]![to.length]!;
}

/** Characters of each group look alike. */
const alike: readonly string[] = ['o0', 'l1i', '5s', '/._-'];

function difference(a: string, b: string): number {
  if (a === b) return 0;
  return alike.some((group) => group.includes(a) && group.includes(b)) ? 0.5 : 1;
}
