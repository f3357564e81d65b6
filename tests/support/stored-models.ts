// Runs small models in onnxruntime-node before and after their weights are stored in other forms.

import { InferenceSession, Tensor } from 'onnxruntime-node';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataType, WeightTensor } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { expect } from 'vitest';
import { narrowed, storageOf, widened, type Form, type NewNumbers } from './internal.js';
import {
  bytesField,
  concat,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  mixedNumbers,
  model,
  node,
  tensor,
  type GraphOptions,
  type TensorOptions,
} from './onnx-builder.js';
import { readGraphOf } from './onnx-reader.js';
import { setNumbers, storedAs } from './storing.js';

export type Files = Map<string, Uint8Array<ArrayBuffer>>;
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** The file with another IR version. */
const withVersion = (bytes: Uint8Array, version: number) => concat(integerField(1, version), bytes.subarray(2));

export const read = (files: Files): Promise<FileModel> => {
  const [[, main], ...data] = [...files] as [[string, Uint8Array], ...[string, Uint8Array][]];
  const others = new Map(data);
  return readOnnx(main, { external: (name) => others.get(name)! });
};

export type Outputs = Readonly<Record<string, readonly number[]>>;

/** The operators of a model after onnxruntime has optimised it. */
export async function optimised(files: Files): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-optimised-'));
  try {
    const path = join(folder, 'optimised.onnx');
    const options = { graphOptimizationLevel: 'all', optimizedModelFilePath: path, logSeverityLevel: 3 } as const;
    const session = await InferenceSession.create([...files.values()][0]!, options);
    await session.release();
    return readGraphOf(await readFile(path)).nodes.map(({ op }) => op);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The outputs of a model for inputs that are made up. */
export async function run(files: Files, shapes: Shapes, graphOptimizationLevel: 'disabled' | 'all'): Promise<Outputs> {
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

/** These numbers as a type stores them. */
function inType(values: Float32Array<ArrayBuffer>, dtype: DataType): Uint8Array<ArrayBuffer> {
  if (dtype === 'float32') return new Uint8Array(values.buffer);
  return new Uint8Array(Uint16Array.from(values, (value) => narrowed(value, dtype)).buffer);
}

/**
 * The files of a model with its weights in a form, and those of a model with the numbers that they then stand for.
 * @param form the form of each weight, or of all of them
 */
export async function stored(files: Files, form: Form | ((tensor: WeightTensor) => Form)) {
  using before = await read(files);
  const { storage, current } = storageOf(before);
  const layers = new Map<string, NewNumbers>();
  const replaced = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const each of before.tensors) {
    const own = typeof form === 'string' ? form : form(each);
    expect(storage.obstacle(each, own), each.name).toBeUndefined();
    const weights = widened(await before.copy(each.values), each.values.dtype);
    const { numbers, values } = storedAs(own, each, weights);
    layers.set(each.name, numbers);
    replaced.set(each.name, inType(values, each.values.dtype));
  }
  expect(layers.size).toBeGreaterThan(0);
  const after = await storage.rewritten(layers, new Map(), current);
  using reference = await read(files);
  for (const { name, values } of reference.tensors) {
    await setNumbers(reference, values, replaced.get(name)!);
  }
  const seen = before.tensors.map(({ name, values }) => [...widened(replaced.get(name)!, values.dtype)]);
  return { after, reference: await reference.toFiles(), values: seen };
}

/** The files of a model that also gives these values. Fields of a message that comes twice are those of both. */
export const withOutputs = (
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
export function expectNear(found: Outputs, expected: Outputs): void {
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  for (const [name, numbers] of Object.entries(expected)) {
    const far = numbers.findIndex((number, index) => !(Math.abs(found[name]![index]! - number) <= 1e-5));
    expect(far, `the first number of ${name} that differs`).toBe(-1);
  }
}

export const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
/** Numbers of which some are zeros, of either sign. */
export function bytesOf(count: number, seed: number) {
  const numbers = new Float32Array(mixedNumbers(count, seed).buffer).map((number, index) =>
    index % 5 === 3 ? 0 : index % 11 === 4 ? -0 : number,
  );
  return { data: new Uint8Array(numbers.buffer) };
}
export const narrowNumbers = (count: number, dtype: 'float16' | 'bfloat16'): Uint8Array<ArrayBuffer> =>
  inType(new Float32Array(bytesOf(count, 1).data.buffer), dtype);
export const weight = (name: string, shape: readonly number[], options: TensorOptions = {}) =>
  tensor(name, shape, { ...bytesOf(sizeOf(shape), name.codePointAt(0)!), ...options });

export interface Network {
  readonly options: GraphOptions;
  readonly inputs: Shapes;
  readonly opset?: number;
  readonly version?: number;
  /** The names of the weights, in the order of the layers: `w` by default. Those of a subgraph cannot be seen. */
  readonly weights?: readonly string[];
  /** The forms that its weights can have: `int8` and `float16` by default. */
  readonly forms?: readonly Form[];
}

export const files = ({ options, opset, version = 8 }: Network): Files =>
  new Map([['model.onnx', withVersion(model(options, opset), version) as Uint8Array<ArrayBuffer>]]);

/** A weight, `w`, that two nodes share. */
export const twoReaders: Network = {
  options: {
    nodes: [node('MatMul', 'x w', 'h', { name: 'first' }), node('MatMul', 'h w', 'y', { name: 'second' })],
    initializers: [weight('w', [5, 5])],
    inputs: { x: [3, 5] },
    outputs: { y: undefined },
  },
  inputs: { x: [3, 5] },
};

/** A weight of a subgraph, `inner`, and one outside of it, `outer`, which only a subgraph reads. */
export const inBranches: Network = {
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
};
