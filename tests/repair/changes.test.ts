import { Sparsifier, type InputStatistics, type SparsifierOptions } from 'sparsifier';
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
  weightwise,
} from '../support/layers.js';
import {
  errorOfFit,
  layerStatistics,
  matricesOf,
  rowsFor,
  shiftOf,
  sizesOf,
  statisticsOf,
} from '../support/naive-repair.js';
import { bitsOf, copyOf, numbersOf, type Layers } from '../support/oracle.js';
import { keeping } from '../support/streams.js';

/** Layers of every layout with bias and batch normalisation, some of them with 16 bits. */
const layers: Layers = Object.fromEntries(
  layouts
    .filter(({ kind }) => kind !== 'embedding')
    .map((layout, index): [string, ArrayLayer] => {
      const layer = layerOf(layout, index + 1, 50);
      return [layout.title, index % 3 === 1 ? in16Bits(layer, index % 2 ? 'float16' : 'bfloat16') : layer];
    }),
);
const rowsOf = (name: string, seed = 1) => rowsFor(sizesOf(layers[name]!), 40, seed);
const statisticsFor = (some: Layers, isDiagonal = false): InputStatistics =>
  statisticsOf(
    Object.fromEntries(
      Object.entries(some).map(([name, layer]) => [
        name,
        layerStatistics(layer, rowsOf(name), { heldOut: rowsOf(name, 2), isDiagonal }),
      ]),
    ),
  );
const statistics = statisticsFor(layers);

function begin(options: SparsifierOptions = {}, some: Layers = layers) {
  const copies = copyOf(some);
  return { copies, sparsifier: new Sparsifier(fromArrays(copies), { ...weightwise, statistics, ...options }) };
}

/** The masks as a file, for another Sparsifier. */
async function masksOf(sparsifier: Sparsifier): Promise<Uint8Array> {
  const { stream, bytes } = keeping();
  await sparsifier.saveMasks(stream);
  return bytes();
}

describe('repairing again', () => {
  test('A second repair gives the same bits', async () => {
    const { copies, sparsifier } = begin();
    await sparsifier.sparsifyModel(50);
    await sparsifier.repair();
    const first = copyOf(copies);
    await sparsifier.repair();
    expectSame(copies, first);
    await sparsifier.apply();
    expectSame(copies, first);
  });

  test('After a repair more is removed, and the next repair aims at the dense weights again', async () => {
    const { copies, sparsifier } = begin();
    await sparsifier.sparsifyModel(50);
    await sparsifier.repair();
    const fifty = sparsifier.masks();
    await sparsifier.sparsifyModel(70);
    for (const [name, { data }] of sparsifier.masks())
      expect(
        data.every((kept, unit) => kept <= fifty.get(name)!.data[unit]!),
        name,
      ).toBe(true);
    await sparsifier.repair();
    const other = begin();
    await other.sparsifier.loadMasks(await masksOf(sparsifier));
    await other.sparsifier.repair();
    expectSame(other.copies, copies);
  });

  test('Units that a lower amount brings back get dense weights, biases and normalisation', async () => {
    for (const granularity of ['weight', 'filter'] as const) {
      const { copies, sparsifier } = begin({ granularity });
      await sparsifier.sparsifyModel(75);
      await sparsifier.repair();
      await sparsifier.sparsifyModel(40);
      await sparsifier.repair();
      const other = begin({ granularity });
      await other.sparsifier.loadMasks(await masksOf(sparsifier));
      await other.sparsifier.apply();
      await other.sparsifier.repair();
      expectSame(copies, other.copies);
    }
  });

  test('What training changed in between does not matter', async () => {
    const { copies, sparsifier } = begin();
    await sparsifier.sparsifyModel(50);
    await sparsifier.repair();
    const first = copyOf(copies);
    for (const { data, bias } of Object.values(copies)) {
      data.fill(7);
      bias!.fill(3);
    }
    await sparsifier.repair();
    for (const [name, { data }] of Object.entries(copies))
      expect(bitsOf(data), name).toEqual(bitsOf(first[name]!.data));
  });
});

describe('restore', () => {
  test.each(['weight', 'filter', 'vector'] as const)(
    'restore brings back all dense numbers, for the granularity %s',
    async (granularity) => {
      const { copies, sparsifier } = begin({ granularity });
      await sparsifier.sparsifyModel(50);
      await sparsifier.repair();
      expect(() => expectSame(copies, layers)).toThrow();
      const report = await sparsifier.restore();
      expectSame(copies, layers);
      expect(report.total).toMatchObject({ removedUnits: 0, zeros: 0 });
      expect(sparsifier.masks().size).toBe(0);
      await sparsifier.sparsifyModel(60);
      await sparsifier.repair();
      await sparsifier.restore();
      expectSame(copies, layers);
      await expectNoMemoryInUse();
    },
  );

  test('Before anything is removed, or repaired, an error says so', async () => {
    const { sparsifier } = begin();
    expect((await errorOf(() => sparsifier.restore())).code).toBe('layer');
    expect((await errorOf(() => sparsifier.repair())).code).toBe('layer');
    await sparsifier.sparsifyModel(50);
    sparsifier.clear();
    expect((await errorOf(() => sparsifier.restore())).code).toBe('layer');
    expect((await errorOf(() => sparsifier.repair())).code).toBe('layer');
  });
});

describe('output channels', () => {
  test('A removed channel keeps weights, bias and normalisation of 0, and the others are those of the dense layer', async () => {
    const { copies, sparsifier } = begin({ granularity: 'filter' });
    await sparsifier.sparsifyModel(50);
    const masked = copyOf(copies);
    const { layers: reports, notes } = await sparsifier.repair();
    expectSame(copies, masked);
    expect(reports.every(({ isRepaired, masked: before, repaired }) => !isRepaired && before === repaired)).toBe(true);
    expect(notes.join()).toContain("`inputs: 'pruned'`");
  });
});

describe('16 bits', () => {
  test.each(['float16', 'bfloat16'] as const)('Weights and biases of type %s are rounded once', async (dtype) => {
    const { batchNorm: _, ...wide } = layerOf(layoutOf('conv2d'), 3, 50);
    const layer = { ...in16Bits(wide, dtype), bias: in16Bits({ ...wide, data: wide.bias! }, dtype).data };
    const rows = rowsFor(sizesOf(layer), 80);
    const own = statisticsOf({ layer: layerStatistics(layer, rows) });
    const { copies, sparsifier } = begin({ statistics: own }, { layer });
    await sparsifier.sparsifyModel(50);
    const {
      layers: [report],
    } = await sparsifier.repair();
    const after = copies.layer!;
    const [before, now] = [layer, after].map((each) => numbersOf({ dtype, data: each.bias! }));
    const shift = shiftOf(matricesOf(layer), matricesOf(after), rows)[0]!;
    for (const [channel, number] of now!.entries()) {
      const exact = before![channel]! + shift[channel]!;
      // Half of the distance between neighbours, and what 32 bits leave.
      const half = 2 ** (Math.floor(Math.log2(Math.abs(exact))) - (dtype === 'float16' ? 11 : 8));
      expect(Math.abs(number - exact)).toBeLessThanOrEqual(half * 1.01 + 1e-3);
    }
    const gained = [now!.map((each, channel) => each - before![channel]!)];
    const found = errorOfFit(matricesOf(layer), matricesOf(after), gained, rows);
    expect(report!.repaired).toBeCloseTo(found, 2);
    expect(report!.repaired).toBeLessThan(report!.masked!);
    await sparsifier.restore();
    expectSame(copies, { layer });
  });
});

describe('diagonal moments', () => {
  test('Layers with diagonal moments only get their bias', async () => {
    const own = statisticsFor(layers, true);
    const { copies, sparsifier } = begin({ statistics: own });
    await sparsifier.sparsifyModel(50);
    const masked = copyOf(copies);
    const { layers: reports, skipped } = await sparsifier.repair();
    for (const { name, bias, reason, masked: before, isRepaired } of reports) {
      expect([bias, before]).toEqual(['own', undefined]);
      expect(reason).toContain('only its bias can change');
      expect(bitsOf(copies[name]!.data)).toEqual(bitsOf(masked[name]!.data));
      const [dense, after] = [matricesOf(layers[name]!), matricesOf(copies[name]!)];
      const gained = shiftOf(dense, after, rowsOf(name)).flat();
      const zero = gained.map(() => 0);
      const { groups, outputs } = sizesOf(layers[name]!);
      const split = (shift: readonly number[]) =>
        Array.from({ length: groups }, (_, group) => shift.slice(group * outputs, (group + 1) * outputs));
      const isBetter =
        errorOfFit(dense, after, split(gained), rowsOf(name, 2)) <
        errorOfFit(dense, after, split(zero), rowsOf(name, 2));
      expect(isRepaired, name).toBe(isBetter);
      if (!isBetter || numbersOf(layers[name]!).length !== copies[name]!.data.length) continue;
      if (layers[name]!.data instanceof Uint16Array) continue;
      const found = Array.from(copies[name]!.bias!, (each, channel) => each - layers[name]!.bias![channel]!);
      for (const [channel, each] of found.entries()) expect(each).toBeCloseTo(gained[channel]!, 1);
    }
    expect(reports.some(({ isRepaired }) => isRepaired)).toBe(true);
    expect(skipped.map(({ name }) => name)).toEqual(['lstm', 'lstm of tfjs', 'gru']);
    await expectNoMemoryInUse();
  });

  test('A layer of more than a megabyte, which is read in slices, gets its bias', async () => {
    const [inputs, outputs] = [512, 513];
    const layer: ArrayLayer = {
      ...{ kind: 'dense', roles: ['in', 'out'], shape: [inputs, outputs] },
      data: Float32Array.from({ length: inputs * outputs }, (_, index) => Math.sin(index)),
      bias: new Float32Array(outputs),
    };
    const rows = rowsFor({ groups: 1, outputs, columns: inputs }, 4);
    const own = statisticsOf({ layer: layerStatistics(layer, rows, { isDiagonal: true }) });
    const { copies, sparsifier } = begin({ statistics: own }, { layer });
    await sparsifier.sparsifyModel(50);
    const { layers: reports } = await sparsifier.repair();
    expect(reports.map(({ isRepaired }) => isRepaired)).toEqual([true]);
    const [gained] = shiftOf(matricesOf(layer), matricesOf(copies.layer!), rows);
    for (const [channel, each] of gained!.entries()) expect(copies.layer!.bias![channel]).toBeCloseTo(each, 3);
  });
});

describe('what fails', () => {
  test('An abort changes nothing, whenever it comes', async () => {
    const { copies, sparsifier } = begin();
    await sparsifier.sparsifyModel(50);
    const before = copyOf(copies);
    for (const stop of [1, 5, Object.keys(layers).length]) {
      const controller = new AbortController();
      let last = 0;
      const onProgress = ({ done, total, stage }: { done: number; total: number; stage: string }) => {
        expect([stage, done > 0 && done <= total]).toEqual(['repair', true]);
        if (++last === stop) controller.abort(new Error('enough'));
      };
      await expect(sparsifier.repair({ signal: controller.signal, onProgress })).rejects.toThrow('enough');
      expectSame(copies, before);
    }
    const failing = () => {
      throw new Error('listener');
    };
    await expect(sparsifier.repair({ onProgress: failing })).rejects.toThrow('listener');
    expectSame(copies, before);
    await expectNoMemoryInUse();
  });

  test('Statistics and weights that are not finite, or of another shape, are errors that change nothing', async () => {
    const [first, second] = ['conv2d', 'dense'].map((title) => layerOf(layoutOf(title))) as [ArrayLayer, ArrayLayer];
    const some = { first, second };
    const own = (name: 'first' | 'second') => {
      const rows = rowsFor(sizesOf(some[name]), 30);
      return layerStatistics(some[name], rows, { heldOut: rows });
    };
    const broken = (number: number) => {
      const found = own('second');
      found.moment[3] = number;
      return found;
    };
    const heldOut = (number: number) => {
      const found = own('second');
      found.heldOut!.mean[2] = number;
      return found;
    };
    for (const wrong of [broken(NaN), broken(Infinity), heldOut(NaN), own('first')]) {
      const { copies, sparsifier } = begin({ statistics: statisticsOf({ first: own('first'), second: wrong }) }, some);
      await sparsifier.sparsifyModel(50);
      const before = copyOf(copies);
      const error = await errorOf(() => sparsifier.repair());
      expect([error.code, error.details.subject]).toEqual(['criteria', 'second']);
      expectSame(copies, before);
    }
    const infinite = { ...second, data: (second.data as Float32Array).map((each, at) => (at === 4 ? Infinity : each)) };
    const { copies, sparsifier } = begin(
      { statistics: statisticsOf({ first: own('first'), second: own('second') }) },
      { first, second: infinite },
    );
    await sparsifier.sparsifyLayer('first', 50);
    const finite = begin({ statistics: statisticsOf({}) }, some);
    await finite.sparsifier.sparsifyModel(50);
    await sparsifier.loadMasks(await masksOf(finite.sparsifier));
    const before = copyOf(copies);
    const error = await errorOf(() => sparsifier.repair());
    expect([error.code, error.details.subject]).toEqual(['weights', 'second']);
    expectSame(copies, before);
    await expectNoMemoryInUse();
  });

  test('Inputs whose products with the weights are too large are not taken for wrong weights', async () => {
    const layer = layerOf(layoutOf('dense'));
    const known = layerStatistics(layer, rowsFor(sizesOf(layer), 30));
    known.moment.fill(3e38);
    const { copies, sparsifier } = begin({ statistics: statisticsOf({ layer: known }) }, { layer });
    await sparsifier.sparsifyModel(50);
    const before = copyOf(copies);
    const error = await errorOf(() => sparsifier.repair());
    expect([error.code, error.details.subject]).toEqual(['criteria', 'layer']);
    expect(error.message).toContain('inputs of the layer are too large');
    expectSame(copies, before);
    await expectNoMemoryInUse();
  });

  test.each([
    [{ method: 'slove' }, 'Did you mean solve?'],
    [{ steps: -1 }, '`steps`'],
    [{ steps: 1.5 }, '`steps`'],
    [{ ridge: -0.1 }, '`ridge`'],
    [{ ridge: NaN }, '`ridge`'],
    [{ addBias: 'no' }, '`addBias`'],
    [{ inputs: 'sparse' }, 'inputs'],
    [{ step: 3 }, 'Did you mean steps?'],
    [{ signal: {} }, '`signal`'],
  ])('%j is refused', async (options, words) => {
    const { sparsifier } = begin();
    const error = await errorOf(() => sparsifier.repair(options as never));
    expect(error.code).toBe('usage');
    expect(error.message).toContain(words);
  });
});

describe('the report', () => {
  test('It tells which layers were not repaired and why, and what errors mean', async () => {
    const [conv, dense, lstm] = ['conv2d', 'dense', 'lstm'].map((name) => layers[name]!) as [
      ArrayLayer,
      ArrayLayer,
      ArrayLayer,
    ];
    const few = layerStatistics(conv, rowsFor(sizesOf(conv), 5));
    const own = layerStatistics(lstm, rowsFor(sizesOf(lstm), 50), { heldOut: rowsFor(sizesOf(lstm), 9, 3) });
    const { sparsifier } = begin(
      { statistics: statisticsOf({ conv: few, lstm: own }, ['not all could be checked']) },
      { conv, dense, lstm },
    );
    await sparsifier.sparsifyModel(50);
    const report = await sparsifier.repair();
    expect(report.skipped).toEqual([{ name: 'dense', reason: 'there are no statistics of it' }]);
    expect(
      report.layers.map(({ name, rows, heldOutRows, columns, bias }) => [name, rows, heldOutRows, columns, bias]),
    ).toEqual([
      ['conv', 5, 0, 18, 'own'],
      ['lstm', 50, 9, 3, 'none'],
    ]);
    expect(report.layers[1]!.reason).toContain('it has no bias');
    const notes = report.notes.join('\n');
    for (const part of ['not all could be checked', 'fewer rows than columns', 'no rows are held out'])
      expect(notes).toContain(part);
    const table = report.table();
    for (const part of ['mask alone', 'conv', 'dense: there are no statistics of it', ...report.notes])
      expect(table).toContain(part);
    expect(String(report)).toBe(table);
  });
});
