// Small models of every format, whose weights are stored in every way: as they are, as codes, in several files.
import { readModel } from 'sparsifier/formats';
import type { FileModel } from 'sparsifier/formats/onnx';
import { product, values } from './layers.js';
import { model, node, tensor } from './onnx-builder.js';
import { shardedFiles, type TensorToStore } from './safetensors-builder.js';
import { reading, type Source } from './streams.js';
import { textOf } from './tfjs.js';

const floats = (shape: readonly number[], seed: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(new Uint8Array(values(product(shape), seed).buffer));

const matrix = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: floats(shape, seed) });

/** Two matrices, the second in a file of its own, with a bias after the first. */
const onnx: Source = {
  bytes: model({
    nodes: [
      node('MatMul', 'x w', 'a', { name: 'first' }),
      node('Add', 'a b', 'c'),
      node('Relu', 'c', 'd'),
      node('MatMul', 'd v', 'y', { name: 'second' }),
    ],
    initializers: [
      matrix('w', [8, 12], 1),
      matrix('b', [12], 2),
      tensor('v', [12, 6], { external: { location: 'v.bin' } }),
    ],
    inputs: { x: 2 },
    outputs: { y: 2 },
  }),
  further: { 'v.bin': floats([12, 6], 3) },
  give: 'external',
};

const stored = (shape: readonly number[], seed: number): TensorToStore => ({ shape, data: floats(shape, seed) });
const sharded = shardedFiles({
  'one.safetensors': { 'conv.weight': stored([8, 4, 3, 3], 4), 'conv.bias': stored([8], 5) },
  'two.safetensors': { 'fc.weight': stored([10, 16], 6) },
});
const safetensors: Source = { bytes: sharded.index, further: sharded.shards };

const codes = (count: number, seed: number) => values(count, seed, 100).map((each) => 128 + each);
const quantization = { dtype: 'uint8', scale: 0.01, min: -1.28 };
/** Two dense layers, the first stored as codes of 8 bits. */
const tfjs: Source = {
  bytes: textOf({
    modelTopology: {
      class_name: 'Sequential',
      config: [
        { class_name: 'Dense', config: { name: 'a', units: 12, use_bias: true } },
        { class_name: 'Dense', config: { name: 'b', units: 6, use_bias: false } },
      ],
    },
    weightsManifest: [
      {
        paths: ['w.bin'],
        weights: [
          { name: 'a/kernel', shape: [8, 12], dtype: 'float32', quantization },
          { name: 'a/bias', shape: [12], dtype: 'float32', quantization },
          { name: 'b/kernel', shape: [12, 6], dtype: 'float32' },
        ],
      },
    ],
  }) as Uint8Array<ArrayBuffer>,
  further: {
    'w.bin': new Uint8Array([
      ...Uint8Array.from(codes(96, 7)),
      ...Uint8Array.from(codes(12, 8)),
      ...floats([12, 6], 9),
    ]),
  },
};

export const smallModels = { onnx, safetensors, tfjs } as const;
export type SmallModel = keyof typeof smallModels;
export const smallModelNames = Object.keys(smallModels) as SmallModel[];

export const openSmall = (name: SmallModel): Promise<FileModel> =>
  readModel(smallModels[name].bytes, reading(smallModels[name]));
