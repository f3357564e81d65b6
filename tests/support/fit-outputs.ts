// What ONNX Runtime says of models that `fit` makes of the small network.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { FileModel } from 'sparsifier/formats';
import { normal } from './fit-models.js';

/** Inputs of the small network. */
export const batchesOf = (count: number): { x: Tensor }[] =>
  Array.from({ length: count }, (_, seed) => ({
    x: new Tensor('float32', normal(2 * 3 * 64, seed + 50, 1), [2, 3, 8, 8]),
  }));

/** Batches 4 and 8 judge. */
export const judging = batchesOf(8).filter((_, index) => index % 4 === 3);

async function outputsOf(bytes: Uint8Array): Promise<number[]> {
  const session = await InferenceSession.create(bytes);
  const outputs: number[] = [];
  for (const batch of judging) outputs.push(...((await session.run(batch))['y']!.data as Float32Array));
  await session.release();
  return outputs;
}

/** The relative error of all outputs on the batches that judge. @param network the file of the original model */
export async function outputError(network: Uint8Array, small: FileModel): Promise<number> {
  const [before, after] = [await outputsOf(network), await outputsOf(await small.bytes())];
  const square = (numbers: readonly number[]) => numbers.reduce((sum, each) => sum + each * each, 0);
  return Math.sqrt(square(before.map((each, at) => each - after[at]!)) / square(before));
}
