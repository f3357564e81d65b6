import fc from 'fast-check';
import { Sparsifier, type Sparsity } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  line,
  rankingsChanged,
  refusal,
  sparsified,
  values,
  weightwise,
  zerosOf,
} from '../support/layers.js';
import { copyOf, removal, removedBy, without, type Asked, type Layers } from '../support/oracle.js';

/** Layers of so many weights each, every weight a unit. */
const linesOf = (sizes: Readonly<Record<string, number>>): Layers =>
  Object.fromEntries(Object.entries(sizes).map(([name, size], index) => [name, line(values(size, index + 1))]));

const four = linesOf({ 'stem/conv': 10, 'block.1/conv': 20, 'block.2/conv': 30, head: 40 });
const untouched = { 'stem/conv': 0, 'block.1/conv': 0, 'block.2/conv': 0, head: 0 };

async function zerosAfter(
  layers: Layers,
  sparsity: Sparsity,
  options: Partial<Asked> = {},
): Promise<Record<string, number>> {
  const { roundTo, ...rest } = options;
  return zerosOf((await sparsified(layers, sparsity, rest, roundTo === undefined ? {} : { roundTo })).layers);
}

describe('amounts in percent', () => {
  const sizes = [
    ...Array.from({ length: 64 }, (_, index) => index + 1),
    97,
    100,
    127,
    128,
    200,
    255,
    256,
    257,
    1000,
    4097,
  ];
  const layers = linesOf(Object.fromEntries(sizes.map((size) => [`of ${size}`, size])));
  const percentages = [
    ...Array.from({ length: 101 }, (_, index) => index),
    0.25,
    0.5,
    1 / 3,
    2.5,
    12.5,
    37.5,
    62.5,
    99.5,
    99.99,
  ];

  test(
    'A percentage removes the nearest whole number of units, halves to even, and by default keeps one unit',
    { timeout: 120_000 },
    async () => {
      for (const percentage of percentages) {
        for (const allowEmpty of [true, false]) {
          const { layers: after, report } = await sparsified(layers, percentage, { allowEmpty });
          const expected = sizes.map((size) => Math.min(removedBy(percentage, size), allowEmpty ? size : size - 1));
          expect(Object.values(zerosOf(after)), `${percentage} percent`).toEqual(expected);
          expect(report.layers.map(({ removedUnits }) => removedUnits)).toEqual(expected);
          expect(report.layers.map(({ zeros }) => zeros)).toEqual(expected);
        }
      }
    },
  );

  test.each([
    { percentage: 50, units: 1, removed: 0 },
    { percentage: 50, units: 3, removed: 2 },
    { percentage: 50, units: 5, removed: 2 },
    { percentage: 25, units: 10, removed: 2 },
    { percentage: 75, units: 10, removed: 8 },
    { percentage: 12.5, units: 4, removed: 0 },
    { percentage: 37.5, units: 4, removed: 2 },
    { percentage: 100, units: 7, removed: 7 },
    { percentage: 0, units: 7, removed: 0 },
  ])('$percentage percent of $units units are $removed units', async ({ percentage, units, removed }) => {
    expect(await zerosAfter({ layer: line(values(units)) }, percentage, { allowEmpty: true })).toEqual({
      layer: removed,
    });
  });

  test(
    'A percentage is exact for any number of eighths of a percent and any layer size',
    { timeout: 120_000 },
    async () => {
      // The rule in whole numbers, of which nothing is rounded but the result.
      const removed = (eighths: number, units: number): number => {
        const [whole, rest] = [(BigInt(eighths) * BigInt(units)) / 800n, (BigInt(eighths) * BigInt(units)) % 800n];
        return Number(rest * 2n > 800n || (rest === 400n && whole % 2n === 1n) ? whole + 1n : whole);
      };
      const sizes = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 12 });
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: 800 }), sizes, async (eighths, sizes) => {
          const layers = linesOf(Object.fromEntries(sizes.map((size, index) => [`${index} of ${size}`, size])));
          const local = await sparsified(layers, eighths / 8, { allowEmpty: true });
          expect(Object.values(zerosOf(local.layers))).toEqual(sizes.map((size) => removed(eighths, size)));
          const { report } = await sparsified(layers, eighths / 8, { allowEmpty: true, context: 'global' });
          const units = sizes.reduce((a, b) => a + b);
          expect(report.total).toMatchObject({
            units,
            keptUnits: units - removed(eighths, units),
            zeros: removed(eighths, units),
          });
        }),
        { numRuns: 100 },
      );
    },
  );

  test('In the global context a percentage counts all units of the network together', async () => {
    for (const percentage of [0.5, 12.5, 33, 50, 90]) {
      const zeros = await zerosAfter(four, percentage, { context: 'global' });
      expect(Object.values(zeros).reduce((a, b) => a + b)).toBe(removedBy(percentage, 100));
    }
  });

  test('A percentage between 0 and 1 is taken literally, and a note tells those who meant a fraction', async () => {
    const { layers, report } = await sparsified(linesOf({ layer: 1000 }), 0.5);
    expect(zerosOf(layers)).toEqual({ layer: 5 });
    expect(report.notes.join()).toMatch(/0\.5 percent.*50/);
    for (const percentage of [0, 1, 50]) expect((await sparsified(four, percentage)).report.notes).toEqual([]);
  });

  test('The note about fractions has no digits of binary arithmetic', async () => {
    const { report } = await sparsified(four, 0.07);
    expect(report.notes.join()).toMatch(/write 7 for/);
  });
});

describe('amounts in units', () => {
  test.each<{ sparsity: Sparsity; zeros: number[] }>([
    { sparsity: { keep: 8 }, zeros: [2, 12, 22, 32] },
    { sparsity: { keep: 10 }, zeros: [0, 10, 20, 30] },
    { sparsity: { keep: 1 }, zeros: [9, 19, 29, 39] },
    { sparsity: { remove: 0 }, zeros: [0, 0, 0, 0] },
    { sparsity: { remove: 9 }, zeros: [9, 9, 9, 9] },
  ])('$sparsity applies to each layer in the local context', async ({ sparsity, zeros }) => {
    expect(Object.values(await zerosAfter(four, sparsity))).toEqual(zeros);
  });

  test('A number of units is a total in the global context', async () => {
    const { layers, report } = await sparsified(four, { keep: 37 }, { context: 'global' });
    expect(report.total).toMatchObject({ units: 100, keptUnits: 37, zeros: 63 });
    expectSame(layers, without(four, removal(four, { keep: 37 }, { ...weightwise, context: 'global' }), 'weight'));
    expect((await sparsified(four, { remove: 37 }, { context: 'global' })).report.total.keptUnits).toBe(63);
  });

  test.each<{ sparsity: Sparsity; zeros: number[]; told: RegExp }>([
    {
      sparsity: { keep: 15 },
      zeros: [0, 5, 15, 25],
      told: /^nothing was removed from stem\/conv \(10 units\), since there are not 15 units$/,
    },
    {
      sparsity: { remove: 15 },
      zeros: [9, 15, 15, 15],
      told: /stem\/conv lost 9 \(90.00 %\) of 10 units instead of 15 \(150.00 %\), since there are not 15 units$/,
    },
    {
      sparsity: { keep: 0 },
      zeros: [9, 19, 29, 39],
      told: /stem\/conv lost 9 \(90.00 %\) of 10 units instead of 10 .*, since each layer keeps a unit without `allowEmpty: true`$/,
    },
    { sparsity: 100, zeros: [9, 19, 29, 39], told: /head lost 39 \(97.50 %\) of 40 units instead of 40 / },
  ])('$sparsity is more than a layer has, so it is limited, with a warning', async ({ sparsity, zeros, told }) => {
    const { layers, report } = await sparsified(four, sparsity);
    expect(Object.values(zerosOf(layers))).toEqual(zeros);
    expect(report.warnings.map(({ message }) => message)).toContainEqual(expect.stringMatching(told));
    expect(report.notes).toEqual([]);
  });
});

describe('amounts by layer', () => {
  test.each<{ title: string; sparsity: Sparsity; zeros: Partial<typeof untouched> }>([
    {
      title: 'a list in model order',
      sparsity: [10, { keep: 1 }, { remove: 3 }, 50],
      zeros: { 'stem/conv': 1, 'block.1/conv': 19, 'block.2/conv': 3, head: 20 },
    },
    {
      title: 'an object with names',
      sparsity: { head: 50, 'stem/conv': { keep: 7 } },
      zeros: { 'stem/conv': 3, head: 20 },
    },
    {
      title: 'a Map with names',
      sparsity: new Map([
        ['head', 25],
        ['block.1/conv', 10],
      ]),
      zeros: { 'block.1/conv': 2, head: 10 },
    },
    {
      title: 'a star that matches dots and slashes',
      sparsity: { 'block*': 50 },
      zeros: { 'block.1/conv': 10, 'block.2/conv': 15 },
    },
    { title: 'a star that matches nothing', sparsity: { 'head*': 50 }, zeros: { head: 20 } },
    {
      title: 'two stars, one in the middle',
      sparsity: { '*k.*/c*': 50 },
      zeros: { 'block.1/conv': 10, 'block.2/conv': 15 },
    },
    {
      title: 'a single star, which matches all',
      sparsity: { '*': 50 },
      zeros: { 'stem/conv': 5, 'block.1/conv': 10, 'block.2/conv': 15, head: 20 },
    },
    {
      title: 'a question mark, which matches one character',
      sparsity: { 'block.?/conv': 50 },
      zeros: { 'block.1/conv': 10, 'block.2/conv': 15 },
    },
    { title: 'a question mark that matches a slash', sparsity: { 'stem?conv': 50 }, zeros: { 'stem/conv': 5 } },
    {
      title: 'a name, which takes precedence over a glob before it',
      sparsity: { '*conv': 50, 'block.1/conv': 10 },
      zeros: { 'stem/conv': 5, 'block.1/conv': 2, 'block.2/conv': 15 },
    },
    {
      title: 'a name, which takes precedence over a glob after it',
      sparsity: { 'block.1/conv': 10, '*conv': 50 },
      zeros: { 'stem/conv': 5, 'block.1/conv': 2, 'block.2/conv': 15 },
    },
    {
      title: 'two globs that agree',
      sparsity: { 'block*': 50, '*conv': 50 },
      zeros: { 'stem/conv': 5, 'block.1/conv': 10, 'block.2/conv': 15 },
    },
    {
      title: 'two globs with the same number of units',
      sparsity: { 'block*': { keep: 4 }, 'block.1*': { keep: 4 } },
      zeros: { 'block.1/conv': 16, 'block.2/conv': 26 },
    },
    { title: 'an empty object, which names no layer', sparsity: {}, zeros: {} },
  ])('Amounts are assigned to layers by $title', async ({ sparsity, zeros }) => {
    expect(await zerosAfter(four, sparsity)).toEqual({ ...untouched, ...zeros });
  });

  test('The report of a call has the layers that it pruned', async () => {
    const { report } = await sparsified(four, { head: 50 });
    expect(report.layers.map(({ name }) => name)).toEqual(['head']);
  });

  test('In names and globs, only * and ? are special characters', async () => {
    const odd = [
      'a.b',
      'a+b',
      'a(b)',
      'a[0]',
      'a{1,2}',
      'a|b',
      '^a$',
      'a\\d',
      'a-b',
      'a/b',
      'a#b',
      'a\nb',
      'ä😀',
      '!a',
    ];
    const layers = linesOf(Object.fromEntries([...odd, 'axb', 'ab', 'aab', 'a0', 'a'].map((name) => [name, 4])));
    for (const name of odd) {
      for (const key of [name, `*${name.slice(1)}`, `${name}*`, `?${[...name].slice(1).join('')}`]) {
        const zeros = await zerosAfter(layers, { [key]: 50 });
        const escaped = (text: string) =>
          text.replace(/[^*?]/gu, (each) => `\\u{${each.codePointAt(0)!.toString(16)}}`);
        const pattern = new RegExp(`^${escaped(key).replaceAll('*', '.*').replaceAll('?', '.')}$`, 'su');
        const expected = Object.keys(layers).filter((each) => (key === name ? each === name : pattern.test(each)));
        expect(
          Object.keys(zeros).filter((each) => zeros[each] === 2),
          JSON.stringify(key),
        ).toEqual(expected);
      }
    }
  });

  test('A key with a star or a question mark that is the name of a layer means that layer', async () => {
    const layers = linesOf({ 'a*': 4, 'a?': 4, ab: 4 });
    expect(await zerosAfter(layers, { 'a*': 50 })).toEqual({ 'a*': 2, 'a?': 0, ab: 0 });
    expect(await zerosAfter(layers, { 'a?': 50 })).toEqual({ 'a*': 0, 'a?': 2, ab: 0 });
  });

  test('An object with just keep or remove is an amount, even where a layer has that name', async () => {
    const layers = linesOf({ keep: 10, other: 20 });
    expect(await zerosAfter(layers, { keep: 4 })).toEqual({ keep: 6, other: 16 });
    expect(await zerosAfter(layers, { keep: 40, other: 10 })).toEqual({ keep: 4, other: 2 });
    expect(await zerosAfter(layers, new Map([['keep', 40]]))).toEqual({ keep: 4, other: 0 });
    expect(await zerosAfter(layers, { keep: { keep: 3 } } as Sparsity)).toEqual({ keep: 7, other: 0 });
  });

  test('Names of methods that every object has are not found as keys', async () => {
    const layers = linesOf({ constructor: 4, toString: 4 });
    expect(await zerosAfter(layers, { toString: 50 } as unknown as Sparsity)).toEqual({ constructor: 0, toString: 2 });
    expect(await zerosAfter(layers, { a: 50 } as Sparsity).catch(({ code }) => code)).toBe('layer');
  });

  test('Two names of one array share its amount', async () => {
    const data = values(10);
    const tied = { first: line(data), second: { ...line(data), data }, other: line(values(10, 2)) };
    const layers = { ...tied, first: { ...tied.first, data } };
    expect(await zerosAfter(layers, { second: 50 })).toEqual({ first: 5, second: 5, other: 0 });
    expect(await zerosAfter(layers, { first: 50, second: 50 })).toEqual({ first: 5, second: 5, other: 0 });
    expect(await zerosAfter(layers, [50, 10])).toEqual({ first: 5, second: 5, other: 1 });
    const error = await refusal(layers, { first: 50, second: 40 });
    expect(error.code).toBe('sparsity');
    expect(error.message).toContain('first');
    expect(error.message).toContain('second');
  });
});

describe('invalid amounts', () => {
  const all = ['stem/conv', 'block.1/conv', 'block.2/conv', 'head'];
  test.each<{ sparsity: unknown; code: string; says: (string | RegExp)[]; details?: object }>([
    { sparsity: -1, code: 'sparsity', says: ['-1', '0 to 100'], details: { given: -1 } },
    { sparsity: -1e-9, code: 'sparsity', says: ['0 to 100'], details: { given: -1e-9 } },
    { sparsity: 100.001, code: 'sparsity', says: ['100.001', '0 to 100'], details: { given: 100.001 } },
    { sparsity: 101, code: 'sparsity', says: ['101'], details: { given: 101 } },
    { sparsity: NaN, code: 'sparsity', says: ['NaN'], details: { given: NaN } },
    { sparsity: Infinity, code: 'sparsity', says: ['Infinity'] },
    { sparsity: '50', code: 'sparsity', says: ['50'], details: { given: '50' } },
    { sparsity: null, code: 'sparsity', says: ['percentage'] },
    { sparsity: undefined, code: 'sparsity', says: ['percentage'] },
    { sparsity: true, code: 'sparsity', says: ['true'] },
    { sparsity: { keep: 1.5 }, code: 'sparsity', says: ['1.5', 'whole number'], details: { given: { keep: 1.5 } } },
    { sparsity: { remove: -1 }, code: 'sparsity', says: ['-1', 'whole number'] },
    { sparsity: { keep: NaN }, code: 'sparsity', says: ['whole number'] },
    { sparsity: { remove: Infinity }, code: 'sparsity', says: ['whole number'] },
    { sparsity: { keep: '3' }, code: 'sparsity', says: ['keep'] },
    { sparsity: { head: '50' }, code: 'sparsity', says: ['head', '50'], details: { subject: 'head', given: '50' } },
    { sparsity: { head: 101 }, code: 'sparsity', says: ['head', '101'], details: { subject: 'head', given: 101 } },
    { sparsity: { head: { keep: 0.5 } }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: { head: { keep: 1, remove: 1 } }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: { head: {} }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: { head: [50] }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: { head: null }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: { head: undefined }, code: 'sparsity', says: ['head'], details: { subject: 'head' } },
    { sparsity: [10, 20, 30], code: 'sparsity', says: ['4', 'list of 3', ...all] },
    { sparsity: [10, 20, 30, 40, 50], code: 'sparsity', says: ['4', 'list of 5', ...all] },
    { sparsity: [], code: 'sparsity', says: all },
    { sparsity: [10, 20, 30, -40], code: 'sparsity', says: ['head', '-40'], details: { subject: 'head', given: -40 } },
    { sparsity: [10, 20, '30', 40], code: 'sparsity', says: ['block.2/conv'], details: { subject: 'block.2/conv' } },
    { sparsity: [10, 20, , 40], code: 'sparsity', says: ['block.2/conv'], details: { subject: 'block.2/conv' } },
    { sparsity: { tail: 50 }, code: 'layer', says: ['tail', ...all], details: { given: 'tail', allowed: all } },
    { sparsity: { 'tail*': 50 }, code: 'layer', says: ['tail*', ...all], details: { given: 'tail*', allowed: all } },
    { sparsity: { Head: 50 }, code: 'layer', says: ['Head'] },
    { sparsity: { block: 50 }, code: 'layer', says: ['block'] },
    { sparsity: { 'block.?': 50 }, code: 'layer', says: ['block.?'] },
    { sparsity: { '?head': 50 }, code: 'layer', says: ['?head'] },
    { sparsity: { head: 50, tail: 50 }, code: 'layer', says: ['tail'] },
    {
      sparsity: { 'block*': 50, '*2/conv': 40 },
      code: 'sparsity',
      says: ['block.2/conv', 'block*', '*2/conv'],
      details: { subject: 'block.2/conv' },
    },
    {
      sparsity: { 'block*': 50, '*2/conv': { remove: 15 } },
      code: 'sparsity',
      says: ['block.2/conv', 'block*', '*2/conv'],
    },
  ])('$sparsity is an error, and nothing is changed', async ({ sparsity, code, says, details = {} }) => {
    const error = await refusal(four, sparsity);
    expect(error.code).toBe(code);
    expect(error.details).toMatchObject(details);
    for (const each of says) expect(error.message).toMatch(typeof each === 'string' ? literally(each) : each);
  });

  test('A name takes precedence over two globs that disagree', async () => {
    expect(await zerosAfter(four, { 'block*': 50, '*2/conv': 40, 'block.2/conv': 10 })).toEqual({
      ...untouched,
      'block.1/conv': 10,
      'block.2/conv': 3,
    });
  });

  test('An amount for a layer that layerType leaves out is an error that says why', async () => {
    const layers: Layers = {
      ...four,
      conv: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [2, 1, 1, 2], data: values(4) },
    };
    const error = await refusal(layers, { head: 50 }, { layerType: 'conv2d' });
    expect(error.code).toBe('layer');
    expect(error.message).toContain('it is left out: only conv2d layers are pruned. `layerType` names the kinds.');
    expect(error.details.allowed).toEqual(['conv']);
  });

  test.each<[unknown]>([[-1], [101], [NaN], ['50'], [{ keep: 1.5 }], [undefined], [[50]], [{ head: 50 }]])(
    'sparsifyLayer refuses the amount %j, and nothing is changed',
    async (amount) => {
      const layers = copyOf(four);
      const sparsifier = new Sparsifier(fromArrays(layers), weightwise);
      const error = await errorOf(() => sparsifier.sparsifyLayer('head', amount as number));
      expect(error.code).toBe('sparsity');
      expect(error.details.subject).toBe('head');
      expectSame(layers, four);
      await expectNoMemoryInUse();
    },
  );

  test('sparsifyLayer of an unknown layer lists the layers that there are', async () => {
    const sparsifier = new Sparsifier(fromArrays(copyOf(four)), weightwise);
    for (const name of ['tail', 'block*', '']) {
      const error = await errorOf(() => sparsifier.sparsifyLayer(name, 50));
      expect([error.code, error.details.given, error.details.allowed]).toEqual(['layer', name, all]);
    }
  });

  test.each<{ options: object; says: string[] }>([
    { options: { minKeep: -1 }, says: ['minKeep', '-1'] },
    { options: { minKeep: 1.5 }, says: ['minKeep', '1.5'] },
    { options: { minKeep: '3' }, says: ['minKeep', '3'] },
    { options: { maxSparsity: 101 }, says: ['maxSparsity', '101'] },
    { options: { maxSparsity: NaN }, says: ['maxSparsity', 'NaN'] },
    { options: { minKeep: { head: 2.5 } }, says: ['minKeep', '2.5'] },
    { options: { maxSparsity: { head: -1 } }, says: ['maxSparsity', '-1'] },
    { options: { maxSparsity: { head: '50' } }, says: ['maxSparsity', '50'] },
    { options: { maxSparsity: { head: { keep: 1 } } }, says: ['maxSparsity'] },
    { options: { minKeep: { tail: 2 } }, says: ['tail', ...all] },
    { options: { minKeep: { 'block*': 2, '*2/conv': 3 } }, says: ['block.2/conv', 'block*', '*2/conv'] },
  ])('The limits $options are an error', async ({ options, says }) => {
    const error = await refusal(four, 50, options);
    expect(error.code).toMatch(/^(sparsity|layer)$/);
    for (const each of says) expect(error.message).toContain(each);
  });

  test.each([[0], [-8], [1.5], [NaN], ['8']])('roundTo %j is an error', async (roundTo) => {
    const error = await refusal(four, 50, {}, { roundTo: roundTo as number });
    expect([error.code, error.details.given]).toEqual(['sparsity', roundTo]);
    expect(error.message).toContain('roundTo');
  });
});

describe('limits', () => {
  const check = async (sparsity: number, asked: Partial<Asked>, zeros: number[]) => {
    const { layers, report } = await sparsified(four, sparsity, asked);
    expect(Object.values(zerosOf(layers))).toEqual(zeros);
    expectSame(layers, without(four, removal(four, sparsity, { ...weightwise, ...asked }), 'weight'));
    return rankingsChanged(report);
  };

  test('minKeep and maxSparsity for all layers hold in each of them', async () => {
    expect(await check(90, { minKeep: 4 }, [6, 16, 26, 36])).toHaveLength(3);
    expect(await check(90, { maxSparsity: 55 }, [5, 11, 16, 22])).toHaveLength(4);
    expect(await check(90, { minKeep: 8, maxSparsity: 75 }, [2, 12, 22, 30])).toHaveLength(4);
    expect(await check(50, { minKeep: 1, maxSparsity: 99 }, [5, 10, 15, 20])).toEqual([]);
  });

  test('minKeep and maxSparsity can be given by name and glob', async () => {
    await check(90, { minKeep: { head: 10 } }, [9, 18, 27, 30]);
    await check(90, { maxSparsity: { head: 50, 'stem/conv': 0 } }, [0, 18, 27, 20]);
    const { layers } = await sparsified(four, 90, { minKeep: { 'block*': 12, 'block.1/conv': 15 } });
    expect(Object.values(zerosOf(layers))).toEqual([9, 5, 18, 36]);
  });

  test('maxSparsity is rounded down to whole units', async () => {
    for (const maxSparsity of [1, 33, 34, 66, 99, 100]) {
      const { layers } = await sparsified(linesOf({ a: 3, b: 7, c: 100 }), 100, { maxSparsity, allowEmpty: true });
      expect(Object.values(zerosOf(layers))).toEqual(
        [3, 7, 100].map((units) => Math.floor((maxSparsity * units) / 100)),
      );
    }
  });

  test('A minKeep of more units than a layer has keeps all of them', async () => {
    await check(50, { minKeep: 25 }, [0, 0, 5, 15]);
  });

  test('A layer is emptied only where allowEmpty is set', async () => {
    await check(100, {}, [9, 19, 29, 39]);
    await check(100, { allowEmpty: true }, [10, 20, 30, 40]);
    await check(100, { allowEmpty: true, minKeep: 1 }, [9, 19, 29, 39]);
  });

  // One layer has all the small weights.
  const uneven: Layers = {
    small: line(values(50, 1, 9)),
    large: line(values(50, 2).map((each) => each * 1000)),
    huge: line([1e9, 2e9]),
  };

  test.each<{ asked: Partial<Asked>; sparsity: number; zeros: number[] }>([
    { asked: {}, sparsity: 45, zeros: [46, 0, 0] },
    { asked: {}, sparsity: 75, zeros: [49, 27, 0] },
    { asked: { allowEmpty: true }, sparsity: 75, zeros: [50, 26, 0] },
    { asked: { minKeep: 10 }, sparsity: 45, zeros: [40, 6, 0] },
    { asked: { maxSparsity: 60 }, sparsity: 45, zeros: [30, 16, 0] },
    { asked: { minKeep: { small: 45 } }, sparsity: 45, zeros: [5, 41, 0] },
    { asked: { maxSparsity: { large: 0 } }, sparsity: 49, zeros: [49, 0, 1] },
    { asked: {}, sparsity: 100, zeros: [49, 49, 1] },
    { asked: { minKeep: 20 }, sparsity: 100, zeros: [30, 30, 0] },
  ])(
    'In the global context, with $sparsity percent and $asked, other layers make up for a limit',
    async ({ asked, sparsity, zeros }) => {
      const { layers } = await sparsified(uneven, sparsity, { ...asked, context: 'global' });
      expect(Object.values(zerosOf(layers))).toEqual(zeros);
      const all = { ...weightwise, ...asked, context: 'global' } as const;
      expectSame(layers, without(uneven, removal(uneven, sparsity, all), 'weight'));
    },
  );

  test('A warning tells what the limits of a whole network keep', async () => {
    const { report } = await sparsified(uneven, 100, { context: 'global', minKeep: 20 });
    const because = { name: 'limits', options: ['minKeep'] };
    expect(rankingsChanged(report)).toEqual([{ name: 'the network', units: 102, asked: 102, removed: 60, because }]);
  });

  test('The total of a network is exact for any limits', { timeout: 120_000 }, async () => {
    const limits = fc.record({
      minKeep: fc.nat(12),
      maxSparsity: fc.integer({ min: 20, max: 100 }),
      allowEmpty: fc.boolean(),
    });
    const layer = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.nat(1000), fc.constantFrom(1, 3, 2000));
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { minLength: 1, maxLength: 5 }),
        limits,
        fc.nat(100),
        async (sizes, asked, sparsity) => {
          const layers = Object.fromEntries(
            sizes.map(([size, seed, magnitudes], index) => [`l${index}`, line(values(size, seed, magnitudes))]),
          );
          const all = { ...weightwise, ...asked, context: 'global' } as const;
          expectSame(
            (await sparsified(layers, sparsity, all)).layers,
            without(layers, removal(layers, sparsity, all), 'weight'),
          );
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('roundTo', () => {
  test.each([
    { sparsity: 50, roundTo: 8, kept: [8, 16, 16, 24] },
    { sparsity: 50, roundTo: 5, kept: [5, 10, 15, 20] },
    { sparsity: 50, roundTo: 1, kept: [5, 10, 15, 20] },
    { sparsity: 90, roundTo: 4, kept: [4, 4, 4, 4] },
    { sparsity: 90, roundTo: 16, kept: [10, 16, 16, 16] },
    { sparsity: 50, roundTo: 64, kept: [10, 20, 30, 40] },
    { sparsity: 0, roundTo: 8, kept: [10, 20, 30, 40] },
  ])('roundTo $roundTo at $sparsity percent keeps $kept units', async ({ sparsity, roundTo, kept }) => {
    const { layers, report } = await sparsified(four, sparsity, {}, { roundTo });
    expect(report.layers.map((layer) => layer.keptUnits)).toEqual(kept);
    expectSame(layers, without(four, removal(four, sparsity, { ...weightwise, roundTo }), 'weight'));
  });

  test('roundTo keeps one multiple even of a layer that may be emptied', async () => {
    expect(await zerosAfter(four, 100, { allowEmpty: true, roundTo: 4 })).toEqual({
      'stem/conv': 6,
      'block.1/conv': 16,
      'block.2/conv': 26,
      head: 36,
    });
  });

  test('roundTo is applied after the limits', async () => {
    expect(Object.values(await zerosAfter(four, 90, { minKeep: 5, roundTo: 4 }))).toEqual([2, 12, 22, 32]);
  });

  test('In the global context, rounding in one layer never changes another layer', async () => {
    const asked = { ...weightwise, context: 'global' } as const;
    const exact = (await sparsified(four, 60, asked)).report;
    const rounded = await sparsified(four, 60, asked, { roundTo: 8 });
    expect(rounded.report.layers.map(({ keptUnits }) => keptUnits)).toEqual(
      exact.layers.map(({ keptUnits, units }) => Math.min(units, Math.max(8, Math.ceil(keptUnits / 8) * 8))),
    );
    expectSame(rounded.layers, without(four, removal(four, 60, { ...asked, roundTo: 8 }), 'weight'));
  });

  test('roundTo agrees with the oracle in both contexts, with limits', { timeout: 120_000 }, async () => {
    const context = fc.constantFrom('local' as const, 'global' as const);
    await fc.assert(
      fc.asyncProperty(
        context,
        fc.integer({ min: 1, max: 12 }),
        fc.nat(100),
        fc.nat(9),
        async (context, roundTo, sparsity, minKeep) => {
          const asked = { ...weightwise, context, minKeep };
          const { layers } = await sparsified(four, sparsity, asked, { roundTo });
          expectSame(layers, without(four, removal(four, sparsity, { ...asked, roundTo }), 'weight'));
        },
      ),
      { numRuns: 40 },
    );
  });
});

const literally = (text: string): RegExp => new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
