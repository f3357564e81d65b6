import { aFunction, type Shape } from '../../options/check.js';
import { readAs, type FileModel } from '../file-model.js';
import type { MainFile, ModelFiles } from '../files.js';
import type { Contents, Format } from '../format.js';
import { readingShape, type ReadOptions } from '../reading.js';
import type { GiveFile, ModelSource } from '../sources.js';
import { openCheckpoint } from './checkpoint.js';
import { readLayers, someDescriptions, type LayerDescriptions } from './layers.js';
import { outputsOf } from './outputs.js';
import { SafetensorsStorage } from './storing.js';

export interface ReadSafetensorsOptions extends ReadOptions {
  /**
   * Describes tensors, by name or glob, whose names and shapes are not enough: transposed convolutions, dense layers
   * stored as (in, out), grouped convolutions. `false` excludes a tensor.
   */
  readonly layers?: LayerDescriptions | undefined;
  /** Returns a shard, given its name in the index, in place of a file in the folder of the index. */
  readonly shards?: GiveFile | undefined;
}

const options: Shape<ReadSafetensorsOptions> = { ...readingShape, layers: someDescriptions, shards: aFunction };

/** safetensors: a single file, or a JSON index with its shards. Only the headers are read to find the tensors. */
export const safetensors: Format<ReadSafetensorsOptions> = {
  name: 'safetensors',
  options,
  endings: ['.safetensors', '.safetensors.index.json', '.index.json'],
  matches,
  open,
};

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

/** A file begins with the length of its header, far below 2^32, and JSON. An index is JSON. */
function matches({ head, json }: MainFile): boolean {
  if (json !== undefined) return 'weight_map' in json;
  return /^.{4}\0{4}\{/s.test(String.fromCharCode(...head));
}

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
