import * as host from '#host';
import { load, type Block, type Engine } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { OutputFile } from '../../host/host.js';
import { bytesOf, type Model, type Region, type Skipped, type Values, type WeightTensor } from '../../model/model.js';
import { abandoned, copyOf, readBlock, slices, type GiveFile, type ModelSource } from '../sources.js';
import { openCheckpoint, outputsOf } from './checkpoint.js';
import { readLayers, StoredValues, type LayerDescriptions } from './layers.js';

export interface ReadSafetensorsOptions {
  /**
   * What tensors are, by name or glob, where their names and shapes do not say so: transposed convolutions, dense
   * layers stored as (in, out), groups. `false` leaves a tensor out.
   */
  readonly layers?: LayerDescriptions;
  /** Gives a shard by its name in the index, in place of a file beside the index. */
  readonly shards?: GiveFile;
}

export interface WriteSafetensorsOptions {
  /** Replace files that exist. The files that the model was read from are never replaced. */
  readonly force?: boolean;
}

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
export async function readSafetensors(
  source: ModelSource,
  { layers, shards }: ReadSafetensorsOptions = {},
): Promise<SafetensorsModel> {
  const engine = await load();
  const { name, index, files, sourceFiles, close } = await openCheckpoint(source, shards);
  const blocks = new Map<string, Block>();
  try {
    const contents = readLayers(files, layers);
    for (const file of files) blocks.set(file.name, await readBlock(engine, file.source, file.name));
    return new SafetensorsModel({ ...contents, name, index, files: blocks, sourceFiles });
  } catch (error) {
    for (const block of blocks.values()) block.free();
    throw error;
  } finally {
    await close();
  }
}

/** The values of a tensor of a safetensors model, which know where they lie. */
function stored(values: Values): StoredValues {
  if (values instanceof StoredValues) return values;
  throw new SparsifyError('usage', 'the values are not those of a safetensors model');
}

/**
 * A safetensors model in shared memory. Its weights are changed in place there; every other byte stays as it was in the
 * files, and the files themselves are never changed.
 */
export class SafetensorsModel implements Model {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly sourceFiles: readonly string[];
  /** Of the one file, or of the index. */
  readonly #name: string;
  /** The bytes of the index. */
  readonly #index: Uint8Array | undefined;
  /** By name: the one file, or the shards. */
  readonly #files: ReadonlyMap<string, Block>;
  #isClosed = false;

  /** @internal Use {@link readSafetensors}. */
  constructor(parts: {
    readonly tensors: readonly WeightTensor[];
    readonly skipped: readonly Skipped[];
    readonly name: string;
    readonly index: Uint8Array | undefined;
    readonly files: ReadonlyMap<string, Block>;
    readonly sourceFiles: readonly string[];
  }) {
    this.tensors = parts.tensors;
    this.skipped = parts.skipped;
    this.sourceFiles = parts.sourceFiles;
    this.#name = parts.name;
    this.#index = parts.index;
    this.#files = parts.files;
    abandoned.register(this, [...this.#files.values()], this);
  }

  /** The numbers in place. */
  async load(_engine: Engine, values: Values): Promise<Region> {
    const { block, start, bytes } = this.#place(values);
    return { block, offset: start, bytes, release: block.retain() };
  }

  /** Numbers in place need nothing. */
  async store(_engine: Engine, values: Values): Promise<void> {
    this.#place(values);
  }

  /** The numbers as they are now: at once where the memory is shared with this thread. */
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const { block, start, bytes } = this.#place(values);
    return block.view(start, bytes)?.slice() ?? block.read(start, new Uint8Array(bytes));
  }

  /**
   * Writes the model: one file to a path or into a folder under its own name, shards under their own names into a
   * folder, with the index. A folder is one that exists, or a path that ends with a separator; shards also go beside an
   * index whose path ends with `.index.json`. Node only.
   * @throws SparsifyError `file` if a file exists and `force` is not set, or if the model was read from it; `usage` for
   *   shards that are given no folder, or in a page
   */
  async write(path: string, { force = false }: WriteSafetensorsOptions = {}): Promise<void> {
    await host.writeFiles(await this.outputs(path), { force, sourceFiles: this.sourceFiles });
  }

  /** The files that {@link write} writes, with their bytes. */
  async outputs(path: string): Promise<OutputFile[]> {
    const blocks = this.#open();
    const parts = { name: this.#name, index: this.#index };
    return outputsOf(path, parts, blocks.keys(), (name) => slices(blocks.get(name)!));
  }

  /** The bytes of the file, or of the index where there are shards: those are the {@link files}. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const files = this.#open();
    return this.#index?.slice() ?? copyOf(files.get(this.#name)!);
  }

  /** The bytes of the shards, by their names in the index. */
  async files(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const [name, block] of this.#shards()) files.set(name, await copyOf(block));
    return files;
  }

  /** Gives the memory back; the model cannot be used afterwards. A second call does nothing. */
  close(): void {
    this.#isClosed = true;
    abandoned.unregister(this);
    for (const block of this.#files.values()) block.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): ReadonlyMap<string, Block> {
    if (!this.#isClosed) return this.#files;
    throw new SparsifyError('usage', 'the model is closed', { subject: this.#name });
  }

  #shards(): [name: string, block: Block][] {
    const files = this.#open();
    return this.#index === undefined ? [] : [...files];
  }

  #place(values: Values): { readonly block: Block; readonly start: number; readonly bytes: number } {
    const { dtype, length, file, start } = stored(values);
    const block = this.#open().get(file);
    if (block === undefined) throw new SparsifyError('usage', 'the values are those of another model');
    return { block, start, bytes: length * bytesOf[dtype] };
  }
}
