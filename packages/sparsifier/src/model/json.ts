import { SparsifyError } from '../errors.js';
import { overLimit, type Reading } from '../host/reading.js';

/** Whether a value, such as one read from JSON, is an object and not a list. */
export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Parses JSON from a file. Whatever walks the content, such as `JSON.stringify`, and `JSON.parse` itself in some
 * browsers, needs a stack: so the depth is limited before, once for all.
 * @param subject the file, for errors
 * @throws SparsifyError `format` if it is nested too deeply or has a number beyond the range of JavaScript, which would be
 *   written as `null`; SyntaxError if it is not JSON
 */
export function parseJson(text: string, subject: string, { limits: { depth } }: Reading): unknown {
  if (!isWithin(text, depth)) throw overLimit('depth', subject, depth);
  const value: unknown = JSON.parse(text);
  // Only numbers of many digits, or with an exponent of three, can be that large.
  if (/\d{200}|\d[eE]\+?\d{3}/.test(text) && !areFinite(value)) {
    throw new SparsifyError('format', 'the JSON has a number that is too large', {
      subject,
      allowed: [`numbers up to ${Number.MAX_VALUE}`],
    });
  }
  return value;
}

/** Whether all numbers in a value are finite. */
function areFinite(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(areFinite);
}

const [quote, backslash, openBrace, closeBrace, openBracket, closeBracket] = [...'"\\{}[]'].map((character) =>
  character.charCodeAt(0),
);

/** Whether no bracket of a text, which may not be JSON, is inside more than `most` others. */
function isWithin(text: string, most: number): boolean {
  let level = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      while (++at < text.length && text.charCodeAt(at) !== quote) if (text.charCodeAt(at) === backslash) at++;
    } else if (code === openBrace || code === openBracket) {
      if (++level > most) return false;
    } else if (code === closeBrace || code === closeBracket) level--;
  }
  return true;
}
