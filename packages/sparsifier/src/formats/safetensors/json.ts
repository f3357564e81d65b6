import type { ErrorDetails } from '../../errors.js';

const spaces = new Set([...' \t\n\r'].map((space) => space.charCodeAt(0)));

/** At most 16 digits are looked at: more are beyond 2^53. */
const wholeNumber = /(?:0|[1-9]\d{0,15})(?![\d.eE])/y;

/**
 * Reads JSON of objects, arrays of whole numbers, and strings, asked for one by one; all else is an error.
 *
 * Headers come from strangers, and `JSON.parse` is not made for that: it hides repeated keys, cannot tell 1.0 from 1,
 * and makes some 50 bytes of the three in `{},`. Here nothing is made but what the caller asks for.
 */
export class JsonReader {
  readonly #text: string;
  readonly #failure: (summary: string, details: ErrorDetails) => Error;
  #position = 0;

  /** @param failure makes the error of what was found */
  constructor(text: string, failure: (summary: string, details: ErrorDetails) => Error) {
    this.#text = text;
    this.#failure = failure;
  }

  /** The keys of an object, each once. The caller reads the value of a key before it asks for the next. */
  *keys(): Generator<string> {
    const seen = new Set<string>();
    this.#expect('{');
    if (this.#skip('}')) return;
    do {
      const key = this.string();
      if (seen.has(key)) throw this.#failure(`the header has ${quoted(key)} twice`, {});
      seen.add(key);
      this.#expect(':');
      yield key;
    } while (this.#skip(','));
    this.#expect('}');
  }

  /** An array of whole numbers below 2^53. */
  integers(): number[] {
    const found: number[] = [];
    this.#expect('[');
    if (this.#skip(']')) return found;
    do found.push(this.#integer());
    while (this.#skip(','));
    this.#expect(']');
    return found;
  }

  string(): string {
    if (this.#next() !== '"') throw this.unexpected('a string');
    const start = this.#position;
    let end = start;
    do end = this.#text.indexOf('"', end + 1);
    while (this.#isEscaped(end));
    const value = end < 0 ? undefined : parsed(this.#text.slice(start, end + 1));
    if (value === undefined || !isWellFormed(value)) throw this.unexpected('a string');
    this.#position = end + 1;
    return value;
  }

  /** Fails if anything but spaces is left. */
  end(): void {
    if (this.#next() !== '') throw this.unexpected('the end');
  }

  /** The error for what is at this place, where `wanted` should be. */
  unexpected(wanted: string): Error {
    const found = this.#text.slice(this.#position, this.#position + 20);
    return this.#failure(`the header is not as the format has it, at its character ${this.#position}`, {
      found: found || 'its end',
      allowed: [wanted],
    });
  }

  #integer(): number {
    this.#next();
    wholeNumber.lastIndex = this.#position;
    const value = wholeNumber.test(this.#text) ? Number(this.#text.slice(this.#position, wholeNumber.lastIndex)) : NaN;
    if (!Number.isSafeInteger(value)) throw this.unexpected('a whole number from 0 to 2^53 - 1');
    this.#position = wholeNumber.lastIndex;
    return value;
  }

  /** The next character that is no space; nothing at the end. */
  #next(): string {
    while (spaces.has(this.#text.charCodeAt(this.#position))) this.#position++;
    return this.#text.charAt(this.#position);
  }

  #skip(character: string): boolean {
    const isNext = this.#next() === character;
    if (isNext) this.#position++;
    return isNext;
  }

  #expect(character: string): void {
    if (!this.#skip(character)) throw this.unexpected(character);
  }

  /** Whether the character has an odd number of backslashes before it. */
  #isEscaped(position: number): boolean {
    let first = position;
    while (this.#text.charAt(first - 1) === '\\') first--;
    return (position - first) % 2 === 1;
  }
}

/** UTF-8 has no halves of surrogate pairs, though JSON can write them. */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

/** A name in an error, where it may have any length. */
export const quoted = (name: string): string => `'${name.length > 100 ? `${name.slice(0, 100)}…` : name}'`;

function parsed(literal: string): string | undefined {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return undefined;
  }
}
