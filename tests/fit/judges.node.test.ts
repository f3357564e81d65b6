import { brotliCompressSync, constants } from 'node:zlib';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { SessionFiles } from 'sparsifier/calibration';
import { readModel } from 'sparsifier/formats';
import { fit } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { network } from '../support/fit-models.js';
import { batchesOf, judging, outputError } from '../support/fit-outputs.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';

// What ONNX Runtime says about models that `fit` makes.

let live = 0;
const createSession = async (bytes: Uint8Array, files: SessionFiles) => {
  const session = await InferenceSession.create(bytes, { ...files, logSeverityLevel: 3 });
  live++;
  return {
    run: (feeds: Record<string, Tensor>, names: readonly string[]) => session.run(feeds, [...names]),
    release: async () => {
      live--;
      await session.release();
    },
  };
};
const batches = batchesOf(9);
const data = { createSession, batches: () => batches };
const brotli = (bytes: Uint8Array) =>
  brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 16,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  }).length;

describe('models that are run', () => {
  test('The outcome is the error of the outputs on every fourth batch, and repairs make it less', async () => {
    using model = await readModel(network);
    const target = Math.round(0.12 * brotli(network));
    const { model: small, report } = await fit(model, { target, data });
    using fitted = small;
    expect(report.outcome).toMatchObject({ by: 'outputs', dense: 0, higherIsBetter: false });
    expect(report.outcome.fitted).toBeCloseTo(await outputError(network, fitted), 6);
    expect(brotli(await fitted.bytes())).toBeLessThanOrEqual(target);
    const { model: blind } = await fit(model, { target });
    using other = blind;
    expect(report.outcome.fitted).toBeLessThan(await outputError(network, other));
    // Much was removed, so the inputs of the pruned model were tried, too.
    expect(report.curve.filter(({ inputs, outcome }) => inputs === 'pruned' && outcome !== undefined)).toHaveLength(1);
    expect(live).toBe(0);
    expect(differsAt(await model.bytes(), network)).toBe(-1);
  });

  test('The same data give the same bytes, also where every batch is made anew', async () => {
    using model = await readModel(network);
    const target = Math.round(0.25 * brotli(network));
    const again = {
      createSession,
      async *batches() {
        for (const { x } of batches) yield { x: new Tensor('float32', (x.data as Float32Array).slice(), x.dims) };
      },
    };
    const files: Uint8Array[] = [];
    for (const each of [data, again]) {
      const { model: small } = await fit(model, { target, data: each });
      files.push(await small.bytes());
      small.close();
    }
    expect(differsAt(files[0]!, files[1]!)).toBe(-1);
    model.close();
    await expectNoMemoryInUse();
  });

  test('Fewer than four batches calibrate and judge, and the report says so', async () => {
    using model = await readModel(network);
    const few = { createSession, batches: () => judging };
    const { model: small, report } = await fit(model, { target: Math.round(0.2 * brotli(network)), data: few });
    using fitted = small;
    expect(report.outcome.fitted).toBeCloseTo(await outputError(network, fitted), 6);
    expect(report.outcome.meaning).toMatch(/fewer than four.*too low/);
  });

  test('With a function that judges, all batches are for the calibration', async () => {
    using model = await readModel(network);
    const evaluate = async (files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) => {
      const [bytes] = [...files.values()];
      using small = await readModel(bytes!);
      return await outputError(network, small);
    };
    const target = Math.round(0.2 * brotli(network));
    const { model: small, report } = await fit(model, { target, data, evaluate, higherIsBetter: false });
    using fitted = small;
    expect(report.outcome).toMatchObject({ by: 'evaluate', dense: 0 });
    expect(report.outcome.fitted).toBe(await outputError(network, fitted));
  });

  test('What sessions and batches throw comes out, and sessions are released', async () => {
    using model = await readModel(network);
    const mine = new Error('no disk');
    for (const at of [1, 3, 8]) {
      let calls = 0;
      const failing = {
        createSession: async (...words: Parameters<typeof createSession>) => {
          if (++calls === at) throw mine;
          return createSession(...words);
        },
        batches: () => batches,
      };
      await expect(fit(model, { target: 4500, data: failing })).rejects.toBe(mine);
    }
    const none = await errorOf(() => fit(model, { target: 4500, data: { createSession, batches: () => [] } }));
    expect(none.code).toBe('criteria');
    expect(live).toBe(0);
    model.close();
    await expectNoMemoryInUse();
  });
});
