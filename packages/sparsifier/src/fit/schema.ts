import { SparsifyError } from '../errors.js';
import { isObject } from '../model/json.js';
import { typeOf } from '../model/model.js';
import { asked, similarNames } from '../options/spelling.js';

/** A JSON schema, as far as recipes need it. */
type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * A part of a JSON document: its schema for editors, and the check of what was read. Both come from one description, so that
 * they agree.
 */
export interface Part<Value> {
  readonly schema: JsonSchema;
  /**
   * A checked copy.
   * @param path where it is in the document
   * @throws SparsifyError `format`
   */
  read(value: unknown, path: string): Value;
}

/** A part that may be missing. */
interface OptionalPart<Value> extends Part<Value> {
  readonly isOptional: true;
}

/** A part for each key of an object, optional where the key is. */
type Parts<Value> = {
  readonly [Name in keyof Value]-?: undefined extends Value[Name]
    ? OptionalPart<Exclude<Value[Name], undefined>>
    : Part<Value[Name]>;
};

export const optional = <Value>(part: Part<Value>): OptionalPart<Value> => ({ ...part, isOptional: true });

const wrong = (path: string, what: string, value: unknown): SparsifyError =>
  new SparsifyError('format', `the recipe must have ${what} here`, {
    subject: path,
    given: value,
    found: typeOf(value),
  });

const simple = <Value>(what: string, schema: JsonSchema, is: (value: unknown) => boolean): Part<Value> => ({
  schema,
  read(value, path) {
    if (is(value)) return value as Value;
    throw wrong(path, what, value);
  },
});

export const text = (description: string): Part<string> =>
  simple('text', { type: 'string', description }, (value) => typeof value === 'string');

/** The digits of a SHA-256. */
export const digest = (description: string): Part<string> => {
  const pattern = '^[0-9a-f]{64}$';
  const is = (value: unknown) => typeof value === 'string' && new RegExp(pattern).test(value);
  return simple('a SHA-256 of 64 hexadecimal digits', { type: 'string', pattern, description }, is);
};

export const flag = (description: string): Part<boolean> =>
  simple('true or false', { type: 'boolean', description }, (value) => typeof value === 'boolean');

/** A whole number from 0, or from 1, that JavaScript has exactly. */
export const count = (description: string, minimum: 0 | 1 = 0): Part<number> =>
  simple(
    `a whole number from ${minimum}`,
    { type: 'integer', minimum, maximum: Number.MAX_SAFE_INTEGER, description },
    (value) => Number.isSafeInteger(value) && (value as number) >= minimum,
  );

/** A number from 0 up to, but not including, 1. */
export const share = (description: string): Part<number> =>
  simple(
    'a number from 0 up to, but not including, 1',
    { type: 'number', minimum: 0, exclusiveMaximum: 1, description },
    (value) => typeof value === 'number' && value >= 0 && value < 1,
  );

/** A number above 0. */
export const positive = (description: string): Part<number> =>
  simple(
    'a number above 0',
    { type: 'number', exclusiveMinimum: 0, description },
    (value) => typeof value === 'number' && value > 0,
  );

/** One of a few values. */
export const among = <Value extends string | number>(values: readonly Value[], description: string): Part<Value> => ({
  schema: { enum: values, description },
  read(value, path) {
    if ((values as readonly unknown[]).includes(value)) return value as Value;
    const allowed = values.map(String);
    const hint = typeof value === 'string' ? asked(similarNames(value, allowed)) : undefined;
    throw new SparsifyError('format', 'the recipe has an unknown value here', {
      ...{ subject: path, given: value, found: typeOf(value), allowed },
      ...(hint === undefined ? {} : { hint }),
    });
  },
});

/** @param least the fewest items */
export const listOf = <Item>(item: Part<Item>, description: string, least: 0 | 1 = 1): Part<readonly Item[]> => ({
  schema: { type: 'array', minItems: least, items: item.schema, description },
  read(value, path) {
    if (!Array.isArray(value) || value.length < least)
      throw wrong(path, least === 0 ? 'a list' : 'a list that is not empty', value);
    return Array.from(value, (each, index) => item.read(each, `${path}[${index}]`));
  },
});

/** An object of any names. */
export const byName = <Value>(part: Part<Value>, description: string): Part<Readonly<Record<string, Value>>> => ({
  schema: { type: 'object', minProperties: 1, additionalProperties: part.schema, description },
  read(value, path) {
    if (!isObject(value) || Object.keys(value).length === 0) throw wrong(path, 'an object of names', value);
    // Not by assignment, since a name may be `__proto__`.
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, part.read(each, inside(path, name))]));
  },
});

/** An object of known keys. Unknown ones are errors, since a misspelt one would silently do nothing. */
export function object<Value extends object>(parts: Parts<Value>, description: string): Part<Value> {
  const all = Object.entries(parts) as [string, Part<unknown> & Partial<OptionalPart<unknown>>][];
  const names = all.map(([name]) => name);
  const required = all.filter(([, { isOptional }]) => !isOptional).map(([name]) => name);
  return {
    schema: {
      ...{ type: 'object', description, additionalProperties: false, required },
      properties: Object.fromEntries(all.map(([name, { schema }]) => [name, schema])),
    },
    read(value, path) {
      if (!isObject(value)) throw wrong(path, 'an object', value);
      const unknown = Object.keys(value).filter((name) => !names.includes(name));
      if (unknown.length > 0) {
        const hint = asked(unknown.flatMap((name) => similarNames(name, names)));
        throw new SparsifyError('format', 'the recipe has an unknown key', {
          ...{ subject: path, given: unknown.join(', '), allowed: names },
          ...(hint === undefined ? {} : { hint }),
        });
      }
      const missing = required.find((name) => !Object.hasOwn(value, name));
      if (missing !== undefined) {
        throw new SparsifyError('format', 'a key of the recipe is missing', { subject: inside(path, missing) });
      }
      const given = all.filter(([name]) => Object.hasOwn(value, name));
      return Object.fromEntries(
        given.map(([name, part]) => [name, part.read(value[name], inside(path, name))]),
      ) as Value;
    },
  };
}

const inside = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
