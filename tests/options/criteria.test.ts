import fc from 'fast-check';
import {
  Criteria,
  Sparsifier,
  type Context,
  type CriteriaName,
  type GranularityName,
  type Normalizer,
  type Reducer,
} from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  errorOf,
  expectSame,
  layerOf,
  layoutOf,
  layouts,
  line,
  permuted,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  type Layout,
} from '../support/layers.js';
import {
  granularities as everyGranularity,
  removal,
  scoresOf,
  spanned,
  unitsOf,
  without,
  type Asked,
  type Layers,
} from '../support/oracle.js';
import { draw, philox } from '../support/philox.js';

const reducers: Reducer[] = ['mean', 'sum', 'l2', 'max'];
const normalizers: Normalizer[] = ['sum', 'mean', 'max', 'l2', 'minmax', 'standard'];
const granularities: GranularityName[] = ['weight', 'vector', 'filter'];

/** Layers on scales of their own, with units of different sizes. */
const scales: Layers = Object.fromEntries(
  ['conv2d', 'conv2d of tfjs', 'conv3d', 'convTranspose2d', 'dense of tfjs', 'lstm'].map((title, index) => {
    const layer = layerOf(layoutOf(title), index, index % 2 ? 2000 : 20);
    return [title, { ...layer, data: (layer.data as Float32Array).map((weight) => weight * 4 ** (index - 2)) }];
  }),
);

async function check(layers: Layers, sparsity: number, asked: Asked, what = ''): Promise<void> {
  const { layers: after } = await sparsified(layers, sparsity, { ...asked, layerType: 'all' });
  expectSame(after, without(layers, removal(layers, sparsity, asked), asked.granularity), what);
}

describe('the score of a weight', () => {
  test('largeFinal is the magnitude, also by its other names', async () => {
    const layers = { layer: line([-4, 3, -2, 1, 5]) };
    for (const criteria of ['largeFinal', 'magnitude', 'large_final', Criteria.largeFinal, Criteria.magnitude]) {
      const { layers: after } = await sparsified(layers, { keep: 2 }, { criteria: criteria as CriteriaName });
      expect([...after.layer!.data]).toEqual([-4, 0, 0, 0, 5]);
    }
  });

  test('squaredFinal is the square, which removes the same weights but other units', async () => {
    const single = { layer: line(values(100)) };
    expectSame(
      (await sparsified(single, 40, { criteria: 'squaredFinal' })).layers,
      (await sparsified(single, 40, { criteria: 'largeFinal' })).layers,
    );
    // Means of magnitudes 3 and 2.5, means of squares 9 and 12.5.
    const rows: Layers = {
      layer: { kind: 'dense', roles: ['out', 'in'], shape: [2, 2], data: Float32Array.of(3, 3, 5, 0) },
    };
    const left = async (criteria: string) => [
      ...(await sparsified(rows, 50, { criteria: criteria as CriteriaName, granularity: 'filter' })).layers.layer!.data,
    ];
    expect(await left('largeFinal')).toEqual([3, 3, 0, 0]);
    expect(await left('squaredFinal')).toEqual([0, 0, 5, 0]);
    expect(await left('squared_final')).toEqual([0, 0, 5, 0]);
  });

  test('Squares are rounded to 32 bits, so that very small ones are zeros, which tie', async () => {
    const { layers } = await sparsified(
      { layer: line([1e-20, 2e-23, 1e-30, 1e-19]) },
      { remove: 2 },
      { criteria: 'squaredFinal' },
    );
    expect([...layers.layer!.data].map((weight) => weight !== 0)).toEqual([true, false, false, true]);
    const { layers: tied } = await sparsified(
      { layer: line([3e-30, 2e-30, 1e-30, 1e-19]) },
      { remove: 2 },
      { criteria: 'squaredFinal' },
    );
    expect([...tied.layer!.data].map((weight) => weight !== 0)).toEqual([false, false, true, true]);
  });

  test('Squares that are too large are infinite, tie, and are kept', async () => {
    const { layers } = await sparsified(
      { layer: line([3e38, 1, 2e38, -1e38]) },
      { remove: 2 },
      { criteria: 'squaredFinal' },
    );
    expect([...layers.layer!.data].map((weight) => weight !== 0)).toEqual([false, false, true, true]);
  });
});

describe('scaling all weights', () => {
  const times = ({ data, ...rest }: ArrayLayer, factor: number): ArrayLayer => ({
    ...rest,
    data: (data as Float32Array).map((weight) => weight * factor),
  });

  test.each(everyGranularity)(
    'Multiplying all weights by a power of two changes no mask of granularity %s',
    async (granularity) => {
      const layer = fc.record({
        layout: fc.constantFrom(...layouts.filter(({ kind }) => spanned(kind, granularity))),
        seed: fc.nat(1000),
        magnitudes: fc.constantFrom(3, 30, 2000),
        // Far from 0, magnitudes that differ do so in their last bits.
        base: fc.constantFrom(0, 2 ** 23),
      });
      const asked = fc.record({
        criteria: fc.constantFrom<CriteriaName>('largeFinal', 'squaredFinal', 'smallFinal'),
        context: granularity === 'layer' ? fc.constant<Context>('global') : fc.constantFrom<Context>('local', 'global'),
        reducer: fc.constantFrom(...reducers),
        normalizer: fc.constantFrom(undefined, ...normalizers),
      });
      await fc.assert(
        fc.asyncProperty(
          fc.array(layer, { minLength: 1, maxLength: 4 }),
          asked,
          fc.integer({ min: 1, max: 99 }),
          // Of magnitudes from 2^-12 to 2^12, neither these nor their squares leave the range of 32 bits.
          fc.integer({ min: -40, max: 40 }),
          async (list, { normalizer, ...asked }, sparsity, exponent) => {
            const layers = list.map(({ layout, seed, magnitudes, base }) => {
              const layer = weightsOnly(layout, seed, magnitudes);
              const data = (layer.data as Float32Array).map((weight) => (weight + Math.sign(weight) * base) * 2 ** -12);
              return { ...layer, data };
            });
            const multiplied = (all: readonly ArrayLayer[], factor: number): Layers =>
              Object.fromEntries(all.map((layer, index) => [`layer ${index}`, times(layer, factor)]));
            const options = { ...asked, granularity, ...(normalizer && { normalizer }) };
            const { layers: plain } = await sparsified(multiplied(layers, 1), sparsity, options);
            const { layers: scaled } = await sparsified(multiplied(layers, 2 ** exponent), sparsity, options);
            expectSame(scaled, multiplied(Object.values(plain), 2 ** exponent));
          },
        ),
        { numRuns: 15 },
      );
    },
  );
});

describe('reducers', () => {
  test.each(reducers)('The reducer %s agrees with its formula in both contexts', async (reducer) => {
    for (const granularity of granularities) {
      for (const context of ['local', 'global'] as const) {
        await check(scales, 45, { granularity, context, reducer }, `${granularity} ${context}`);
      }
    }
  });

  test('The reducer is mean by default', async () => {
    const asked = { granularity: 'filter', context: 'global' } as const;
    expectSame(
      (await sparsified(scales, 45, asked)).layers,
      (await sparsified(scales, 45, { ...asked, reducer: 'mean' })).layers,
    );
  });

  test('Reducers order units differently where their formulas do', async () => {
    // Rows with the sums 8, 9, 7 and 6, the maxima 5, 3, 7 and 6, the norms 5.8, 5.2, 7 and 6.
    const layer: ArrayLayer = {
      kind: 'dense',
      roles: ['out', 'in'],
      shape: [4, 3],
      data: Float32Array.of(5, 3, 0, 3, 3, 3, 0, 0, 7, 0, -6, 0),
    };
    const order = async (reducer: Reducer) => {
      const gone: number[] = [];
      for (let remove = 1; remove <= 4; remove++) {
        const { layers } = await sparsified(
          { layer },
          { remove },
          { granularity: 'filter', reducer, allowEmpty: true },
        );
        gone.push(
          [0, 1, 2, 3].find(
            (row) =>
              !gone.includes(row) && layers.layer!.data.subarray(row * 3, row * 3 + 3).every((each) => each === 0),
          )!,
        );
      }
      return gone;
    };
    expect(await order('mean')).toEqual([3, 2, 0, 1]);
    expect(await order('sum')).toEqual([3, 2, 0, 1]);
    expect(await order('max')).toEqual([1, 0, 3, 2]);
    expect(await order('l2')).toEqual([1, 0, 3, 2]);
  });

  test('Reducers agree with their formulas for units of many weights', async () => {
    // On either side of the lengths at which sums are cut into lanes and runs.
    for (const length of [7, 8, 9, 4095, 4096, 4097, 8200]) {
      for (const roles of [
        ['out', 'in'],
        ['in', 'out'],
      ] as const) {
        const shape = roles[0] === 'out' ? [5, length] : [length, 5];
        const layers: Layers = { layer: { kind: 'dense', roles, shape, data: values(5 * length, length, 3) } };
        for (const reducer of reducers)
          await check(layers, 45, { granularity: 'filter', context: 'local', reducer }, `${reducer} ${length}`);
      }
    }
  });
});

describe('normalizers', () => {
  const anyLayer = fc.tuple(fc.constantFrom(...layouts), fc.nat(1000), fc.integer({ min: -6, max: 6 }));
  const anyLayers = fc.array(anyLayer, { minLength: 2, maxLength: 4 });

  test.each(normalizers)('The normalizer %s agrees with its formula', async (normalizer) => {
    for (const granularity of granularities) {
      for (const reducer of reducers) {
        await check(scales, 45, { granularity, context: 'global', reducer, normalizer }, `${granularity} ${reducer}`);
      }
    }
  });

  test.each(normalizers)('The normalizer %s agrees with its formula for any layers', async (normalizer) => {
    await fc.assert(
      fc.asyncProperty(
        anyLayers,
        fc.constantFrom(...granularities),
        fc.nat(100),
        async (list, granularity, sparsity) => {
          const layers = Object.fromEntries(
            list.map(([layout, seed, scale], index) => {
              const layer = weightsOnly(layout, seed, 30);
              return [
                `layer ${index}`,
                { ...layer, data: (layer.data as Float32Array).map((weight) => weight * 2 ** scale) },
              ];
            }),
          );
          await check(layers, sparsity, { granularity, context: 'global', normalizer });
        },
      ),
      { numRuns: 25 },
    );
  });

  test.each(normalizers)('The normalizer %s counts only units that are not removed yet', async (normalizer) => {
    const asked = { granularity: 'weight', context: 'global', normalizer } as const;
    const layers: Layers = { a: line(values(40, 1, 30)), b: line(values(60, 2, 500)), c: line(values(10, 3, 5)) };
    const sparsifier = new Sparsifier(fromArrays(layers), { ...weightwise, ...asked });
    let gone = {};
    for (const sparsity of [20, 50, 85]) {
      const now = removal(layers, sparsity, asked, gone);
      const expected = without(layers, now, 'weight');
      await sparsifier.sparsifyModel(sparsity);
      expectSame(layers, expected, `${sparsity}`);
      gone = now;
    }
  });

  test.each(normalizers)(
    'The normalizer %s scores all units of a layer 0 where its divisor is 0 or undefined',
    async (normalizer) => {
      // One unit (no standard deviation, no range), equal units, zeros.
      const layers: Layers = {
        one: line([5]),
        zeros: line([0, 0, 0]),
        equal: line([2, 2]),
        other: line([1, 2, 3, 10]),
      };
      for (const sparsity of [10, 20, 40, 60, 80]) {
        await check(
          layers,
          sparsity,
          { granularity: 'weight', context: 'global', normalizer, allowEmpty: true },
          `${sparsity}`,
        );
      }
    },
  );

  test('Normalizers change nothing within a layer', async () => {
    for (const normalizer of normalizers) {
      const plain = await sparsified(scales, 45, { granularity: 'filter' });
      expectSame(
        (await sparsified(scales, 45, { granularity: 'filter', normalizer })).layers,
        plain.layers,
        normalizer,
      );
    }
  });
});

describe('random', () => {
  const asked = { granularity: 'weight', context: 'local', criteria: 'random' } as const;
  const layers: Layers = { a: line(values(200, 1)), b: line(values(200, 2)), c: layerOf(layoutOf('conv2d of tfjs')) };

  test('The oracle gives the results that the authors of Philox published', () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    expect(philox(new Array(4).fill(0xffff_ffff), new Array(2).fill(0xffff_ffff))).toEqual([
      0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd,
    ]);
    expect(philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0])).toEqual([
      0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1,
    ]);
  });

  test.each([undefined, 0, 1, 42, 4_294_967_295])(
    'A number is drawn for each unit, by the seed %s and the position of the layer',
    async (seed) => {
      for (const granularity of granularities) {
        for (const context of ['local', 'global'] as const) {
          await check(
            layers,
            35,
            { ...asked, granularity, context, ...(seed !== undefined && { seed }) },
            `${granularity} ${context}`,
          );
        }
      }
    },
  );

  test('A seed always gives the same mask, while other seeds and other layers have other masks', async () => {
    const gone = async (seed: number, name = 'a') => {
      const { data } = (await sparsified(layers, 50, { ...asked, seed })).layers[name]!;
      return [...data.keys()].filter((place) => data[place] === 0).join();
    };
    expect(await gone(7)).toBe(await gone(7));
    expect(await gone(7)).not.toBe(await gone(8));
    expect(await gone(7, 'a')).not.toBe(await gone(7, 'b'));
    expect(await gone(0)).toBe(await gone(0));
  });

  test('Random scores do not depend on weights, reducer or normalizer', async () => {
    const gone = async (options: object, data = values(200, 1)) => {
      const { layers: after } = await sparsified({ first: line([1]), a: line(data) }, 50, { ...asked, ...options });
      return [...after.a!.data.keys()].filter((place) => after.a!.data[place] === 0);
    };
    const plain = await gone({});
    expect(await gone({}, values(200, 5))).toEqual(plain);
    for (const reducer of reducers) expect(await gone({ reducer })).toEqual(plain);
    for (const normalizer of normalizers) expect(await gone({ normalizer })).toEqual(plain);
    const both = { a: line(values(50, 1)), b: line(values(70, 2).map((each) => each * 1000)) };
    const global = { ...asked, context: 'global' } as const;
    for (const normalizer of normalizers) {
      expectSame(
        (await sparsified(both, 50, { ...global, normalizer })).layers,
        (await sparsified(both, 50, global)).layers,
      );
    }
  });

  test('The position of a layer is that in the model, whichever layers a call prunes', async () => {
    const all = { ...layers, last: line(values(90, 4)) };
    const { layers: after } = await sparsified(all, { last: 50 }, asked);
    const draws = Array.from({ length: 90 }, (_, unit) => draw(0, 3, unit));
    const median = [...draws].sort((a, b) => a - b)[45]!;
    expect([...after.last!.data].map((weight) => weight !== 0)).toEqual(draws.map((each) => each >= median));
    const { layers: ofKind } = await sparsified(all, 50, { ...asked, layerType: 'conv2d' });
    expectSame(ofKind, (await sparsified(all, { c: 50 }, asked)).layers);
  });

  test('A transposed layout draws the same numbers', async () => {
    for (const title of ['conv2d', 'conv3d', 'convTranspose2d', 'dense', 'grouped convTranspose2d']) {
      const layout: Layout = layoutOf(title);
      const layer = layerOf(layout);
      const order = [...layout.shape.keys()].reverse();
      for (const granularity of granularities) {
        const stored = await sparsified({ layer }, 50, { ...asked, granularity });
        const { data } = (await sparsified({ layer: permuted(layer, order) }, 50, { ...asked, granularity })).layers
          .layer!;
        expect(data).toEqual(permuted(stored.layers.layer!, order).data);
      }
    }
  });

  test('Each call draws the same numbers, so that a growing sparsity removes more of the same', async () => {
    const one = { layer: line(values(100)) };
    const sparsifier = new Sparsifier(fromArrays(one), { ...weightwise, ...asked, seed: 3 });
    const draws = scoresOf(one.layer, unitsOf(one.layer, 'weight'), { ...asked, seed: 3 }, 0);
    for (const remove of [10, 40, 90]) {
      await sparsifier.sparsifyModel({ remove });
      const cut = [...draws].sort((a, b) => a - b)[remove]!;
      expect([...one.layer.data].map((weight) => weight !== 0)).toEqual(draws.map((each) => each >= cut));
    }
  });

  test('Random scores are even, so that about half of the units of each half go', async () => {
    const { layers: after } = await sparsified({ layer: line(values(10_000)) }, 50, asked);
    const firstHalf = after.layer!.data.subarray(0, 5000).filter((weight) => weight === 0).length;
    expect(Math.abs(firstHalf - 2500)).toBeLessThan(200);
  });

  test.each([-1, 1.5, 2 ** 32, NaN, '1'])('%j is not a seed', async (seed) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, criteria: 'random', seed: seed as number }),
    );
    expect([error.code, error.details.given]).toEqual(['usage', seed]);
  });
});

describe('unknown names', () => {
  const criteria = Object.values(Criteria) as string[];

  test('The names of criteria are those of fasterai, with one alias', () => {
    expect(criteria).toEqual(expect.arrayContaining(['largeFinal', 'magnitude', 'squaredFinal', 'random']));
    for (const [key, name] of Object.entries(Criteria)) expect(name).toBe(key);
  });

  test.each<{ options: object; code: string; allowed: string[] }>([
    { options: { criteria: 'biggest' }, code: 'criteria', allowed: criteria },
    { options: { criteria: 'LargeFinal' }, code: 'criteria', allowed: criteria },
    { options: { criteria: '' }, code: 'criteria', allowed: criteria },
    { options: { criteria: 'constructor' }, code: 'criteria', allowed: criteria },
    { options: { criteria: null }, code: 'criteria', allowed: criteria },
    { options: { criteria: 3 }, code: 'criteria', allowed: criteria },
    { options: { reducer: 'median' }, code: 'usage', allowed: reducers },
    { options: { reducer: 'toString' }, code: 'usage', allowed: reducers },
    { options: { reducer: 3 }, code: 'usage', allowed: reducers },
    { options: { normalizer: 'zscore' }, code: 'usage', allowed: normalizers },
    { options: { normalizer: 1 }, code: 'usage', allowed: normalizers },
  ])('$options is an error that lists the allowed names', async ({ options, code, allowed }) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, ...options } as typeof weightwise),
    );
    expect(error.code).toBe(code);
    expect([...error.details.allowed!].sort()).toEqual([...allowed].sort());
    expect(error.message).toContain(allowed[0]);
    expect(error.details.given).toBe(Object.values(options)[0]);
  });
});
