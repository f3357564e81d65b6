// An ONNX model of two layers, and rows to run it with.
import { Tensor } from 'onnxruntime-node';
import { numbers } from './filters.js';
import { product } from './layers.js';
import { model, node, tensor } from './onnx-builder.js';

const matrix = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: new Uint8Array(numbers(product(shape), seed).buffer) });

/** Two products with a Relu between them, from 6 inputs to 5 outputs. @param units how many outputs the first has */
export const twoProducts = (units: number): Uint8Array<ArrayBuffer> =>
  model({
    nodes: [
      node('MatMul', 'x w', 'a', { name: 'first' }),
      node('Relu', 'a', 'b'),
      node('MatMul', 'b v', 'y', { name: 'second' }),
    ],
    initializers: [matrix('w', [6, units], 1), matrix('v', [units, 5], 2)],
    inputs: { x: 2 },
    outputs: { y: 2 },
  });

/** Batches of 12 rows. */
export const rowBatches = (count: number): { readonly x: Tensor }[] =>
  Array.from({ length: count }, (_, seed) => ({
    x: new Tensor(
      'float32',
      numbers(12 * 6, seed + 3).map((each) => each + 1),
      [12, 6],
    ),
  }));
