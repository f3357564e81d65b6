import { Sparsifier } from 'sparsifier';
import { Statistics } from 'sparsifier/calibration';
import { readModel, sizesOf, type FileModel } from 'sparsifier/formats';
import { fit, repeat, type FitOptions, type FitProgress, type FitRecipe } from 'sparsifier/fit';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { fitModels, namedNetwork, sizedNetwork } from '../support/fit-models.js';
import { cutStatistics, widened } from '../support/internal.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { layerStatistics, rowsFor, sizesOf as rowSizesOf } from '../support/naive-repair.js';
import { saved, textOf, tf } from '../support/tfjs.js';

async function naiveLayers(model: FileModel) {
  const layers = new Map<string, Parameters<typeof layerStatistics>[0]>();
  for (const { name, kind, roles, shape, groups, values } of model.tensors) {
    const data = widened(await model.copy(values), values.dtype);
    layers.set(name, { kind, roles, shape, groups, data });
  }
  return layers;
}

/** Statistics of random rows, and these rows. */
async function statisticsFor(model: FileModel) {
  const rows = new Map<string, ReturnType<typeof rowsFor>>();
  const known = new Map<string, ReturnType<typeof layerStatistics>>();
  for (const [name, layer] of await naiveLayers(model)) {
    rows.set(name, rowsFor(rowSizesOf(layer), 40, known.size + 1));
    known.set(name, layerStatistics(layer, rows.get(name)!));
  }
  return { rows, statistics: new Statistics(known as never) };
}

/** The files of a model of TensorFlow.js. */
function layersModel() {
  const kernelInitializer = (seed: number) => tf.initializers.randomNormal({ stddev: 0.3, seed });
  return saved(
    tf.sequential({
      layers: [
        tf.layers.dense({
          inputShape: [48],
          units: 64,
          activation: 'relu',
          name: 'first',
          kernelInitializer: kernelInitializer(1),
        }),
        tf.layers.dense({ units: 32, name: 'second', kernelInitializer: kernelInitializer(2) }),
      ],
    }),
  );
}

describe('channels by statistics alone', () => {
  test('Statistics of a model without channels are those of the rows without the inputs that are gone', async () => {
    using model = await readModel(sizedNetwork);
    const { rows, statistics } = await statisticsFor(model);
    const sparsifier = new Sparsifier(model, { granularity: 'filter', coupled: true, criteria: 'flap', statistics });
    await sparsifier.sparsifyModel({ first: { remove: 8 }, pointwise: { remove: 48 } });
    const { model: small } = await removeChannels(model, await planRemoval(model));
    using without = small;
    const kept = (name: string) => [...sparsifier.mask(name).data.entries()].flatMap(([at, bit]) => (bit ? [at] : []));
    const [first, pointwise] = [kept('first'), kept('pointwise')];
    expect([first.length, pointwise.length]).toEqual([24, 48]);
    const cut = await cutStatistics(model, sparsifier.masks(), without, statistics, {});
    const columns = (of: number[]) => (all: number[][]) => all.map((row) => of.map((at) => row[at]!));
    const expected: Record<string, ReturnType<typeof rowsFor>> = {
      first: rows.get('first')!,
      depthwise: first.map((group) => rows.get('depthwise')![group]!),
      pointwise: rows.get('pointwise')!.map(columns(first) as never),
      head: rows.get('head')!.map(columns(pointwise) as never),
    };
    const layers = await naiveLayers(without);
    expect([...cut.layers.keys()]).toEqual(Object.keys(expected));
    for (const [name, own] of Object.entries(expected)) {
      const { groups, columns: count, moment, mean, rows: seen } = cut.layers.get(name)!;
      const naive = layerStatistics(layers.get(name)!, own);
      expect([groups, count, seen]).toEqual([naive.groups, naive.columns, naive.rows]);
      expect(moment).toEqual(naive.moment);
      expect(mean).toEqual(naive.mean);
    }
    expect(await cut.check(without)).toEqual([]);
    sparsifier.clear();
  });

  test.each(['ONNX', 'TensorFlow.js'] as const)(
    'A model of %s loses channels with statistics and no inputs, and its recipe gives the same bytes',
    async (name) => {
      const { json, shards } = await layersModel();
      const open = () =>
        name === 'ONNX'
          ? readModel(sizedNetwork)
          : readModel(textOf(json) as Uint8Array<ArrayBuffer>, {
              shards: (file) => shards.get(file)! as Uint8Array<ArrayBuffer>,
            });
      using model = await open();
      const { statistics } = await statisticsFor(model);
      const { raw, brotli } = await sizesOf(model);
      for (const [encoding, target, allow] of [
        ['raw', Math.round(0.6 * raw), ['remove']],
        ['br', Math.round(0.12 * brotli), ['quantize', 'prune', 'remove']],
      ] as const) {
        const { model: small, recipe, report } = await fit(model, { target, encoding, allow, statistics });
        using made = small;
        expect(report.outcome.by).toBe('layers');
        expect(report.sizes.after[encoding === 'raw' ? 'raw' : 'brotli']).toBeLessThanOrEqual(target);
        if (encoding === 'raw') expect(report.layers.some(({ channels }) => channels !== undefined)).toBe(true);
        else expect(report.curve.some(({ channels, outcome }) => channels > 0 && outcome !== undefined)).toBe(true);
        expect(recipe.remove?.statistics ?? 'cut').toBe('cut');
        using same = await open();
        const read = JSON.parse(JSON.stringify(recipe)) as FitRecipe;
        const { model: again, report: repeated } = await repeat(same, read, { statistics });
        using other = again;
        expect(repeated.isSame).toBe(true);
        for (const [file, bytes] of await made.toFiles())
          expect(differsAt((await other.toFiles()).get(file)!, bytes)).toBe(-1);
      }
    },
  );

  test('A model whose file does not say how large its inputs are is followed with inputShapes, which the recipe has', async () => {
    using model = await readModel(namedNetwork);
    const { statistics } = await statisticsFor(model);
    const options = { target: 24_000, encoding: 'raw', allow: ['remove'], statistics } as const;
    const without = await errorOf(() => fit(model, options));
    expect(without.message).toMatch(
      /No channels could go: .*: x \[batch, channels, height, width\]; .* Give .* with `inputShapes`/,
    );
    const { model: small, recipe, report } = await fit(model, { ...options, inputShapes: { x: [2, 3, 8, 8] } });
    using made = small;
    using sized = await readModel(sizedNetwork);
    const { model: other, recipe: expected, report: like } = await fit(sized, options);
    other.close();
    expect(expected.remove).not.toHaveProperty('inputShapes');
    expect(recipe.remove).toEqual({ ...expected.remove, inputShapes: { x: [2, 3, 8, 8] } });
    expect(report.layers.map(({ channels }) => channels)).toEqual(like.layers.map(({ channels }) => channels));
    const { model: again, report: repeated } = await repeat(model, JSON.parse(JSON.stringify(recipe)) as FitRecipe, {
      statistics,
    });
    using same = again;
    expect(repeated.isSame).toBe(true);
    expect(differsAt(await same.bytes(), await made.bytes())).toBe(-1);
  });

  test.each([
    [
      { inputShapes: { z: [1] } },
      'the model has no such input. given: z. allowed: x [batch, channels, height, width].',
    ],
    [
      { inputShapes: { x: [2, 3, 8] } },
      'x: the shape does not fit. given: [2, 3, 8]. allowed: x [batch, channels, height, width].',
    ],
    [
      { inputShapes: { x: [2, 3, 8, 8] }, allow: ['quantize'] },
      "`inputShapes` say how channels are followed. Give `allow` with 'remove', or leave them out.",
    ],
  ] as const)(
    'Shapes that are wrong or of no use are refused before anything is measured: %j',
    async (given, message) => {
      using model = await readModel(namedNetwork);
      const stages: string[] = [];
      const onProgress = ({ stage }: FitProgress) => void stages.push(stage);
      const error = await errorOf(() => fit(model, { target: 24_000, allow: ['remove'], ...given, onProgress }));
      expect([error.code, error.message, stages]).toEqual(['usage', message, []]);
    },
  );

  test.each<FitOptions['inputShapes']>([undefined, {}, { x: [1, 48] }])(
    'Where no channel can go, the notes say why, whatever shapes are given: %j',
    async (inputShapes) => {
      const options = { target: 12_000, encoding: 'raw', allow: ['quantize', 'remove'], inputShapes } as const;
      using weights = await fitModels.safetensors();
      const { statistics } = await statisticsFor(weights);
      const { model: small, report } = await fit(weights, { ...options, statistics });
      small.close();
      expect(report.notes).toContain(
        'no channels were removed: channels can be removed from ONNX and TensorFlow.js models that were read from files: ' +
          'safetensors model',
      );
    },
  );

  test('Nothing is left in memory', async () => {
    using model = await readModel(sizedNetwork);
    const { statistics } = await statisticsFor(model);
    const { model: small } = await fit(model, { target: 30_000, encoding: 'raw', allow: ['remove'], statistics });
    for (const each of [small, model]) each.close();
    await expectNoMemoryInUse();
  });
});
