import { Sparsifier, type CallOptions, type SparsifierOptions } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { sparsifyFile, type SparsifyFileOptions } from 'sparsifier/file';
import { sensitivity, type SensitivityOptions } from 'sparsifier/sensitivity';
import { sparsifyCallback, type SparsifyCallbackOptions, type TrainingTf } from 'sparsifier/training';
import { describe, expect, test } from 'vitest';
import { errorOf, expectSame, layouts, line, weightsOnly } from '../support/layers.js';
import { copyOf, differences, type Layers } from '../support/oracle.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

const layers: Layers = Object.fromEntries(
  layouts.map((layout, index) => [layout.title, weightsOnly(layout, index, 30)]),
);

/** The defaults, as the documentation gives them. */
const documented = {
  granularity: 'weight',
  context: 'local',
  criteria: 'largeFinal',
  layerType: 'conv2d',
  seed: 0,
  reducer: 'mean',
  allowEmpty: false,
  minKeep: 0,
  maxSparsity: 100,
  restorable: false,
} as const satisfies SparsifierOptions;

describe('defaults', () => {
  const after = async (options?: SparsifierOptions) => {
    const copies = copyOf(layers);
    const { layers: reported } = await new Sparsifier(fromArrays(copies), options).sparsifyModel(60);
    return { copies, reported };
  };

  test('A Sparsifier without options has the documented ones', async () => {
    const [without, given] = [await after(), await after(documented)];
    expectSame(without.copies, given.copies);
    expect(without.reported).toEqual(given.reported);
    expect(without.reported.map(({ kind }) => kind)).toContain('conv2d');
  });

  test('An option that is undefined has its default', async () => {
    const names = Object.keys(documented);
    const without = await after();
    expectSame((await after(Object.fromEntries(names.map((name) => [name, undefined])))).copies, without.copies);
    for (const name of names) {
      expectSame((await after({ ...documented, [name]: undefined })).copies, without.copies, name);
    }
  });

  test.each<SparsifierOptions>([
    { granularity: 'filter' },
    { context: 'global' },
    { criteria: 'smallFinal' },
    { layerType: 'all' },
    { maxSparsity: 10 },
    { minKeep: 50 },
  ])('Of the defaults, only the given option is replaced: %j', async (options) => {
    const [alone, given] = [await after(options), await after({ ...documented, ...options })];
    expectSame(alone.copies, given.copies);
    expect(differences(alone.copies, (await after()).copies)).not.toEqual([]);
  });

  test('A pattern needs no further option', async () => {
    const copies = copyOf({
      layer: weightsOnly({ kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [4, 8, 1, 1] }),
    });
    const { total } = await new Sparsifier(fromArrays(copies), { granularity: { nm: [2, 4] } }).sparsifyModel();
    expect(total).toMatchObject({ units: 32, keptUnits: 16 });
  });

  test('Sensitivity has them, too', async () => {
    const data = Float32Array.of(4, 1, -3, 2);
    const model = fromArrays({ head: { kind: 'dense', roles: ['out', 'in'], shape: [1, 4], data } });
    const found = await sensitivity(model, () => data.filter((each) => each === 0).length);
    expect(found.layers[0]!.points.map(({ value }) => value)).toEqual([0, 1, 1, 2, 2, 2, 3, 3, 3]);
  });
});

describe('misspelt options', () => {
  const model = () => fromArrays({ a: line([1, 2, 3, 4]), b: line([5, 6]) });
  const sparsifier = () => new Sparsifier(model(), { layerType: 'all', restorable: true });
  const file = safetensorsFile({ 'fc.weight': [2, 2] });
  const sink = () => new WritableStream<Uint8Array>();
  const tf = { Callback: Object } as unknown as TrainingTf;

  test.each<[string, (options: object) => unknown, object, string]>([
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { granularty: 'weight' }, 'granularity'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { criterion: 'largeFinal' }, 'criteria'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { layer_type: 'all' }, 'layerType'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { minkeep: 1 }, 'minKeep'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { groups: { all: ['*'] } }, 'rankTogether'],
    ['sparsifyModel', (options: CallOptions) => sparsifier().sparsifyModel(50, options), { roundto: 2 }, 'roundTo'],
    ['sparsifyLayer', (options: CallOptions) => sparsifier().sparsifyLayer('a', 50, options), { sginal: 2 }, 'signal'],
    ['explain', (options: CallOptions) => sparsifier().explain(50, options), { onprogress: 2 }, 'onProgress'],
    ['apply', (options: CallOptions) => sparsifier().apply(options), { singal: 2 }, 'signal'],
    ['restore', (options: CallOptions) => sparsifier().restore(options), { signals: 2 }, 'signal'],
    ['saveMasks', (options) => sparsifier().saveMasks(sink(), options), { forse: true }, 'force'],
    [
      'sparsifyFile',
      (options: SparsifyFileOptions) => sparsifyFile(file, sink(), options),
      { sparsty: 50 },
      'sparsity',
    ],
    [
      'sensitivity',
      (options: SensitivityOptions) => sensitivity(model(), () => 1, options),
      { higherIsBeter: true },
      'higherIsBetter',
    ],
    [
      'sparsifyCallback',
      (options: SparsifyCallbackOptions) => sparsifyCallback(tf, { sparsity: 50, ...options }),
      { scheduel: 'agp' },
      'schedule',
    ],
  ])('A misspelt option of %s is an error that names the right one (%#)', async (_, call, options, meant) => {
    const error = await errorOf(() => call(options));
    expect([error.code, error.details.given]).toEqual(['usage', Object.keys(options)[0]]);
    expect(error.message).toMatch(new RegExp(`^unknown option\\. .* Did you mean ${meant}\\?$`));
    expect(error.details.allowed).toContain(meant);
  });

  test('A name that resembles no option has no suggestion, and several names have one each', async () => {
    const none = await errorOf(() => new Sparsifier(model(), { colour: 'red' } as object));
    expect(none.message).toMatch(/^unknown option\. .*colour.*rankTogether.*\.$/);
    expect(none.message).not.toContain('Did you mean');
    const two = await errorOf(() => new Sparsifier(model(), { contxt: 'local', reduser: 'mean' } as object));
    expect(two.message).toMatch(/contxt, reduser.*Did you mean context or reducer\?$/);
  });
});

describe('misspelt values', () => {
  const tf = { Callback: Object } as unknown as TrainingTf;
  const made = (options: object) => new Sparsifier(fromArrays({}), options);

  test.each<[options: object, code: string, meant: string]>([
    [{ granularity: 'filtr' }, 'granularity', 'filter'],
    [{ granularity: 'Filter' }, 'granularity', 'filter'],
    [{ granularity: 'wieght' }, 'granularity', 'weight'],
    [{ criteria: 'largFinal' }, 'criteria', 'largeFinal'],
    [{ criteria: 'LARGEFINAL' }, 'criteria', 'largeFinal'],
    [{ context: 'globall' }, 'usage', 'global'],
    [{ context: 'global', budget: 'unifrom' }, 'usage', 'uniform'],
    [{ reducer: 'mena' }, 'usage', 'mean'],
    [{ normalizer: 'min_max' }, 'usage', 'minmax'],
    [{ layerType: 'Conv2D' }, 'kind', 'conv2d'],
    [{ layerType: ['dense', 'lstn'] }, 'kind', 'lstm'],
    [{ layerType: 'conv' }, 'kind', 'conv1d, conv2d, or conv3d'],
  ])('The misspelt value in %j is an error that names the right one', async (options, code, meant) => {
    const error = await errorOf(() => made(options));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(new RegExp(`^unknown .* Did you mean ${meant}\\?$`));
  });

  test('A misspelt schedule is an error that names the right one', async () => {
    const error = await errorOf(() => sparsifyCallback(tf, { sparsity: 50, schedule: 'one-cycle' as 'oneCycle' }));
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/^unknown schedule\. .*Did you mean oneCycle\?$/);
  });

  test('A value that resembles none has no suggestion', async () => {
    const error = await errorOf(() => made({ criteria: 'entropy' }));
    expect(error.message).toMatch(/^unknown criterion\. .*entropy.*random\.$/);
  });
});
