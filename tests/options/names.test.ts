import fc from 'fast-check';
import { Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { expect, test } from 'vitest';
import { matcherOf } from '../support/internal.js';
import { line } from '../support/layers.js';

/** The definition of a glob, for short ones. */
const matches = (glob: string, name: string): boolean => {
  const [first, ...rest] = [...glob];
  const [letter, ...others] = [...name];
  if (first === undefined) return name === '';
  if (first === '*') return matches(rest.join(''), name) || (letter !== undefined && matches(glob, others.join('')));
  return letter !== undefined && (first === '?' || first === letter) && matches(rest.join(''), others.join(''));
};

test('A glob matches exactly the names that its definition says', () => {
  const letters = (...all: string[]) =>
    fc.array(fc.constantFrom(...all), { maxLength: 9 }).map((list) => list.join(''));
  fc.assert(
    fc.property(letters('a', 'b', '*', '*', '?', '😀', '.'), letters('a', 'b', '*', '😀', '.', '\n'), (glob, name) => {
      expect(matcherOf(glob)(name)).toBe(matches(glob, name));
    }),
    { numRuns: 5000 },
  );
});

test('A glob with many stars is matched without trying all ways to divide a long name', async () => {
  const glob = `${'*a'.repeat(30)}*b`;
  const name = 'a'.repeat(5000);
  expect(matcherOf(glob)(name)).toBe(false);
  expect(matcherOf(glob)(`${name}b`)).toBe(true);
  expect(matcherOf('*'.repeat(1000))(name)).toBe(true);
  const layers = { [name]: line([1, 2]), [`${name}b`]: line([1, 2]) };
  const options = { layerType: 'all', exclude: glob } as const;
  const report = await new Sparsifier(fromArrays(layers), options).sparsifyModel({ '*a*a*a*a*a*a*a*a*a*a*a': 50 });
  expect(report.layers.map((layer) => layer.name)).toEqual([name]);
});
