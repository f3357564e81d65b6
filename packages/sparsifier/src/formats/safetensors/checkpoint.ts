import { SparsifyError } from '../../errors.js';
import type { Source } from '../../host/host.js';
import type { Reading } from '../../host/reading.js';
import { begin, type MainFile, type ModelFiles } from '../files.js';
import { checkTensors } from '../reading.js';
import { recognise } from '../recognise.js';
import { pathInFolder, type GiveFile } from '../sources.js';
import { quoted, readHeader } from './header.js';
import type { NamedHeader } from './layers.js';

/** The files of a checkpoint, with their headers. */
export interface Checkpoint {
  /** The name of the single file, or of the index. */
  readonly main: string;
  /** The single file, or the shards in the order of their names. */
  readonly parts: readonly NamedHeader[];
}

/**
 * Opens a safetensors file, or an index with the shards that it names, and reads the headers.
 * @param shards returns a shard, given its name, in place of a file in the folder of the index
 * @throws SparsifyError `file` if a shard is missing or is outside the folder of the index; `format` if a file is not a
 *   complete safetensors file or exceeds a limit, or if the index disagrees with its shards
 */
export async function openCheckpoint(files: ModelFiles, shards?: GiveFile): Promise<Checkpoint> {
  const { main } = files;
  if (main.json === undefined && main.jsonFailure === undefined) {
    const name = main.name ?? 'model.safetensors';
    files.add(name, main.source);
    return { main: name, parts: [await withHeader(main.source, name, files.reading, main)] };
  }
  const index = main.name ?? 'model.safetensors.index.json';
  files.add(index, main.source);
  const parts: NamedHeader[] = [];
  let tensors = 0;
  for (const [name, expected] of shardsOf(main, index)) {
    const source = await files.further(name, shards, 'shards');
    files.add(name, source);
    const part = await withHeader(source, name, files.reading);
    checkShard(part, expected, index);
    checkTensors(files.reading, index, (tensors += part.header.tensors.length));
    parts.push(part);
  }
  return { main: index, parts };
}

async function withHeader(source: Source, name: string, reading: Reading, main?: MainFile): Promise<NamedHeader> {
  try {
    return { name, header: await readHeader({ ...source, name }, reading) };
  } catch (error) {
    const known = recognise(main ?? (await begin(source, reading)));
    const isOther = known.found !== undefined && known.found !== 'a safetensors file';
    if (!isOther || !(error instanceof SparsifyError) || error.code !== 'format') throw error;
    throw new SparsifyError(
      'format',
      'the file is not a safetensors file',
      { subject: name, ...known },
      { cause: error },
    );
  }
}

/** The tensors of each shard that an index names, in the order of the shards' names. */
function shardsOf({ json, jsonFailure }: MainFile, subject: string): Map<string, Set<string>> {
  const failure = (summary: string, found: string) =>
    new SparsifyError('format', summary, {
      subject,
      found,
      allowed: ['{ weight_map: { tensor: file } }, as in model.safetensors.index.json'],
    });
  if (json === undefined) throw failure('the index is not JSON', jsonFailure!);
  const content = json as { readonly weight_map?: unknown };
  const map = content.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    const keys = Object.keys(content).slice(0, 8).join(', ');
    throw failure('the JSON is not an index of safetensors files', `the keys ${keys || 'none'}`);
  }
  const shards = new Map<string, Set<string>>();
  for (const [tensor, file] of Object.entries(map as Readonly<Record<string, unknown>>)) {
    if (typeof file !== 'string')
      throw failure(`the index names no file for tensor ${quoted(tensor)}`, JSON.stringify(file).slice(0, 100));
    const path = pathInFolder(file, 'a shard');
    shards.set(path, (shards.get(path) ?? new Set()).add(tensor));
  }
  return new Map([...shards].sort(([first], [second]) => (first < second ? -1 : 1)));
}

/** Fails unless a shard contains exactly the tensors that the index lists for it. */
function checkShard({ name, header }: NamedHeader, expected: ReadonlySet<string>, index: string): void {
  const held = new Set(header.tensors.map((tensor) => tensor.name));
  const missing = [...expected].find((tensor) => !held.has(tensor));
  const further = [...held].find((tensor) => !expected.has(tensor));
  if (missing === undefined && further === undefined) return;
  throw new SparsifyError('format', `the shard and ${index} disagree`, {
    subject: name,
    found:
      missing === undefined
        ? `tensor ${quoted(further!)}, which the index does not list for it`
        : `no tensor ${quoted(missing)}, which the index lists for it`,
    hint: 'The files belong to different checkpoints. Download or save them together again',
  });
}
