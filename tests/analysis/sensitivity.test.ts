import { Sparsifier, SparsifyError } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { sensitivity, type SensitivityOptions } from 'sparsifier/sensitivity';
import { beforeEach, describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { errorOf } from '../support/layers.js';
import { filesOf, textOf } from '../support/tfjs.js';
import { furtherFiles } from '../support/model-files.js';

const options: SensitivityOptions = { granularity: 'weight', criteria: 'magnitude', levels: [25, 50, 75] };
const layer = (...numbers: number[]) =>
  ({ kind: 'dense', roles: ['out', 'in'], shape: [1, numbers.length], data: Float32Array.from(numbers) }) as const;
const words = { granularity: 'weight', context: 'local', criteria: 'magnitude' } as const;
let layers: { a: ReturnType<typeof layer>; b: ReturnType<typeof layer> };
beforeEach(() => void (layers = { a: layer(1, -2, 3, 4), b: layer(10, 20, -30, 40) }));
/** What is left of all weights, in percent. */
const left = () => [...layers.a.data, ...layers.b.data].reduce((sum, value) => sum + Math.abs(value), 0);

describe('the sensitivity of layers', () => {
  test('The sensitivity of a layer is what the model loses while that layer alone is sparse', async () => {
    const told: unknown[] = [];
    const found = await sensitivity(fromArrays(layers), left, {
      ...options,
      onProgress: ({ layer, level, done, total }) => told.push([layer, level, done, total]),
    });
    expect(found.baseline).toBe(110);
    expect(found.layers).toEqual([
      {
        name: 'a',
        points: [25, 50, 75].map((level, at) => ({ level, value: 110 - [1, 3, 6][at]!, drop: [1, 3, 6][at]! })),
      },
      {
        name: 'b',
        points: [25, 50, 75].map((level, at) => ({ level, value: 110 - [10, 30, 60][at]!, drop: [10, 30, 60][at]! })),
      },
    ]);
    expect(told).toEqual([
      ['a', 25, 2, 7],
      ['a', 50, 3, 7],
      ['a', 75, 4, 7],
      ['b', 25, 5, 7],
      ['b', 50, 6, 7],
      ['b', 75, 7, 7],
    ]);
    expect([...layers.a.data, ...layers.b.data]).toEqual([1, -2, 3, 4, 10, 20, -30, 40]);
    expect(found.table()).toBe(
      [
        'drop from 110 when this share of a layer is removed',
        'layer  25 %    50 %    75 %',
        'a         1       3       6',
        'b        10 \u2591    30 \u2592    60 \u2588',
      ].join('\n'),
    );
    const map = await found.heatMap();
    expect([...map.matchAll(/<title>(.*?, .*?)<\/title>/g)].map(([, cell]) => cell)).toEqual(
      ['a', 'b'].flatMap((name, row) =>
        [25, 50, 75].map(
          (level, at) =>
            `${name}, ${level} %: ${
              [
                [1, 3, 6],
                [10, 30, 60],
              ][row]![at]
            }`,
        ),
      ),
    );
    const colours = [...map.matchAll(/fill="([^"]+)"><title>/g)].map(([, colour]) => colour);
    expect(colours[5]).toBe('rgb(102, 37, 6)');
    expect(new Set(colours).size).toBe(6);
    expect(map).not.toContain('<style');
    const svg = await found.plot();
    expect(svg).toMatch(/<title>a<\/title>[^]*<title>b<\/title>/);
    // Colours that no style sheet overrules, and that are not the same.
    expect(svg).not.toContain('<style');
    expect(new Set([...svg.matchAll(/data-series="\d" stroke="(#\w+)"/g)].map(([, colour]) => colour)).size).toBe(2);
    expect(/data-series="1"[^>]* d="([^"]+)"/.exec(svg)![1]!.split('L')).toHaveLength(4);
  });

  test('Targets cost no more than the given drop, and sparsifyModel takes them', async () => {
    const found = await sensitivity(fromArrays(layers), left, options);
    expect(found.toTargets(3)).toEqual({ a: 50, b: 7.5 });
    expect(found.toTargets(0)).toEqual({ a: 0, b: 0 });
    expect(found.toTargets(4.5)).toEqual({ a: 62.5, b: 11.25 });
    expect(found.toTargets(1000)).toEqual({ a: 75, b: 75 });
    const model = fromArrays(layers);
    const words = { granularity: 'weight', context: 'local', criteria: 'magnitude', layerType: 'all' } as const;
    const report = await new Sparsifier(model, words).sparsifyModel(found.toTargets(10));
    expect(report.layers.map(({ removedUnits }) => removedUnits)).toEqual([3, 1]);
    expect((await errorOf(() => found.toTargets(-1))).code).toBe('sparsity');
  });

  test('For a loss the drop is its rise, and a curve that falls again does not hide an earlier drop', async () => {
    const losses = [1, 1.5, 3, 2];
    let call = 0;
    const found = await sensitivity(fromArrays({ a: layers.a }), () => losses[call++]!, {
      ...options,
      higherIsBetter: false,
    });
    expect(found.layers[0]!.points.map(({ drop }) => drop)).toEqual([0.5, 2, 1]);
    expect(found.toTargets(1.25)).toEqual({ a: 37.5 });
    expect(found.toTargets(2)).toEqual({ a: 75 });
  });

  test('Targets for the whole model are scaled back until it is within the drop, and the model stays as it was', async () => {
    const model = fromArrays(layers);
    const found = await sensitivity(model, left, options);
    const before = [...layers.a.data, ...layers.b.data];
    // Alone, each layer may lose half at this drop. Together they lose 33.
    expect(found.toTargets(30)).toEqual({ a: 75, b: 50 });
    const seen: number[] = [];
    const evaluate = () => (seen.push(110 - left()), left());
    const targets = await found.toTargets(30, { evaluate });
    expect([...layers.a.data, ...layers.b.data]).toEqual(before);
    expect(seen[0]).toBe(36);
    expect(seen.length).toBeLessThanOrEqual(8);
    // Both lose the same share of their estimates.
    expect(targets.a! / 75).toBeCloseTo(targets.b! / 50, 3);
    await new Sparsifier(model, { ...words, layerType: 'all' }).sparsifyModel(targets);
    expect(110 - left()).toBeLessThanOrEqual(30);
    expect(110 - left()).toBe(Math.max(...seen.filter((drop) => drop <= 30)));
  });

  test('Targets whose whole model is within the drop stay as they are, after one evaluation', async () => {
    const found = await sensitivity(fromArrays(layers), left, options);
    let count = 0;
    const evaluate = async () => (count++, left());
    expect(await found.toTargets(1000, { evaluate })).toEqual({ a: 75, b: 75 });
    expect(count).toBe(1);
    expect(await found.toTargets(0, { evaluate }), 'where nothing is removed').toEqual({ a: 0, b: 0 });
    expect(count).toBe(1);
  });

  test.each<[string, (kept: number) => number]>([
    ['rises and falls', (kept) => [0, 5, 0, 5, 0, 5, 0, 5, 0][Math.round(8 * (1 - kept))]!],
    ['is the same everywhere', () => 5],
  ])('Where the drop %s, the result is one that was measured to be within it', async (_, dropOf) => {
    const many = { a: layer(...Array.from({ length: 1000 }, (_, index) => index + 1)) };
    const kept = () => many.a.data.filter((value) => value !== 0).length / 1000;
    const model = fromArrays(many);
    // The analysis itself sees no drop.
    const found = await sensitivity(model, () => 1, options);
    const within: number[] = [0];
    const evaluate = () => {
      const drop = dropOf(kept());
      if (drop <= 1) within.push(1 - kept());
      return 1 - drop;
    };
    const targets = await found.toTargets(1, { evaluate });
    await new Sparsifier(model, { ...words, layerType: 'all' }).sparsifyModel(targets);
    expect(1 - kept()).toBe(within.at(-1));
  });

  test('For a loss, targets for the whole model limit its rise', async () => {
    const loss = () => 110 - left();
    const model = fromArrays(layers);
    const found = await sensitivity(model, loss, { ...options, higherIsBetter: false });
    const targets = await found.toTargets(30, { evaluate: loss });
    await new Sparsifier(model, { ...words, layerType: 'all' }).sparsifyModel(targets);
    expect(loss()).toBeLessThanOrEqual(30);
    expect(loss()).toBeGreaterThan(0);
  });

  test('The model is as it was before if the search for targets ends early', async () => {
    const found = await sensitivity(fromArrays(layers), left, options);
    const before = [...layers.a.data, ...layers.b.data];
    const failing = () => {
      throw new Error('out of patience');
    };
    await expect(found.toTargets(30, { evaluate: failing })).rejects.toThrow('out of patience');
    expect([...layers.a.data, ...layers.b.data]).toEqual(before);
    const controller = new AbortController();
    const aborting = () => (controller.abort(new Error('enough')), 0);
    await expect(found.toTargets(30, { evaluate: aborting, signal: controller.signal })).rejects.toThrow('enough');
    expect([...layers.a.data, ...layers.b.data]).toEqual(before);
    const refused = async (whole: object) => (await errorOf(() => found.toTargets(30, whole as never))).code;
    expect(await refused({})).toBe('usage');
    expect(await refused({ evaluate: left, level: 1 })).toBe('usage');
    expect(await refused({ evaluate: () => NaN })).toBe('criteria');
    expect([...layers.a.data, ...layers.b.data]).toEqual(before);
  });

  test('A layer named keep has a target, too', async () => {
    const found = await sensitivity(fromArrays({ keep: layers.a }), left, options);
    const before = left();
    const targets = await found.toTargets(3, { evaluate: left });
    expect(Object.keys(targets)).toEqual(['keep']);
    expect(left()).toBe(before);
  });

  test('Only the requested layers are measured, with the partners of their channels', async () => {
    const bias = Float32Array.from([1, 2]);
    const pair = { ...layer(1, 2, 3, 4), shape: [2, 2], bias };
    const seen: string[] = [];
    const found = await sensitivity(fromArrays({ first: layers.a, second: pair }), () => (seen.push(bias.join()), 1), {
      ...options,
      granularity: 'filter',
      levels: [50],
      layers: ['sec*'],
    });
    expect(found.layers.map(({ name }) => name)).toEqual(['second']);
    expect(seen).toEqual(['1,2', '0,2']);
    expect([...bias]).toEqual([1, 2]);
  });

  test('Quantised weights stay as they were, bit for bit', async () => {
    const codes = Uint8Array.from([0, 3, 200, 17, 90, 91]);
    const files = filesOf(
      { class_name: 'Sequential', config: [{ class_name: 'Dense', config: { name: 'd', units: 2 } }] },
      [
        {
          name: 'd/kernel',
          shape: [3, 2],
          dtype: 'float32',
          quantization: { dtype: 'uint8', scale: 0.1, min: -9.04 },
          bytes: codes,
        },
      ],
    );
    using model = await readTfjs(textOf(files.json) as Uint8Array<ArrayBuffer>, {
      shards: (name) => files.shards.get(name)! as Uint8Array<ArrayBuffer>,
    });
    const before = await model.bytes();
    const zeros: number[] = [];
    const count = async () => {
      const numbers = new Float32Array(((await model.copy(model.tensors[0]!.values)) as Uint8Array).buffer);
      zeros.push(numbers.filter((value) => value === 0).length);
      return 1;
    };
    const found = await sensitivity(model, count, { ...options, levels: [50] });
    expect(zeros).toEqual([0, 3]);
    expect(await found.toTargets(1, { evaluate: count })).toEqual({ d: 50 });
    expect(zeros).toEqual([0, 3, 3]);
    expect(differsAt(await model.bytes(), before)).toBe(-1);
    expect([...(await furtherFiles(model)).values()]).toEqual([codes]);
  });

  test('The model is as it was before if the analysis ends early', async () => {
    const before = [...layers.b.data];
    let calls = 0;
    const failing = () => {
      if (++calls === 6) throw new Error('out of patience');
      return 1;
    };
    await expect(sensitivity(fromArrays(layers), failing, options)).rejects.toThrow('out of patience');
    expect([...layers.b.data]).toEqual(before);
    const controller = new AbortController();
    const aborting = sensitivity(fromArrays(layers), () => (controller.abort(new Error('enough')), 1), {
      ...options,
      signal: controller.signal,
    });
    await expect(aborting).rejects.toThrow('enough');
    expect([...layers.b.data]).toEqual(before);
  });

  test.each<[object, () => number, SparsifyError['code'], RegExp]>([
    [{ levels: [50, 120] }, left, 'sparsity', /0 to 100/],
    [{ levels: [] }, left, 'sparsity', /0 to 100/],
    [{ layers: ['nobody'] }, left, 'layer', /nobody/],
    [{ level: [50] }, left, 'usage', /level/],
    [{ criteria: 'movement' }, left, 'criteria', /initial ones, which must be given/],
    [{}, () => NaN, 'criteria', /the unchanged model.*NaN/],
    [{}, () => undefined as never, 'criteria', /undefined/],
    [{ granularity: 'kernel' }, left, 'granularity', /kernel/],
  ])('The options %j are refused', async (more, evaluate, code, message) => {
    const error = await errorOf(() =>
      sensitivity(fromArrays(layers), evaluate, { ...options, ...more } as SensitivityOptions),
    );
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
  });
});
