import type { GiveFile, ModelSource } from '../sources.js';
import type { OpenModel } from '../../streaming/model.js';
import { openCheckpoint, outputsOf } from './checkpoint.js';
import { readLayers, StoredValues, type LayerDescriptions } from './layers.js';

/** Opens a safetensors file, or an index with its shards, of which only the headers are read. */
export async function openSafetensors(
  source: ModelSource,
  { layers, shards }: { readonly layers?: LayerDescriptions | undefined; readonly shards?: GiveFile | undefined },
): Promise<OpenModel> {
  const { name, index, files, sourceFiles, close } = await openCheckpoint(source, shards);
  try {
    const names = files.map((file) => file.name);
    return {
      ...readLayers(files, layers),
      sourceFiles,
      files: new Map(files.map((file) => [file.name, file.source])),
      place: (values) => (values instanceof StoredValues ? values : undefined),
      whole: undefined,
      outputs: async (path, chunks) => {
        if (path !== undefined) return outputsOf(path, { name, index }, names, chunks);
        const own = names.map((file) => ({ path: file, chunks: () => chunks(file) }));
        return index === undefined ? own : [{ path: name, chunks: () => [index] }, ...own];
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
