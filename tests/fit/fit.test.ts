import { sizesOf, type FileModel } from 'sparsifier/formats';
import { fit, type EvaluateOptions, type FitOptions, type FitProgress } from 'sparsifier/fit';
import { dequantize } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { fitModels, type FitModel } from '../support/fit-models.js';
import { widened } from '../support/internal.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { layerStatistics, rowsFor, sizesOf as rowSizesOf, statisticsOf } from '../support/naive-repair.js';

type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
const names = Object.keys(fitModels) as FitModel[];
const key = { br: 'brotli', gzip: 'gzip', raw: 'raw' } as const;

async function open<Result>(name: FitModel, use: (model: FileModel) => Promise<Result>): Promise<Result> {
  using model = await fitModels[name]();
  return await use(model);
}

/** The weights of each layer as floats, whatever their form is. */
async function weightsOf(model: FileModel): Promise<Map<string, Float32Array>> {
  const floats = await dequantize(model);
  using plain = floats.model;
  const weights = new Map<string, Float32Array>();
  for (const { name, values } of plain.tensors) weights.set(name, widened(await plain.copy(values), values.dtype));
  return weights;
}

/** The relative error of each layer's weights. */
async function errorsOf(before: FileModel, after: FileModel): Promise<number[]> {
  const [dense, small] = [await weightsOf(before), await weightsOf(after)];
  return [...dense].map(([name, numbers]) => {
    const other = small.get(name)!;
    const square = (of: (at: number) => number) => numbers.reduce((sum, _, at) => sum + of(at) ** 2, 0);
    return Math.sqrt(square((at) => numbers[at]! - other[at]!) / square((at) => numbers[at]!));
  });
}

const rootMean = (errors: readonly number[]) =>
  Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length);

/** An outcome of 1 without any error, read from the files as a user would read them. */
const evaluateOf =
  (name: FitModel, model: FileModel, parts: EvaluateOptions['part'][] = []) =>
  async (files: Files, { part }: EvaluateOptions): Promise<number> => {
    parts.push(part);
    const { readModel } = await import('sparsifier/formats');
    const [[, main]] = [...files] as [[string, Uint8Array<ArrayBuffer>]];
    using small = await readModel(main, name === 'TensorFlow.js' ? { shards: (each) => files.get(each)! } : {});
    return 1 - rootMean(await errorsOf(model, small));
  };

async function statisticsFor(model: FileModel) {
  const layers: [string, ReturnType<typeof layerStatistics>][] = [];
  for (const [seed, { name, kind, roles, shape, groups, values }] of model.tensors.entries()) {
    const data = widened(await model.copy(values), values.dtype);
    const layer = { kind, roles, shape, groups, data };
    layers.push([name, layerStatistics(layer, rowsFor(rowSizesOf(layer), 40, seed + 1))]);
  }
  return statisticsOf(Object.fromEntries(layers));
}

describe.each(names)('a model of %s', (name) => {
  test.each(['br', 'gzip', 'raw'] as const)('Files are never above a target in the encoding %s', async (encoding) => {
    await open(name, async (model) => {
      const before = (await sizesOf(model))[key[encoding]];
      const original = await model.toFiles();
      for (const share of encoding === 'raw' ? [0.6] : [0.2]) {
        const target = Math.round(share * before);
        const { model: small, curve, report } = await fit(model, { target, encoding });
        using fitted = small;
        const { raw, gzip, brotli } = await sizesOf(fitted);
        const bytes = { raw, gzip, brotli }[key[encoding]];
        expect(bytes).toBeLessThanOrEqual(target);
        expect(report).toMatchObject({ target, encoding, sizes: { after: { raw, gzip, brotli } } });
        expect(report.sizes.before[key[encoding]]).toBe(before);
        expect(curve).toEqual(report.curve);
        // The best of those that were judged and are small enough.
        const judged = curve.filter((point) => point.outcome !== undefined && point.bytes <= target);
        const best = judged.sort((a, b) => a.outcome! - b.outcome! || a.bytes - b.bytes)[0]!;
        expect(best).toMatchObject({ ...report.chosen, bytes, outcome: report.outcome.fitted });
      }
      for (const [file, bytes] of await model.toFiles()) expect(differsAt(bytes, original.get(file)!)).toBe(-1);
    });
    await expectNoMemoryInUse();
  });

  test('Without data the outcome is the error of the weights, all layers alike', async () => {
    await open(name, async (model) => {
      const { brotli } = await sizesOf(model);
      for (const allow of [['quantize'], ['prune']] as const) {
        const { model: small, report } = await fit(model, { target: Math.round(0.6 * brotli), allow });
        using fitted = small;
        expect(report.outcome).toMatchObject({ by: 'weights', dense: 0, higherIsBetter: false });
        const errors = await errorsOf(model, fitted);
        expect(report.outcome.fitted).toBeCloseTo(rootMean(errors), 4);
        for (const [index, layer] of report.layers.entries()) expect(layer.error).toBeCloseTo(errors[index]!, 4);
        expect(String(report)).toMatch(/says little about what the model does/);
        const weights = await weightsOf(fitted);
        for (const layer of report.layers)
          expect(layer.zeros).toBe(weights.get(layer.name)!.filter((each) => each === 0).length);
        expect(report.chosen.amount > 0).toBe(allow[0] === 'prune');
        expect(report.curve.every(({ form }) => form === 'stored')).toBe(allow[0] === 'prune');
      }
    });
  });

  test('The same call gives the same bytes, and a target that the model meets leaves it as it is', async () => {
    await open(name, async (model) => {
      const { brotli } = await sizesOf(model);
      const bytesOf = async (options: FitOptions) => {
        const { model: small } = await fit(model, options);
        using fitted = small;
        return fitted.toFiles();
      };
      const [one, other] = [await bytesOf({ target: brotli / 3 }), await bytesOf({ target: brotli / 3 })];
      expect([...one.keys()]).toEqual([...other.keys()]);
      for (const [file, bytes] of one) expect(differsAt(bytes, other.get(file)!)).toBe(-1);
      const original = await model.toFiles();
      for (const [file, bytes] of await bytesOf({ target: brotli }))
        expect(differsAt(bytes, original.get(file)!)).toBe(-1);
    });
  });

  test('A function of the caller judges the files, at the end once more for the part final', async () => {
    await open(name, async (model) => {
      const parts: EvaluateOptions['part'][] = [];
      const { brotli } = await sizesOf(model);
      const evaluate = evaluateOf(name, model, parts);
      const { model: small, report } = await fit(model, { target: Math.round(brotli / 3), evaluate });
      using fitted = small;
      expect(report.outcome).toMatchObject({ by: 'evaluate', dense: 1, higherIsBetter: true });
      const expected = await evaluate(await fitted.toFiles(), { part: 'final', signal: undefined });
      expect(report.outcome.fitted).toBe(expected);
      expect(report.outcome.drop).toBe(1 - expected);
      expect(report.final).toEqual({ dense: 1, fitted: expected, drop: 1 - expected });
      expect(parts.slice(-3, -1)).toEqual(['final', 'final']);
      expect(parts.slice(0, -3).every((part) => part === 'search')).toBe(true);
    });
  });

  test('With a drop in place of a target, the smallest model within it is found, and more may be lost for more', async () => {
    await open(name, async (model) => {
      const evaluate = evaluateOf(name, model);
      const found: number[] = [];
      for (const maxDrop of [0.002, 0.2]) {
        const { model: small, report } = await fit(model, { maxDrop, evaluate });
        using fitted = small;
        expect(report.outcome.drop).toBeLessThanOrEqual(maxDrop);
        expect(1 - (await evaluate(await fitted.toFiles(), { part: 'search', signal: undefined }))).toBe(
          report.outcome.drop,
        );
        found.push(report.sizes.after.brotli);
        const allowed = report.curve.filter(({ drop }) => drop !== undefined && drop <= maxDrop);
        expect(report.sizes.after.brotli).toBe(Math.min(...allowed.map(({ bytes }) => bytes)));
      }
      expect(found[0]).toBeGreaterThan(found[1]!);
      expect(found[0]).toBeLessThan((await sizesOf(model)).brotli);
    });
  });

  test('A target that no setting meets is an error that says how near it came, and nothing is left in memory', async () => {
    await open(name, async (model) => {
      const { code, message, details } = await errorOf(() => fit(model, { target: 400 }));
      expect([code, details.given]).toEqual(['sparsity', '400 bytes after brotli -q 11']);
      expect(message).toMatch(/found: [\d,]{3,} bytes: .*95.00 % of the weights removed/);
      const fixed = await errorOf(() => fit(model, { target: 400, allow: ['quantize'], encoding: 'gzip' }));
      expect(fixed.message).toMatch(/after gzip -9.*nothing removed.*Add prune to `allow`/s);
      const raw = await errorOf(() => fit(model, { target: 400, encoding: 'raw' }));
      expect(raw.message).toMatch(/Zeros make only compressed files smaller/);
    });
    await expectNoMemoryInUse();
  });
});

describe('fit', () => {
  test('Statistics decide what is removed, and layers without them are only quantised', async () => {
    await open('ONNX', async (model) => {
      const statistics = await statisticsFor(model);
      const { brotli } = await sizesOf(model);
      const stages = new Set<FitProgress['stage']>();
      const { model: small, report } = await fit(model, {
        target: Math.round(0.3 * brotli),
        statistics: { ...statistics, layers: new Map([...statistics.layers].filter(([name]) => name !== 'head')) },
        onProgress: ({ stage }) => stages.add(stage),
      });
      small.close();
      expect(report.outcome.by).toBe('layers');
      expect(report.outcome.fitted).toBeCloseTo(rootMean(report.layers.map(({ error }) => error)), 9);
      const reasons = Object.fromEntries(report.layers.map(({ name, reason }) => [name, reason]));
      expect(reasons).toEqual({
        first: undefined,
        depthwise: expect.stringMatching(/depthwise/),
        pointwise: undefined,
        head: expect.stringMatching(/no statistics/),
      });
      const sparse = report.layers.filter(({ sparsity }) => sparsity > 20).map(({ name }) => name);
      expect(sparse).toEqual(expect.arrayContaining(['pointwise']));
      expect(sparse).not.toContain('depthwise');
      expect(sparse).not.toContain('head');
      expect([...stages]).toEqual(expect.arrayContaining(['measure', 'search', 'judge', 'check']));
      expect(report.curve.some(({ inputs }) => inputs === 'dense')).toBe(true);
    });
    await expectNoMemoryInUse();
  });

  test('Layers that rules leave out keep their bytes', async () => {
    await open('ONNX', async (model) => {
      const { brotli } = await sizesOf(model);
      const rules = { exclude: ['head'] };
      const { model: small, report } = await fit(model, { target: Math.round(0.75 * brotli), rules });
      using fitted = small;
      const of = async (each: FileModel) => (await weightsOf(each)).get('head')!;
      expect(await of(fitted)).toEqual(await of(model));
      expect(report.layers.find(({ name }) => name === 'head')).toMatchObject({ error: 0, form: undefined });
      const unknown = await errorOf(() => fit(model, { target: 1000, rules: { exclude: 'nothing' } }));
      expect(unknown.code).toBe('layer');
    });
  });

  test('A target and a drop are both kept, or it is an error', async () => {
    await open('ONNX', async (model) => {
      const { brotli } = await sizesOf(model);
      const evaluate = evaluateOf('ONNX', model);
      const { model: small, report } = await fit(model, { target: Math.round(0.5 * brotli), maxDrop: 0.5, evaluate });
      small.close();
      expect(report.sizes.after.brotli).toBeLessThanOrEqual(0.5 * brotli);
      expect(report.outcome.drop).toBeLessThanOrEqual(0.5);
      const error = await errorOf(() => fit(model, { target: Math.round(0.1 * brotli), maxDrop: 0.001, evaluate }));
      expect([error.code, error.details.given]).toEqual(['sparsity', '`maxDrop: 0.001`']);
      expect(error.message).toMatch(/worse than is allowed.*bytes: /s);
    });
  });

  test('A loss may be returned, and a final part that is worse than was allowed is noted', async () => {
    await open('ONNX', async (model) => {
      const right = evaluateOf('ONNX', model);
      const evaluate = async (files: Files, options: EvaluateOptions) => {
        const loss = 1 - (await right(files, options));
        return options.part === 'final' ? 1 + 10 * loss : loss;
      };
      const { model: small, report } = await fit(model, { maxDrop: 0.1, evaluate, higherIsBetter: false });
      small.close();
      expect(report.outcome.drop).toBe(report.outcome.fitted);
      expect(report.outcome.drop).toBeGreaterThan(0.05);
      expect(report.final!.drop).toBeCloseTo(10 * report.outcome.drop, 9);
      expect(String(report)).toMatch(/for the part final the drop is 0\.\d+, which is more than was allowed/);
      const { model: other, report: same } = await fit(model, {
        ...{ maxDrop: 0.1, higherIsBetter: false },
        evaluate: async (files, options) => 1 - (await right(files, options)),
      });
      other.close();
      expect(same.notes.join()).toMatch(/returned the same for both parts/);
    });
  });

  test('What evaluate throws comes out as it is, and what is no number is an error', async () => {
    await open('ONNX', async (model) => {
      const mine = new Error('no samples');
      let calls = 0;
      for (const at of [1, 2]) {
        calls = 0;
        const evaluate = () => {
          if (++calls === at) throw mine;
          return 1;
        };
        await expect(fit(model, { target: 5000, evaluate })).rejects.toBe(mine);
      }
      for (const value of [NaN, Infinity, '1', undefined, null]) {
        const error = await errorOf(() => fit(model, { target: 5000, evaluate: () => value as number }));
        expect([error.code, error.message]).toEqual(['criteria', expect.stringMatching(/one finite number/)]);
      }
    });
    await expectNoMemoryInUse();
  });

  test('An abort at any moment ends the call and changes nothing', async () => {
    await open('ONNX', async (model) => {
      const original = await model.bytes();
      const statistics = await statisticsFor(model);
      let tells = 0;
      const { model: small } = await fit(model, { target: 8000, statistics, onProgress: () => void tells++ });
      small.close();
      for (const at of [1, Math.round(tells / 3), Math.round(tells / 2), tells]) {
        const controller = new AbortController();
        let count = 0;
        const onProgress = () => void (++count === at && controller.abort(new Error('enough')));
        const work = fit(model, { target: 8000, statistics, signal: controller.signal, onProgress });
        if (at < tells) await expect(work).rejects.toThrow('enough');
        else (await work).model.close();
      }
      expect(differsAt(await model.bytes(), original)).toBe(-1);
      await expect(fit(model, { target: 8000, signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
        'before',
      );
    });
    await expectNoMemoryInUse();
  });

  test('Progress goes from nothing to all, with the time that is left', async () => {
    await open('ONNX', async (model) => {
      const told: FitProgress[] = [];
      const statistics = await statisticsFor(model);
      const { model: small } = await fit(model, { target: 8000, statistics, onProgress: (each) => told.push(each) });
      small.close();
      for (const [index, { done, total, remaining }] of told.entries()) {
        expect(total).toBe(told[0]!.total);
        expect(done).toBeGreaterThanOrEqual(told[index - 1]?.done ?? 0);
        expect(done).toBeLessThanOrEqual(total);
        expect(remaining === undefined || remaining >= 0).toBe(true);
      }
      expect(told.at(-1)).toMatchObject({ done: told[0]!.total, remaining: 0 });
      expect(told.some(({ remaining }) => remaining !== undefined && remaining > 0)).toBe(true);
    });
  });

  test('The report is data, and its text has the bytes, the settings and the layers', async () => {
    await open('ONNX', async (model) => {
      const { model: small, report } = await fit(model, { target: '9kB' });
      small.close();
      const text = report.table();
      expect(String(report)).toBe(text);
      expect(JSON.parse(JSON.stringify(report))).toEqual({ ...report, final: undefined, maxDrop: undefined });
      expect(text).toMatch(/-> [\d,]+ bytes after brotli -q 11, \d+\.\d\d % of the target of 9,000\n/);
      expect(text.match(/ chosen$/gm)).toHaveLength(1);
      for (const { name } of report.layers) expect(text).toContain(name);
    });
  });

  test.each([
    [{}, /target: '3MB'/],
    [{ target: '3 mb' }, /Write it as 3MB/],
    [{ target: '3MiB' }, /'MB' \(1,000,000\)/],
    [{ target: 0 }, /at least one byte/],
    [{ target: -1 }, /at least one byte/],
    [{ target: NaN }, /at least one byte/],
    [{ target: '' }, /at least one byte/],
    [{ target: '1e3' }, /at least one byte/],
    [{ target: 1000, encoding: 'brotli' }, /br, gzip, raw/],
    [{ target: 1000, allow: [] }, /quantize, prune/],
    [{ target: 1000, allow: ['shrink'] }, /shrink/],
    [{ target: 1000, maxDrop: 0.1 }, /Give `evaluate`/],
    [{ maxDrop: -1, evaluate: () => 1 }, /not negative/],
    [{ target: 1000, higherIsBetter: false }, /Give `evaluate`/],
    [{ target: 1000, data: {} }, /createSession/],
    [{ target: 1000, size: 1 }, /size/],
  ])('The options %j are an error that says what would work', async (options, message) => {
    await open('ONNX', async (model) => {
      const error = await errorOf(() => fit(model, options as FitOptions));
      expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
    });
  });

  test.each([
    ['3kB', '3,000'],
    ['3 kB', '3,000'],
    ['0.003MB', '3,000'],
    ['3000', '3,000'],
    ['3000B', '3,000'],
    ['0.0023MB', '2,300'],
    [3000.7, '3,000'],
  ])('A size of %j is %j bytes', async (target, bytes) => {
    await open('ONNX', async (model) => {
      const error = await errorOf(() => fit(model, { target, encoding: 'raw' }));
      expect(error.details.given).toBe(`${bytes} bytes uncompressed`);
    });
  });

  test('Data are for ONNX models', async () => {
    await open('safetensors', async (model) => {
      const data = { createSession: async () => ({ run: async () => ({}) }), batches: () => [] };
      const error = await errorOf(() => fit(model, { target: 1000, data }));
      expect([error.code, error.details.found]).toEqual(['usage', 'safetensors model']);
    });
  });
});
