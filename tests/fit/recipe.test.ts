import { readStatistics, Statistics } from 'sparsifier/calibration';
import { sizesOf, type FileModel } from 'sparsifier/formats';
import { fit, readRecipe, repeat, type FitOptions, type FitRecipe } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { fitModels, type FitModel } from '../support/fit-models.js';
import { recipeOf, widened } from '../support/internal.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { layerStatistics, rowsFor, sizesOf as rowSizesOf } from '../support/naive-repair.js';

const names = Object.keys(fitModels) as FitModel[];
const jsonOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

async function statisticsFor(model: FileModel, seed = 1): Promise<Statistics> {
  const layers = new Map<string, ReturnType<typeof layerStatistics>>();
  for (const [index, { name, kind, roles, shape, groups, values }] of model.tensors.entries()) {
    const data = widened(await model.copy(values), values.dtype);
    const layer = { kind, roles, shape, groups, data };
    layers.set(name, layerStatistics(layer, rowsFor(rowSizesOf(layer), 40, seed + index)));
  }
  return new Statistics(layers as never);
}

/** What `fit` makes, and what its recipe makes of the same model, read anew, from the JSON text alone. */
async function twice(name: FitModel, options: FitOptions, given: Parameters<typeof repeat>[2] = {}) {
  using model = await fitModels[name]();
  const { model: small, recipe, report } = await fit(model, options);
  using fitted = small;
  expect(report.recipe).toEqual(recipe);
  using other = await fitModels[name]();
  const read = await readRecipe(jsonOf(recipe));
  expect(read).toEqual(recipe);
  const original = await other.toFiles();
  const repeated = await repeat(other, read, given);
  using again = repeated.model;
  for (const [file, bytes] of await other.toFiles()) expect(differsAt(bytes, original.get(file)!)).toBe(-1);
  const [expected, found] = [await fitted.toFiles(), await again.toFiles()];
  expect([...found.keys()]).toEqual([...expected.keys()]);
  for (const [file, bytes] of expected) expect(differsAt(found.get(file)!, bytes)).toBe(-1);
  expect(repeated.report.isSame).toBe(true);
  return { recipe, fitted: report, repeated: repeated.report };
}

const brotliOf = async (name: FitModel) => {
  using model = await fitModels[name]();
  return (await sizesOf(model)).brotli;
};

describe('a recipe', () => {
  test.each(names)('A recipe for a model of %s gives the same bytes from its JSON text', async (name) => {
    const brotli = await brotliOf(name);
    for (const [share, allow] of [
      [0.2, ['quantize', 'prune']],
      [0.5, ['prune']],
      [0.6, ['quantize']],
      [1, ['prune']],
    ] as const) {
      const { recipe, fitted, repeated } = await twice(name, { target: Math.round(share * brotli), allow });
      expect(repeated.layers.map(({ zeros, form }) => [zeros, form])).toEqual(
        fitted.layers.map(({ zeros, form }) => [zeros, form]),
      );
      expect('prune' in recipe).toBe(fitted.chosen.amount > 0);
      expect('quantize' in recipe).toBe(fitted.chosen.form !== 'stored');
      expect(recipe).not.toHaveProperty('statistics');
      expect(repeated.notes).toEqual([]);
      expect(String(repeated)).toMatch(/the files are those that the recipe was made with/);
    }
    await expectNoMemoryInUse();
  });

  test('With statistics, the same file of them gives the same bytes, and amounts are those of each layer', async () => {
    using model = await fitModels.ONNX();
    const statistics = await statisticsFor(model);
    const again = await readStatistics(await statistics.bytes());
    const target = Math.round(0.15 * (await brotliOf('ONNX')));
    const { recipe, fitted } = await twice('ONNX', { target, statistics }, { statistics: again });
    expect(recipe.prune).toMatchObject({ criteria: 'fluctuation', repair: { method: 'solve', inputs: 'dense' } });
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await statistics.bytes()));
    expect(recipe.statistics!.sha256).toBe(Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''));
    const removed = Object.values(recipe.prune!.amounts).reduce((sum, count) => sum + count, 0);
    expect(removed).toBeGreaterThan(0);
    const pruned = fitted.layers.filter(({ name }) => name in recipe.prune!.amounts);
    expect(pruned.map(({ name }) => name)).toEqual(['first', 'pointwise', 'head']);
    for (const { name, zeros } of pruned) expect(zeros).toBeGreaterThanOrEqual(recipe.prune!.amounts[name]!);

    using same = await fitModels.ONNX();
    const missing = await errorOf(() => repeat(same, recipe));
    expect([missing.code, missing.message]).toEqual(['usage', expect.stringMatching(/needs statistics/)]);
    const other = await errorOf(async () => repeat(same, recipe, { statistics: await statisticsFor(same, 9) }));
    expect([other.code, other.details.found]).toEqual([
      'criteria',
      `a recipe for SHA-256 ${recipe.statistics!.sha256}`,
    ]);
  });

  test('A recipe is for one model: another one is an error that says what was found', async () => {
    const { recipe } = await twice('ONNX', { target: 20_000, allow: ['quantize'] });
    using other = await fitModels.safetensors();
    const { code, message } = await errorOf(() => repeat(other, recipe));
    expect(code).toBe('usage');
    expect(message).toMatch(/for another model.*given: .*bytes with SHA-256 [0-9a-f]{64}/);
    expect(message).toContain(recipe.model[0]!.sha256);
  });

  test('A recipe that was changed, and one of another version, give other files, and the report says so', async () => {
    const { recipe } = await twice('ONNX', { target: 6000, allow: ['prune'] });
    using model = await fitModels.ONNX();
    const { first, ...amounts } = recipe.prune!.amounts;
    const changed = {
      ...recipe,
      sparsifier: '0.0.1',
      prune: { ...recipe.prune!, amounts: { ...amounts, first: first! - 1 } },
    };
    const { model: small, report } = await repeat(model, changed);
    small.close();
    expect(report.isSame).toBe(false);
    expect(report.notes).toEqual([expect.stringMatching(/not those that the recipe was made with.*version 0\.0\.1/)]);
    // Where no digests are known, sizes are compared.
    const without = (files: FitRecipe['model']) => files.map(({ name, bytes }) => ({ name, bytes }));
    const blind = { ...recipe, model: without(recipe.model), result: without(recipe.result) };
    const { model: same, report: compared } = await repeat(model, blind);
    same.close();
    expect([compared.isSame, compared.notes]).toEqual([true, [expect.stringMatching(/only sizes were compared/)]]);
    const unknown = { ...recipe, prune: { ...recipe.prune!, amounts: { ...amounts, frist: 2 } } };
    const error = await errorOf(() => repeat(model, unknown));
    expect([error.code, error.details.given]).toEqual(['layer', "'frist'"]);
  });

  test('Layers may be called __proto__, then or *', () => {
    const named = JSON.parse('{"__proto__": 3, "then": 0, "*": 1}') as Record<string, number>;
    const prune = { granularity: 'weight', context: 'local', criteria: 'largeFinal', amounts: named };
    const files = [{ name: 'model.onnx', bytes: 1 }];
    const read = recipeOf({ version: 1, sparsifier: '0.1.0', model: files, prune, result: files });
    expect(Object.entries(read.prune!.amounts)).toEqual(Object.entries(named));
  });

  const files = [{ name: 'model.onnx', bytes: 10 }];
  const least = { version: 1, sparsifier: '0.1.0', model: files, result: files };
  const quantize = { weights: 'int8', layers: ['first'] };
  test.each<[string, unknown, RegExp]>([
    ['an unknown key', { ...least, quantise: quantize }, /unknown key\. given: quantise\..*Did you mean quantize/],
    [
      'an unknown key inside',
      { ...least, quantize: { ...quantize, bits: 8 } },
      /quantize: .*unknown key\. given: bits/,
    ],
    ['an unknown key in a list', { ...least, model: [{ ...files[0], size: 1 }] }, /model\[0\]: .*given: size/],
    ['the key __proto__', JSON.parse(JSON.stringify(least).replace('{', '{"__proto__":{},')), /given: __proto__/],
    ['a missing key', { version: 1, sparsifier: '', model: files }, /result: a key of the recipe is missing/],
    ['another version', { ...least, version: 2 }, /version: .*unknown value.*given: 2/],
    ['a wrong type', { ...least, sparsifier: 1 }, /sparsifier: .*must have text/],
    ['a text for a list', { ...least, quantize: { ...quantize, layers: 'first' } }, /quantize\.layers: .*a list/],
    ['an unknown form', { ...least, quantize: { ...quantize, weights: 'int9' } }, /Did you mean int8/],
    ['a digest that is none', { ...least, statistics: { sha256: 'AB' } }, /statistics\.sha256: .*64 hexadecimal/],
    [
      'a share of all',
      { ...least, data: { isSplit: true, holdOut: 1, memory: 1 } },
      /data\.holdOut: .*not including, 1/,
    ],
    ['null', null, /must have an object/],
    ['a list', [], /must have an object/],
    ['undefined', undefined, /must have an object/],
    ['a text', '{}', /must have an object/],
  ])('A recipe with %s is an error of the code format', async (_, given, message) => {
    using model = await fitModels.ONNX();
    const error = await errorOf(() => repeat(model, given as FitRecipe));
    expect([error.code, error.message]).toEqual(['format', expect.stringMatching(message)]);
  });

  test('Options are checked, and what throws in a recipe is an error', async () => {
    using model = await fitModels.ONNX();
    const recipe = least as FitRecipe;
    expect((await errorOf(() => repeat(model, recipe, { datas: 1 } as never))).code).toBe('usage');
    expect((await errorOf(() => repeat(model, recipe, { data: {} } as never))).code).toBe('usage');
    expect((await errorOf(() => repeat({} as FileModel, recipe))).code).toBe('usage');
    const throwing = {
      ...least,
      get prune(): never {
        throw new Error('mine');
      },
    };
    expect((await errorOf(() => repeat(model, throwing as FitRecipe))).code).toBe('usage');
    const signal = AbortSignal.abort(new Error('before'));
    await expect(repeat(model, recipe, { signal })).rejects.toThrow('before');
  });

  test('A file that is no JSON, is nested deeply, or is too large is an error', async () => {
    const text = (content: string) => new TextEncoder().encode(content);
    for (const [bytes, message] of [
      [text('{"version": 1,'), /a recipe is JSON/],
      [text(''), /a recipe is JSON/],
      [Uint8Array.of(0xff, 0xfe, 0x00), /a recipe is JSON/],
      [text('['.repeat(200)), /nested too deeply/],
      [text('{"version": 1e999}'), /too large/],
    ] as const) {
      const error = await errorOf(() => readRecipe(bytes));
      expect([error.code, error.message]).toEqual(['format', expect.stringMatching(message)]);
    }
    const long = await errorOf(() => readRecipe(jsonOf(least), { limits: { headerBytes: 20 } }));
    expect([long.code, long.details.allowed]).toEqual(['format', ['up to 20 bytes']]);
  });
});
