import fc from 'fast-check';
import { loadEngine, Sparsifier, type Amount, type Progress, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  in16Bits,
  layerOf,
  layoutOf,
  layouts,
  line,
  refusal,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  xorshift,
  zerosOf,
} from '../support/layers.js';
import {
  bitsOf,
  copyOf,
  differences,
  numbersOf,
  removal,
  removedBy,
  unitsOf,
  without,
  type Asked,
  type Gone,
  type Layers,
} from '../support/oracle.js';

const three: Layers = {
  conv: layerOf(layoutOf('conv2d')),
  dense: layerOf(layoutOf('dense of tfjs'), 2),
  gru: layerOf(layoutOf('gru'), 3),
};

/** A sparsifier of copies of the layers. */
function begin(layers: Layers, asked: Partial<Asked> = {}) {
  const copies = copyOf(layers);
  return { layers: copies, sparsifier: new Sparsifier(fromArrays(copies), { ...weightwise, ...asked }) };
}

const zeroPlaces = ({ data }: ArrayLayer): number[] => [...data.keys()].filter((place) => data[place] === 0);

describe('consecutive calls', () => {
  test.each(['local', 'global'] as const)('A growing sparsity only removes more in the context %s', async (context) => {
    for (const granularity of ['weight', 'vector', 'filter'] as const) {
      const { layers, sparsifier } = begin(three, { context, granularity });
      let before = Object.values(layers).map(zeroPlaces);
      for (const sparsity of [0, 10, 10, 35, 36, 80, 100]) {
        await sparsifier.sparsifyModel(sparsity);
        const after = Object.values(layers).map(zeroPlaces);
        after.forEach((places, layer) => expect(places).toEqual(expect.arrayContaining(before[layer]!)));
        before = after;
      }
    }
  });

  test(
    'A higher sparsity removes all that a lower one does, in one call or in consecutive calls',
    {
      timeout: 120_000,
    },
    async () => {
      const list = fc.array(fc.tuple(fc.constantFrom(...layouts), fc.nat(1000), fc.constantFrom(1, 3, 2000)), {
        minLength: 1,
        maxLength: 4,
      });
      const options = fc.record({
        context: fc.constantFrom('local' as const, 'global' as const),
        granularity: fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const),
        criteria: fc.constantFrom('largeFinal' as const, 'smallFinal' as const, 'random' as const),
        allowEmpty: fc.boolean(),
        minKeep: fc.nat(3),
      });
      const sparsities = fc.array(fc.nat(100), { minLength: 2, maxLength: 4 });
      const rounding = fc.constantFrom(undefined, 2, 4);
      await fc.assert(
        fc.asyncProperty(list, options, sparsities, rounding, async (list, asked, sparsities, roundTo) => {
          const all = Object.fromEntries(
            list.map(([layout, seed, magnitudes], index) => [`layer ${index}`, weightsOnly(layout, seed, magnitudes)]),
          );
          const { layers, sparsifier } = begin(all, asked);
          let before = Object.values(all).map(zeroPlaces);
          for (const sparsity of [...sparsities].sort((a, b) => a - b)) {
            await sparsifier.sparsifyModel(sparsity, { roundTo });
            expectSame((await sparsified(all, sparsity, asked, { roundTo })).layers, layers, 'in one call');
            const after = Object.values(layers).map(zeroPlaces);
            after.forEach((places, layer) => expect(new Set(places)).toEqual(new Set([...places, ...before[layer]!])));
            before = after;
          }
        }),
        { numRuns: 80 },
      );
    },
  );

  test('Repeating a call changes nothing', async () => {
    for (const granularity of ['weight', 'vector', 'filter'] as const) {
      for (const sparsity of [0, 33, 50, { keep: 2 }, 100]) {
        const { layers, sparsifier } = begin(three, { granularity });
        const first = await sparsifier.sparsifyModel(sparsity, { roundTo: 2 });
        const once = copyOf(layers);
        const second = await sparsifier.sparsifyModel(sparsity, { roundTo: 2 });
        expectSame(layers, once);
        expect(second.layers).toEqual(first.layers.map((layer) => ({ ...layer, error: 0 })));
      }
    }
  });

  test('A lower sparsity brings back the best of the removed weights as +0, which then count as kept', async () => {
    const { layers, sparsifier } = begin({ layer: line([-5, 1, 2, 3, 9, 4]) });
    await sparsifier.sparsifyModel({ remove: 4 });
    expect([...layers.layer!.data]).toEqual([-5, 0, 0, 0, 9, 0]);
    const report = await sparsifier.sparsifyModel({ remove: 2 });
    expect([...layers.layer!.data]).toEqual([-5, 0, 0, 0, 9, 0]);
    expect(report.layers[0]).toMatchObject({ keptUnits: 4, units: 6, zeros: 4 });
    // Those at 3 and 5 came back: they train on, and what they become is kept.
    layers.layer!.data.set([7, 7], 2);
    layers.layer!.data[5] = 6;
    await sparsifier.sparsifyModel({ remove: 2 });
    expect([...layers.layer!.data]).toEqual([-5, 0, 0, 7, 9, 6]);
  });

  test('What was removed stays removed, even if training gave it new values', async () => {
    const { layers, sparsifier } = begin({ layer: line([1, 5, 2, 6, 3, 7]) });
    await sparsifier.sparsifyModel(50);
    layers.layer!.data.set([100, 5, -100, 6, 100, 7]);
    await sparsifier.sparsifyModel(50);
    expect([...layers.layer!.data]).toEqual([0, 5, 0, 6, 0, 7]);
    layers.layer!.data[0] = 100;
    await sparsifier.sparsifyModel({ remove: 4 });
    expect([...layers.layer!.data]).toEqual([0, 0, 0, 6, 0, 7]);
  });

  test('A layer that a call does not prune keeps its mask', async () => {
    const { layers, sparsifier } = begin({ a: line([1, 2, 3, 4]), b: line([1, 2, 3, 4]) });
    await sparsifier.sparsifyModel(50);
    await sparsifier.sparsifyModel({ a: 75 });
    layers.b!.data.set([9, 8]);
    await sparsifier.sparsifyLayer('b', 50);
    expect([[...layers.a!.data], [...layers.b!.data]]).toEqual([
      [0, 0, 0, 4],
      [0, 0, 3, 4],
    ]);
  });

  test('Two Sparsifiers of one model have their own masks and share its weights', async () => {
    const layers = copyOf({ layer: line([1, 2, 3, 4]) });
    const model = fromArrays(layers);
    const [first, second] = [new Sparsifier(model, weightwise), new Sparsifier(model, weightwise)];
    await first.sparsifyModel(50);
    layers.layer!.data.set([9, 8]);
    await second.sparsifyModel(50);
    expect([...layers.layer!.data]).toEqual([9, 8, 0, 0]);
  });

  test('Any sequence of calls agrees with the oracle', { timeout: 120_000 }, async () => {
    const options = fc.record({
      context: fc.constantFrom('local' as const, 'global' as const),
      granularity: fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const),
      normalizer: fc.constantFrom(undefined, 'sum' as const, 'max' as const),
      criteria: fc.constantFrom('largeFinal' as const, 'random' as const),
      minKeep: fc.nat(2),
    });
    const call = fc.record({
      amount: fc.oneof(fc.nat(100), fc.record({ keep: fc.nat(80) }), fc.record({ remove: fc.nat(80) })),
      layer: fc.constantFrom(undefined, undefined, ...Object.keys(three)),
      roundTo: fc.constantFrom(undefined, undefined, 1, 3),
      training: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(
        options,
        fc.array(call, { minLength: 2, maxLength: 6 }),
        async ({ normalizer, ...rest }, calls) => {
          const asked: Asked = { ...rest, ...(normalizer && { normalizer }) };
          const { layers, sparsifier } = begin(three, asked);
          let gone: Gone = {};
          for (const { amount, layer, roundTo, training } of calls) {
            const touched = layer === undefined ? layers : { [layer]: layers[layer]! };
            const own: Asked = {
              ...asked,
              ...(roundTo && { roundTo }),
              context: layer === undefined ? asked.context : 'local',
            };
            const now = removal(touched, amount as Amount, own, gone, (name) => Object.keys(three).indexOf(name));
            const expected = { ...copyOf(layers), ...without(touched, now, asked.granularity) };
            gone = { ...gone, ...now };
            await (layer === undefined
              ? sparsifier.sparsifyModel(amount, { roundTo })
              : sparsifier.sparsifyLayer(layer, amount, { roundTo }));
            expectSame(layers, expected);
            train(layers, gone, asked, training);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** Gives the kept weights other values, as a training loop does that respects the mask. */
function train(layers: Layers, gone: Gone, { granularity }: Asked, seed: number): void {
  for (const [name, layer] of Object.entries(layers)) {
    const fresh = values(layer.data.length, seed, 50);
    unitsOf(layer, granularity).forEach(({ positions }, unit) => {
      if (!gone[name]?.[unit]) for (const position of positions) layer.data[position] = fresh[position]!;
    });
  }
}

describe('bits', () => {
  test('Removed weights become +0, whatever they were', async () => {
    const { layers } = await sparsified({ layer: line([-0, 0, -1e-45, 1e-45, -1, 1, -3e38, 3e38]) }, 100, {
      allowEmpty: true,
    });
    expect([...bitsOf(layers.layer!.data)]).toEqual(new Array(8).fill(0));
  });

  test('Kept weights keep their bits, including -0 and the smallest numbers', async () => {
    const kept = Uint32Array.of(
      0x8000_0000,
      0x0000_0000,
      0x8000_0001,
      0x0000_0001,
      0x807f_ffff,
      0x0080_0000,
      0xff7f_ffff,
      0x7f7f_ffff,
    );
    const layer = { ...line([]), shape: [1, 8], data: new Float32Array(kept.slice().buffer) };
    const { layers, report } = await sparsified({ layer }, 0);
    expect(bitsOf(layers.layer!.data)).toEqual(kept);
    expect(report.layers[0]!.zeros).toBe(2);
    const { layers: less } = await sparsified({ layer }, { remove: 4 });
    expect([...bitsOf(less.layer!.data)]).toEqual([0, 0, 0, 0, ...kept.slice(4)]);
  });

  test('-0 ranks like +0 and -x like x: equal magnitudes are removed in canonical order', async () => {
    const { layers } = await sparsified({ layer: line([0, -0, 0, -1e-45, 1e-45, 2, -2]) }, { remove: 4 });
    expect([...bitsOf(layers.layer!.data)]).toEqual([0, 0, 0, 0, 1, 0x4000_0000, 0xc000_0000]);
    const { layers: zeros } = await sparsified({ layer: line([0, -0, -0, 0]) }, { remove: 2 });
    expect([...bitsOf(zeros.layer!.data)]).toEqual([0, 0, 0x8000_0000, 0]);
  });

  test(
    'The smallest of any numbers are removed, with ties, zeros of both signs and denormals among them',
    { timeout: 120_000 },
    async () => {
      const special = [0, -0, 2 ** -149, -(2 ** -149), 2 ** -127, 2 ** -126, 1, -1, 3.4028234663852886e38];
      const number = fc.oneof(
        fc.constantFrom(...special),
        fc.float({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: -2, max: 2 }),
      );
      const numbers = fc.oneof(
        fc.array(number, { minLength: 1, maxLength: 40 }),
        // One number, or one value everywhere.
        fc.tuple(number, fc.constantFrom(1, 7, 1025)).map(([value, length]) => new Array<number>(length).fill(value)),
      );
      const sparsity = fc.oneof(fc.constantFrom(0, 100), fc.nat(100));
      await fc.assert(
        fc.asyncProperty(
          fc.array(numbers, { minLength: 1, maxLength: 4 }),
          sparsity,
          fc.boolean(),
          async (lists, sparsity, isGlobal) => {
            const layers = Object.fromEntries(lists.map((list, index) => [`layer ${index}`, line(list)]));
            const context = isGlobal ? 'global' : 'local';
            const expected = copyOf(layers);
            for (const group of isGlobal
              ? [Object.values(expected)]
              : Object.values(expected).map((layer) => [layer])) {
              // Sorting is stable: ties stay in the order of the layers and of the weights.
              const places = group.flatMap(({ data }) => [...data.keys()].map((place) => ({ data, place })));
              places.sort((a, b) => Math.abs(a.data[a.place]!) - Math.abs(b.data[b.place]!));
              for (const { data, place } of places.slice(0, removedBy(sparsity, places.length))) data[place] = 0;
            }
            expectSame((await sparsified(layers, sparsity, { context, allowEmpty: true })).layers, expected);
          },
        ),
        { numRuns: 200 },
      );
    },
  );

  test.each([['out', 'in'] as const, ['in', 'out'] as const])(
    'Of ten million equal weights, stored by %s and %s, the first ones are removed',
    { timeout: 120_000 },
    async (...roles) => {
      const [out, inside] = [2500, 4000];
      const shape = roles[0] === 'out' ? [out, inside] : [inside, out];
      const data = new Float32Array(out * inside).fill(-0.5);
      const sparsifier = new Sparsifier(fromArrays({ layer: { kind: 'dense', roles, shape, data } }), weightwise);
      // 3333333.32 weights, which are no whole number of rows.
      const report = await sparsifier.sparsifyModel(33.3333332);
      expect(report.layers[0]).toMatchObject({ units: 10_000_000, keptUnits: 6_666_667, zeros: 3_333_333 });
      const wrong = data.findIndex((weight, place) => {
        const canonical = roles[0] === 'out' ? place : (place % out) * inside + Math.floor(place / out);
        return !Object.is(weight, canonical < 3_333_333 ? 0 : -0.5);
      });
      expect(wrong).toBe(-1);
    },
  );

  const types = [
    { dtype: 'float32', mask: 0xffff_ffff, exponent: 0x7f80_0000 },
    { dtype: 'float16', mask: 0xffff, exponent: 0x7c00 },
    { dtype: 'bfloat16', mask: 0xffff, exponent: 0x7f80 },
  ] as const;

  test.each(types)(
    'Any $dtype numbers are ranked by their exact value and kept bit for bit',
    async ({ dtype, mask, exponent }) => {
      const next = xorshift(77);
      for (const length of [1, 2, 31, 32, 33, 1000, 70_001]) {
        const finite = Uint32Array.from({ length }, () => {
          const bits = (next() & mask) >>> 0;
          return (bits & exponent) === exponent ? (bits ^ exponent) >>> 0 : bits;
        });
        const data = dtype === 'float32' ? new Float32Array(finite.buffer) : Uint16Array.from(finite);
        const layer: ArrayLayer = {
          kind: 'dense',
          roles: ['out', 'in'],
          shape: [1, length],
          data,
          ...(dtype !== 'float32' && { dtype }),
        };
        for (const sparsity of [0, 20, 50, 99]) {
          const { layers, report } = await sparsified({ layer }, sparsity);
          expectSame(layers, without({ layer }, removal({ layer }, sparsity, weightwise), 'weight'), `${length}`);
          const zeros = numbersOf(layers.layer!).filter((each) => each === 0).length;
          expect(report.layers[0]!.zeros).toBe(zeros);
        }
      }
    },
  );

  test('A Uint16Array is float16 unless its dtype is bfloat16', async () => {
    // As float16 the second is the larger; as bfloat16 both are finite and the second is the larger, too: 0x7c00 tells.
    const layer: ArrayLayer = {
      kind: 'dense',
      roles: ['out', 'in'],
      shape: [1, 2],
      data: Uint16Array.of(0x3c00, 0x7c00),
    };
    expect((await refusal({ layer }, 50)).code).toBe('weights');
    const { layers } = await sparsified({ layer: { ...layer, dtype: 'bfloat16' } }, 50);
    expect([...layers.layer!.data]).toEqual([0, 0x7c00]);
  });

  test('Units of several 16-bit weights are removed as the oracle says', async () => {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const layers: Layers = { layer: in16Bits(layerOf(layoutOf('conv2d of tfjs')), dtype) };
      for (const granularity of ['vector', 'kernel', 'filter'] as const) {
        const { layers: after } = await sparsified(layers, 40, { granularity });
        expectSame(
          after,
          without(layers, removal(layers, 40, { ...weightwise, granularity }), granularity),
          granularity,
        );
      }
    }
  });

  test('Pruning a view of a part of a buffer does not touch the rest of the buffer', async () => {
    const all = values(30);
    const expected = all.slice();
    const part = all.subarray(7, 7 + 16);
    await new Sparsifier(fromArrays({ layer: { ...line([]), shape: [1, 16], data: part } }), weightwise).sparsifyModel(
      50,
    );
    const gone = removal({ layer: line(expected.subarray(7, 23)) }, 50, weightwise).layer!;
    gone.forEach((is, place) => is && (expected[7 + place] = 0));
    expect(bitsOf(all)).toEqual(bitsOf(expected));
  });
});

describe('a failed call changes nothing', () => {
  const all: Layers = {
    first: line(values(40)),
    second: layerOf(layoutOf('conv2d')),
    last: layerOf(layoutOf('dense of tfjs'), 4),
  };

  test.each([NaN, Infinity, -Infinity])('%d in the last layer is refused, and its place is named', async (bad) => {
    for (const context of ['local', 'global'] as const) {
      for (const criteria of ['largeFinal', 'random'] as const) {
        const layers = copyOf(all);
        layers.last!.data[11] = bad;
        layers.last!.data[23] = bad;
        const error = await refusal(layers, 50, { context, criteria });
        expect(error.code).toBe('weights');
        expect(error.details.subject).toBe('last');
        expect(error.message).toContain('index 11');
        expect(error.message).toContain('[2, 1] of shape [7, 5]');
      }
    }
  });

  const whole: Layers = { first: layerOf(layoutOf('conv2d')), last: layerOf(layoutOf('conv2d'), 4) };

  test.each([
    ...(['vector', 'kernel', 'filter', { block: { in: 2 } }, { nm: [2, 4] }] as const).flatMap((granularity) =>
      (['mean', 'sum', 'l2', 'max'] as const).map((reducer) => ({ granularity, reducer })),
    ),
    { granularity: 'filter', reducer: 'mean', normalizer: 'standard' },
    { granularity: 'filter', reducer: 'mean', criteria: 'smallFinal' },
  ] as Partial<SparsifierOptions>[])(
    'A weight that is not finite is named in units of any size: %j',
    async (options) => {
      // NaN of either sign.
      for (const bits of [0x7fc00000, 0xffc00000, 0x7f800000, 0xff800000]) {
        const layers = copyOf(whole);
        const last = layers.last!.data as Float32Array;
        new Uint32Array(last.buffer, last.byteOffset)[last.length - 1] = bits;
        const amount = typeof options.granularity === 'object' && 'nm' in options.granularity ? undefined : 50;
        const error = await errorOf(() =>
          new Sparsifier(fromArrays(layers), { ...weightwise, ...options }).sparsifyModel(amount),
        );
        expect(error.code).toBe('weights');
        expect(error.message).toContain(`index ${last.length - 1}`);
      }
    },
  );

  test('Sums of finite weights may be too large for a finite score', async () => {
    const data = new Float32Array([3e38, 3e38, 1, 2]);
    const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [2, 2], data };
    const { layers } = await sparsified({ layer }, 50, { granularity: 'row', reducer: 'sum' });
    expect([...layers.layer!.data]).toEqual([data[0], data[1], 0, 0]);
  });

  test('A layer that a call does not prune may hold any numbers', async () => {
    const layers = copyOf(all);
    layers.last!.data[11] = NaN;
    const { report } = await sparsified(layers, { first: 50 });
    expect(report.layers[0]!.keptUnits).toBe(20);
  });

  test.each([0x7c00, 0xfc00, 0x7e00])('The float16 with the bits %i is refused as not finite', async (bits) => {
    const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [1, 3], data: Uint16Array.of(1, 2, bits) };
    expect((await refusal({ layer }, 50)).message).toContain('index 2');
  });

  test('A failed call leaves the mask as it was', async () => {
    const { layers, sparsifier } = begin({ a: line([1, 2, 3, 4]), b: line([1, 2, 3, 4]) });
    await sparsifier.sparsifyModel(25);
    layers.b!.data[3] = NaN;
    expect((await errorOf(() => sparsifier.sparsifyModel(75))).code).toBe('weights');
    layers.b!.data.set([9, 2, 3, 4]);
    layers.a!.data[1] = 9;
    await sparsifier.sparsifyModel(25);
    expect([[...layers.a!.data], [...layers.b!.data]]).toEqual([
      [0, 9, 3, 4],
      [0, 2, 3, 4],
    ]);
  });
});

describe('AbortSignal', () => {
  const all: Layers = {
    first: line(values(40)),
    second: layerOf(layoutOf('conv2d')),
    third: layerOf(layoutOf('dense'), 4),
  };

  test('A signal that is already aborted ends the call with its reason', async () => {
    const reason = new Error('changed my mind');
    for (const method of ['sparsifyModel', 'pruneModel', 'sparsifyLayer'] as const) {
      const { layers, sparsifier } = begin(all);
      const options = { signal: AbortSignal.abort(reason) };
      const call =
        method === 'sparsifyLayer' ? sparsifier.sparsifyLayer('first', 50, options) : sparsifier[method](50, options);
      await expect(call).rejects.toBe(reason);
      expectSame(layers, all);
    }
    await expectNoMemoryInUse();
  });

  test.each(['load', 'inspect', 'score', 'mask'] as const)(
    'Aborting during the stage %s changes nothing, and the next call is as if it were the first',
    async (stage) => {
      const { layers, sparsifier } = begin(all, { granularity: 'filter' });
      const controller = new AbortController();
      const reason = new Error(stage);
      const seen: string[] = [];
      const onProgress = (progress: Progress) => {
        seen.push(progress.stage);
        if (progress.stage === stage) controller.abort(reason);
      };
      await expect(sparsifier.sparsifyModel(50, { signal: controller.signal, onProgress })).rejects.toBe(reason);
      expect(seen.at(-1)).toBe(stage);
      expectSame(layers, all);
      await expectNoMemoryInUse();
      await sparsifier.sparsifyModel(25);
      expectSame(layers, without(all, removal(all, 25, { ...weightwise, granularity: 'filter' }), 'filter'));
    },
  );

  test.each(['apply', 'store'] as const)(
    'Aborting during the stage %s comes too late: the call is completed',
    async (stage) => {
      const { layers, sparsifier } = begin(all);
      const controller = new AbortController();
      const onProgress = (progress: Progress) => progress.stage === stage && controller.abort();
      await sparsifier.sparsifyModel(50, {
        signal: controller.signal,
        onProgress: (progress) => void onProgress(progress),
      });
      expectSame(layers, without(all, removal(all, 50, weightwise), 'weight'));
    },
  );

  test('Aborting a call that waits for its turn ends that call, not the others', async () => {
    const { layers, sparsifier } = begin(all);
    const controller = new AbortController();
    const calls = [
      sparsifier.sparsifyModel(10),
      sparsifier.sparsifyModel(90, { signal: controller.signal }),
      sparsifier.sparsifyModel(20),
    ];
    controller.abort(new Error('enough'));
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expectSame(layers, without(all, removal(all, 20, weightwise), 'weight'));
  });
});

describe('progress', () => {
  const stages: readonly string[] = [
    'load',
    'inspect',
    'score',
    'mask',
    'apply',
    'store',
  ] satisfies Progress['stage'][];

  test.each<[title: string, options: Partial<SparsifierOptions>, stages: readonly string[]]>([
    // Their scores show weights that cannot be ranked, and masks and zeros are made in one pass.
    ['single weights', {}, ['load', 'score', 'apply', 'store']],
    ['larger units', { granularity: 'column' }, ['load', 'score', 'apply', 'store']],
    [
      'scores that do not show infinite weights',
      { granularity: 'column', reducer: 'max' },
      ['load', 'inspect', 'score', 'apply', 'store'],
    ],
    ['a restorable Sparsifier', { granularity: 'filter', reducer: 'max', restorable: true }, stages],
  ])('With %s, progress reports each stage up to the total', async (_title, options, stages) => {
    const seen: Progress[] = [];
    await sparsified(three, 50, options, { onProgress: (progress) => seen.push(progress) });
    expect([...new Set(seen.map(({ stage }) => stage))]).toEqual(stages);
    const total = Object.values(three).reduce((sum, { data }) => sum + data.length, 0);
    for (const stage of stages)
      expect(seen.filter((each) => each.stage === stage).at(-1)).toEqual({ stage, done: total, total });
  });

  test('Progress never goes back', async () => {
    // Large enough to be worked on in several batches.
    const lengths = [2 ** 24 + 1, 3, 2 ** 24, 5];
    const layers = lengths.map((length): [string, ArrayLayer] => [
      `${length}`,
      { kind: 'dense', roles: ['out', 'in'], shape: [1, length], data: new Uint16Array(length) },
    ]);
    const seen: Progress[] = [];
    const sparsifier = new Sparsifier(fromArrays(Object.fromEntries(layers)), weightwise);
    await sparsifier.sparsifyModel(50, { onProgress: (progress) => seen.push(progress) });
    const place = ({ stage, done }: Progress) => stages.indexOf(stage) * 1e12 + done;
    const back = seen.flatMap((each, index) =>
      index > 0 && place(each) < place(seen[index - 1]!) ? [[seen[index - 1], each]] : [],
    );
    expect(back).toEqual([]);
  });

  test.each(stages)(
    'An error of a progress listener during the stage %s leaves all layers or none changed, and rejects the call',
    async (stage) => {
      const after = without(three, removal(three, 50, { ...weightwise, granularity: 'filter' }), 'filter');
      const broken = new Error('a broken progress bar');
      for (const nth of [1, 2, 3]) {
        const { layers, sparsifier } = begin(three, { granularity: 'filter' });
        let seen = 0;
        const onProgress = (progress: Progress) => {
          if (progress.stage === stage && ++seen === nth) throw broken;
        };
        const outcome = await sparsifier.sparsifyModel(50, { onProgress }).then(
          () => 'done',
          (error) => error,
        );
        const changes = differences(layers, three);
        if (changes.length > 0) expectSame(layers, after, `where the ${nth}. event of ${stage} throws`);
        if (seen >= nth) expect(outcome).toBe(broken);
        await expectNoMemoryInUse();
        // The mask is remembered if, and only if, the weights were changed.
        const earlier = changes.length > 0 ? removal(three, 50, { ...weightwise, granularity: 'filter' }) : {};
        const next = removal(layers, { remove: 2 }, { ...weightwise, granularity: 'filter' }, earlier);
        const expected = without(layers, next, 'filter');
        const report = await sparsifier.sparsifyModel({ remove: 2 });
        expectSame(layers, expected);
        expect(report.layers.map(({ removedUnits }) => removedUnits)).toEqual([2, 2, 2]);
      }
    },
  );
});

describe('simultaneous calls on one model', () => {
  test('Calls take turns in the order in which they were made', async () => {
    const { layers, sparsifier } = begin(three);
    const reports = await Promise.all([30, 60, 20, 80].map((sparsity) => sparsifier.sparsifyModel(sparsity)));
    const one = begin(three);
    for (const [index, sparsity] of [30, 60, 20, 80].entries()) {
      expect(reports[index]!.layers).toEqual((await one.sparsifier.sparsifyModel(sparsity)).layers);
    }
    expectSame(layers, one.layers);
  });

  test('Calls of several Sparsifiers take turns', async () => {
    const layers = copyOf(three);
    const model = fromArrays(layers);
    const filters = new Sparsifier(model, { ...weightwise, granularity: 'filter' });
    const weights = new Sparsifier(model, { ...weightwise, context: 'global' });
    await Promise.all([filters.sparsifyModel(30), weights.sparsifyModel(60), filters.sparsifyLayer('conv', 75)]);
    const steps = without(three, removal(three, 30, { ...weightwise, granularity: 'filter' }), 'filter');
    const then = without(steps, removal(steps, 60, { ...weightwise, context: 'global' }), 'weight');
    const earlier = removal(three, 30, { ...weightwise, granularity: 'filter' });
    const last = removal({ conv: then.conv! }, 75, { ...weightwise, granularity: 'filter' }, earlier);
    expectSame(layers, { ...then, ...without({ conv: then.conv! }, last, 'filter') });
  });

  test('Calls take turns even if some of them fail', async () => {
    const { layers, sparsifier } = begin(three);
    const outcomes = await Promise.allSettled([
      sparsifier.sparsifyModel(30),
      sparsifier.sparsifyModel(101),
      sparsifier.sparsifyModel({ nowhere: 50 }),
      sparsifier.sparsifyModel(50, {
        onProgress: () => {
          throw new Error('a broken progress bar');
        },
      }),
      sparsifier.sparsifyModel(40),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    expectSame(layers, without(three, removal(three, 40, weightwise), 'weight'));
  });

  test('Calls on different models at the same time give the right results', async () => {
    const seeds = [1, 2, 3, 4, 5, 6];
    const results = await Promise.all(seeds.map((seed) => sparsified({ layer: line(values(500, seed)) }, seed * 10)));
    results.forEach(({ layers }, index) => expect(zerosOf(layers)).toEqual({ layer: (index + 1) * 50 }));
    expect((await loadEngine()).memory).toEqual({ blocks: 0, bytes: 0 });
  });
});
