import type { Role } from '../../model/model.js';

/** How an `Einsum` reads a constant. */
export interface Product {
  /** One per axis of the constant. */
  readonly roles: readonly Role[];
  /** The axis of the output with the channels, counted from the end, from 1; undefined if they are on several axes. */
  readonly channel: number | undefined;
  /** The axis of the other operand that the sum runs along, counted in the same way; undefined for other sums. */
  readonly activation: number | undefined;
}

/** The most characters of an equation: three terms of all letters, with an ellipsis and spaces between all of them. */
export const longestEquation = 400;

/**
 * Reads the equation of an `Einsum` of two operands as a product of matrices.
 * @param operand which of the two is the constant
 * @param shape of the constant
 * @returns undefined for anything else: sums along one operand, diagonals, products without a sum
 */
export function einsum(equation: string, operand: number, shape: readonly number[]): Product | undefined {
  const [left = '', right] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  const [own, other] = [terms[operand], terms[1 - operand]];
  if (terms.length !== 2 || own === undefined || other === undefined) return undefined;
  const output = right ?? implied(left);
  const isRepeated = [own, other].some((term) => new Set(lettersOf(term)).size < lettersOf(term).length);
  if (isRepeated || !/^[a-zA-Z]+$/.test(own) || own.length !== shape.length) return undefined;

  const meanings = [...own].map((letter) => [other.includes(letter), output.includes(letter)].join());
  const isBatch = meanings.includes('true,true');
  const roleOf: Readonly<Record<string, Role>> = {
    'true,false': 'in',
    'false,true': isBatch ? 'multiplier' : 'out',
    'true,true': 'out',
  };
  const roles = meanings.map((meaning) => roleOf[meaning]);
  if (!roles.every((role) => role !== undefined) || !roles.includes('in')) return undefined;
  if (!roles.includes(isBatch ? 'multiplier' : 'out')) return undefined;
  const only = (role: Role) => {
    const [letter, ...more] = [...own].filter((_, place) => roles[place] === role);
    return more.length === 0 ? letter : undefined;
  };
  // What the other operand is summed along by itself is not a sum of products.
  const isRow = [...other].every((letter) => own.includes(letter) || output.includes(letter));
  return {
    roles,
    channel: isBatch ? undefined : fromEnd(output, only('out')),
    activation: isRow ? fromEnd(other, only('in')) : undefined,
  };
}

/** The place of a letter, counted from the end, from 1; undefined if an ellipsis follows it. */
function fromEnd(term: string, letter: string | undefined): number | undefined {
  if (letter === undefined || term.indexOf('.') > term.indexOf(letter)) return undefined;
  return term.length - term.indexOf(letter);
}

const lettersOf = (term: string): string[] => [...term.replace('...', '')];

/** The output of an equation without one: the letters that occur once, in the order of the alphabet. */
export function implied(left: string): string {
  const counts = new Map<string, number>();
  for (const letter of left.replaceAll(/[,.]/g, '')) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  const once = [...counts].flatMap(([letter, count]) => (count === 1 ? [letter] : []));
  return (left.includes('...') ? '...' : '') + once.sort().join('');
}
