import { readAs, type FileModel } from '../file-model.js';
import type { ModelFiles } from '../files.js';
import type { Contents, Format } from '../format.js';
import type { ModelSource } from '../sources.js';
import { openCheckpoint } from './checkpoint.js';
import { readLayers } from './layers.js';
import { outputsOf } from './outputs.js';
import { signature, type ReadSafetensorsOptions } from './signature.js';
import { SafetensorsStorage } from './storing.js';

/** safetensors: a single file, or a JSON index with its shards. Only the headers are read to find the tensors. */
export const safetensors: Format<ReadSafetensorsOptions> = { ...signature, open };

/**
 * Reads a safetensors file, or a `.safetensors.index.json` with its shards. Such files contain no graph, so the kinds
 * of layers are inferred from the names and shapes that PyTorch and Hugging Face give them. Layers are in the order of
 * the files and of the bytes in each.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL.
 * @throws SparsifyError `file` if a shard is missing or is outside the folder of the index; `format` if a file is not a
 *   complete safetensors file, or disagrees with the index or the `layers`; `layer`, `kind`, `sparsity` or `usage` for
 *   `layers` that match no tensor or contradict each other; `memory` if the model does not fit
 */
export const readSafetensors = (source: ModelSource, options: ReadSafetensorsOptions = {}): Promise<FileModel> =>
  readAs(safetensors, source, options);

async function open(files: ModelFiles, { layers, shards }: ReadSafetensorsOptions): Promise<Contents> {
  const { main, parts } = await openCheckpoint(files, shards);
  const { names, ...found } = readLayers(parts, layers);
  const all = [...files.sources.keys()];
  return {
    ...found,
    outputs: (path, current) => outputsOf(path, { main, names: all }, current),
    storage: () => new SafetensorsStorage({ main, index: files.main.json, parts, names }),
  };
}
