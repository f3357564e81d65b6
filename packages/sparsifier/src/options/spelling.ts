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

/** How many letters are compared with each other at most, over all names. */
const mostCompared = 2 ** 26;

/**
 * The names that differ least from a word, and in no more than a third of their letters.
 * @param formsOf in which forms a name is compared with the word
 */
export function similarNames(
  word: string,
  names: readonly string[],
  formsOf: (name: string) => readonly string[] = (name) => [name],
): string[] {
  const wanted = word.toLowerCase();
  let [least, similar, left] = [Infinity, [] as string[], mostCompared];
  const distanceTo = (form: string): number => {
    const length = Math.max(word.length, form.length);
    const most = Math.min(length / 3, least);
    if (Math.abs(word.length - form.length) > most || length > longestCompared || left <= 0) return Infinity;
    left -= word.length * (2 * most + 1);
    return distance(wanted, form.toLowerCase(), most);
  };
  for (const name of names) {
    const apart = Math.min(...formsOf(name).map(distanceTo));
    if (apart < least) [least, similar] = [apart, []];
    if (apart === least && apart < Infinity) similar.push(name);
  }
  return similar;
}

/**
 * How many letters must be added, removed or replaced, or neighbours exchanged, to turn one word into the other
 * (Damerau 1964, in the form that is called optimal string alignment). Characters that look alike, as O and 0 do, are
 * half a letter apart.
 * @returns Infinity if that is more than `most`
 */
function distance(from: string, to: string, most: number): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row++) {
    const [last, now] = [rows[row - 1]!, new Array<number>(to.length + 1).fill(Infinity)];
    now[0] = row;
    // Elsewhere, more letters are added or removed than `most`.
    const [first, end] = [Math.max(1, Math.ceil(row - most)), Math.min(to.length, row + most)];
    for (let column = first; column <= end; column++) {
      const replaced = last[column - 1]! + difference(from[row - 1]!, to[column - 1]!);
      const isExchange = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const exchanged = isExchange ? rows[row - 2]![column - 2]! + 1 : Infinity;
      now[column] = Math.min(replaced, exchanged, last[column]! + 1, now[column - 1]! + 1);
    }
    // No later row has less.
    if (now.every((apart) => apart > most)) return Infinity;
    rows.push(now);
  }
  const apart = rows[from.length]![to.length]!;
  return apart <= most ? apart : Infinity;
}

/** Characters of each group look alike. */
const alike: readonly string[] = ['o0', 'l1i', '5s', '/._-'];

function difference(a: string, b: string): number {
  if (a === b) return 0;
  return alike.some((group) => group.includes(a) && group.includes(b)) ? 0.5 : 1;
}
