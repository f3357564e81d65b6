import * as host from '#host';
import { SparsifyError } from '../../errors.js';
import type { CurrentFiles, ModelOutput } from '../format.js';
import { isFolder } from '../sources.js';

/**
 * The files that a checkpoint is written to. A single file is written to a path, or into a folder under its own name.
 * An index and its shards are written into a folder under their own names.
 * @throws SparsifyError `usage` for shards if the path is not that of a folder or an index
 */
export async function outputsOf(
  path: string | undefined,
  { main, names }: { readonly main: string; readonly names: readonly string[] },
  current: CurrentFiles,
): Promise<readonly ModelOutput[]> {
  const shards = names.filter((name) => name !== main);
  const output = (file: string, path: string): ModelOutput => ({
    path,
    from: file,
    size: () => current.sizeOf(file),
    chunks: () => current.chunks(file),
  });
  if (path === undefined) return [main, ...shards].map((file) => output(file, file));
  const intoFolder = await isFolder(path);
  if (shards.length > 0 && !intoFolder && !path.endsWith('.index.json')) {
    throw new SparsifyError('usage', 'a model with shards must be written to a folder', {
      given: path,
      hint: 'Pass an existing folder, a path that ends with /, or one that ends with .index.json',
    });
  }
  const folder = intoFolder ? path : host.join(path, '..');
  return [
    output(main, intoFolder ? host.join(path, main) : path),
    ...shards.map((shard) => output(shard, host.join(folder, shard))),
  ];
}
