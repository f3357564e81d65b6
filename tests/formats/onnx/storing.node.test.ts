import { InferenceSession, Tensor } from 'onnxruntime-node';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import type { WeightTensor } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { storageOf, widened, type Form, type NewNumbers } from '../../support/internal.js';
import {
  bytesField,
  concat,
  constant,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  list,
  mixedNumbers,
  model,
  node,
  tensor,
  type GraphOptions,
  type TensorOptions,
} from '../../support/onnx-builder.js';
import { setNumbers, storedAs } from '../../support/storing.js';

type Files = Map<string, Uint8Array<ArrayBuffer>>;
type Shapes = Readonly<Record<string, readonly number[]>>;

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
/** Numbers of which some are zeros, of either sign. */
function bytesOf(count: number, seed: number) {
  const numbers = new Float32Array(mixedNumbers(count, seed).buffer).map((number, index) =>
    index % 5 === 3 ? 0 : index % 11 === 4 ? -0 : number,
  );
  return { data: new Uint8Array(numbers.buffer) };
}
const weight = (name: string, shape: readonly number[], options: TensorOptions = {}) =>
  tensor(name, shape, { ...bytesOf(sizeOf(shape), name.length), ...options });

/** The file with another IR version. */
const withVersion = (bytes: Uint8Array, version: number) => concat(integerField(1, version), bytes.subarray(2));

const read = (files: Files): Promise<FileModel> => {
  const [[, main], ...data] = [...files] as [[string, Uint8Array], ...[string, Uint8Array][]];
  const others = new Map(data);
  return readOnnx(main, { external: (name) => others.get(name)! });
};

type Outputs = Readonly<Record<string, readonly number[]>>;

/** The outputs of a model for inputs that are made up. */
async function run(files: Files, shapes: Shapes, graphOptimizationLevel: 'disabled' | 'all'): Promise<Outputs> {
  const [main, ...data] = [...files];
  const externalData = data.map(([path, bytes]) => ({ path, data: bytes }));
  const session = await InferenceSession.create(main![1], {
    graphOptimizationLevel,
    logSeverityLevel: 3,
    ...(externalData.length > 0 && { externalData }),
  });
  const feeds = Object.entries(shapes).map(([name, shape], seed) => {
    const numbers = new Float32Array(mixedNumbers(sizeOf(shape), seed + 7).buffer);
    // An input of indices is an input of whole numbers.
    const indices = () => BigInt64Array.from(numbers, (number) => BigInt(Math.floor(Math.abs(number) * 4)));
    return [name, name === 'indices' ? new Tensor('int64', indices(), shape) : new Tensor('float32', numbers, shape)];
  });
  const results = await session.run(Object.fromEntries(feeds) as Record<string, Tensor>);
  await session.release();
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, [...(data as Float32Array)]]));
}

/** The files of a model with its weights in a form, and those of a model with the numbers that they then stand for. */
async function stored(files: Files, form: Form, choose: (tensor: WeightTensor) => boolean = () => true) {
  using before = await read(files);
  const { storage, current } = storageOf(before);
  const layers = new Map<string, NewNumbers>();
  const replaced = new Map<string, Float32Array<ArrayBuffer>>();
  for (const each of before.tensors.filter(choose)) {
    expect(storage.obstacle(each, form), each.name).toBeUndefined();
    const weights = widened(await before.copy(each.values), each.values.dtype);
    const { numbers, values } = storedAs(form, each, weights);
    layers.set(each.name, numbers);
    replaced.set(each.name, values);
  }
  expect(layers.size).toBeGreaterThan(0);
  const after = await storage.rewritten(layers, new Map(), current);
  using reference = await read(files);
  for (const each of reference.tensors) {
    const values = replaced.get(each.name);
    if (values !== undefined) await setNumbers(reference, each.values, new Uint8Array(values.buffer));
  }
  return { after, reference: await reference.toFiles(), values: [...replaced.values()] };
}

interface Network {
  readonly options: GraphOptions;
  readonly inputs: Shapes;
  readonly opset?: number;
  readonly version?: number;
  /** The names of the weights, in the order of the layers: `w` by default. Those of a subgraph cannot be seen. */
  readonly weights?: readonly string[];
}

const files = ({ options, opset, version = 8 }: Network): Files =>
  new Map([['model.onnx', withVersion(model(options, opset), version) as Uint8Array<ArrayBuffer>]]);

const layer = (op: string, inputs: string, ...attributes: readonly Uint8Array[]) =>
  node(op, inputs, 'y', { name: 'layer', attributes });

const one = (
  op: string,
  shape: readonly number[],
  from: readonly number[],
  attributes: readonly Uint8Array[] = [],
): Network => ({
  options: {
    nodes: [layer(op, 'x w', ...attributes)],
    initializers: [weight('w', shape)],
    inputs: { x: from },
    outputs: { y: undefined },
  },
  inputs: { x: from },
});

const recurrent = (op: string, gates: number): Network => ({
  options: {
    nodes: [node(op, 'x w r', 'y', { name: 'cell', attributes: [integerAttribute('hidden_size', 4)] })],
    initializers: [weight('w', [1, 4 * gates, 5]), weight('r', [1, 4 * gates, 4])],
    inputs: { x: [3, 2, 5] },
    outputs: { y: undefined },
  },
  inputs: { x: [3, 2, 5] },
  weights: ['w', 'r'],
});

const networks: Readonly<Record<string, Network>> = {
  'a convolution': one('Conv', [6, 3, 3, 3], [1, 3, 7, 7]),
  'a convolution along one axis': one('Conv', [6, 3, 3], [1, 3, 9]),
  'a grouped convolution': one('Conv', [6, 2, 3, 3], [1, 4, 7, 7], [integerAttribute('group', 2)]),
  'a depthwise convolution': one('Conv', [4, 1, 3, 3], [1, 4, 7, 7], [integerAttribute('group', 4)]),
  'a transposed convolution': one('ConvTranspose', [4, 3, 3, 3], [1, 4, 5, 5]),
  'a grouped transposed convolution': one('ConvTranspose', [4, 3, 3, 3], [1, 4, 5, 5], [integerAttribute('group', 2)]),
  'a convolution of opset 7': { ...one('Conv', [6, 3, 3, 3], [1, 3, 7, 7]), opset: 7 },
  'a convolution of opset 9 in a file without initializers of its own': {
    options: {
      nodes: [layer('Conv', 'x w')],
      initializers: [weight('w', [6, 3, 3, 3])],
      inputs: { x: [1, 3, 7, 7], w: [6, 3, 3, 3] },
      outputs: { y: undefined },
    },
    inputs: { x: [1, 3, 7, 7] },
    opset: 9,
    version: 3,
  },
  'a weight that is the default of an input': {
    options: {
      nodes: [layer('Conv', 'x w')],
      initializers: [weight('w', [6, 3, 3, 3])],
      inputs: { w: [6, 3, 3, 3], x: [1, 3, 7, 7] },
      outputs: { y: undefined },
    },
    inputs: { x: [1, 3, 7, 7] },
  },
  'a product': one('MatMul', [5, 7], [3, 5]),
  'a stack of products': one('MatMul', [2, 5, 7], [2, 3, 5]),
  'a Gemm with a transposed weight': one('Gemm', [7, 5], [3, 5], [integerAttribute('transB', 1)]),
  'a weight with one output': one('MatMul', [5, 1], [3, 5]),
  'a weight in a Constant node': {
    options: {
      nodes: [node('Relu', 'x', 'z'), constant('w', [5, 7], bytesOf(35, 2)), layer('MatMul', 'z w')],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight in float_data': {
    ...one('MatMul', [5, 7], [3, 5]),
    options: {
      nodes: [layer('MatMul', 'x w')],
      initializers: [weight('w', [5, 7], { storage: 'packed' })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
  },
  'a weight in float_data that is not packed': {
    options: {
      nodes: [layer('MatMul', 'x w')],
      initializers: [weight('w', [5, 7], { storage: 'unpacked' })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight behind nodes that arrange it': {
    options: {
      nodes: [
        node('Identity', 'w', 'i'),
        node('Transpose', 'i', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
        node('Reshape', 't shape', 'r'),
        layer('MatMul', 'x r'),
      ],
      initializers: [weight('w', [7, 5]), list('shape', 1, 5, 7)],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight that two nodes share': {
    options: {
      nodes: [node('MatMul', 'x w', 'h', { name: 'first' }), node('MatMul', 'h w', 'y', { name: 'second' })],
      initializers: [weight('w', [5, 5])],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a table that is also the weight of a product': {
    options: {
      nodes: [node('Gather', 'w indices', 'h', { name: 'table' }), layer('Gemm', 'h w', integerAttribute('transB', 1))],
      initializers: [weight('w', [4, 6])],
      inputs: { indices: { shape: [3], type: 7 } },
      outputs: { y: undefined },
    },
    inputs: { indices: [3] },
  },
  'a table': {
    options: {
      nodes: [layer('Gather', 'w indices')],
      initializers: [weight('w', [4, 6])],
      inputs: { indices: { shape: [2, 3], type: 7 } },
      outputs: { y: undefined },
    },
    inputs: { indices: [2, 3] },
  },
  'an LSTM': recurrent('LSTM', 4),
  'a GRU': recurrent('GRU', 3),
  'a weight of a subgraph': {
    options: {
      nodes: [
        node('ReduceMax', 'x', 'most', { attributes: [integerAttribute('keepdims', 0)] }),
        node('Greater', 'most zero', 'condition'),
        node('If', 'condition', 'y', {
          attributes: [
            graphAttribute(
              'then_branch',
              graph({
                nodes: [node('Relu', 'x', 'h'), node('MatMul', 'h inner', 'a', { name: 'inside' })],
                initializers: [weight('inner', [5, 7])],
                outputs: { a: undefined },
              }),
            ),
            graphAttribute(
              'else_branch',
              graph({ nodes: [node('MatMul', 'x outer', 'b', { name: 'outside' })], outputs: { b: undefined } }),
            ),
          ],
        }),
      ],
      initializers: [weight('outer', [5, 7]), tensor('zero', [], { data: new Uint8Array(4) })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
    weights: [],
  },
};

/** The files of a model that also gives these values. Fields of a message that comes twice are those of both. */
const withOutputs = (
  [main, ...data]: readonly [string, Uint8Array<ArrayBuffer>][],
  ...names: readonly string[]
): Files =>
  new Map([
    [
      main![0],
      concat(main![1], bytesField(7, graph({ outputs: Object.fromEntries(names.map((name) => [name, undefined])) }))),
    ],
    ...data,
  ]);

/** The numbers differ by no more than sums do that are added up in another order. */
function expectNear(found: Outputs, expected: Outputs): void {
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  for (const [name, numbers] of Object.entries(expected)) {
    const far = numbers.findIndex((number, index) => !(Math.abs(found[name]![index]! - number) <= 1e-5));
    expect(far, `the first number of ${name} that differs`).toBe(-1);
  }
}

describe.each(Object.entries(networks))('%s', (_name, network) => {
  const weights = network.weights ?? ['w'];

  test.each(['int8', 'float16'] as const)('A runtime sees exactly what its numbers as %s stand for', async (form) => {
    const { after, reference, values } = await stored(files(network), form);
    for (const level of ['disabled', 'all'] as const) {
      expectNear(await run(after, network.inputs, level), await run(reference, network.inputs, level));
      if (weights.length === 0) continue;
      const seen = await run(withOutputs([...after], ...weights), network.inputs, level);
      // This tells 0 from -0. No zero has a sign, whatever sign that of the weight had.
      weights.forEach((name, place) => expect(seen[name]).toEqual([...values[place]!]));
    }
  });
});
