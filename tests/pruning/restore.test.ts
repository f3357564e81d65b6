import fc from 'fast-check';
import { Granularity, loadEngine, Sparsifier, type Amount, type Progress, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer, type Numbers } from 'sparsifier/formats/arrays';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  in16Bits,
  layerOf,
  layoutOf,
  layouts,
  line,
  values,
  weightwise,
  zerosOf,
} from '../support/layers.js';
import { integerAttribute, mixedNumbers, model, node, tensor, type TensorOptions } from '../support/onnx-builder.js';
import {
  areChannels,
  bitsOf,
  copyOf,
  numbersOf,
  removal,
  spanned,
  unitsOf,
  without,
  type Asked,
  type Cutting,
  type Gone,
  type Layers,
} from '../support/oracle.js';

/** A restorable sparsifier of copies of the layers. */
function begin(layers: Layers, options: Partial<SparsifierOptions> = {}) {
  const copies = copyOf(layers);
  const sparsifier = new Sparsifier(fromArrays(copies), { ...weightwise, restorable: true, ...options });
  return { layers: copies, sparsifier };
}

const partnersOf = ({ bias, batchNorm: { gamma, beta } = {} }: ArrayLayer): Numbers[] =>
  [bias, gamma, beta].filter((each) => each !== undefined);

/** Copies what units hold, with all that goes with a whole channel, from one set of layers to another. */
function copyUnits(
  from: Layers,
  to: Layers,
  granularity: Cutting,
  which: (name: string, unit: number) => boolean,
): void {
  for (const [name, layer] of Object.entries(from)) {
    const units = unitsOf(layer, granularity);
    const wholeChannels = areChannels(layer, units);
    units.forEach(({ out, positions }, unit) => {
      if (!which(name, unit)) return;
      for (const position of positions) to[name]!.data[position] = layer.data[position]!;
      if (!wholeChannels) return;
      const targets = partnersOf(to[name]!);
      partnersOf(layer).forEach((partner, index) => (targets[index]![out] = partner[out]!));
    });
  }
}

/** Gives all numbers other values, those of removed units and of partners among them. */
function train(layers: Layers, seed: number): void {
  for (const [index, layer] of Object.values(layers).entries()) {
    for (const array of [layer.data, ...partnersOf(layer)]) array.set(values(array.length, seed + index, 100));
  }
}

const all: Layers = Object.fromEntries(layouts.map((layout, index) => [layout.title, layerOf(layout, index)]));
const three: Layers = {
  conv: layerOf(layoutOf('conv2d')),
  dense: layerOf(layoutOf('dense of tfjs'), 2),
  gru: layerOf(layoutOf('gru'), 3),
};

describe('restore', () => {
  test('Removed weights are restored, and only by a restorable Sparsifier', async () => {
    const { layers, sparsifier } = begin({ layer: line([1, -5, 2, -3]) });
    await sparsifier.sparsifyModel(50);
    expect([...layers.layer!.data]).toEqual([0, -5, 0, -3]);
    const report = await sparsifier.restore();
    expect([...layers.layer!.data]).toEqual([1, -5, 2, -3]);
    expect(report.total).toEqual({
      weights: 4,
      zeros: 0,
      removedWeights: 0,
      sparsity: 0,
      units: 4,
      removedUnits: 0,
      keptUnits: 4,
    });
    expect(report.layers.map(({ name }) => name)).toEqual(['layer']);
    await expectNoMemoryInUse();
    for (const restorable of [false, undefined]) {
      const plain = new Sparsifier(fromArrays(copyOf(layers)), {
        ...weightwise,
        ...(restorable === false && { restorable }),
      });
      await plain.sparsifyModel(50);
      const error = await errorOf(() => plain.restore());
      expect(error.code).toBe('usage');
      expect(error.message).toContain('restorable: true');
    }
  });

  test.each(['weight', 'vector', 'filter'] as const)(
    'Units of the granularity %s are restored in every kind and layout, with biases and batch normalisation',
    async (granularity) => {
      for (const context of ['local', 'global'] as const) {
        const { layers, sparsifier } = begin(all, { granularity, context });
        await sparsifier.sparsifyModel(60);
        expectSame(layers, without(all, removal(all, 60, { granularity, context }), granularity), 'as ever');
        await sparsifier.restore();
        expectSame(layers, all);
      }
      await expectNoMemoryInUse();
    },
  );

  test.each<Cutting>(['kernel', 'sharedKernel', 'channel', 'row', 'layer', { block: { out: 2, in: 2, width: 2 } }])(
    'Units of the granularity %j are restored in convolutions',
    async (granularity) => {
      const convolutions = Object.fromEntries(
        Object.entries(all).filter(
          ([, { kind }]) => typeof granularity !== 'string' || (kind.startsWith('conv') && spanned(kind, granularity)),
        ),
      );
      const { layers, sparsifier } = begin(convolutions, { granularity, context: 'global' });
      await sparsifier.sparsifyModel(60);
      expect(zerosOf(layers)).not.toEqual(zerosOf(convolutions));
      await sparsifier.restore();
      expectSame(layers, convolutions);
    },
  );

  test('Weights that an N:M pattern removed are restored', async () => {
    const { layers, sparsifier } = begin(all, { granularity: Granularity.nm(1, 2) });
    const report = await sparsifier.sparsifyModel();
    expect(report.total.zeros).toBeGreaterThan(100);
    await sparsifier.restore();
    expectSame(layers, all);
  });

  test('Numbers are restored bit for bit: -0, the smallest and the largest', async () => {
    const bits = Uint32Array.of(0x8000_0000, 0, 1, 0x8000_0001, 0x007f_ffff, 0xff7f_ffff, 0x7f7f_ffff, 0x3f80_0001);
    const { layers, sparsifier } = begin({ layer: line(new Float32Array(bits.buffer)) }, { allowEmpty: true });
    await sparsifier.sparsifyModel(100);
    expect(bitsOf(layers.layer!.data)).toEqual(new Uint32Array(8));
    const report = await sparsifier.restore();
    expect(bitsOf(layers.layer!.data)).toEqual(bits);
    expect(report.total.zeros).toBe(2);
  });

  test.each(['float16', 'bfloat16'] as const)(
    'Weights of type %s are restored, with biases of that type and of 32 bits',
    async (dtype) => {
      const wide = in16Bits(layerOf(layoutOf('conv2d of tfjs')), dtype);
      const narrow = { ...wide, bias: Uint16Array.of(0x8000, 0x3c01, 0x1234, 0xbf80), batchNorm: {} };
      for (const granularity of ['filter', 'weight'] as const) {
        const before: Layers = { wide, narrow, other: in16Bits(layerOf(layoutOf('gru'), 7), dtype) };
        const { layers, sparsifier } = begin(before, { granularity });
        await sparsifier.sparsifyModel(75);
        expect(numbersOf(layers.narrow!).filter((each) => each === 0).length).toBeGreaterThan(50);
        await sparsifier.restore();
        expectSame(layers, before);
      }
    },
  );

  test('An array that serves two purposes is restored, and so are tied weights', async () => {
    const data = values(12);
    const both = values(4, 9);
    const dense = { kind: 'dense', roles: ['out', 'in'], shape: [4, 3] } as const;
    const before: Layers = {
      first: { ...dense, data, bias: values(4, 2), batchNorm: { gamma: both, beta: both } },
      second: { ...dense, data, bias: values(4, 3) },
    };
    const { layers, sparsifier } = begin(before, { granularity: 'filter' });
    for (const amount of [25, 75]) await sparsifier.sparsifyModel(amount);
    expect(layers.second!.bias!.filter((each) => each === 0)).toHaveLength(3);
    await sparsifier.restore();
    expectSame(layers, before);
  });
});

describe('what is restored', () => {
  test('A number has the value that it had when it was removed; kept numbers stay as training left them', async () => {
    const { layers, sparsifier } = begin({ layer: line([1, 2, 3, 4, 5]) });
    const { data } = layers.layer!;
    await sparsifier.sparsifyModel({ remove: 1 });
    data.set([100, 20, 30, 40, 50]);
    await sparsifier.sparsifyModel({ remove: 2 });
    data.set([200, 201, 33, 44, 55]);
    await sparsifier.sparsifyModel({ remove: 2 });
    expect([...data]).toEqual([0, 0, 33, 44, 55]);
    data.set([NaN, 301, 34, 45, 56]);
    await sparsifier.restore();
    expect([...data]).toEqual([1, 20, 34, 45, 56]);
  });

  test('Biases and batch normalisation have the values that they had when they were removed', async () => {
    const channel: ArrayLayer = {
      kind: 'dense',
      roles: ['in', 'out'],
      shape: [2, 3],
      data: Float32Array.of(1, 5, 3, 1, 5, 3),
      bias: Float32Array.of(7, 8, 9),
      batchNorm: { gamma: Float32Array.of(-1, -2, -3) },
    };
    const { layers, sparsifier } = begin({ layer: channel }, { granularity: 'filter' });
    await sparsifier.sparsifyModel({ remove: 1 });
    const { data, bias, batchNorm } = layers.layer!;
    data.set([50, 6, 2, 50, 6, 2]);
    bias!.set([70, 80, 90]);
    batchNorm!.gamma!.set([-10, -20, -30]);
    await sparsifier.sparsifyModel({ remove: 2 });
    expect([[...data], [...bias!]]).toEqual([
      [0, 6, 0, 0, 6, 0],
      [0, 80, 0],
    ]);
    bias!.set([71, 81, 91]);
    await sparsifier.restore();
    expect([[...data], [...bias!], [...batchNorm!.gamma!]]).toEqual([
      [1, 6, 2, 1, 6, 2],
      [7, 81, 90],
      [-1, -20, -30],
    ]);
  });

  test('Calls of apply in between change nothing about that', async () => {
    const { layers, sparsifier } = begin({ layer: line([1, 2, 3, 4, 5]) });
    const { data } = layers.layer!;
    await sparsifier.sparsifyModel({ remove: 2 });
    for (const round of [1, 2]) {
      data.set([round, round, 30 * round, 40, 50]);
      await sparsifier.apply();
      expect([...data]).toEqual([0, 0, 30 * round, 40, 50]);
    }
    await sparsifier.sparsifyModel({ remove: 3 });
    await sparsifier.apply();
    await sparsifier.restore();
    expect([...data]).toEqual([1, 2, 60, 40, 50]);
  });

  test('Units that a lower amount brought back stay +0, unless they are removed again', async () => {
    const { layers, sparsifier } = begin({ layer: line([1, -2, -3, 4, 5]) });
    const { data } = layers.layer!;
    await sparsifier.sparsifyModel({ remove: 3 });
    await sparsifier.sparsifyModel({ remove: 1 });
    await sparsifier.restore();
    expect([...bitsOf(data)]).toEqual([...bitsOf(Float32Array.of(1, 0, 0, 4, 5))]);

    const again = begin({ layer: line([1, -2, -3, 4, 5]) });
    await again.sparsifier.sparsifyModel({ remove: 3 });
    await again.sparsifier.sparsifyModel({ remove: 1 });
    again.layers.layer!.data.set([9, 0.5, 0.25, 4, 5]);
    await again.sparsifier.sparsifyModel({ remove: 2 });
    await again.sparsifier.restore();
    expect([...again.layers.layer!.data]).toEqual([1, 0.5, 0.25, 4, 5]);
  });

  test('Layers that a call does not prune keep their saved numbers', async () => {
    const before: Layers = { a: line([1, 2, 3, 4]), b: line([5, 6, 7, 8]), c: line([1, 2]) };
    const { layers, sparsifier } = begin(before);
    await sparsifier.sparsifyModel({ a: 50 });
    await sparsifier.sparsifyLayer('b', 25);
    layers.a!.data.set([9, 9]);
    await sparsifier.sparsifyLayer('b', 75);
    const report = await sparsifier.restore();
    expectSame(layers, before);
    expect(report.layers.map(({ name }) => name)).toEqual(['a', 'b']);
  });

  test('Any sequence of calls can be restored, with training in between', async () => {
    const call = fc.record({
      amount: fc.oneof(fc.nat(100), fc.record({ keep: fc.nat(80) }), fc.record({ remove: fc.nat(80) })),
      layer: fc.constantFrom(undefined, undefined, ...Object.keys(three)),
      seed: fc.nat(1000),
      isApplied: fc.boolean(),
    });
    const options = fc.record({
      context: fc.constantFrom('local' as const, 'global' as const),
      granularity: fc.constantFrom<Cutting[]>('weight', 'vector', 'filter', { block: { out: 3, in: 2 } }),
      criteria: fc.constantFrom('largeFinal' as const, 'random' as const),
    });
    await fc.assert(
      fc.asyncProperty(options, fc.array(call, { minLength: 1, maxLength: 5 }), async (asked, calls) => {
        const { layers, sparsifier } = begin(three, asked);
        const plain = copyOf(three);
        const twin = new Sparsifier(fromArrays(plain), { ...weightwise, ...asked });
        const kept = copyOf(three);
        let gone: Gone = {};
        for (const { amount, layer, seed, isApplied } of calls) {
          const touched = layer === undefined ? layers : { [layer]: layers[layer]! };
          const own: Asked = { ...asked, context: layer === undefined ? asked.context : 'local' };
          const now = removal(touched, amount as Amount, own, gone, (name) => Object.keys(three).indexOf(name));
          // Of units that go now, the values of this moment are what comes back.
          copyUnits(layers, kept, asked.granularity, (name, unit) => !!now[name]?.[unit] && !gone[name]?.[unit]);
          gone = { ...gone, ...now };
          await Promise.all(
            [sparsifier, twin].map((each) =>
              layer === undefined ? each.sparsifyModel(amount) : each.sparsifyLayer(layer, amount),
            ),
          );
          expectSame(layers, plain, 'the same as without keeping values');
          for (const copies of [layers, plain]) train(copies, seed);
          if (isApplied) await Promise.all([sparsifier.apply(), twin.apply()]);
        }
        const expected = copyOf(layers);
        copyUnits(kept, expected, asked.granularity, (name, unit) => !!gone[name]?.[unit]);
        if (Object.values(gone).some((flags) => flags.includes(true))) await sparsifier.restore();
        expectSame(layers, expected);
      }),
      { numRuns: 60 },
    );
    await expectNoMemoryInUse();
  });
});

describe('after restore', () => {
  test('Masks are discarded, and the next call ranks all units again', async () => {
    const { layers, sparsifier } = begin({ a: line([1, 2, 3, 4]), b: line([1, 2]) });
    await sparsifier.sparsifyModel(50);
    await sparsifier.restore();
    expect(sparsifier.masks().size).toBe(0);
    expect([...sparsifier.mask('a').data]).toEqual([1, 1, 1, 1]);
    expect((await errorOf(() => sparsifier.apply())).code).toBe('layer');
    layers.a!.data.set([9, 8]);
    await sparsifier.sparsifyModel(50);
    expect([...layers.a!.data]).toEqual([9, 8, 0, 0]);
    await sparsifier.restore();
    expect([...layers.a!.data]).toEqual([9, 8, 3, 4]);
  });

  test('There is nothing to restore before units are removed, and after they are restored', async () => {
    const { layers, sparsifier } = begin({ a: line([1, 2, 3, 4]) });
    const nothing = async () => expect((await errorOf(() => sparsifier.restore())).code).toBe('layer');
    await nothing();
    await sparsifier.sparsifyModel(50);
    await sparsifier.restore();
    await nothing();
    await sparsifier.sparsifyModel(50);
    sparsifier.clear();
    await nothing();
    expect([...layers.a!.data]).toEqual([0, 0, 3, 4]);
    await sparsifier.sparsifyModel({});
    await nothing();
    await sparsifier.sparsifyModel(0);
    await nothing();
  });

  test('Layers that lost nothing are not in the report, and their masks are discarded as well', async () => {
    const { sparsifier } = begin({ a: line([1, 2, 3, 4]), b: line([1, 2, 3, 4]) });
    await sparsifier.sparsifyModel({ a: 50, b: 0 });
    const report = await sparsifier.restore();
    expect(report.layers.map(({ name }) => name)).toEqual(['a']);
    expect(sparsifier.masks().size).toBe(0);
  });

  test('clear() discards removed values, even if more is removed later', async () => {
    const { layers, sparsifier } = begin({ a: line([1, 2, 3, 4]) });
    await sparsifier.sparsifyModel(25);
    sparsifier.clear();
    layers.a!.data[0] = 10;
    await sparsifier.sparsifyModel(50);
    await sparsifier.restore();
    expect([...layers.a!.data]).toEqual([10, 2, 3, 4]);
  });
});

describe('a call that fails', () => {
  test('A call that fails leaves earlier removals restorable', async () => {
    for (const context of ['local', 'global'] as const) {
      const before: Layers = { a: line([1, 2, 3, 4]), b: layerOf(layoutOf('conv2d')) };
      const { layers, sparsifier } = begin(before, { granularity: 'filter', context, allowEmpty: true });
      await sparsifier.sparsifyModel({ remove: 2 });
      const kept = [...sparsifier.mask('b').data].indexOf(1);
      const place = kept * 18;
      layers.b!.data[place] = NaN;
      const half = copyOf(layers);
      expect((await errorOf(() => sparsifier.sparsifyModel({ remove: 3 }))).code).toBe('weights');
      expect((await errorOf(() => sparsifier.sparsifyModel(101))).code).toBe('sparsity');
      expectSame(layers, half);
      await expectNoMemoryInUse();
      layers.b!.data[place] = before.b!.data[place]!;
      await sparsifier.restore();
      expectSame(layers, before);
    }
  });

  test('A call that is aborted leaves earlier removals restorable', async () => {
    for (const stage of ['load', 'score', 'mask'] as const) {
      const { layers, sparsifier } = begin(three, { granularity: 'filter' });
      await sparsifier.sparsifyModel(25);
      const quarter = copyOf(layers);
      const controller = new AbortController();
      const onProgress = (progress: Progress) => progress.stage === stage && controller.abort(new Error(stage));
      const call = sparsifier.sparsifyModel(75, {
        signal: controller.signal,
        onProgress: (each) => void onProgress(each),
      });
      await expect(call).rejects.toThrow(stage);
      expectSame(layers, quarter);
      await sparsifier.restore();
      expectSame(layers, three);
      await expectNoMemoryInUse();
    }
  });

  test('A call of restore that fails changes nothing, and can be repeated', async () => {
    const { layers, sparsifier } = begin(three, { granularity: 'filter' });
    await sparsifier.sparsifyModel(50);
    const half = copyOf(layers);
    const aborted = AbortSignal.abort(new Error('enough'));
    await expect(sparsifier.restore({ signal: aborted })).rejects.toThrow('enough');
    const broken = () => {
      throw new Error('a broken progress bar');
    };
    await expect(sparsifier.restore({ onProgress: broken })).rejects.toThrow('broken');
    expect((await errorOf(() => sparsifier.restore({ roundTo: 2 } as object))).code).toBe('usage');
    expectSame(layers, half);
    await expectNoMemoryInUse();
    await sparsifier.restore();
    expectSame(layers, three);
  });
});

describe('while it runs', () => {
  test('Progress reports each stage up to the total', async () => {
    const { sparsifier } = begin(three);
    await sparsifier.sparsifyModel(50);
    const seen: Progress[] = [];
    await sparsifier.restore({ onProgress: (progress) => seen.push(progress) });
    const total = Object.values(three).reduce((sum, { data }) => sum + data.length, 0);
    const stages = [...new Set(seen.map(({ stage }) => stage))];
    expect(stages).toEqual(['load', 'inspect', 'store']);
    for (const stage of stages) {
      expect(seen.filter((each) => each.stage === stage).at(-1)).toEqual({ stage, done: total, total });
    }
  });

  test('Calls take turns', async () => {
    const { layers, sparsifier } = begin(three);
    const calls = await Promise.allSettled([
      sparsifier.restore(),
      sparsifier.sparsifyModel(30),
      sparsifier.sparsifyModel(60),
      sparsifier.restore(),
      sparsifier.apply(),
      sparsifier.restore(),
    ]);
    expect(calls.map(({ status }) => status)).toEqual([
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    expectSame(layers, three);
  });

  test('No block of memory stays in use, whatever values are kept', async () => {
    const before: Layers = { large: layerOf({ kind: 'dense', roles: ['out', 'in'], shape: [64, 512] }) };
    for (const granularity of ['weight', 'filter'] as const) {
      const { layers, sparsifier } = begin(before, { granularity });
      for (const sparsity of [10, 50, 90]) {
        await sparsifier.sparsifyModel(sparsity);
        await expectNoMemoryInUse();
        await sparsifier.apply();
        await expectNoMemoryInUse();
        await sparsifier.explain(95);
        await expectNoMemoryInUse();
      }
      await sparsifier.restore();
      await expectNoMemoryInUse();
      expectSame(layers, before);
    }
  });
});

describe('ONNX models', () => {
  /** A Conv with a bias and a BatchNormalization, and a MatMul that ends at an odd byte. */
  function onnx(options: (name: string, count: number) => TensorOptions): Uint8Array<ArrayBuffer> {
    const stored = (name: string, ...shape: number[]) =>
      tensor(
        name,
        shape,
        options(
          name,
          shape.reduce((total, size) => total * size, 1),
        ),
      );
    return model({
      nodes: [
        node('Conv', 'x w b', 'y', { name: 'conv', attributes: [integerAttribute('group', 1)] }),
        node('BatchNormalization', 'y gamma beta mean var', 'n'),
        node('MatMul', 'z m', 'o', { name: 'matmul' }),
      ],
      initializers: [
        stored('w', 6, 5, 3, 2),
        stored('odd name', 1),
        stored('b', 6),
        ...['gamma', 'beta', 'mean', 'var'].map((name) => stored(name, 6)),
        stored('m', 7, 5),
      ],
    });
  }
  const seeds = ['w', 'odd name', 'b', 'gamma', 'beta', 'mean', 'var', 'm'];

  test.each<{ title: string; options: (name: string, count: number) => TensorOptions }>([
    { title: 'raw data', options: (name, count) => ({ data: mixedNumbers(count, seeds.indexOf(name)) }) },
    { title: 'packed floats', options: () => ({ storage: 'packed' }) },
    { title: 'floats one by one', options: () => ({ storage: 'unpacked' }) },
    { title: 'half precision', options: () => ({ dtype: 'float16' }) },
    {
      title: 'half precision in integers of one to three bytes',
      options: () => ({ dtype: 'float16', storage: 'packed' }),
    },
    { title: 'bfloat16', options: () => ({ dtype: 'bfloat16' }) },
  ])('After restore an ONNX file with $title is the same, byte for byte', async ({ options }) => {
    for (const granularity of ['weight', 'filter'] as const) {
      const before = onnx(options);
      const read = await readOnnx(before.slice());
      const engine = await loadEngine();
      const { blocks } = engine.memory;
      const sparsifier = new Sparsifier(read, { ...weightwise, granularity, restorable: true });
      await sparsifier.sparsifyModel(30);
      const first = await read.bytes();
      await sparsifier.sparsifyModel(70);
      const second = await read.bytes();
      expect(differsAt(first, before)).toBeGreaterThan(0);
      expect(differsAt(second, first)).toBeGreaterThan(0);
      await sparsifier.apply();
      await sparsifier.restore();
      expect(differsAt(await read.bytes(), before)).toBe(-1);
      expect(engine.memory.blocks).toBe(blocks);
      await sparsifier.sparsifyModel(30);
      expect(differsAt(await read.bytes(), first)).toBe(-1);
      read.close();
      await expectNoMemoryInUse();
    }
  });
});
