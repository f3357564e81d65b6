import * as host from '#host';
import type { Block } from '../../engine/engine.js';
import type { CurrentFiles, ModelOutput } from '../format.js';
import { isFolder } from '../sources.js';
import { Edits, woven } from './edits.js';
import { relocate } from './external.js';
import type { ModelFile } from './wire.js';

/** The bytes of a model file: a view if this thread shares the memory, or else a copy. */
export async function bytesIn(block: Block, name: string): Promise<ModelFile> {
  return { name, bytes: block.view() ?? (await block.read(0, new Uint8Array(block.bytes))) };
}

/**
 * The files that a model is written to: the model file, then its external data. In a folder these keep their names.
 * With a file `out.onnx` they are named `out.onnx.data`, `out.onnx.2.data` and so on, and the model file is changed to
 * refer to these names.
 */
export async function outputsOf(
  path: string | undefined,
  { name, block, locations }: { readonly name: string; readonly block: Block; readonly locations: Iterable<string> },
  current: CurrentFiles,
): Promise<readonly ModelOutput[]> {
  const folder = path !== undefined && (await isFolder(path)) ? path : undefined;
  if (path === undefined || folder !== undefined) {
    return [name, ...locations].map((file) => ({
      path: folder === undefined ? file : host.join(folder, file),
      from: file,
      chunks: () => current.chunks(file),
    }));
  }
  const names = new Map<string, string>();
  const data = Array.from(locations, (location, place): ModelOutput => {
    const dataPath = place === 0 ? `${path}.data` : `${path}.${place + 1}.data`;
    names.set(location, host.baseName(dataPath));
    return { path: dataPath, from: location, chunks: () => current.chunks(location) };
  });
  const edits = new Edits(await bytesIn(block, name));
  relocate(edits, (location) => names.get(location)!);
  const list = edits.list();
  const chunks = () => woven(list, (start, end) => current.chunks(name, start, end));
  return [{ path, from: name, chunks }, ...data];
}
