import { readAs, type FileModel } from '../file-model.js';
import type { MainFile, ModelFiles } from '../files.js';
import type { Contents, Format } from '../format.js';
import type { GiveFile, ModelSource } from '../sources.js';
import { openCheckpoint } from './checkpoint.js';
import { readLayers, type LayerDescriptions } from './layers.js';
import { outputsOf } from './outputs.js';

export interface ReadSafetensorsOptions {
  /**
   * What tensors are, by name or glob, where their names and shapes do not say so: transposed convolutions, dense
   * layers stored as (in, out), groups. `false` leaves a tensor out.
   */
  readonly layers?: LayerDescriptions | undefined;
  /** Gives a shard by its name in the index, in place of a file beside the index. */
  readonly shards?: GiveFile | undefined;
}

/** safetensors: one file, or an index in JSON with its shards. Only headers are read to know what lies where. */
export const safetensors: Format<ReadSafetensorsOptions> = {
  name: 'safetensors',
  options: ['layers', 'shards'],
  endings: ['.safetensors', '.safetensors.index.json', '.index.json'],
  matches,
  open,
};

/**
 * Reads a safetensors file, or a `.safetensors.index.json` with its shards.
 *
 * Such files have no graph, so kinds of layers are told by the names and shapes that PyTorch and Hugging Face give them.
 * Layers are in the order of the files and of the bytes in each.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. A string in a page is a URL.
 * @throws SparsifyError `file` if a shard is missing or lies outside the index's folder, `format` if a file is not a
 *   whole safetensors file or disagrees with the index or the `layers`, `layer`, `kind`, `sparsity` or `usage` for
 *   `layers` that match no tensor or contradict each other, `memory` if it does not fit
 */
export const readSafetensors = (source: ModelSource, options: ReadSafetensorsOptions = {}): Promise<FileModel> =>
  readAs(safetensors, source, options);

/** The length of a header, far below 2^32, and its JSON; or the JSON of an index. */
function matches({ head, json }: MainFile): boolean {
  if (json !== undefined) return 'weight_map' in json;
  return /^.{4}\0{4}\{/s.test(String.fromCharCode(...head));
}

async function open(files: ModelFiles, { layers, shards }: ReadSafetensorsOptions): Promise<Contents> {
  const { main, parts } = await openCheckpoint(files, shards);
  const names = [...files.sources.keys()];
  return {
    ...readLayers(parts, layers),
    outputs: (path, current) => outputsOf(path, { main, names }, current),
  };
}
