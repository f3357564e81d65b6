// Networks whose weights are stored in other forms, for the runtimes that are to run them.
import { quantize, type Form } from 'sparsifier/quantize';
import { readOnnx } from 'sparsifier/formats/onnx';
import { expect } from 'vitest';
import { mixedNumbers, model, node, integersAttribute, tensor } from './onnx-builder.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** A network with the input `x` and the output `y`. */
export interface Network {
  readonly name: string;
  readonly bytes: Bytes;
  readonly shape: readonly number[];
  readonly input: Float32Array;
  /** The forms of its weights, and how far outputs may then be from those of the dense network: their relative RMS. */
  readonly forms: Readonly<Partial<Record<Form, number>>>;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
const weight = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: mixedNumbers(sizeOf(shape), seed) });

function networkOf(
  name: string,
  shape: readonly number[],
  forms: Network['forms'],
  nodes: readonly Uint8Array[],
  initializers: readonly Uint8Array[],
  opset: number,
): Network {
  const bytes = model({ nodes, initializers, inputs: { x: shape }, outputs: { y: 2 } }, opset);
  return { name, bytes, shape, forms, input: new Float32Array(mixedNumbers(sizeOf(shape), 9).buffer) };
}

const pads = integersAttribute('pads', [1, 1, 1, 1]);

const networks: readonly Network[] = [7, 13].flatMap((opset) => [
  networkOf(
    `convolutions of opset ${opset}`,
    [1, 8, 8, 8],
    { int8: 0.05, float16: 0.005 },
    [
      node('Conv', 'x v b', 'h', { name: 'first', attributes: [pads] }),
      node('Relu', 'h', 'i'),
      node('Conv', 'i w', 'j', { name: 'second', attributes: [pads] }),
      node('GlobalAveragePool', 'j', 'k'),
      node('Flatten', 'k', 'y'),
    ],
    [weight('v', [16, 8, 3, 3], 1), weight('b', [16], 2), weight('w', [32, 16, 3, 3], 3)],
    opset,
  ),
  networkOf(
    `products of opset ${opset}`,
    [3, 64],
    { int8: 0.05, float16: 0.005, int4: 0.4, ...(opset >= 11 && { 'int8-dynamic': 0.08 }) },
    [
      node('MatMul', 'x v', 'h', { name: 'first' }),
      node('Relu', 'h', 'i'),
      node('Gemm', 'i w b', 'y', { name: 'second' }),
    ],
    [weight('v', [64, 96], 4), weight('w', [96, 48], 5), weight('b', [48], 6)],
    opset,
  ),
]);

export const cases = networks.flatMap((network) =>
  (Object.entries(network.forms) as [Form, number][]).map(([form, limit]) => ({
    network,
    form,
    limit,
    name: network.name,
  })),
);

/** The network with its weights in a form. All of its layers have it. */
export async function inForm({ bytes }: Network, weights: Form): Promise<Bytes> {
  using dense = await readOnnx(bytes);
  const { model: small, report } = await quantize(dense, { weights });
  try {
    expect(report.layers.map(({ form }) => form)).toEqual([weights, weights]);
    return await small.bytes();
  } finally {
    small.close();
  }
}

/** The root of the mean of squared differences, relative to that of the numbers expected. */
export function relativeRms(found: readonly number[], expected: readonly number[]): number {
  expect(found).toHaveLength(expected.length);
  const squares = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number ** 2, 0);
  return Math.sqrt(squares(found.map((number, place) => number - expected[place]!)) / squares(expected));
}
