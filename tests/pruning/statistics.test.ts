import { Sparsifier, SparsifyError, type CustomLayer, type InputStatistics } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  layerOf,
  layouts,
  line,
  refusal,
  sparsified,
  values,
} from '../support/layers.js';
import {
  layerStatistics,
  meansOf,
  momentsOf,
  placesOf,
  rowsFor,
  sizesOf,
  statisticsOf,
} from '../support/naive-repair.js';
import type { Layers } from '../support/oracle.js';

const layers: Layers = Object.fromEntries(
  layouts
    .filter(({ kind }) => kind !== 'embedding')
    .map((layout, index) => [layout.title, layerOf(layout, index + 1, 30)]),
);
const rowsOf = (name: string) => rowsFor(sizesOf(layers[name]!), 12, name.length);

/** Statistics of all layers; a column that never varies among them. */
const statisticsWith = (isDiagonal: boolean): InputStatistics =>
  statisticsOf(
    Object.fromEntries(
      Object.entries(layers).map(([name, layer]) => [name, layerStatistics(layer, rowsOf(name), { isDiagonal })]),
    ),
  );

/** `|w| sd` as it is defined. */
function fluctuation({ name, weights }: CustomLayer): Float32Array {
  const moments = rowsOf(name).map((rows) => ({
    moment: momentsOf(rows).map((row, at) => Math.fround(row[at]!)),
    mean: meansOf(rows).map(Math.fround),
  }));
  return Float32Array.from(placesOf(layers[name]!), ({ group, column }, position) => {
    const { moment, mean } = moments[group]!;
    const deviation = Math.fround(Math.sqrt(Math.max(0, moment[column]! - mean[column]! ** 2)));
    return Math.fround(Math.abs(weights[position]!) * deviation);
  });
}

test.each([false, true])(
  'fluctuation is the magnitude times the standard deviation of the input, in every layout (diagonal: %s)',
  async (isDiagonal) => {
    const statistics = statisticsWith(isDiagonal);
    for (const context of ['local', 'global'] as const) {
      const { layers: found } = await sparsified(layers, 60, { criteria: 'fluctuation', statistics, context });
      const { layers: expected } = await sparsified(layers, 60, { criteria: fluctuation, context });
      expectSame(found, expected);
      const { layers: magnitude } = await sparsified(layers, 60, { context });
      expect(() => expectSame(found, magnitude)).toThrow();
    }
    await expectNoMemoryInUse();
  },
);

test('A variance that rounding made negative counts as 0', async () => {
  const statistics = statisticsOf({
    layer: {
      ...{ groups: 1, columns: 3, isDiagonal: true, norm: undefined, sha256: undefined, heldOut: undefined },
      ...{ rows: 4, moment: Float32Array.of(1, 3, 0.99), mean: Float32Array.of(0, 1, 1) },
    },
  });
  const { layers: after } = await sparsified(
    { layer: line([1, 1, 100]) },
    { remove: 1 },
    { criteria: 'fluctuation', statistics },
  );
  expect([...after.layer!.data]).toEqual([1, 1, 0]);
});

test('wanda takes its norms from statistics as from activations', async () => {
  const norms = Object.fromEntries(
    Object.keys(layers).map((name) => {
      const { groups, columns } = sizesOf(layers[name]!);
      const { roles, shape } = layers[name]!;
      const spatial = shape.filter((_, axis) => ['depth', 'height', 'width'].includes(roles[axis]!));
      const channels = (groups * columns) / spatial.reduce((product, size) => product * size, 1);
      return [name, values(channels, name.length).map(Math.abs)];
    }),
  );
  const statistics = statisticsOf(
    Object.fromEntries(
      Object.entries(layers).map(([name, layer]) => [
        name,
        { ...layerStatistics(layer, rowsOf(name)), norm: norms[name] },
      ]),
    ),
  );
  const { layers: found } = await sparsified(layers, 60, { criteria: 'wanda', statistics });
  const { layers: expected } = await sparsified(layers, 60, { criteria: 'wanda', activations: norms });
  expectSame(found, expected);
});

test('What statistics do not have, and activations beside them, are errors that say what to do', async () => {
  const model = { layer: line([1, 2, 3]), other: line([1, 2, 3]) };
  const own = layerStatistics(model.layer, rowsFor(sizesOf(model.layer), 5));
  const statistics = statisticsOf({ layer: own });
  for (const criteria of ['fluctuation', 'wanda'] as const) {
    const error = await refusal(model, 50, { criteria, statistics });
    expect(error.code).toBe('criteria');
    expect(error.details.subject).toBe(criteria === 'wanda' ? 'layer' : 'other');
    expect(error.details.hint).toContain('statistics');
  }
  expect((await refusal(model, 50, { criteria: 'fluctuation' })).code).toBe('criteria');
  const both = await refusal(model, 50, {
    criteria: 'wanda',
    statistics,
    activations: { '*': Float32Array.of(1, 2, 3) },
  });
  expect(both.code).toBe('usage');
  expect(both.message).toContain('`activations` and `statistics`');
  const shape = await refusal({ layer: line([1, 2, 3, 4]) }, 50, { criteria: 'fluctuation', statistics });
  expect([shape.code, shape.details.subject]).toEqual(['criteria', 'layer']);
});

test('What are no statistics, such as a promise of them, is refused at once', async () => {
  const own = statisticsOf({ layer: layerStatistics(line([1, 2, 3]), rowsFor(sizesOf(line([1, 2, 3])), 5)) });
  for (const [given, found] of [
    [Promise.resolve(own), 'a promise'],
    [{}, 'Object'],
    [null, 'null'],
    [new Map(), 'Map'],
    ['statistics.safetensors', 'String'],
  ] as const) {
    const error = await refusal({ layer: line([1, 2, 3]) }, 50, { statistics: given as never });
    expect([error.code, error.details.found]).toEqual(['usage', found]);
    expect(error.message).toContain('await calibrate');
  }
});

test('Statistics are checked once, and those of another model are refused before anything changes', async () => {
  let checks = 0;
  const statistics = (error?: Error): InputStatistics => ({
    ...statisticsOf({ layer: layerStatistics(line([1, 2, 3]), rowsFor(sizesOf(line([1, 2, 3])), 5)) }),
    check: async ({ tensors, copy }) => {
      checks++;
      // The dense weights.
      expect(new Float32Array((await copy(tensors[0]!.values)).buffer)).toEqual(Float32Array.of(1, 2, 3));
      if (error) throw error;
      return [];
    },
  });
  const refused = await refusal({ layer: line([1, 2, 3]) }, 50, {
    statistics: statistics(new SparsifyError('criteria', 'another model')),
  });
  expect(refused.code).toBe('criteria');
  const layer = line([1, 2, 3]);
  const sparsifier = new Sparsifier(fromArrays({ layer }), { layerType: 'all', statistics: statistics() });
  checks = 0;
  await sparsifier.sparsifyModel({ remove: 1 });
  await sparsifier.sparsifyModel({ remove: 2 });
  await sparsifier.repair();
  expect(checks).toBe(1);
  const { code } = await errorOf(() => new Sparsifier(fromArrays({ layer })).repair());
  expect(code).toBe('usage');
});
