import * as host from '#host';
import { load, type Block, type Engine } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { OutputFile, Source } from '../../host/host.js';
import { bytesOf, type Model, type Region, type Skipped, type Values, type WeightTensor } from '../../model/model.js';
import {
  abandoned,
  copyOf,
  openFurther,
  pathsOf,
  readBlock,
  slices,
  type GiveFile,
  type ModelSource,
} from '../sources.js';
import { checkExternal, modelFile, outputsOf, parse, stored } from './outputs.js';
import { gather, scatter } from './scattered.js';
import type { ModelFile, Range } from './wire.js';

export interface ReadOnnxOptions {
  /** Gives an external data file by its location in the model, in place of a file beside the model. */
  readonly external?: GiveFile;
}

export interface WriteOnnxOptions {
  /** Replace files that exist. The files that the model was read from are never replaced. */
  readonly force?: boolean;
}

/**
 * Reads an ONNX model with its external data.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. A string in a page is a URL.
 * @throws SparsifyError `file` if a file is missing or lies outside the model's folder, `format` if the file is not a
 * whole ONNX model, `memory` if it does not fit
 */
export async function readOnnx(source: ModelSource, { external }: ReadOnnxOptions = {}): Promise<OnnxModel> {
  const engine = await load();
  const opened = await host.open(source);
  const blocks: Block[] = [];
  const sourceFiles = pathsOf([opened]);
  const keep = async (file: Source, name: string): Promise<Block> => {
    const block = await readBlock(engine, file, name);
    blocks.push(block);
    return block;
  };
  try {
    const name = opened.name ?? 'model.onnx';
    const file = await keep(opened, name);
    const { tensors, skipped, locations } = parse(await modelFile(file, name));
    const data = new Map<string, Block>();
    for (const location of locations) {
      const dataFile = await openFurther(opened, location, external, 'external');
      try {
        data.set(location, await keep(dataFile, location));
        sourceFiles.push(...pathsOf([dataFile]));
      } finally {
        await dataFile.close();
      }
    }
    for (const tensor of tensors) checkExternal(tensor, (location) => data.get(location)!.bytes);
    return new OnnxModel({ tensors, skipped, file, data, name, sourceFiles });
  } catch (error) {
    for (const block of blocks) block.free();
    throw error;
  } finally {
    await opened.close();
  }
}

/**
 * An ONNX model in shared memory. Its weights are changed in place there; every other byte stays as it was in the file,
 * and the file itself is never changed.
 */
export class OnnxModel implements Model {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly sourceFiles: readonly string[];
  readonly #file: Block;
  /** External data files by location. */
  readonly #data: ReadonlyMap<string, Block>;
  readonly #name: string;
  #isClosed = false;

  /** @internal Use {@link readOnnx}. */
  constructor(parts: {
    readonly tensors: readonly WeightTensor[];
    readonly skipped: readonly Skipped[];
    readonly file: Block;
    readonly data: ReadonlyMap<string, Block>;
    readonly name: string;
    readonly sourceFiles: readonly string[];
  }) {
    this.tensors = parts.tensors;
    this.skipped = parts.skipped;
    this.sourceFiles = parts.sourceFiles;
    this.#file = parts.file;
    this.#data = parts.data;
    this.#name = parts.name;
    abandoned.register(this, [this.#file, ...this.#data.values()], this);
  }

  /** The numbers in place, or gathered in a scratch copy where they lie scattered in the file. */
  async load(engine: Engine, values: Values): Promise<Region> {
    const { dtype, length, location, range, scattered } = stored(values);
    const block = this.#blockOf(location);
    const bytes = length * bytesOf[dtype];
    if (!scattered) return { block, offset: range.start, bytes, release: block.retain() };

    const scratch = await engine.allocate(bytes);
    const { file, tensor } = await this.#message(block, range);
    const target = scratch.view() ?? new Uint8Array(bytes);
    gather(file, tensor, dtype, target);
    if (scratch.view() === undefined) await scratch.write(target);
    return { block: scratch, offset: 0, bytes, release: () => scratch.free() };
  }

  /** Puts a scratch copy back; numbers in place need nothing. */
  async store(_engine: Engine, values: Values, region: Region): Promise<void> {
    const { dtype, location, range, scattered } = stored(values);
    const block = this.#blockOf(location);
    if (!scattered) return;

    const source =
      region.block.view(region.offset, region.bytes) ??
      (await region.block.read(region.offset, new Uint8Array(region.bytes)));
    const { file, tensor } = await this.#message(block, range);
    scatter(file, tensor, dtype, source);
    if (block.view() === undefined) await block.write(file.bytes, range.start);
  }

  /** The numbers as they are now: at once where the memory is shared with this thread. */
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const { dtype, length, location, range, scattered } = stored(values);
    const block = this.#blockOf(location);
    const bytes = length * bytesOf[dtype];
    const view = block.view(range.start, scattered ? range.end - range.start : bytes);
    if (!scattered) return view?.slice() ?? block.read(range.start, new Uint8Array(bytes));
    const gathered = (file: ModelFile, tensor: Range): Uint8Array<ArrayBuffer> => {
      const target = new Uint8Array(bytes);
      gather(file, tensor, dtype, target);
      return target;
    };
    if (view) return gathered({ name: this.#name, bytes: view }, { start: 0, end: view.length });
    return this.#message(block, range).then(({ file, tensor }) => gathered(file, tensor));
  }

  /**
   * Writes the model to a file, or with its external data into a folder: one that exists, or a path that ends with a
   * separator. Written to a file `out.onnx`, external data go to `out.onnx.data` beside it (further files to
   * `out.onnx.2.data` and so on). Node only.
   * @throws SparsifyError `file` if a file exists and `force` is not set, or if the model was read from it; `usage` in
   * a page
   */
  async write(path: string, { force = false }: WriteOnnxOptions = {}): Promise<void> {
    await host.writeFiles(await this.outputs(path), { force, sourceFiles: this.sourceFiles });
  }

  /** The files that {@link write} writes, with their bytes. */
  async outputs(path: string): Promise<OutputFile[]> {
    const file = this.#blockOf(undefined);
    return outputsOf(path, this.#name, file, this.#data.keys(), (location) => slices(this.#blockOf(location)));
  }

  /** The bytes of the model file; external data keep their names, and are those of {@link files}. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return copyOf(this.#blockOf(undefined));
  }

  /** The bytes of the external data files, by their locations in the model. */
  async files(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    this.#blockOf(undefined);
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const [location, block] of this.#data) files.set(location, await copyOf(block));
    return files;
  }

  /** Gives the memory back; the model cannot be used afterwards. A second call does nothing. */
  close(): void {
    this.#isClosed = true;
    abandoned.unregister(this);
    for (const block of [this.#file, ...this.#data.values()]) block.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #blockOf(location: string | undefined): Block {
    if (this.#isClosed) throw new SparsifyError('usage', 'the model is closed', { subject: this.#name });
    const block = location === undefined ? this.#file : this.#data.get(location);
    if (block === undefined) throw new SparsifyError('usage', 'the values are those of another model');
    return block;
  }

  /** The message of a tensor, to look at and to change: in place where the memory is shared, else a copy of it. */
  async #message(block: Block, range: Range): Promise<{ file: ModelFile; tensor: Range }> {
    const length = range.end - range.start;
    const bytes = block.view(range.start, length) ?? (await block.read(range.start, new Uint8Array(length)));
    return { file: { name: this.#name, bytes }, tensor: { start: 0, end: length } };
  }
}
