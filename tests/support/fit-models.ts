// Models that compress as trained ones do: most weights are small, and no two layers are alike.
import { readModel } from 'sparsifier/formats';
import type { FileModel } from 'sparsifier/formats/onnx';
import { integerAttribute, integersAttribute, model, node, tensor } from './onnx-builder.js';
import { safetensorsFile } from './safetensors-builder.js';
import { xorshift } from './layers.js';
import { filesOf, graphOf, textOf } from './tfjs.js';

/** Numbers of about a normal distribution, whose size varies from one output to the next. */
export function normal(count: number, seed: number, scale = 0.1): Float32Array<ArrayBuffer> {
  const next = xorshift(seed);
  const uniform = () => (next() % 65536) / 65536;
  return Float32Array.from(
    { length: count },
    () => scale * (uniform() + uniform() + uniform() + uniform() + uniform() + uniform() - 3),
  );
}

const floats = (count: number, seed: number, scale?: number) => new Uint8Array(normal(count, seed, scale).buffer);
const weight = (name: string, shape: readonly number[], seed: number, scale?: number) =>
  tensor(name, shape, {
    data: floats(
      shape.reduce((a, b) => a * b),
      seed,
      scale,
    ),
  });
const pads = integersAttribute('pads', [1, 1, 1, 1]);

/** A convolution, a depthwise one, one by 1 x 1, and a product: 10,000 weights. Its input `x` is [2, 3, 8, 8]. */
const networkFor = (x: number | readonly number[] | { readonly shape: readonly string[] }) =>
  model(
    {
      nodes: [
        node('Conv', 'x w1 b1', 'a', { name: 'first', attributes: [pads] }),
        node('Relu', 'a', 'b'),
        node('Conv', 'b w2', 'c', {
          name: 'depthwise',
          attributes: [pads, integerAttribute('group', 32)],
        }),
        node('Relu', 'c', 'd'),
        node('Conv', 'd w3 b3', 'e', { name: 'pointwise' }),
        node('Relu', 'e', 'f'),
        node('GlobalAveragePool', 'f', 'g'),
        node('Flatten', 'g', 'h'),
        node('Gemm', 'h w4 b4', 'y', { name: 'head' }),
      ],
      initializers: [
        weight('w1', [32, 3, 3, 3], 1, 0.3),
        weight('b1', [32], 2),
        weight('w2', [32, 1, 3, 3], 3, 0.3),
        weight('w3', [96, 32, 1, 1], 4, 0.2),
        weight('b3', [96], 5),
        weight('w4', [96, 64], 6, 0.1),
        weight('b4', [64], 7),
      ],
      inputs: { x },
      outputs: { y: 2 },
    },
    13,
  );

/** The file does not say how large the input is. */
export const network = networkFor(4);
/** Nor does this one, but it gives each axis a name. */
export const namedNetwork = networkFor({ shape: ['batch', 'channels', 'height', 'width'] });
/** The file says so, as is needed to follow channels. */
export const sizedNetwork = networkFor([2, 3, 8, 8]);

/** Two products without a network around them. */
const checkpoint = safetensorsFile({
  'first.weight': { shape: [64, 48], data: floats(64 * 48, 11) },
  'second.weight': { shape: [32, 64], data: floats(64 * 32, 12, 0.4) },
});

const entries = [
  { name: 'first', shape: [48, 64], dtype: 'float32', bytes: floats(48 * 64, 13) },
  { name: 'second', shape: [64, 32], dtype: 'float32', bytes: floats(64 * 32, 14, 0.4) },
];
const graph = filesOf(
  graphOf(entries, [
    ['x', 'Placeholder', []],
    ['a', 'MatMul', ['x', 'first']],
    ['b', 'Relu', ['a']],
    ['y', 'MatMul', ['b', 'second']],
  ]),
  entries,
);

export const fitModels = {
  ONNX: () => readModel(network),
  safetensors: () => readModel(checkpoint),
  'TensorFlow.js': () =>
    readModel(textOf(graph.json) as Uint8Array<ArrayBuffer>, {
      shards: (name) => graph.shards.get(name)! as Uint8Array<ArrayBuffer>,
    }),
} as const satisfies Readonly<Record<string, () => Promise<FileModel>>>;
export type FitModel = keyof typeof fitModels;
