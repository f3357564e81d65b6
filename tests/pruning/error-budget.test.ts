import fc from 'fast-check';
import { Sparsifier, type InputStatistics, type Progress, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { removalsByError } from '../support/internal.js';
import { errorOf, expectNoMemoryInUse, expectSame, values, xorshift } from '../support/layers.js';
import {
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
import { copyOf, type Layers } from '../support/oracle.js';
import { model, node, tensor } from '../support/onnx-builder.js';

type Curve = readonly { readonly removed: number; readonly error: number }[];

/** The error of a layer on the lower convex hull of its curve and {0, 0}, at each number of units. */
function hullOf(curve: Curve): number[] {
  const points = [{ removed: 0, error: 0 }, ...curve];
  return Array.from({ length: points.at(-1)!.removed + 1 }, (_, count) => {
    const values = points.flatMap((left) =>
      points.flatMap((right) => {
        if (left.removed > count || right.removed < count) return [];
        const share = right === left ? 0 : (count - left.removed) / (right.removed - left.removed);
        return [left.error + share * (right.error - left.error)];
      }),
    );
    return Math.min(...values);
  });
}

/** The least sum of the errors of all layers that lose this many units together, by trying all. */
function leastSum(hulls: readonly (readonly number[])[], total: number): number {
  let sums = [0];
  for (const hull of hulls) {
    const next = Array<number>(Math.min(total, sums.length + hull.length - 2) + 1).fill(Infinity);
    for (const [before, sum] of sums.entries())
      for (const [count, error] of hull.entries())
        if (before + count < next.length) next[before + count] = Math.min(next[before + count]!, sum + error);
    sums = next;
  }
  return sums[total]!;
}

const sumAt = (hulls: readonly (readonly number[])[], counts: readonly number[]) =>
  counts.reduce((sum, count, layer) => sum + hulls[layer]![count]!, 0);

describe('amounts by error curves', () => {
  const anyLayer = fc
    .array(fc.record({ step: fc.integer({ min: 1, max: 6 }), error: fc.double({ min: 0, max: 1, noNaN: true }) }), {
      minLength: 1,
      maxLength: 5,
    })
    .map((steps) => {
      let removed = 0;
      return steps.map(({ step, error }) => ({ removed: (removed += step), error }));
    });

  test('No other amounts with the same total have a smaller sum of errors', () => {
    fc.assert(
      fc.property(
        fc.array(anyLayer, { minLength: 1, maxLength: 4 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (curves, share) => {
          const layers = curves.map((curve) => ({
            units: curve.at(-1)!.removed + 1,
            limit: curve.at(-1)!.removed,
            curve,
          }));
          const most = layers.reduce((sum, { limit }) => sum + limit, 0);
          const remove = Math.round(share * most);
          const found = removalsByError({ remove }, layers);
          expect(found.reduce((sum, each) => sum + each, 0)).toBe(remove);
          for (const [layer, { limit }] of layers.entries()) expect(found[layer]).toBeLessThanOrEqual(limit);
          const hulls = curves.map(hullOf);
          expect(sumAt(hulls, found)).toBeCloseTo(leastSum(hulls, remove), 9);
        },
      ),
    );
  });

  test('Of equal slopes, that of the first layer is taken', () => {
    const curve = [{ removed: 4, error: 1 }];
    const layer = { units: 5, limit: 4, curve };
    expect(removalsByError({ remove: 5 }, [layer, layer, layer])).toEqual([4, 1, 0]);
  });
});

/** Dense layers with five inputs, of which a few steps of a solution are all. */
const dense = (data: Float32Array): ArrayLayer => ({
  kind: 'dense',
  roles: ['out', 'in'],
  shape: [data.length / 5, 5],
  data,
  bias: new Float32Array(data.length / 5),
});
const asked = { layerType: 'all', context: 'global', budget: 'error' } as const satisfies SparsifierOptions;

/** Weights of which all but a few are small, and weights of about the same size. */
function contrast(count: number, isSparse: boolean, seed: number): Float32Array {
  const next = xorshift(seed);
  return Float32Array.from({ length: count }, () => {
    const sign = next() % 2 ? 1 : -1;
    const size = 1 + (next() % 1000) / 1000;
    return sign * size * (isSparse && next() % 4 > 0 ? 0.01 : 1);
  });
}

const layers: Layers = {
  even: dense(contrast(40, false, 1)),
  sparse: dense(contrast(40, true, 2)),
  third: dense(values(60, 3)),
};
const rows: Readonly<Record<string, Rows>> = Object.fromEntries(
  Object.entries(layers).map(([name, layer], index) => [name, rowsFor(sizesOf(layer), 40, index + 1)]),
);
const measured = (of: Layers = layers): InputStatistics =>
  statisticsOf(
    Object.fromEntries(Object.entries(of).map(([name, layer]) => [name, layerStatistics(layer, rows[name]!)])),
  );

/** The error of a layer without its smallest weights, by exact least squares, as a share of that without any. */
function curveOf(layer: ArrayLayer, own: Rows): Curve {
  const { length } = layer.data;
  const w = matricesOf(layer);
  const order = [...layer.data.keys()].sort((a, b) => Math.abs(layer.data[a]!) - Math.abs(layer.data[b]!) || a - b);
  const errorWith = (removed: number) => {
    const gone = new Set(order.slice(0, removed));
    const isKept = matricesOf(
      layer,
      Array.from(layer.data, (_, at) => (gone.has(at) ? 0 : 1)),
    ).map((matrix) => matrix.map((row) => row.map((each) => each === 1)));
    const v = exactFit(w, isKept, { rows: own, ridge: 0.01, hasBias: true });
    return errorOfFit(w, v, shiftOf(w, v, own), own) ** 2;
  };
  const whole = errorWith(length);
  const counts = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95].map((level) => Math.round((length * level) / 100));
  return [...new Set([...counts, length - 1])]
    .sort((a, b) => a - b)
    .map((removed) => ({ removed, error: errorWith(removed) / whole }));
}

describe('the budget error', () => {
  test('The sum of the errors of all layers, by exact least squares, is the least that there is', async () => {
    const hulls = Object.entries(layers).map(([name, layer]) => hullOf(curveOf(layer, rows[name]!)));
    for (const remove of [20, 50, 84, 110, 130]) {
      const sparsifier = new Sparsifier(fromArrays(copyOf(layers)), { ...asked, statistics: measured() });
      const report = await sparsifier.sparsifyModel({ remove });
      const found = report.layers.map(({ removedUnits }) => removedUnits);
      expect(found.reduce((sum, each) => sum + each, 0)).toBe(remove);
      // Errors of the engine are those of 32-bit moments.
      expect(sumAt(hulls, found)).toBeLessThanOrEqual(leastSum(hulls, remove) * (1 + 1e-3) + 1e-5);
      sparsifier.clear();
    }
    await expectNoMemoryInUse();
  });

  test('A layer with many small weights loses more than others, whatever all its weights are multiplied with', async () => {
    for (const factor of [1, 1000]) {
      const scaled = { ...layers, sparse: dense(layers.sparse!.data.map((each) => each * factor) as Float32Array) };
      const sparsifier = new Sparsifier(fromArrays(copyOf(scaled)), { ...asked, statistics: measured(scaled) });
      const { layers: reports } = await sparsifier.sparsifyModel(40);
      const shareOf = (name: string) => {
        const { units, removedUnits } = reports.find((each) => each.name === name)!;
        return removedUnits / units;
      };
      expect(shareOf('sparse')).toBeGreaterThan(shareOf('even') + 0.3);
    }
  });

  test('A layer whose outputs hardly vary does not lose all its weights', async () => {
    // The inputs are nearly constant, so a bias makes up for all but a small part of the outputs.
    const still = rows['even']!.map((group) => group.map((row) => row.map((each) => 10 + each / 1000)));
    const statistics = statisticsOf({
      even: layerStatistics(layers.even!, still),
      third: layerStatistics(layers.third!, rows['third']!),
    });
    const both = { even: layers.even!, third: layers.third! };
    const sparsifier = new Sparsifier(fromArrays(copyOf(both)), { ...asked, statistics });
    const { layers: reports } = await sparsifier.sparsifyModel(30);
    expect(reports[0]!.removedUnits).toBeLessThan(0.7 * reports[0]!.units);
    expect(reports[1]!.removedUnits).toBeGreaterThan(0);
  });

  test('Explaining changes nothing and foresees what is removed, which has limits, a total, and stages', async () => {
    const copies = copyOf(layers);
    const options = { ...asked, statistics: measured(), minKeep: { even: 33 }, maxSparsity: { sparse: 50 } };
    const sparsifier = new Sparsifier(fromArrays(copies), options);
    const stages: Progress['stage'][] = [];
    const onProgress = ({ stage }: Progress) => void stages.push(stage);
    const explained = await sparsifier.explain({ remove: 50 }, { onProgress });
    expectSame(copies, layers);
    const report = await sparsifier.sparsifyModel({ remove: 50 }, { onProgress });
    expect(report.layers.map(({ removedUnits }) => removedUnits)).toEqual(
      explained.map(({ removedUnits }) => removedUnits),
    );
    expect(report.total.removedUnits).toBe(50);
    expect(report.layers[0]!.removedUnits).toBeLessThanOrEqual(7);
    expect(report.layers[1]!.removedUnits).toBeLessThanOrEqual(20);
    expect(stages.slice(0, 3)).toEqual(['measure', 'measure', 'measure']);
    expect(stages.slice(3)).not.toContain('measure');
    expect(explained[0]!.reason).toMatch(/given by error/);
  });

  test('A later call may remove more or less, and each ranking has its own total', async () => {
    const copies = copyOf(layers);
    const rankTogether = { some: ['even', 'third'] };
    const sparsifier = new Sparsifier(fromArrays(copies), { ...asked, rankTogether, statistics: measured() });
    for (const remove of [30, 70, 20]) {
      const { layers: reports } = await sparsifier.sparsifyModel({ some: { remove }, sparse: { remove: 8 } });
      expect(reports.map(({ removedUnits }) => removedUnits)[1]).toBe(8);
      expect(reports[0]!.removedUnits + reports[2]!.removedUnits).toBe(remove);
    }
  });

  test('Dense layers are measured once, also after a restore, and other weights and pruned layers are measured anew', async () => {
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(fromArrays(copies), { ...asked, statistics: measured() });
    const removedBy = async (amount: number) => {
      const stages = new Set<Progress['stage']>();
      const { layers: reports } = await sparsifier.sparsifyModel(amount, {
        onProgress: ({ stage }) => stages.add(stage),
      });
      const other = new Sparsifier(fromArrays(copyOf(layers)), { ...asked, statistics: measured() });
      const { layers: expected } = await other.sparsifyModel(amount);
      return {
        isMeasured: stages.has('measure'),
        isSame: reports.every(({ removedUnits }, at) => removedUnits === expected[at]!.removedUnits),
      };
    };
    expect(await removedBy(30)).toEqual({ isMeasured: true, isSame: true });
    await sparsifier.repair();
    await sparsifier.restore();
    for (const amount of [60, 20]) {
      expect(await removedBy(amount)).toEqual({ isMeasured: false, isSame: true });
      await sparsifier.restore();
    }
    await removedBy(10);
    expect((await removedBy(50)).isMeasured).toBe(true);
    await sparsifier.restore();
    copies.even!.data[3] = 0.5;
    expect((await removedBy(50)).isMeasured).toBe(true);
    sparsifier.clear();
    await expectNoMemoryInUse();
  });

  test('An abort while layers are measured changes nothing', async () => {
    const copies = copyOf(layers);
    const controller = new AbortController();
    const sparsifier = new Sparsifier(fromArrays(copies), { ...asked, statistics: measured() });
    const onProgress = () => controller.abort(new Error('enough'));
    await expect(sparsifier.sparsifyModel(50, { signal: controller.signal, onProgress })).rejects.toThrow('enough');
    expectSame(copies, layers);
    sparsifier.clear();
    await expectNoMemoryInUse();
  });

  test('It is an error without statistics, also without those of one layer, and where only diagonals are known', async () => {
    const without = await errorOf(() => new Sparsifier(fromArrays(copyOf(layers)), asked));
    expect([without.code, without.message]).toEqual(['usage', expect.stringMatching(/statistics/)]);
    const { even, ...others } = layers;
    const part = new Sparsifier(fromArrays(copyOf(layers)), { ...asked, statistics: measured(others) });
    const missing = await errorOf(() => part.sparsifyModel(50));
    expect([missing.code, missing.details.subject]).toEqual(['criteria', 'even']);
    const diagonal = statisticsOf({ even: layerStatistics(even!, rows['even']!, { isDiagonal: true }) });
    const only = new Sparsifier(fromArrays({ even: copyOf({ even: even! }).even! }), {
      ...asked,
      statistics: diagonal,
    });
    const unknown = await errorOf(() => only.sparsifyModel(50));
    expect([unknown.code, unknown.message]).toEqual(['criteria', expect.stringMatching(/memory/)]);
  });

  test('A model that is streamed is refused', async () => {
    const file = model({ nodes: [node('MatMul', 'x w', 'y', { name: 'layer' })], initializers: [tensor('w', [4, 4])] });
    const error = await errorOf(() =>
      sparsifyFile(file, new WritableStream(), { ...asked, sparsity: 50, statistics: measured() }),
    );
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/streamed.*readModel/s)]);
  });
});
