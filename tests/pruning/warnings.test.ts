import fc from 'fast-check';
import { Sparsifier, type Amount, type Model, type Report, type SparsifierOptions, type Warning } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { anyLayout, in16Bits, layerOf, line, values, weightwise, xorshift } from '../support/layers.js';
import { copyOf, numbersOf, type Layers } from '../support/oracle.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';

const messages = ({ warnings }: Report) => warnings.map(({ message }) => message);
const withCode = ({ warnings }: Report, code: Warning['code']) => warnings.filter((warning) => warning.code === code);
/** The codes of a report without that of errors, which small layers of made-up weights often have. */
const codes = ({ warnings }: Report) => warnings.map(({ code }) => code).filter((code) => code !== 'high-error');

/** Convolutions with one input channel and single weights, so that filters are weights. */
const filters = (...weights: number[]): ArrayLayer => ({
  kind: 'conv2d',
  roles: ['out', 'in', 'height', 'width'],
  shape: [weights.length, 1, 1, 1],
  data: Float32Array.from(weights),
});
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** The same model, with more said about its tensors. */
function described(model: Model, changes: Record<string, object>): Model {
  const tensors = model.tensors.map((tensor) => ({ ...tensor, ...changes[tensor.name] }));
  const { skipped, weights } = model;
  const { load, store, copy } = model;
  const own = { load: load.bind(model), store: store.bind(model), copy: copy.bind(model) };
  return { tensors, skipped, weights, ...own };
}

describe('the error of a layer', () => {
  const naive = (before: ArrayLayer, after: ArrayLayer): number => {
    const [old, now] = [numbersOf(before), numbersOf(after)];
    const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number * number, 0);
    const change = sum(old.map((number, index) => number - now[index]!));
    return change === 0 ? 0 : Math.sqrt(change / sum(old));
  };

  test('The error is the norm of what became zero, divided by that of all weights before the call, whatever the call', async () => {
    const layers = fc.record({ a: anyLayout(), b: anyLayout() });
    const type = fc.constantFrom('float32', 'float16', 'bfloat16');
    const amounts = fc.array(fc.nat(100), { minLength: 1, maxLength: 3 });
    const granularity = fc.constantFrom('weight', 'filter', 'vector') as fc.Arbitrary<'weight'>;
    const rest = fc.record({
      context: fc.constantFrom('local', 'global'),
      criteria: fc.constantFrom('largeFinal', 'smallFinal', 'random'),
      restorable: fc.boolean(),
      allowEmpty: fc.boolean(),
    }) as fc.Arbitrary<Partial<SparsifierOptions>>;
    const property = async (
      layouts: { a: Parameters<typeof layerOf>[0]; b: Parameters<typeof layerOf>[0] },
      dtype: 'float32' | 'float16' | 'bfloat16',
      amounts: number[],
      granularity: SparsifierOptions['granularity'],
      options: Partial<SparsifierOptions>,
    ) => {
      const typed = (layer: ArrayLayer) => (dtype === 'float32' ? layer : in16Bits(layer, dtype));
      const one = { float32: 1, float16: 0x3c00, bfloat16: 0x3f80 }[dtype];
      const own = { a: typed(layerOf(layouts.a, 1)), b: typed(layerOf(layouts.b, 2)) };
      const sparsifier = new Sparsifier(fromArrays(own), { ...weightwise, ...options, granularity: granularity! });
      const check = async (call: () => Promise<Report>) => {
        const before = copyOf(own);
        const report = await call();
        for (const { name, error } of report.layers) {
          const expected = naive(before[name]!, own[name as 'a']);
          expect(error).toBeGreaterThanOrEqual(0);
          expect(error).toBeLessThanOrEqual(1);
          expect(error === 0).toBe(expected === 0);
          expect(error).toBeCloseTo(expected, 6);
        }
      };
      try {
        for (const amount of amounts) {
          await check(() => sparsifier.sparsifyModel(amount));
          // Some weights are written again, as an optimizer does.
          for (const { data } of [own.a, own.b]) data.fill(one, 0, 2);
          await check(() => sparsifier.apply());
        }
      } catch (error) {
        // Not all kinds have all granularities.
        if ((error as { code?: string }).code !== 'granularity') throw error;
      }
    };
    await fc.assert(fc.asyncProperty(layers, type, amounts, granularity, rest, property), { numRuns: 200 });
  });

  /**
   * The sums of the squares of kept and removed numbers by their definition: four lanes in words of 32, in float32; lanes
   * in runs of 4096; runs in tasks of 65,536; then all tasks.
   */
  function sumsOfSquares(before: readonly number[], isRemoved: (at: number) => boolean) {
    const sums = { kept: 0, removed: 0 };
    const lane = (lane: number, start: number, end: number, isSummed: (at: number) => boolean) => {
      let sum = 0;
      for (let word = start; word < end; word += 32) {
        let own = 0;
        for (let at = word + lane; at < Math.min(end, word + 32); at += 4) {
          if (isSummed(at)) own = Math.fround(own + Math.fround(before[at]! * before[at]!));
        }
        sum += own;
      }
      return sum;
    };
    const run = (start: number, end: number, isSummed: (at: number) => boolean) => {
      const [a, b, c, d] = [0, 1, 2, 3].map((each) => lane(each, start, end, isSummed)) as [
        number,
        number,
        number,
        number,
      ];
      return a + c + (b + d);
    };
    for (let task = 0; task < before.length; task += 65_536) {
      let [kept, removed] = [0, 0];
      for (let start = task; start < Math.min(before.length, task + 65_536); start += 4096) {
        const end = Math.min(before.length, start + 4096);
        const going = run(start, end, isRemoved);
        kept += run(start, end, () => true) - going;
        removed += going;
      }
      sums.kept += kept;
      sums.removed += removed;
    }
    return sums;
  }

  test('The sums of the error are taken in a fixed order, so that it has the same bits everywhere', async () => {
    const random = (length: number) => {
      const next = xorshift(length);
      return Float32Array.from({ length }, () => (next() - 2 ** 31) / 2 ** (20 + (next() % 16)));
    };
    for (const length of [1, 31, 4096, 4107, 65_536, 70_003, 200_017]) {
      for (const layer of [line(random(length)), in16Bits(line(values(length)), 'bfloat16')]) {
        for (const restorable of [false, true]) {
          const own = copyOf({ layer });
          const before = numbersOf(layer);
          const options = { layerType: 'all', allowEmpty: true, restorable } as const;
          const { layers } = await new Sparsifier(fromArrays(own), options).sparsifyModel(50);
          const after = numbersOf(own.layer!);
          const { kept, removed } = sumsOfSquares(before, (at) => after[at] === 0);
          const expected = removed === 0 ? 0 : Math.sqrt(removed / (kept + removed));
          expect(layers[0]!.error, `${length} numbers`).toBe(expected);
        }
      }
    }
  });

  test('Patterns and large layers have an error, too, and that of all layers together is in the total', async () => {
    const own: Record<string, ArrayLayer> = {
      large: line(values(70_001, 1)),
      half: in16Bits(line(values(9000, 2)), 'float16'),
    };
    const before = copyOf(own);
    const report = await new Sparsifier(fromArrays(own), {
      granularity: { nm: [2, 4] },
      layerType: 'all',
    }).sparsifyModel();
    const joined = (layers: Layers): ArrayLayer => line(Object.values(layers).flatMap((layer) => numbersOf(layer)));
    for (const { name, error } of report.layers) expect(error).toBeCloseTo(naive(before[name]!, own[name]!), 6);
    expect(report.total.error).toBeCloseTo(naive(joined(before), joined(own)), 6);
  });

  test('Reports of restoring and inspecting have no error', async () => {
    const sparsifier = new Sparsifier(fromArrays({ a: filters(1, 2, 3, 4) }), { restorable: true });
    await sparsifier.sparsifyModel(50);
    const { layers, total } = await sparsifier.restore();
    expect([layers[0]!.error, total.error]).toEqual([undefined, undefined]);
  });
});

describe('high-error', () => {
  /** A layer of which 1 of 2 weights has this part of the norm. */
  const losing = (error: number, kind: 'conv2d' | 'dense' = 'conv2d'): ArrayLayer => {
    const weights = [error, Math.sqrt(1 - error * error)];
    return kind === 'conv2d' ? filters(...weights) : line(weights);
  };
  const several = (count: number, error: number, kind?: 'dense') =>
    Object.fromEntries(upTo(count).map((name) => [`layer ${name}`, losing(error, kind)]));
  const isTold = async (layers: Layers) => {
    const report = await new Sparsifier(fromArrays(copyOf(layers)), { layerType: 'all' }).sparsifyModel(50);
    return withCode(report, 'high-error').length > 0;
  };

  test('The report warns of errors of convolutions above 0.5, and of others above 1.5', async () => {
    expect(await isTold(several(1, 0.49))).toBe(false);
    expect(await isTold(several(1, 0.51))).toBe(true);
    expect(await isTold(several(24, 0.1))).toBe(false);
    expect(await isTold(several(26, 0.1))).toBe(true);
    expect(await isTold(several(22, 0.31, 'dense'))).toBe(false);
    expect(await isTold(several(24, 0.31, 'dense'))).toBe(true);
    expect(await isTold({ ...several(24, 0.1), ...several(4, 0.6, 'dense') })).toBe(false);
  });

  test('The report warns of a layer that loses almost everything', async () => {
    const of = (large: number): Layers => ({ a: line([...upTo(9).map(() => 1), large]) });
    const report = async (large: number) =>
      new Sparsifier(fromArrays(of(large)), { layerType: 'all' }).sparsifyModel(90);
    expect(codes(await report(1.4))).toEqual([]);
    expect((await report(1.4)).warnings).toMatchObject([{ code: 'high-error', layer: 'a' }]);
    expect((await report(1.5)).warnings).toEqual([]);
  });

  test('The sentence gives the combined error of dense layers, and the error of a single layer', async () => {
    const sentence = async (layers: Layers) =>
      messages(await new Sparsifier(fromArrays(layers), { layerType: 'all' }).sparsifyModel(50))[0];
    expect(await sentence(several(8, 0.6, 'dense'))).toContain(
      'the relative error is 1.70 over all layers other than convolutions, with 0.60 in ',
    );
    expect(await sentence(several(1, 0.6))).toMatch(/the relative error is 0\.60 in layer \d; measure/);
  });

  test('The sentence names the worst layers', async () => {
    const own = { a: losing(0.3), b: losing(0.6), c: losing(0.5), d: losing(0.1), e: losing(0.2) };
    const report = await new Sparsifier(fromArrays(own)).sparsifyModel(50);
    expect(messages(report)).toEqual([
      'so much was removed that networks rarely work without training: the relative error is 0.87 over all convolutions, ' +
        'with 0.60 in b, 0.50 in c, 0.30 in a and 2 more; measure the accuracy, and `repair` the model, remove less or protect layers with `exclude`',
    ]);
    expect(report.warnings[0]).toMatchObject({
      details: { layers: [{ name: 'b', kind: 'conv2d' }, { name: 'c' }, { name: 'a' }, { name: 'e' }, { name: 'd' }] },
    });
  });
});

describe('what was asked and what was done', () => {
  const call = (layers: Layers, options: SparsifierOptions, amount?: Amount, roundTo?: number) =>
    new Sparsifier(fromArrays(copyOf(layers)), options).sparsifyModel(amount, { roundTo });

  test('The report warns of layers of other kinds that were left alone, with their share of the weights', async () => {
    const own: Record<string, ArrayLayer> = { conv: filters(...upTo(19)) };
    for (const index of upTo(9)) own[`fc${index}`] = line([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const report = await call(own, {}, 10);
    expect(codes(report)).toEqual(['layers-left-alone']);
    expect(messages(report)).toEqual([
      `9 layers of other kinds (dense) were left alone, with 81.00 % of the weights (81): fc1, fc2, fc3 and 6 more; ` +
        "`layerType: 'all'` prunes all kinds",
    ]);
    expect(codes(await call(own, { layerType: 'all' }, 10))).toEqual([]);
    expect(codes(await call(own, { include: 'conv' }, 10))).toEqual([]);
    const fixed = described(fromArrays({ a: filters(...upTo(9)), b: line([1, 2, 3]) }), { b: { fixed: 'it counts' } });
    expect(codes(await new Sparsifier(fixed).sparsifyModel(10))).toEqual([]);
    expect(codes(await new Sparsifier(fromArrays(own)).sparsifyLayer('fc1', { remove: 1 }))).toEqual([]);
  });

  test('The report warns of rounding that changes the amount, with the largest difference first', async () => {
    const own = { a: filters(...upTo(30)), b: filters(...upTo(12)), c: filters(...upTo(16)) };
    const report = await call(own, { granularity: 'filter' }, 50, 8);
    expect(codes(report)).toEqual(['amount-changed']);
    expect(messages(report)).toContain(
      'the amount removed is not the one asked for: b lost 4 (33.33 %) of 12 units instead of 6 (50.00 %), a lost 14 ' +
        '(46.67 %) of 30 units instead of 15 (50.00 %), since `roundTo: 8` keeps a multiple of 8 units in each layer',
    );
  });

  test('The report warns of limits that change the amount, and of amounts of more units than there are', async () => {
    const own = { a: filters(...upTo(10)) };
    const reasonsOf = (report: Report) =>
      report.warnings
        .flatMap(({ code, details }) => (code === 'amount-changed' ? details.rankings : []))
        .map((each) => each.because);
    expect(reasonsOf(await call(own, { minKeep: 8 }, 50))).toEqual([{ name: 'limits', options: ['minKeep'] }]);
    expect(reasonsOf(await call(own, { maxSparsity: 20, minKeep: 1 }, 50))).toEqual([
      { name: 'limits', options: ['minKeep', 'maxSparsity'] },
    ]);
    expect(reasonsOf(await call(own, {}, 100))).toEqual([{ name: 'allowEmpty' }]);
    expect(reasonsOf(await call(own, {}, { remove: 12 }))).toEqual([{ name: 'units', named: 12 }]);
    expect(reasonsOf(await call(own, { minKeep: 5, maxSparsity: 50 }, 50))).toEqual([]);
  });

  test.each<[title: string, layer: ArrayLayer, options: SparsifierOptions, amount: Amount | undefined, told: RegExp]>([
    [
      'rounding',
      filters(...upTo(32)),
      {},
      50,
      /nothing was removed from a \(32 units\), since `roundTo: 64` keeps a multiple of 64/,
    ],
    ['a small amount', filters(1, 2, 3), {}, 10, /since the amount is less than one unit$/],
    ['a limit', filters(1, 2, 3), { minKeep: 3 }, 60, /since `minKeep` keeps more$/],
    ['one unit', filters(1), {}, 60, /since each layer keeps a unit without `allowEmpty: true`$/],
    ['few input channels', filters(1, 2, 3, 4), { granularity: { nm: [2, 4] } }, undefined, /too few input channels/],
  ])('The report warns of a call that removes nothing: %s', async (title, layer, options, amount, told) => {
    const report = await call({ a: layer }, options, amount, title === 'rounding' ? 64 : undefined);
    expect(codes(report)).toEqual(['nothing-removed']);
    expect(messages(report)).toContainEqual(expect.stringMatching(told));
    expect(report.warnings[0]).toMatchObject({ layer: 'a', details: { isEverything: true } });
  });

  test('An amount of 0 is no warning', async () => {
    for (const amount of [0, { remove: 0 }, { keep: 10 }])
      expect((await call({ a: filters(...upTo(10)) }, {}, amount)).warnings).toEqual([]);
  });

  test('The report warns of a lower amount than before, and of a file with more zeros than the amount', async () => {
    const sparsifier = new Sparsifier(fromArrays({ a: filters(...upTo(10)) }));
    expect(codes(await sparsifier.sparsifyModel(80))).toEqual([]);
    const told =
      'all that was to be removed was zero already, so that no weight was changed: a (20.00 % removed, 80.00 % zero); ' +
      'zeros count as removed, and a lower amount does not bring weights back';
    expect(messages(await sparsifier.sparsifyModel(20))).toEqual([told]);
    expect(messages(await call({ a: filters(0, 0, 0, 0, 0, 0, 0, 0, 9, 10) }, {}, 20))).toEqual([told]);
    expect(codes(await sparsifier.sparsifyModel(90))).toEqual([]);
    expect((await sparsifier.apply()).warnings).toEqual([]);
  });

  test.each<SparsifierOptions>([
    {},
    { restorable: true },
    { granularity: 'filter' },
    { context: 'global' },
    { normalizer: 'max', context: 'global' },
  ])('Weights whose squares are 0 in 32 bits were not zero already: %j', async (options) => {
    const tiny = filters(1e-30, -1e-30, 1e-45, 4, 5, 6);
    expect(codes(await call({ a: tiny }, options, 50))).toEqual([]);
    expect(codes(await call({ a: filters(0, -0, 0, 4, 5, 6) }, options, 50))).toEqual(['already-zero']);
  });

  test('In a common ranking a layer of zeros is no warning', async () => {
    const own = { a: line([0, 0, 0, 0]), b: line([1, 2, 3, 4]) };
    expect(codes(await call(own, { layerType: 'all', context: 'global' }, 60))).toEqual([]);
    expect(codes(await call(own, { layerType: 'all', context: 'global' }, 40))).toEqual(['already-zero']);
  });
});

describe('channels', () => {
  const leaks = [{ name: 'b3', reason: 'two layers share it' }];

  test('The report warns of removed channels that something is added to', async () => {
    const call = (granularity: SparsifierOptions['granularity'], amount: Amount) =>
      new Sparsifier(
        described(
          fromArrays({ a: layerOf({ kind: 'conv2d', roles: ['out', 'in', 'width'], shape: [4, 2, 3] } as never) }),
          { a: { leaks } },
        ),
        {
          granularity: granularity!,
          layerType: 'all',
        },
      ).sparsifyModel(amount);
    const report = await call('filter', { remove: 1 });
    expect(withCode(report, 'channels-not-silent')).toMatchObject([
      { layer: 'a', details: { layers: [{ name: 'a', leaks }] } },
    ]);
    expect(messages(report)).toContain('removed output channels are not zero: a because of b3 (two layers share it)');
    expect(codes(await call('weight', { remove: 3 }))).toEqual([]);
    expect(codes(await call('filter', 0))).toEqual([]);
  });

  test('The report warns of a bias that stays since several channels are removed at a time', async () => {
    const own = { a: { ...filters(...upTo(4)), bias: Float32Array.of(1, 2, 3, 4) } };
    const report = async (granularity: SparsifierOptions['granularity']) =>
      new Sparsifier(fromArrays(copyOf(own)), { granularity: granularity! }).sparsifyModel(50);
    expect(codes(await report({ block: { out: 2 } }))).toEqual(['channels-not-silent']);
    expect(codes(await report('filter'))).toEqual([]);
  });

  test('The report warns of depthwise layers that lost other channels than the layer before', async () => {
    const depthwise = (...weights: number[]): ArrayLayer => ({ ...filters(...weights), groups: weights.length });
    const call = async (second: ArrayLayer) => {
      const model = fromArrays({ pw: filters(1, 2, 3, 4), dw: second });
      const related = described(model, { dw: { channelsFrom: ['pw', 'unknown'] } });
      return new Sparsifier(related, { granularity: 'filter' }).sparsifyModel(50);
    };
    const report = await call(depthwise(4, 1, 2, 3));
    expect(withCode(report, 'channels-uncoupled')).toMatchObject([
      { layer: 'dw', details: { layers: [{ name: 'dw', from: 'pw', channels: 4, removed: 2, lost: 3 }] } },
    ]);
    expect(messages(report)).toContain(
      'depthwise layers lost other channels than the layers before them, so that more are lost than asked: ' +
        'dw after pw (3 of 4 channels instead of 2); `exclude: { depthwise: true }` leaves depthwise layers out',
    );
    expect(codes(await call(depthwise(1, 2, 4, 3)))).toEqual([]);
    // Two filters for each channel.
    expect(codes(await call(depthwise(1, 2, 3, 4, 8, 7, 6, 5)))).toEqual([]);
    expect(codes(await call(depthwise(8, 2, 3, 4, 1, 7, 6, 5)))).toEqual(['channels-uncoupled']);
  });
});

test('A streamed call warns as one in memory does', async () => {
  const bytes = safetensorsFile({ 'a.weight': [10, 10], 'b.weight': [8, 2, 3, 3] }) as Uint8Array<ArrayBuffer>;
  for (const { roundTo, ...options } of [
    { layerType: 'dense', roundTo: 3 },
    { layerType: 'conv2d', granularity: 'filter', roundTo: 16 },
    { layerType: 'all', minKeep: 10 },
  ] as const) {
    using model = await readSafetensors(bytes);
    const expected = await new Sparsifier(model, options).sparsifyModel(95, { roundTo });
    const report = await sparsifyFile(new Blob([bytes]), keeping().stream, { ...options, sparsity: 95, roundTo });
    expect(report.warnings).toEqual(expected.warnings);
    expect(codes(report).length).toBeGreaterThan(0);
    expect(report.table()).toBe(expected.table());
  }
});
