import { loadEngine, type Values } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { model, type GraphOptions } from './onnx-builder.js';

/** Reads a model, uses it, and closes it. */
export async function withModel<Result>(
  bytes: Uint8Array,
  use: (read: FileModel) => Result | Promise<Result>,
): Promise<Result> {
  const read = await readOnnx(bytes);
  try {
    return await use(read);
  } finally {
    read.close();
  }
}

/** The layers and the skipped tensors of a graph. */
export const layersOf = (options: GraphOptions) =>
  withModel(model(options), ({ tensors, skipped }) => ({ tensors, skipped }));

/** The bytes of an array of a model. */
export async function numbersOf(read: FileModel, values: Values): Promise<Uint8Array> {
  const region = await read.load(await loadEngine(), values);
  const bytes = await region.block.read(region.offset, new Uint8Array(region.bytes));
  region.release();
  return bytes;
}
