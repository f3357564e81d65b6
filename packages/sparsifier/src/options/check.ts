import { attempt, SparsifyError, type ErrorCode } from '../errors.js';
import { typeOf } from '../model/model.js';
import { checkNames, unknownValue } from './spelling.js';

/**
 * Refuses a value of another type, and returns it otherwise, perhaps as a copy or spelt as this package does.
 * @param name how the option or argument is written, in backticks
 */
export type Check<Value> = (value: unknown, name: string) => Value;

/** A check for each option. It does not compile if an option has none, or one of another type. */
export type Shape<Options> = { readonly [Name in keyof Options]-?: Check<Exclude<Options[Name], undefined>> };

/**
 * A copy of options, in which each was read once and has the type of its check. Those that are undefined are left out.
 * @throws SparsifyError `usage` for what is no object, for an unknown option, and where a getter throws, with what it threw
 *   as the cause; what the checks throw
 */
export function optionsOf<Options extends object>(given: Options, shape: Shape<Options>): Options {
  const names = Object.keys(shape) as (keyof Options & string)[];
  return attempt('the options', () => {
    checkNames(given, names);
    const entries = names.map((name) => [name, given[name]] as const).filter(([, value]) => value !== undefined);
    return Object.fromEntries(
      entries.map(([name, value]) => [name, attempt(`\`${name}\``, () => shape[name](value, `\`${name}\``))]),
    ) as Options;
  });
}

/** A shape without some of its options. */
export const without = <Options, Name extends keyof Options>(
  shape: Shape<Options>,
  ...names: readonly Name[]
): Shape<Omit<Options, Name>> =>
  Object.fromEntries(Object.entries(shape).filter(([name]) => !names.includes(name as Name))) as unknown as Shape<
    Omit<Options, Name>
  >;

/** Whether it is a list of such items. One by one, which ends at the first hole of a list. */
export function isListOf(value: unknown, is: (item: unknown) => boolean): boolean {
  if (!Array.isArray(value)) return false;
  for (let index = 0; index < value.length; index++) if (!is(value[index])) return false;
  return true;
}

/** Those options whose names are wanted. */
export const picked = <Options extends object>(
  options: Options,
  isWanted: (name: keyof Options & string) => boolean,
): Partial<Options> =>
  Object.fromEntries(
    Object.entries(options).filter(([name]) => isWanted(name as keyof Options & string)),
  ) as Partial<Options>;

/** A check of the type alone. @param what it must be, in words */
export const being =
  <Value>(what: string, is: (value: unknown) => boolean, code: ErrorCode = 'usage'): Check<Value> =>
  (value, name) => {
    if (is(value)) return value as Value;
    throw new SparsifyError(code, `${name} is ${what}`, { given: value, found: typeOf(value) });
  };

export const aFunction = being<never>('a function', (value) => typeof value === 'function');
export const aBoolean = being<boolean>('true or false', (value) => typeof value === 'boolean');

/** A whole number of at least 1. */
export const aCount = (code: ErrorCode = 'usage'): Check<number> =>
  being('a whole number above 0', (value) => Number.isInteger(value) && (value as number) > 0, code);

/** One of a few words. @param what they are, for the error */
export const oneOf =
  <Word extends string>(what: string, words: readonly Word[]): Check<Word> =>
  (value) => {
    if ((words as readonly unknown[]).includes(value)) return value as Word;
    throw unknownValue('usage', what, value, words);
  };

/** Any value: what it may be depends on other options, or on the model, and is checked with them. */
export const asGiven: Check<never> = (value) => value as never;

/** An AbortSignal, also of another realm or library. */
export const aSignal: Check<AbortSignal> = (value) => {
  const { throwIfAborted, addEventListener, removeEventListener } = (value ?? {}) as Partial<AbortSignal>;
  const members = [throwIfAborted, addEventListener, removeEventListener];
  if (members.every((member) => typeof member === 'function')) return value as AbortSignal;
  throw new SparsifyError('usage', '`signal` is an AbortSignal', {
    found: typeOf(value),
    hint: value instanceof AbortController ? 'Pass the `signal` of the controller' : undefined,
  });
};
