import fc from 'fast-check';
import { Granularity, Sparsifier, type RepairOptions, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  anyLayout,
  expectNoMemoryInUse,
  expectSame,
  layerOf,
  layouts,
  weightwise,
  type Layout,
} from '../support/layers.js';
import {
  cancellationOf,
  errorOfFit,
  exactFit,
  layerStatistics,
  matricesOf,
  rowsFor,
  shiftOf,
  sizesOf,
  statisticsOf,
  type Rows,
} from '../support/naive-repair.js';
import { bitsOf, copyOf, type Layers } from '../support/oracle.js';

/** All layouts whose weights are multiplied with rows, without batch normalisation. */
const fitted = layouts.filter(({ kind }) => kind !== 'embedding');
const layerFor = (layout: (typeof layouts)[number], seed = 1): ArrayLayer => {
  const { batchNorm: _, ...layer } = layerOf(layout, seed, 100);
  return layer;
};
const hasBias = ({ kind }: ArrayLayer) => !['lstm', 'gru', 'rnn'].includes(kind);

interface Case {
  readonly layers: Layers;
  readonly rows: Readonly<Record<string, Rows>>;
  readonly heldOut?: Readonly<Record<string, Rows>>;
}

/** A pruned model with statistics. */
async function begin({ layers, rows, heldOut }: Case, sparsity: number | undefined, options: SparsifierOptions = {}) {
  const copies = copyOf(layers);
  const statistics = statisticsOf(
    Object.fromEntries(
      Object.entries(layers).map(([name, layer]) => [
        name,
        layerStatistics(layer, rows[name]!, { heldOut: heldOut?.[name] }),
      ]),
    ),
  );
  const sparsifier = new Sparsifier(fromArrays(copies), { ...weightwise, ...options, statistics });
  await sparsifier.sparsifyModel(sparsity);
  return { sparsifier, layers: copies, masked: copyOf(copies) };
}

/** What the outputs of a layer gain from a bias, by group. */
function gains(layer: ArrayLayer, before: ArrayLayer): number[][] {
  const { groups, outputs } = sizesOf(layer);
  return Array.from({ length: groups }, (_, group) =>
    Array.from({ length: outputs }, (_, output) => {
      const channel = group * outputs + output;
      return hasBias(layer) ? layer.bias![channel]! - before.bias![channel]! : 0;
    }),
  );
}

const columnsOf = (layout: Layout) => sizesOf(layerFor(layout)).columns;
const largest = (numbers: readonly number[]) => Math.max(...numbers.map(Math.abs));
const isKeptIn = (layer: ArrayLayer, unmasked: ArrayLayer) =>
  matricesOf(
    layer,
    Array.from(unmasked.data, (each) => (each === 0 ? 0 : 1)),
  ).map((matrix) => matrix.map((row) => row.map((each) => each === 1)));

describe('the solution', () => {
  test.each([
    ['weight', {}],
    ['channel', { granularity: 'channel', layerType: 'conv2d' }],
    ['a block', { granularity: Granularity.block({ out: 2, in: 2 }) }],
    ['1:2', { granularity: Granularity.nm(1, 2) }],
  ] satisfies [string, SparsifierOptions][])(
    'Kept weights and biases are those of exact least squares in every layout, for the granularity %s',
    async (_, options) => {
      const chosen = fitted.filter(({ kind }) => !('layerType' in options) || kind === options.layerType);
      const layers = Object.fromEntries(chosen.map((layout, index) => [layout.title, layerFor(layout, index + 1)]));
      const rows = Object.fromEntries(
        Object.entries(layers).map(([name, layer]) => [name, rowsFor(sizesOf(layer), 3 * sizesOf(layer).columns + 5)]),
      );
      const amount = 'granularity' in options && typeof options.granularity === 'object' && 'nm' in options.granularity;
      const { sparsifier, layers: after, masked } = await begin({ layers, rows }, amount ? undefined : 50, options);
      const report = await sparsifier.repair({ ridge: 1e-4, steps: 100 });
      expect(report.skipped).toEqual([]);
      expect(report.layers.map(({ name }) => name)).toEqual(Object.keys(layers));
      for (const { name, masked: before, repaired, isRepaired, bias } of report.layers) {
        const [dense, now, mask, own] = [layers[name]!, after[name]!, masked[name]!, rows[name]!];
        const w = matricesOf(dense);
        const v = exactFit(w, isKeptIn(dense, mask), { rows: own, ridge: 1e-4, hasBias: hasBias(dense) });
        const found = matricesOf(now);
        const scale = largest(w.flat(2));
        expect(largest(v.flat(2).map((each, at) => each - found.flat(2)[at]!)) / scale, name).toBeLessThan(5e-3);
        for (const [at, bits] of bitsOf(now.data).entries()) {
          if (mask.data[at] === 0) expect(bits, name).toBe(0);
        }
        const shift = hasBias(dense) ? shiftOf(w, found, own) : gains(now, dense);
        const gained = gains(now, dense);
        expect(largest(shift.flat().map((each, at) => each - gained.flat()[at]!)), name).toBeLessThan(
          1e-4 * (1 + largest(shift.flat())) + 1e-3,
        );
        const zero = gained.map((each) => each.map(() => 0));
        expect(before, name).toBeCloseTo(errorOfFit(w, matricesOf(mask), zero, own), 4);
        expect(repaired, name).toBeCloseTo(errorOfFit(w, found, gained, own), 4);
        expect(repaired!, name).toBeLessThanOrEqual(before!);
        expect(bias, name).toBe(hasBias(dense) ? 'own' : 'none');
        expect(isRepaired, name).toBe(repaired! < before!);
      }
      await expectNoMemoryInUse();
    },
  );
});

describe('never worse', () => {
  test('On rows that are held out, no layer is farther from its dense outputs than with the mask alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        // Where a weight is all that an output channel has, its bias goes with it.
        anyLayout(4, 6).filter(({ kind, ...layout }) => kind !== 'embedding' && columnsOf({ kind, ...layout }) > 1),
        fc.nat(1000),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 10, max: 90 }),
        fc.constantFrom<NonNullable<RepairOptions['method']>>('solve', 'bias'),
        async (layout, seed, count, heldOutCount, sparsity, method) => {
          const layer = layerFor(layout, seed + 1);
          const rows = rowsFor(sizesOf(layer), count, seed + 2);
          const heldOut = rowsFor(sizesOf(layer), heldOutCount, seed + 3);
          const { sparsifier, layers, masked } = await begin(
            { layers: { layer }, rows: { layer: rows }, heldOut: { layer: heldOut } },
            sparsity,
            { allowEmpty: true },
          );
          const { layers: reports } = await sparsifier.repair({ method });
          const w = matricesOf(layer);
          const zero = gains(layer, layer);
          const before = errorOfFit(w, matricesOf(masked.layer!), zero, heldOut);
          const after = errorOfFit(w, matricesOf(layers.layer!), gains(layers.layer!, layer), heldOut);
          // Rounded moments move the squares of errors by this share of the largest that the outputs could be.
          const rounding = 1e-5 * cancellationOf(w, heldOut);
          const expectNear = (found: number, expected: number) =>
            expect(Math.abs(found ** 2 - expected ** 2)).toBeLessThanOrEqual(rounding * (1 + expected ** 2));
          expect(after ** 2).toBeLessThanOrEqual(before ** 2 + rounding * (1 + before ** 2));
          for (const { masked: first, repaired, isRepaired } of reports) {
            expectNear(first!, before);
            expectNear(repaired!, after);
            if (!isRepaired) expectSame(layers, masked);
          }
          if (method === 'bias') expect(layers.layer!.data).toEqual(masked.layer!.data);
        },
      ),
      { numRuns: 60 },
    );
    await expectNoMemoryInUse();
  });
});
