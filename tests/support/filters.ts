// Prunes the filters of small ONNX networks, and looks with onnxruntime-node at what the removed channels then are.

import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier, type WeightTensor } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';

export type Arrays = Readonly<Record<string, { readonly data: Float32Array; readonly shape: readonly number[] }>>;

/** Numbers of both signs with magnitudes between 1/2 and 2. */
export function numbers(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, index) => {
    const number = 1.5 * Math.sin(1000 * Math.sin(index + 1 + 1000 * seed));
    return number + (number < 0 ? -0.5 : 0.5);
  });
}

/** The outputs of a network for some inputs, given its file or the path of it. */
export async function outputsOf(file: Uint8Array | string, inputs: Arrays): Promise<Arrays> {
  const options = { graphOptimizationLevel: 'disabled', logSeverityLevel: 3 } as const;
  // The types are those of one or the other.
  const session = await InferenceSession.create(file as string, options);
  const feeds = Object.entries(inputs).map(([name, { data, shape }]) => [name, new Tensor('float32', data, shape)]);
  const results = await session.run(Object.fromEntries(feeds) as Record<string, Tensor>);
  await session.release();
  return Object.fromEntries(
    Object.entries(results).map(([name, { data, dims }]) => [name, { data: data as Float32Array, shape: dims }]),
  );
}

type Layer = Pick<WeightTensor, 'name' | 'partners' | 'channelsFrom' | 'kind' | 'values'> &
  Required<Pick<WeightTensor, 'leaks'>>;

/** The bytes of a network without half of the filters of each layer, and what is told of the layers. */
export async function pruned(bytes: Uint8Array): Promise<{ bytes: Uint8Array; layers: readonly Layer[] }> {
  const read = await readOnnx(bytes);
  try {
    await new Sparsifier(read, {
      granularity: 'filter',
      context: 'local',
      criteria: 'largeFinal',
      layerType: 'all',
    }).sparsifyModel(50);
    const layers = read.tensors.map((tensor) => ({ ...tensor, leaks: tensor.leaks ?? [] }));
    return { bytes: await read.bytes(), layers };
  } finally {
    read.close();
  }
}
