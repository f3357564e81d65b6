import * as host from '#host';
import { SparsifyError } from '../../errors.js';
import type { OutputFile, Source } from '../../host/host.js';
import { isFolder, openFurther, pathInFolder, pathsOf, type GiveFile, type ModelSource } from '../sources.js';
import { recognise } from '../recognise.js';
import { quoted, readHeader, type Header } from './header.js';

/** A safetensors file that is open, and what it says of itself. */
export interface OpenFile {
  /** Of a shard: its path in the folder of the index. */
  readonly name: string;
  readonly source: Source;
  readonly header: Header;
}

/** A checkpoint whose files are open: one, or shards with their index. */
export interface Checkpoint {
  /** Of the one file, or of the index. */
  readonly name: string;
  /** The bytes of the index. */
  readonly index: Uint8Array | undefined;
  /** Shards in the order of their names. */
  readonly files: readonly OpenFile[];
  /** The paths of those of these files, the index among them, that lie on disk. */
  readonly sourceFiles: readonly string[];
  close(): Promise<void>;
}

/**
 * Opens a safetensors file, or a `.safetensors.index.json` with the shards that it names, and reads the headers.
 * @param shards gives a shard by its name, in place of a file beside the index
 * @throws SparsifyError `file` if a shard is missing or lies outside the folder of the index, `format` for a file that
 *   is no whole safetensors file, or an index that disagrees with its shards
 */
export async function openCheckpoint(source: ModelSource, shards?: GiveFile): Promise<Checkpoint> {
  const opened: Source[] = [];
  const close = async () => {
    for (const each of opened) await each.close();
  };
  try {
    const first = await host.open(source);
    opened.push(first);
    if (!(await isJson(first))) {
      const { name = 'model.safetensors' } = first;
      return { name, index: undefined, files: [await withHeader(first, name)], sourceFiles: pathsOf(opened), close };
    }
    const { name = 'model.safetensors.index.json' } = first;
    const index = await beginningOf(first, first.size);
    const files: OpenFile[] = [];
    for (const [shardName, tensors] of shardsOf(index, name)) {
      const shard = await openFurther(first, shardName, shards, 'shards');
      opened.push(shard);
      const file = await withHeader(shard, shardName);
      checkShard(file, tensors, name);
      files.push(file);
    }
    return { name, index, files, sourceFiles: pathsOf(opened), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The bytes of a file by its name. */
export type Chunks = (file: string) => AsyncIterable<Uint8Array>;

/**
 * What a checkpoint is written to: the one file, or the index and then the shards.
 * @param path one file goes to a path or into a folder under its own name, shards into a folder under their own names
 * @throws SparsifyError `usage` for shards that are given no folder
 */
export async function outputsOf(
  path: string,
  { name, index }: Pick<Checkpoint, 'name' | 'index'>,
  files: Iterable<string>,
  chunks: Chunks,
): Promise<OutputFile[]> {
  const intoFolder = await isFolder(path);
  const main = intoFolder ? host.join(path, name) : path;
  if (index === undefined) return [{ path: main, chunks: () => chunks(name) }];
  if (!intoFolder && !path.endsWith('.index.json')) {
    throw new SparsifyError('usage', 'a model with shards is written into a folder', {
      asked: path,
      hint: 'Give a folder that exists, a path that ends with /, or one that ends with .index.json',
    });
  }
  const folder = intoFolder ? path : host.join(path, '..');
  const shards = Array.from(files, (shard) => ({ path: host.join(folder, shard), chunks: () => chunks(shard) }));
  return [{ path: main, chunks: () => [index] }, ...shards];
}

/** Whether a file is JSON: that of a safetensors file begins with a length so small that it ends with zeros. */
async function isJson(source: Source): Promise<boolean> {
  return /^\s*\{[^\0]*$/.test(String.fromCharCode(...(await beginningOf(source, 8))));
}

async function beginningOf(source: Source, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.min(source.size, length));
  await source.read(bytes, 0);
  return bytes;
}

async function withHeader(source: Source, name: string): Promise<OpenFile> {
  try {
    return { name, source, header: await readHeader({ ...source, name }) };
  } catch (error) {
    if (!(error instanceof SparsifyError) || error.code !== 'format') throw error;
    const found = recognise(await beginningOf(source, 64));
    if (found === undefined || found === 'a safetensors file') throw error;
    const hint =
      found === 'an ONNX model'
        ? 'Read it with readOnnx, on the command line under a name that ends with .onnx'
        : 'Save the weights as safetensors and read that file';
    const details = { subject: name, found, hint };
    throw new SparsifyError('format', 'the file is not a safetensors file', details, { cause: error });
  }
}

/** The tensors of each shard that an index names, in the order of the shards' names. */
function shardsOf(index: Uint8Array, subject: string): Map<string, Set<string>> {
  const failure = (summary: string, found: string) =>
    new SparsifyError('format', summary, {
      subject,
      found,
      allowed: ['{ weight_map: { tensor: file } }, as in model.safetensors.index.json'],
    });
  let content: { readonly weight_map?: unknown };
  try {
    content = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(index)) as typeof content;
  } catch (cause) {
    throw failure('the index is not JSON', (cause as Error).message.slice(0, 100));
  }
  const map = content.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    const keys = Object.keys(content).slice(0, 8).join(', ');
    throw failure('the JSON is no index of safetensors files', `the keys ${keys || 'none'}`);
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

/** Fails unless a shard holds the tensors that the index looks for in it, and no others. */
function checkShard({ name, header }: OpenFile, expected: ReadonlySet<string>, index: string): void {
  const held = new Set(header.tensors.map((tensor) => tensor.name));
  const missing = [...expected].find((tensor) => !held.has(tensor));
  const further = [...held].find((tensor) => !expected.has(tensor));
  if (missing === undefined && further === undefined) return;
  throw new SparsifyError('format', `the shard and ${index} disagree`, {
    subject: name,
    found:
      missing === undefined
        ? `tensor ${quoted(further!)}, which the index does not name there`
        : `no tensor ${quoted(missing)}, which the index names there`,
    hint: 'The files are of different checkpoints: download or save them together again',
  });
}
