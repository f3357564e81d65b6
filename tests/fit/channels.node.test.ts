import { InferenceSession } from 'onnxruntime-node';
import { readModel, type FileModel } from 'sparsifier/formats';
import { fit, repeat, type FitOptions, type FitRecipe } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { fitModels, network as unsized, sizedNetwork as network } from '../support/fit-models.js';
import { batchesOf, outputError } from '../support/fit-outputs.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';

const batches = batchesOf(8);
const data = {
  createSession: (bytes: Uint8Array) => InferenceSession.create(bytes, { logSeverityLevel: 3 }),
  batches: () => batches,
};

/** What comes of the network; the recipe must give the same. */
async function fitted(options: Omit<FitOptions<never>, 'data'>) {
  using model = await readModel(network);
  const { model: small, report, recipe } = await fit(model, { ...options, data } as FitOptions<never>);
  using made = small;
  const bytes = await made.bytes();
  using same = await readModel(network);
  const again = await repeat(same, JSON.parse(JSON.stringify(recipe)) as FitRecipe, { data } as never);
  using repeated = again.model;
  expect(again.report.isSame).toBe(true);
  expect(differsAt(await repeated.bytes(), bytes)).toBe(-1);
  expect(again.report.layers.map(({ channels, zeros }) => [channels, zeros])).toEqual(
    report.layers.map(({ channels, zeros }) => [channels, zeros]),
  );
  return {
    report,
    recipe,
    bytes,
    error: await outputError(network, made),
    shapes: made.tensors.map(({ shape }) => shape),
  };
}

describe('channels', () => {
  test('Where files are not compressed, channels go until the target is met, and their readers make up for them', async () => {
    const raw = network.length;
    for (const [allow, share, form] of [
      [['remove'], 0.7, 'stored'],
      [['quantize', 'remove', 'prune'], 0.25, 'int8'],
    ] as const) {
      const target = Math.round(share * raw);
      const { report, recipe, bytes, error, shapes } = await fitted({ target, encoding: 'raw', allow });
      expect(bytes.length).toBeLessThanOrEqual(target);
      expect(report.chosen).toMatchObject({ form, amount: 0 });
      expect(report.chosen.channels).toBeGreaterThan(0);
      expect(report.outcome.fitted).toBeCloseTo(error, 6);
      expect(report.outcome.fitted).toBeLessThan(1);
      // Groups keep multiples of 8. The depthwise convolution follows the first one.
      expect(recipe.remove!.amounts).toEqual({ first: expect.any(Number), pointwise: expect.any(Number) });
      const left = [32 - recipe.remove!.amounts['first']!, 96 - recipe.remove!.amounts['pointwise']!];
      expect(left.map((count) => count % 8)).toEqual([0, 0]);
      expect(shapes).toEqual([
        [left[0], 3, 3, 3],
        [left[0], 1, 3, 3],
        [left[1], left[0], 1, 1],
        [left[1], 64],
      ]);
      const counts = report.layers.map(({ channels }) => channels);
      const lost = (before: number, after: number) => (after < before ? { before, after } : undefined);
      expect(counts).toEqual([lost(32, left[0]!), lost(32, left[0]!), lost(96, left[1]!), undefined]);
      expect(String(report)).toMatch(/channels removed:\n {2}/);
      const judged = report.curve.filter((point) => point.outcome !== undefined && point.bytes <= target);
      expect(report.outcome.fitted).toBe(Math.min(...judged.map(({ outcome }) => outcome!)));
    }
    await expectNoMemoryInUse();
  });

  test('Beside zeros, channels go only where the outcome is better, and the curve has what was tried', async () => {
    for (const target of [6000, 3300]) {
      const without = await fitted({ target });
      const { report, recipe, bytes } = await fitted({ target, allow: ['quantize', 'prune', 'remove'] });
      expect(report.sizes.after.brotli).toBeLessThanOrEqual(target);
      expect(report.outcome.fitted).toBeLessThanOrEqual(without.report.outcome.fitted);
      expect('remove' in recipe).toBe(report.chosen.channels > 0);
      if (report.chosen.channels === 0) expect(differsAt(bytes, without.bytes)).toBe(-1);
      const tried = report.curve.filter(({ channels, outcome }) => channels > 0 && outcome !== undefined);
      expect(tried.length).toBeGreaterThan(0);
      expect(without.report.curve.every(({ channels }) => channels === 0)).toBe(true);
    }
  });

  test('A target that zeros alone do not reach is met without channels, or the error names what came nearest', async () => {
    using model = await readModel(network);
    const unreached = await errorOf(() => fit(model, { target: 2600, data } as never));
    expect(unreached.message).toMatch(/Add remove to `allow`/);
    const blind = await errorOf(() => fit(model, { target: 2600, allow: ['quantize', 'prune', 'remove'] }));
    expect(blind.message).toMatch(/No channels could go: that needs `data`, or `statistics`/);
    const { report, bytes } = await fitted({ target: 2600, allow: ['quantize', 'prune', 'remove'] });
    expect(report.sizes.after.brotli).toBeLessThanOrEqual(2600);
    expect(report.chosen.channels).toBeGreaterThan(0);
    expect(bytes.length).toBeLessThan(network.length);
    const least = await errorOf(() => fit(model, { target: 300, data, allow: ['prune', 'remove'] } as never));
    expect(least.message).toMatch(/found: [\d,]+ bytes: 90\.00 % of the channels removed, /);
  });

  test('With a drop in place of a target, channels go as long as the file gets smaller within it', async () => {
    const evaluate = async (files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) => {
      using small = await readModel([...files.values()][0]!);
      return await outputError(network, small);
    };
    const judging = { evaluate, higherIsBetter: false, maxDrop: 0.4, encoding: 'raw' } as const;
    const { report } = await fitted({ ...judging, allow: ['quantize', 'remove'] });
    const { report: without } = await fitted({ ...judging, allow: ['quantize'] });
    expect(report.outcome.drop).toBeLessThanOrEqual(0.4);
    expect(report.sizes.after.raw).toBeLessThan(without.sizes.after.raw);
    expect(report.chosen.channels).toBeGreaterThan(0);
  });

  test('Where channels cannot go, the report says why, and the rest is done', async () => {
    const reasonsOf = async (model: FileModel, options: Partial<FitOptions<never>>) => {
      const allow = ['quantize', 'remove'] as const;
      const { model: small, report } = await fit(model, { target: 30_000, allow, ...options } as FitOptions<never>);
      small.close();
      expect(report.chosen.channels).toBe(0);
      return report.notes.filter((note) => note.includes('channels'));
    };
    using model = await readModel(network);
    expect(await reasonsOf(model, {})).toEqual([expect.stringMatching(/no channels were removed: .*needs `data`/)]);
    using without = await readModel(unsized);
    expect(await reasonsOf(without, { data } as never)).toEqual([expect.stringMatching(/the sizes of the inputs: x/)]);
    using checkpoint = await fitModels.safetensors();
    expect(await reasonsOf(checkpoint, {})).toEqual([expect.stringMatching(/no channels were removed/)]);
    // Each group has a layer that stays.
    const rules = { exclude: ['first', 'pointwise'] };
    expect(await reasonsOf(model, { data, rules } as never)).toEqual([
      expect.stringMatching(/no channels were removed: there is no group of channels.*: 2 groups; first: .*first/),
    ]);
    const missing = await errorOf(() => fit(model, { target: 900, allow: ['quantize'], data } as never));
    expect(missing.message).toMatch(/Add remove to `allow`/);
    model.close();
    for (const each of [checkpoint, without]) each.close();
    await expectNoMemoryInUse();
  });

  test('A group that a rule holds back is in the notes, with the layer', async () => {
    const { report, recipe } = await fitted({
      ...{ target: 30_000, encoding: 'raw', allow: ['remove'] },
      rules: { exclude: ['first'] },
    });
    expect(Object.keys(recipe.remove!.amounts)).toEqual(['pointwise']);
    expect(report.notes.join()).toMatch(/the channels of 1 group had to stay: first \(first/);
  });

  test('A recipe with channels needs the inputs, and names groups that the model has', async () => {
    using model = await readModel(network);
    const options = { target: 30_000, encoding: 'raw', allow: ['remove'], data } as const;
    const { model: small, recipe, statistics } = await fit(model, options as never);
    small.close();
    const missing = await errorOf(() => repeat(model, recipe));
    expect([missing.code, missing.message]).toEqual(['usage', expect.stringMatching(/statistics/)]);
    const { model: made, report } = await repeat(model, recipe, { statistics: statistics! });
    made.close();
    expect([report.isSame, report.layers.some(({ channels }) => channels)]).toEqual([true, true]);
    const unknown = { ...recipe, remove: { ...recipe.remove!, amounts: { frist: 8 } } };
    const error = await errorOf(() => repeat(model, unknown, { statistics: statistics! }));
    expect([error.code, error.details.given]).toEqual(['layer', 'frist']);
  });
});
