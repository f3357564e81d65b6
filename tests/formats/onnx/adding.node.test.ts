import { InferenceSession } from 'onnxruntime-node';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { loadEngine, type Bias, type Model, type WeightTensor } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { outputsOf, type Arrays } from '../../support/filters.js';
import {
  concat,
  floatAttribute,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  localFunction,
  model,
  node,
  numbers,
  tensor,
  textAttribute,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { numbersOf, withModel } from '../../support/onnx-model.js';
import { readGraphOf } from '../../support/onnx-reader.js';

// Weights, inputs and biases are small whole numbers: sums of their products are exact, in whatever order.

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
const whole = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, index) => ((index * 7 + seed * 5 + ((index * index) % 11)) % 9) - 4);
const stored = (name: string, shape: readonly number[], seed = 1) =>
  tensor(name, shape, { data: new Uint8Array(whole(sizeOf(shape), seed).buffer) });
const input = (shape: readonly number[], seed = 2) => ({ data: whole(sizeOf(shape), seed), shape });
const domain = 'com.microsoft';

/** The file with another IR version. */
const withVersion = (bytes: Uint8Array, version: number) => concat(integerField(1, version), bytes.subarray(2));

/** Another Conv reads `b` too. */
const readerOf = (bias: string) => node('Conv', `other v ${bias}`, 'z', { name: 'second' });

async function setNumbers(read: FileModel, { values }: Bias, list: Float32Array | Uint8Array): Promise<void> {
  const engine = await loadEngine();
  const region = await read.load(engine, values);
  await region.block.write(new Uint8Array(list.buffer), region.offset);
  await read.store(engine, values, region);
  region.release();
}

/** @throws Error if the layer cannot have a bias */
async function added(read: FileModel, tensor: WeightTensor): Promise<Bias> {
  const bias = await read.addBias(tensor);
  if (typeof bias === 'string') throw new Error(bias);
  return bias;
}

const layerOf = ({ tensors }: FileModel, name = 'layer') => tensors.find((tensor) => tensor.name === name)!;

/** The file before and after its layer has got this bias. */
async function biased(bytes: Uint8Array, list: Float32Array, name?: string): Promise<Uint8Array> {
  return withModel(bytes, async (read) => {
    const bias = await added(read, layerOf(read, name));
    expect(bias).toMatchObject({ sign: 1, values: { dtype: 'float32', length: list.length } });
    expect(Buffer.compare(await read.bytes(), bytes)).toBe(0);
    const before = (await read.copy(bias.values)).slice();
    await setNumbers(read, bias, list);
    const after = await read.bytes();
    await setNumbers(read, bias, before);
    expect(Buffer.compare(await read.bytes(), bytes)).toBe(0);
    await withModel(after, async (again) => {
      const found = layerOf(again, name).bias!;
      expect(await again.addBias(layerOf(again, name))).toBe(found);
      expect(new Float32Array((await again.copy(found.values)).slice().buffer)).toEqual(list);
    });
    return after;
  });
}

/** The outputs, of which those of `channels` on an axis are larger by these numbers. */
function raised({ data, shape }: Arrays[string], list: Float32Array, axis: number): Arrays[string] {
  const inner = sizeOf(shape.slice(axis + 1));
  return { shape, data: data.map((number, at) => number + list[Math.floor(at / inner) % shape[axis]!]!) };
}

interface Form {
  readonly options: GraphOptions;
  readonly inputs: Arrays;
  readonly channels: number;
  /** The axis of the channels in `y`. */
  readonly axis: number;
  /** The operators of the graph with the bias. */
  readonly ops: readonly string[];
  /** The bias that the layer begins with. */
  readonly before?: Float32Array;
  readonly opset?: number;
  /** The IR version of the file. */
  readonly version?: number;
}

const outputs = { y: undefined };

/** A graph of one layer. */
function one(
  op: string,
  names: string,
  shapes: Readonly<Record<string, readonly number[]>>,
  from: readonly number[],
  attributes: readonly Uint8Array[] = [],
) {
  const initializers = Object.entries(shapes).map(([name, shape], seed) => stored(name, shape, seed));
  const nodes = [
    node(op.replace(/.*\./, ''), names, 'y', { name: 'layer', attributes, ...(op.includes('.') && { domain }) }),
  ];
  return { options: { nodes, initializers, inputs: { x: from }, outputs }, inputs: { x: input(from) } };
}

const pads = (...list: number[]) => integersAttribute('pads', list);
const group = (count: number) => integerAttribute('group', count);
const square = [2, 4, 6, 6];
const sharedConv = (bias: Uint8Array): GraphOptions => ({
  nodes: [node('Conv', 'x w b', 'y', { name: 'layer' }), readerOf('b')],
  initializers: [stored('w', [5, 4, 3, 3]), stored('v', [5, 2, 1, 1], 3), bias],
  inputs: { x: square, other: [1, 2, 3, 3] },
  outputs: { y: undefined, z: undefined },
});
const two = { x: input(square), other: input([1, 2, 3, 3]) };

const forms: Readonly<Record<string, Form>> = {
  'Conv of two axes': {
    ...one('Conv', 'x w', { w: [5, 4, 3, 3] }, square, [pads(1, 1, 1, 1)]),
    channels: 5,
    axis: 1,
    ops: ['Conv'],
  },
  'Conv of one axis': { ...one('Conv', 'x w', { w: [5, 4, 3] }, [2, 4, 6]), channels: 5, axis: 1, ops: ['Conv'] },
  'Conv of three axes': {
    ...one('Conv', 'x w', { w: [5, 4, 3, 2, 1] }, [1, 4, 4, 3, 2]),
    channels: 5,
    axis: 1,
    ops: ['Conv'],
  },
  'Conv in groups': {
    ...one('Conv', 'x w', { w: [6, 2, 3, 3] }, square, [group(2)]),
    channels: 6,
    axis: 1,
    ops: ['Conv'],
  },
  'depthwise Conv': {
    ...one('Conv', 'x w', { w: [8, 1, 3, 3] }, square, [group(4)]),
    channels: 8,
    axis: 1,
    ops: ['Conv'],
  },
  'Conv whose bias is left out': {
    ...one('Conv', 'x w -', { w: [5, 4, 3, 3] }, square),
    channels: 5,
    axis: 1,
    ops: ['Conv'],
  },
  'Conv whose bias is an input of the model': {
    options: {
      nodes: [node('Conv', 'x w b', 'y', { name: 'layer' })],
      initializers: [stored('w', [5, 4, 3, 3])],
      inputs: { x: square, b: [5] },
      outputs,
    },
    inputs: { x: input(square), b: input([5], 4) },
    channels: 5,
    axis: 1,
    ops: ['Conv', 'Add'],
  },
  'Conv whose bias another layer reads': {
    options: sharedConv(stored('b', [5], 8)),
    inputs: two,
    channels: 5,
    axis: 1,
    ops: ['Conv', 'Conv'],
    before: whole(5, 8),
  },
  'Conv whose shared bias is not an array in the file': {
    options: sharedConv(tensor('b', [5], { storage: 'unpacked', data: new Uint8Array(whole(5, 8).buffer) })),
    inputs: two,
    channels: 5,
    axis: 1,
    ops: ['Conv', 'Conv'],
    before: whole(5, 8),
  },
  'Conv whose shared bias is converted': {
    options: {
      ...sharedConv(tensor('half', [5], { dtype: 'float16' })),
      nodes: [
        node('Cast', 'half', 'b', { attributes: [integerAttribute('to', 1)] }),
        node('Conv', 'x w b', 'y', { name: 'layer' }),
        readerOf('b'),
      ],
    },
    inputs: two,
    channels: 5,
    axis: 1,
    ops: ['Cast', 'Conv', 'Add', 'Conv'],
  },
  'Conv of a decoded weight': {
    options: {
      nodes: [node('DequantizeLinear', 'w scale', 'd'), node('Conv', 'x d', 'y', { name: 'layer' })],
      initializers: [
        tensor('w', [5, 4, 1, 1], { dtype: 'uint8' }),
        tensor('scale', [], { data: numbers('float32', [2]) }),
      ],
      inputs: { x: square },
      outputs,
    },
    inputs: { x: input(square) },
    channels: 5,
    axis: 1,
    ops: ['DequantizeLinear', 'Conv'],
  },
  ConvTranspose: {
    ...one('ConvTranspose', 'x w', { w: [4, 5, 3, 3] }, square),
    channels: 5,
    axis: 1,
    ops: ['ConvTranspose'],
  },
  'ConvTranspose in groups': {
    ...one('ConvTranspose', 'x w', { w: [4, 3, 2, 2] }, square, [group(2), integersAttribute('strides', [2, 2])]),
    channels: 6,
    axis: 1,
    ops: ['ConvTranspose'],
  },
  'FusedConv that adds another value': {
    ...one(`${domain}.FusedConv`, 'x w - z', { w: [5, 4, 1, 1], z: [2, 5, 6, 6] }, square),
    channels: 5,
    axis: 1,
    ops: ['FusedConv'],
  },
  Gemm: { ...one('Gemm', 'x w', { w: [4, 5] }, [3, 4]), channels: 5, axis: 1, ops: ['Gemm'] },
  'Gemm of a transposed weight': {
    ...one('Gemm', 'x w', { w: [5, 4] }, [3, 4], [integerAttribute('transB', 1)]),
    channels: 5,
    axis: 1,
    ops: ['Gemm'],
  },
  'Gemm with a weight on the left': {
    ...one('Gemm', 'w x c', { w: [5, 4], c: [] }, [4, 3]),
    channels: 5,
    axis: 0,
    ops: ['Gemm', 'Add'],
  },
  'Gemm with a weight on the left and no bias': {
    ...one('Gemm', 'w x', { w: [5, 4] }, [4, 3]),
    channels: 5,
    axis: 0,
    ops: ['Gemm'],
  },
  'Gemm that multiplies its bias': {
    ...one('Gemm', 'x w c', { w: [4, 5], c: [5] }, [3, 4], [floatAttribute('beta', 2)]),
    channels: 5,
    axis: 1,
    ops: ['Gemm', 'Add'],
  },
  'Gemm that adds one number': {
    ...one('Gemm', 'x w c', { w: [4, 5], c: [] }, [3, 4]),
    channels: 5,
    axis: 1,
    ops: ['Gemm', 'Add'],
  },
  'Gemm that adds a number per row': {
    ...one('Gemm', 'x w c', { w: [4, 5], c: [3, 1] }, [3, 4]),
    channels: 5,
    axis: 1,
    ops: ['Gemm', 'Add'],
  },
  'Gemm whose bias something else reads': {
    options: {
      nodes: [node('Gemm', 'x w b', 'y', { name: 'layer' }), node('Mul', 'x b', 'z')],
      initializers: [stored('w', [4, 4]), stored('b', [1, 4], 8)],
      inputs: { x: [3, 4] },
      outputs: { y: undefined, z: undefined },
    },
    inputs: { x: input([3, 4]) },
    channels: 4,
    axis: 1,
    ops: ['Gemm', 'Mul'],
    before: whole(4, 8),
  },
  MatMul: { ...one('MatMul', 'x w', { w: [4, 5] }, [2, 3, 4]), channels: 5, axis: 2, ops: ['MatMul', 'Add'] },
  'MatMul of a vector': { ...one('MatMul', 'x w', { w: [4, 5] }, [4]), channels: 5, axis: 0, ops: ['MatMul', 'Add'] },
  'MatMul with a weight on the left': {
    ...one('MatMul', 'w x', { w: [5, 4] }, [2, 4, 3]),
    channels: 5,
    axis: 1,
    ops: ['MatMul', 'Add'],
  },
  FusedMatMul: {
    ...one(`${domain}.FusedMatMul`, 'x w', { w: [5, 4] }, [2, 3, 4], [integerAttribute('transB', 1)]),
    channels: 5,
    axis: 2,
    ops: ['FusedMatMul', 'Add'],
  },
  Einsum: {
    ...one('Einsum', 'x w', { w: [5, 4] }, [2, 4, 3], [textAttribute('equation', 'bcn,oc->bon')]),
    channels: 5,
    axis: 1,
    ops: ['Einsum', 'Add'],
  },
  'a weight of several nodes': {
    options: {
      nodes: [
        node('Conv', 'x w', 'first', { name: 'layer' }),
        node('Conv', 'other w', 'second', { name: 'twin' }),
        node('Add', 'first second', 'sum'),
        node('Mul', 'sum half', 'y'),
      ],
      initializers: [stored('w', [5, 4, 1, 1]), tensor('half', [], { data: numbers('float32', [0.5]) })],
      inputs: { x: square, other: square },
      outputs,
    },
    inputs: { x: input(square), other: input(square, 7) },
    channels: 5,
    axis: 1,
    ops: ['Conv', 'Conv', 'Add', 'Mul'],
  },
  'a file of version 3 and opset 7': {
    options: {
      nodes: [node('Conv', 'x w', 'a', { name: 'layer' }), node('Relu', 'a', 'r'), node('Sub', 'a zero', 'y')],
      initializers: [stored('w', [5, 4, 3, 3]), stored('zero', [1, 1, 1, 1])],
      inputs: { x: square, w: [5, 4, 3, 3], zero: [1, 1, 1, 1] },
      outputs: { ...outputs, r: undefined },
    },
    inputs: { x: input(square) },
    channels: 5,
    axis: 1,
    ops: ['Constant', 'Conv', 'Relu', 'Sub'],
    opset: 7,
    version: 3,
  },
  'MatMul in a file of version 3': {
    options: {
      nodes: [node('MatMul', 'x w', 'a', { name: 'layer' }), node('Identity', 'a', 'y')],
      initializers: [stored('w', [4, 5])],
      inputs: { x: [3, 4], w: [4, 5] },
      outputs,
    },
    inputs: { x: input([3, 4]) },
    channels: 5,
    axis: 1,
    ops: ['Constant', 'MatMul', 'Add', 'Identity'],
    opset: 7,
    version: 3,
  },
};

test.each(Object.entries(forms))('Each channel of the output is larger by its number: %s', async (_, form) => {
  const { options, inputs, channels, axis, ops, before = new Float32Array(channels), opset, version = 8 } = form;
  const bytes = withVersion(model(options, opset), version);
  const list = whole(channels, 6).map((number) => (number === 0 ? 5 : number));
  const after = await biased(bytes, list);
  expect(readGraphOf(after).nodes.map(({ op }) => op)).toEqual(ops);
  const { y: old, r: _r, ...others } = await outputsOf(bytes, inputs);
  const { y, r: _s, ...rest } = await outputsOf(after, inputs);
  const growth = list.map((number, at) => number - before[at]!);
  expect(y).toEqual(raised(old!, growth, axis));
  // The other reader of a shared bias.
  expect(rest).toEqual(others);
});

describe('layers in the branches of an If', () => {
  const branch = (weight: string, initializers: readonly Uint8Array[]) =>
    graph({
      nodes: [
        node('Conv', `x ${weight}`, `${weight}c`, { name: weight }),
        node('MatMul', `${weight}c right`, `${weight}y`, { name: `${weight}m` }),
      ],
      initializers,
      outputs: { [`${weight}y`]: undefined },
    });

  /** One branch has its weight itself, unless the version does not allow that. */
  function build(version: number) {
    const [w, v, right] = [stored('w', [5, 4, 1, 1]), stored('v', [5, 4, 1, 1], 3), stored('right', [6, 6], 4)];
    const isOld = version < 4;
    const attributes = [
      graphAttribute('then_branch', branch('w', isOld ? [] : [w])),
      graphAttribute('else_branch', branch('v', [])),
    ];
    const shapes = { w: [5, 4, 1, 1], v: [5, 4, 1, 1], right: [6, 6] };
    const options = {
      nodes: [
        node('Cast', 'flag', 'condition', { attributes: [integerAttribute('to', 9)] }),
        node('If', 'condition', 'y', { attributes }),
      ],
      initializers: isOld ? [w, v, right] : [v, right],
      inputs: { x: square, flag: [], ...(isOld && shapes) },
      outputs,
    };
    return withVersion(model(options, 11), version);
  }
  const run = async (bytes: Uint8Array, flag: number) =>
    (await outputsOf(bytes, { x: input(square), flag: { data: Float32Array.of(flag), shape: [] } })).y!;

  test.each([3, 8])('A bias changes the outputs of its branch alone, in version %i', async (version) => {
    const bytes = build(version);
    const list = Float32Array.of(1, 2, -3, 4, -5);
    const columns = Float32Array.from({ length: 6 }, (_, column) =>
      whole(36, 4).reduce((sum, number, at) => sum + (at % 6 === column ? number : 0), 0),
    );
    for (const [name, flag] of [
      ['w', 1],
      ['v', 0],
    ] as const) {
      const after = await biased(bytes, list, name);
      expect(await run(after, 1 - flag)).toEqual(await run(bytes, 1 - flag));
      const [old, now] = [await run(bytes, flag), await run(after, flag)];
      // The product behind multiplies what is added to a channel with the sum of each column.
      expect(now.data).toEqual(
        old.data.map((number, at) => number + list[Math.floor(at / 36) % 5]! * columns[at % 6]!),
      );
    }
  });

  test.each([3, 8])('A weight of two branches gets the same bias in both, in version %i', async (version) => {
    const bytes = build(version);
    const list = Float32Array.of(1, 2, -3, 4, -5, 6);
    const after = await biased(bytes, list, 'wm');
    for (const flag of [0, 1]) expect(await run(after, flag)).toEqual(raised(await run(bytes, flag), list, 3));
    // One constant in the graph around them.
    const { constants, nodes } = readGraphOf(after);
    expect(constants.get('wm.bias')).toMatchObject({ shape: [6] });
    expect(nodes.map(({ op }) => op)).toEqual(version < 4 ? ['Cast', 'Constant', 'If'] : ['Cast', 'If']);
  });
});

test('A layer of half precision gets a bias of half precision', async () => {
  const to = (type: number) => ({ attributes: [integerAttribute('to', type)] });
  const half = (...list: number[]) => new Uint8Array(Uint16Array.from(list).buffer);
  const bytes = model({
    nodes: [
      node('Cast', 'x', 'h', to(10)),
      node('MatMul', 'h w', 'p', { name: 'layer' }),
      node('Cast', 'p', 'y', to(1)),
      // Stored in half precision, and computed in single precision.
      node('Cast', 'v', 'wide', to(1)),
      node('MatMul', 'x wide', 'z', { name: 'converted' }),
    ],
    initializers: [
      tensor('w', [2, 2], { dtype: 'float16', data: half(0x3c00, 0, 0, 0x3c00) }),
      tensor('v', [2, 2], { dtype: 'float16', data: half(0x3c00, 0, 0, 0x3c00) }),
    ],
    inputs: { x: [1, 2] },
    outputs: { y: undefined, z: undefined },
  });
  const after = await withModel(bytes, async (read) => {
    const [first, second] = [await added(read, layerOf(read)), await added(read, layerOf(read, 'converted'))];
    expect([first.values.dtype, second.values.dtype]).toEqual(['float16', 'float32']);
    await setNumbers(read, first, half(0x3c00, 0x4000));
    await setNumbers(read, second, Float32Array.of(5, 6));
    return read.bytes();
  });
  const { y, z } = await outputsOf(after, { x: { data: Float32Array.of(10, 20), shape: [1, 2] } });
  expect([y!.data, z!.data]).toEqual([Float32Array.of(11, 22), Float32Array.of(15, 26)]);
});

test('The bias of an attention is added to its projections', async () => {
  const heads = { domain, name: 'layer', attributes: [integerAttribute('num_heads', 2)] };
  const build = (bias: string, ...others: Uint8Array[]) =>
    model({
      nodes: [node('Attention', `x w ${bias}`, 'y', heads), ...others],
      initializers: [stored('w', [4, 12]), stored('b', [12], 8)],
      inputs: { x: [2, 3, 4] },
      outputs: { y: undefined, ...(others.length > 0 && { z: undefined }) },
    });
  // Only that of the values is another: their weights add up to 1, so all outputs are larger by it.
  const growth = Float32Array.of(...Array<number>(8).fill(0), 1, 2, -3, 4);
  const list = whole(12, 8).map((number, at) => number + growth[at]!);
  const inputs = { x: input([2, 3, 4]) };
  const shared = build('b', node('Mul', 'b b', 'z'));
  const old = (await outputsOf(shared, inputs)).y!;
  const expected = raised(old, growth.slice(8), 2).data;
  // ONNX Runtime does not run a model whose attention has no bias.
  for (const bytes of [shared, build('')]) {
    const now = (await outputsOf(await biased(bytes, list), inputs)).y!;
    expect(Math.max(...now.data.map((number, at) => Math.abs(number - expected[at]!)))).toBeLessThan(1e-5);
  }
});

describe('the names of what is added', () => {
  test('They are those of nothing else in the model, wherever it is', async () => {
    const build = (...taken: string[]) =>
      model({
        nodes: [
          node('MatMul', 'x w', 'a', { name: 'layer' }),
          node('Relu', 'a', taken[0]!, { name: taken[1]! }),
          node('If', 'c', 'y', {
            attributes: ['then_branch', 'else_branch'].map((name) =>
              graphAttribute(
                name,
                graph({ nodes: [node('Abs', taken[0]!, taken[2]!)], outputs: { [taken[2]!]: undefined } }),
              ),
            ),
          }),
        ],
        initializers: [stored('w', [4, 4]), tensor('c', [], { dtype: 'uint8', data: Uint8Array.of(1) })],
        inputs: { x: [3, 4] },
        outputs,
      });
    const names = (bytes: Uint8Array) =>
      readGraphOf(bytes).nodes.flatMap((each) => [each.name, ...each.inputs, ...each.outputs]);
    const plain = build('r', 's', 't');
    const list = Float32Array.of(1, 2, 3, 4);
    const fresh = names(await biased(plain, list)).filter((name) => !names(plain).includes(name));
    expect(new Set(fresh)).toEqual(new Set(['a.withoutBias', 'layer.bias', 'layer.addBias']));
    const taken = build('a.withoutBias', 'layer.addBias', 'layer.bias');
    const others = names(await biased(taken, list)).filter((name) => !names(taken).includes(name));
    expect(new Set(others)).toEqual(new Set(['a.withoutBias#2', 'layer.bias#2', 'layer.addBias#2']));
  });

  test('The output keeps its name, its type and its readers', async () => {
    const bytes = await biased(model(forms.MatMul!.options), whole(5, 6));
    const { nodes } = readGraphOf(bytes);
    expect(nodes.map(({ outputs }) => outputs)).toEqual([['y.withoutBias'], ['y']]);
    expect(nodes[1]!.inputs).toEqual(['y.withoutBias', 'layer.bias']);
  });
});

describe('a layer that cannot have a bias', () => {
  const decoded = (name: string, codes: string) => node('DequantizeLinear', `${codes} scale`, name);
  const lstm = { w: [1, 8, 4], r: [1, 8, 2] };
  const reasons: Readonly<
    Record<string, readonly [options: GraphOptions, reason: string, functions?: readonly Uint8Array[]]>
  > = {
    'an embedding': [
      {
        nodes: [node('Gather', 'w x', 'y', { name: 'layer' })],
        initializers: [stored('w', [5, 4])],
        inputs: { x: { shape: [2], type: 7 } },
        outputs,
      },
      'the output channels of this weight are not those of the output',
    ],
    'a recurrent layer': [
      { ...one('LSTM', 'x w r', lstm, [3, 1, 4], [integerAttribute('hidden_size', 2)]).options },
      'the output channels of this weight are not those of the output',
    ],
    'a stack of matrices': [
      one('MatMul', 'x w', { w: [2, 4, 5] }, [2, 3, 4]).options,
      'the output channels of this weight are not those of the output',
    ],
    'a layer whose outputs are multiplied': [
      one('Gemm', 'x w', { w: [4, 5] }, [3, 4], [floatAttribute('alpha', 2)]).options,
      'its node multiplies the output by a factor',
    ],
    'a layer whose output is of unknown rank': [
      {
        nodes: [node('Op', 'x', 'u', { domain: 'own' }), node('MatMul', 'w u', 'y', { name: 'layer' })],
        initializers: [stored('w', [5, 4])],
        inputs: { x: undefined },
        outputs,
      },
      'the file does not say how many axes the output has, so the channel axis is unknown',
    ],
    'a layer of quantised inputs': [
      {
        nodes: [
          node('QuantizeLinear', 'x scale', 'q'),
          decoded('d', 'q'),
          decoded('e', 'w'),
          node('Conv', 'd e', 'y', { name: 'layer' }),
        ],
        initializers: [
          tensor('scale', [], { data: numbers('float32', [0.5]) }),
          tensor('w', [5, 4, 1, 1], { dtype: 'uint8' }),
        ],
        inputs: { x: square },
        outputs,
      },
      'Conv layer computes with quantised inputs',
    ],
    'an activation behind a bias that the model computes': [
      {
        ...one(`${domain}.FusedConv`, 'x w b', { w: [5, 4, 1, 1] }, square, [textAttribute('activation', 'Relu')])
          .options,
        inputs: { x: square, b: [5] },
      },
      'its node applies an activation to the output',
    ],
    'a weight of several nodes, one of which has a bias': [
      {
        nodes: [node('Conv', 'x w', 'y', { name: 'layer' }), node('Conv', 'x w b', 'z', { name: 'twin' })],
        initializers: [stored('w', [5, 4, 1, 1]), stored('b', [5])],
        inputs: { x: square },
        outputs: { y: undefined, z: undefined },
      },
      'several nodes share it, and Conv twin has a bias',
    ],
    'a weight that nodes read in different ways': [
      {
        nodes: [
          node('MatMul', 'x w', 'y', { name: 'layer' }),
          node('Gemm', 'x w', 'z', { attributes: [integerAttribute('transB', 1)] }),
        ],
        initializers: [stored('w', [4, 4])],
        inputs: { x: [3, 4] },
        outputs: { y: undefined, z: undefined },
      },
      'several nodes share it: dense (in, out) / dense (out, in)',
    ],
    'a layer in a local function': [
      {
        nodes: [node('own', 'x w', 'y', { domain: 'my.own', name: 'call' })],
        initializers: [stored('w', [4, 5])],
        inputs: { x: [3, 4] },
        outputs,
      },
      'MatMul layer is in a local function',
      [localFunction('my.own', 'own', 'a b', 'c', node('MatMul', 'a b', 'c', { name: 'layer' }))],
    ],
  };

  test.each(Object.entries(reasons))('The reason is told: %s', async (_, [options, reason, functions]) => {
    const bytes = model(options, 17, functions);
    await withModel(bytes, async (read) => {
      expect(await read.addBias(layerOf(read))).toBe(reason);
      expect(await read.addBias(layerOf(read))).toBe(reason);
      expect(await read.bytes()).toEqual(bytes);
    });
  });

  test('Other formats give their layers no bias', async () => {
    using read = await readSafetensors(await readBytes('cases/gpt2_square.safetensors'));
    const { bias: _, ...tensor } = read.tensors[0]!;
    expect(await read.addBias(tensor)).toBe('biases cannot be added to safetensors models');
  });

  test('The layer of another model is an error', async () => {
    const bytes = model(forms.MatMul!.options);
    await withModel(bytes, (read) =>
      withModel(bytes, async (other) => {
        await expect(other.addBias(layerOf(read))).rejects.toMatchObject({ code: 'usage' });
      }),
    );
  });
});

describe('a bias that was added', () => {
  const bytes = model(forms.MatMul!.options);
  const list = whole(5, 6);

  test('It is the same one if it is asked for again', async () => {
    await withModel(bytes, async (read) => {
      const [first, second] = await Promise.all([read.addBias(layerOf(read)), read.addBias(layerOf(read))]);
      expect(second).toBe(first);
      expect(await read.addBias(layerOf(read))).toBe(first);
    });
  });

  test('Its numbers are copied and held like those of the file', async () => {
    await withModel(bytes, async (read) => {
      const bias = await added(read, layerOf(read));
      expect(await read.copy(bias.values)).toEqual(new Uint8Array(20));
      const restore = await (read as unknown as Required<Pick<Model, 'hold'>>).hold(bias.values);
      await setNumbers(read, bias, list);
      expect(new Float32Array((await numbersOf(read, bias.values)).slice().buffer)).toEqual(list);
      await restore();
      expect(await read.copy(bias.values)).toEqual(new Uint8Array(20));
    });
  });

  test('It is written if a number is a negative zero', async () => {
    await withModel(bytes, async (read) => {
      await setNumbers(read, await added(read, layerOf(read)), Float32Array.of(0, 0, -0, 0, 0));
      expect((await read.bytes()).length).toBeGreaterThan(bytes.length);
    });
  });

  test('A closed model gives no bias', async () => {
    const read = await readOnnx(bytes);
    const layer = layerOf(read);
    const begun = read.addBias(layer);
    read.close();
    await expect(begun).rejects.toMatchObject({ code: 'usage' });
    await expect(read.addBias(layer)).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('a model with external data', () => {
  test('New biases are in the model file, also where external data get other names', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'adding-'));
    try {
      const weights = new Uint8Array(whole(20, 1).buffer);
      const shared = new Uint8Array(whole(5, 8).buffer);
      const build = (location: string) =>
        model({
          nodes: [node('Gemm', 'x w b', 'y', { name: 'layer' }), node('Mul', 'b b', 'z')],
          initializers: [
            tensor('w', [4, 5], { external: { location } }),
            tensor('b', [5], { external: { location, offset: 80 } }),
          ],
          inputs: { x: [3, 4] },
          outputs: { y: undefined, z: undefined },
        });
      const data = concat(weights, shared);
      const inputs = { x: input([3, 4]) };
      const read = await readOnnx(build('w.bin'), { external: () => data });
      const bias = await added(read, layerOf(read));
      expect(new Float32Array((await read.copy(bias.values)).slice().buffer)).toEqual(whole(5, 8));
      await read.write(join(folder, 'same.onnx'));
      expect(new Uint8Array(await readFile(join(folder, 'same.onnx')))).toEqual(build('same.onnx.data'));
      const list = whole(5, 6);
      await setNumbers(read, bias, list);
      await read.write(join(folder, 'a longer name.onnx'));
      await read.write(folder + '/');
      read.close();
      const before = await outputsOf(join(folder, 'same.onnx'), inputs);
      const growth = list.map((number, at) => number - whole(5, 8)[at]!);
      for (const name of ['a longer name.onnx', 'model.onnx']) {
        const after = await outputsOf(join(folder, name), inputs);
        expect(after).toEqual({ y: raised(before.y!, growth, 1), z: before.z });
      }
      for (const name of ['a longer name.onnx.data', 'w.bin', 'same.onnx.data']) {
        expect(new Uint8Array(await readFile(join(folder, name)))).toEqual(data);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('A bias that cannot be copied since its file is truncated is an error', async () => {
    const bytes = model({
      nodes: [node('Gemm', 'x w b', 'y', { name: 'layer' }), node('Mul', 'b b', 'z')],
      initializers: [stored('w', [4, 5]), tensor('b', [5], { external: { location: 'b.bin' } })],
      inputs: { x: [3, 4] },
      outputs: { y: undefined, z: undefined },
    });
    const read = await readOnnx(bytes, { external: () => new Uint8Array(19) });
    try {
      await expect(read.addBias(layerOf(read))).rejects.toMatchObject({ code: 'format' });
    } finally {
      read.close();
    }
  });
});

describe('models of exporters', async () => {
  const folder = fileURLToPath(new URL('../../cases/exporters/', import.meta.url));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.gz'));

  test.each(names)('All layers of %s that can have a bias get one, and runtimes accept the file', async (name) => {
    const bytes = new Uint8Array(gunzipSync(await readFile(folder + name)));
    const { tensors, after, count } = await withModel(bytes, async (read) => {
      const biases: [Bias, Uint8Array][] = [];
      for (const { bias: _, ...tensor } of read.tensors) {
        const bias = await read.addBias(tensor);
        if (typeof bias === 'string') expect(bias).not.toBe('');
        else biases.push([bias, (await read.copy(bias.values)).slice()]);
      }
      expect(Buffer.compare(await read.bytes(), bytes)).toBe(0);
      for (const [bias, before] of biases)
        await setNumbers(
          read,
          bias,
          before.map((byte, at) => (at % 4 === 0 ? 1 : byte)),
        );
      const after = await read.bytes();
      for (const [bias, before] of biases) await setNumbers(read, bias, before);
      expect(Buffer.compare(await read.bytes(), bytes)).toBe(0);
      return { tensors: read.tensors, after, count: biases.length };
    });
    expect(count).toBeGreaterThan(0);
    expect(after.length).toBeGreaterThan(bytes.length);
    const plain = ({ name, shape, roles, kind }: WeightTensor) => ({ name, shape, roles, kind });
    await withModel(after, (read) => expect(read.tensors.map(plain)).toEqual(tensors.map(plain)));
    const session = await InferenceSession.create(after, { graphOptimizationLevel: 'disabled', logSeverityLevel: 3 });
    await session.release();
  });
});
