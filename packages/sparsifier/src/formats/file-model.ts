import * as host from '#host';
import { loadEngine, type Block, type Engine } from '../engine/engine.js';
import { SparsifyError, attempt } from '../errors.js';
import type { Source } from '../host/host.js';
import {
  bytesOf,
  valuesIn,
  type Bias,
  type Model,
  type Region,
  type Skipped,
  type Values,
  type WeightTensor,
} from '../model/model.js';
import { Closing, type Disposing } from '../model/closing.js';
import { endTurns, inTurn } from '../model/turns.js';
import { sourceFilesOf } from '../model/source-files.js';
import { aBoolean, optionsOf, type Shape } from '../options/check.js';
import type { Anatomy } from './anatomy.js';
import type { MainFile } from './files.js';
import { stored, StoredValues, type CurrentFiles, type Format, type ModelOutput, type Storage } from './format.js';
import { openModel, type OpenModel } from './open-model.js';
import { joinedFiles, joinedOutput } from './joined.js';
import { readingOf, trusted, type ReadOptions } from './reading.js';
import type { ChannelRemoval } from './removal.js';
import { Opened, readBlock, slices, type ModelSource } from './sources.js';

export interface WriteModelOptions {
  /**
   * Overwrite existing files. The files that the model was read from are never overwritten, nor those from which calls on
   * it got masks, statistics or weights to compare with.
   */
  readonly force?: boolean;
}

/**
 * Reads a model of this format, whatever its file looks like.
 * @throws SparsifyError `usage` for an option that the format does not take
 */
export async function readAs<Options extends ReadOptions>(
  format: Format<Options>,
  source: ModelSource,
  options: Options,
): Promise<FileModel> {
  return readFileModel(source, () => format, optionsOf(options, format.options as Shape<Options>));
}

/**
 * Reads a model whose format is known once its main file is open.
 * @param sourceFiles the files that no call writes to, if these are others than those that are read
 */
export async function readFileModel<Options extends ReadOptions>(
  source: ModelSource | Opened,
  choose: (file: MainFile) => Format<Options>,
  options: Options,
  sourceFiles?: readonly string[],
): Promise<FileModel> {
  const engine = await loadEngine();
  let format: Format<Options>;
  const open = await openModel(source, (file) => (format = choose(file)), options);
  const blocks = new Map(open.files.held);
  try {
    for (const [name, file] of open.files.sources) blocks.set(name, await readBlock(engine, file));
  } catch (error) {
    for (const block of blocks.values()) block.free();
    throw error;
  } finally {
    await open.files.close();
  }
  const model = new StoredModel(open, blocks, sourceFiles);
  abandoned.register(model, blocks, model);
  readings.set(model, (files) => readFiles(files, format, options, sourceFilesOf(model)));
  return model;
}

/** How the models that were read from files were read. */
const readings = new WeakMap<FileModel, (files: NewFiles) => Promise<FileModel>>();

/** The files of a model by their names, the main one first. Only that one may be a source. */
export type NewFiles = ReadonlyMap<string, Uint8Array<ArrayBuffer> | Source>;

/**
 * Reads files in the way in which a model was read: in the same format, with the same options. The files of that model
 * are not overwritten either.
 * @throws SparsifyError `usage` for models that were not read from files
 */
export async function readLike(model: FileModel, files: NewFiles): Promise<FileModel> {
  const read = readings.get(model);
  if (read === undefined) throw notFromFiles();
  return read(files);
}

async function readFiles<Options extends ReadOptions>(
  files: NewFiles,
  format: Format<Options>,
  options: Options,
  sourceFiles: readonly string[],
): Promise<FileModel> {
  const [[name, main]] = [...files] as [[string, Uint8Array<ArrayBuffer> | Source]];
  // Not as a File, which would be a copy.
  const source = main instanceof Uint8Array ? await host.open(main, readingOf(trusted)) : main;
  const give = (name: string) => files.get(name) as Uint8Array<ArrayBuffer>;
  const giving = furtherFiles.filter((option) => option in format.options);
  const further = Object.fromEntries(giving.map((option) => [option, give]));
  const own = { ...options, ...further, ...trusted };
  return readFileModel(new Opened({ ...source, name }), () => format, own, sourceFiles);
}

/** The options by which further files of a model are given. */
const furtherFiles: readonly string[] = ['external', 'shards'];

/**
 * A model that was read from files into shared memory. Calls change its numbers in memory. All other bytes are kept,
 * and the files themselves are never changed.
 */
export interface FileModel extends Model, Disposing {
  /** The name of the model's format, such as `ONNX`. */
  readonly format: string;
  readonly sourceFiles: readonly string[];
  /**
   * The files that {@link write} would write, the main one first. Their bytes come in chunks, each a copy of what the
   * model has when the chunk is asked for, so no call should change the model in the meantime. After {@link close},
   * asking for a chunk is an error.
   * @param path as for {@link write}; if omitted, files have the names that they have in the model
   * @throws SparsifyError `usage` if such a model cannot be written to this path, or if the model is closed
   */
  outputs(path?: string): Promise<readonly ModelOutput[]>;
  /**
   * Writes the model: all of its files, or none. Node only. The path is that of a file, or of a folder: one that
   * exists, or a path that ends with a separator. In a folder, files have their own names. External data of an ONNX
   * model `out.onnx` are written to `out.onnx.data` (further files to `out.onnx.2.data` and so on). safetensors shards
   * need a folder, or a path that ends with `.index.json`, in whose folder they are written. A TensorFlow.js model
   * needs a folder, or a path that ends with `.json`; its weights are written to the same folder in files of 4 MB.
   * @throws SparsifyError `file` if a file exists and `force` is not set, or if the model was read from it; `usage` if
   *   such a model cannot be written to this path, and always in browsers
   */
  write(path: string, options?: WriteModelOptions): Promise<void>;
  /** The bytes of the main file: the ONNX or safetensors file, the index of the shards, or the model.json. */
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
  /** The bytes of all files, by their names in the model, the main one first. */
  toFiles(): Promise<Map<string, Uint8Array<ArrayBuffer>>>;
  /** Only ONNX models are given biases. Otherwise as {@link Model.addBias}. */
  addBias(tensor: WeightTensor): Promise<Bias | string>;
  /**
   * Frees the memory. Calls that were made before, such as {@link write}, are carried out; the memory is freed when the
   * last one has ended. Later calls are refused. A second `close` does nothing.
   */
  close(): void;
}

/**
 * A model whose numbers are stored in blocks of memory. They are changed in place, or if they are stored as codes,
 * decoded for each call and encoded again.
 */
export class StoredModel extends Closing implements FileModel, CurrentFiles {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly weights: number;
  readonly sourceFiles: readonly string[];
  readonly format: string;
  readonly #open: OpenModel;
  readonly #blocks: Map<string, Block>;
  readonly #own: Set<Values>;
  /** Those that were added, by the names of their layers. */
  readonly biases = new Map<string, StoredValues>();
  readonly #added = new Map<string, Promise<Bias | string>>();
  /** What the codes mean since they were last encoded. */
  readonly #meanings = new Map<Values, unknown>();
  /** How many regions are in use in which numbers are changed in place. */
  #used = 0;
  #changes = 0;
  #isFree = false;

  /** @param blocks files by their names in the model; other files are read elsewhere */
  constructor(open: OpenModel, blocks: Map<string, Block>, sourceFiles = open.sourceFiles) {
    super();
    this.tensors = open.tensors;
    this.skipped = open.skipped;
    this.weights = open.weights;
    this.sourceFiles = sourceFiles;
    this.format = open.format;
    this.#open = open;
    this.#blocks = blocks;
    this.#own = new Set(open.tensors.flatMap(valuesIn));
  }

  /** The numbers in place, or decoded into a scratch copy. */
  async load(engine: Engine, values: Values): Promise<Region> {
    const { block, place } = this.#place(values);
    const { dtype, length, start, coding } = place;
    const bytes = length * bytesOf[dtype];
    if (!coding) return { block, offset: start, bytes, release: this.#use(block) };
    const scratch = await engine.allocate(bytes);
    try {
      await scratch.write(await coding.decode(await this.#stored(block, place), this.#meanings.get(values)));
    } catch (error) {
      scratch.free();
      throw error;
    }
    return { block: scratch, offset: 0, bytes, release: () => scratch.free() };
  }

  /** Keeps a block while its numbers may be changed. */
  #use(block: Block): () => void {
    const release = block.retain();
    let isUsed = true;
    this.#used++;
    return () => {
      if (isUsed) {
        this.#used--;
        this.#changes++;
      }
      isUsed = false;
      release();
    };
  }

  /** Larger once numbers may have been changed; NaN while they may be. */
  get changes(): number {
    return this.#used > 0 ? NaN : this.#changes;
  }

  /**
   * Encodes a scratch copy. Does nothing for numbers in place.
   * @returns how many numbers are then zero, if encoding rounds them
   */
  async store(_engine: Engine, values: Values, region: Region): Promise<number | undefined> {
    const { block, place } = this.#place(values);
    if (!place.coding) return undefined;
    const numbers = await region.block.read(region.offset, new Uint8Array(region.bytes));
    const codes = await this.#stored(block, place);
    this.#changes++;
    const { meaning, zeros } = await place.coding.encode(numbers, codes, this.#meanings.get(values));
    await block.write(codes, place.start);
    if (meaning !== undefined) this.#meanings.set(values, meaning);
    return zeros;
  }

  /** The current numbers. They are copied synchronously if this thread shares the memory. */
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const { block, place } = this.#place(values);
    const { coding } = place;
    if (!coding) return this.#stored(block, place);
    const meaning = this.#meanings.get(values);
    const codes = this.#stored(block, place);
    return codes instanceof Uint8Array
      ? coding.decode(codes, meaning)
      : codes.then((copied) => coding.decode(copied, meaning));
  }

  /** Saves the stored bytes and what they mean; returns a function that restores both. */
  async hold(values: Values): Promise<() => Promise<void>> {
    const { block, place } = this.#place(values);
    const bytes = await this.#stored(block, place);
    const meaning = this.#meanings.get(values);
    return async () => {
      this.#changes++;
      await block.write(bytes, place.start);
      if (meaning === undefined) this.#meanings.delete(values);
      else this.#meanings.set(values, meaning);
    };
  }

  async addBias(tensor: WeightTensor): Promise<Bias | string> {
    this.#place(attempt('the layer', () => tensor?.values));
    if (tensor.bias !== undefined) return tensor.bias;
    const { name } = tensor;
    let added = this.#added.get(name);
    if (added === undefined) {
      added = this.#newBias(tensor);
      this.#added.set(name, added);
      // What failed for lack of memory may succeed another time.
      added.catch(() => this.#added.delete(name));
    }
    return added;
  }

  async #newBias(tensor: WeightTensor): Promise<Bias | string> {
    const bias = await this.#open.newBias(tensor, this);
    if (typeof bias === 'string') return bias;
    const { dtype, numbers } = bias;
    const block = await (await loadEngine()).allocate(numbers.length);
    try {
      await block.write(numbers);
      this.#checkOpen();
    } catch (error) {
      block.free();
      throw error;
    }
    // Names of files have no zero byte, so no file of the model has this name.
    const values = new StoredValues(dtype, numbers.length / bytesOf[dtype], `\0${tensor.name}`, 0);
    this.#blocks.set(values.file, block);
    this.#own.add(values);
    this.biases.set(tensor.name, values);
    this.#changes++;
    return { values, sign: 1 };
  }

  async outputs(path?: string): Promise<readonly ModelOutput[]> {
    this.#checkOpen();
    if (path !== undefined) checkPath(path);
    return this.#open.outputs(path, {
      chunks: (...part) => copies(this.chunks(...part)),
      sizeOf: (file) => this.sizeOf(file),
      meaning: (values) => this.meaning(values),
      biases: this.biases,
    });
  }

  /** The same with views of memory, for calls during which nothing changes or frees it. */
  #views(path?: string): Promise<readonly ModelOutput[]> {
    this.#checkOpen();
    return this.#open.outputs(path, this);
  }

  chunks(file: string, start?: number, end?: number): AsyncGenerator<Uint8Array> {
    return slices(this.#blockOf(file), start, end);
  }

  sizeOf(file: string): number {
    return this.#blockOf(file).bytes;
  }

  get storage(): Storage | undefined {
    this.#checkOpen();
    return this.#open.storage;
  }

  get removal(): ChannelRemoval | undefined {
    this.#checkOpen();
    return this.#open.removal;
  }

  get anatomy(): Anatomy | undefined {
    this.#checkOpen();
    return this.#open.anatomy();
  }

  meaning(values: StoredValues): unknown {
    return this.#meanings.get(values);
  }

  async write(path: string, options: WriteModelOptions = {}): Promise<void> {
    const { force } = optionsOf(options, { force: aBoolean });
    checkPath(path);
    await inTurn(this, async () =>
      host.writeFiles(await this.#views(path), { force, sourceFiles: sourceFilesOf(this) }),
    );
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return inTurn(this, async () => joinedOutput((await this.#views())[0]!));
  }

  async toFiles(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    return inTurn(this, async () => joinedFiles(await this.#views()));
  }

  override close(): void {
    const free = () => {
      this.#isFree = true;
      abandoned.unregister(this);
      for (const block of this.#blocks.values()) block.free();
    };
    endTurns(this, () => this.#closed(), free);
  }

  #checkOpen(): void {
    if (this.#isFree) throw this.#closed();
  }

  #closed(): SparsifyError {
    return new SparsifyError('usage', 'the model is closed', { subject: this.#open.files.main.name ?? 'model' });
  }

  #blockOf(file: string): Block {
    this.#checkOpen();
    return this.#blocks.get(file)!;
  }

  #place(values: Values): { readonly block: Block; readonly place: StoredValues } {
    this.#checkOpen();
    if (!this.#own.has(values)) throw new SparsifyError('usage', 'the values belong to another model');
    const place = stored(values);
    return { block: this.#blockOf(place.file), place };
  }

  /** A copy of the bytes as they are stored. */
  #stored(block: Block, { start, bytes }: StoredValues): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    return block.view(start, bytes)?.slice() ?? block.read(start, new Uint8Array(bytes));
  }
}

/** @throws SparsifyError `usage` for what is no path */
function checkPath(path: unknown): void {
  if (typeof path === 'string') return;
  throw new SparsifyError('usage', 'a model is written to a path', {
    given: path,
    hint: 'Give a file, or a folder that exists or whose path ends with /',
  });
}

/**
 * How the numbers of a model can be stored in other forms, and its files as they are now.
 * @throws SparsifyError `usage` for models that were not read from files, and of a format without other forms
 */
export function storageOf(model: FileModel): { readonly storage: Storage; readonly current: CurrentFiles } {
  if (!(model instanceof StoredModel)) throw notFromFiles();
  const { storage, format } = model;
  if (storage !== undefined) return { storage, current: model };
  throw new SparsifyError('usage', `the numbers of ${format} models cannot be stored in another form`);
}

/**
 * How channels are taken out of a model, and its files as they are now.
 * @throws SparsifyError `usage` for models that were not read from files, and of a format of which that is not possible
 */
export function removalOf(model: FileModel): { readonly removal: ChannelRemoval; readonly current: CurrentFiles } {
  const { format, removal } = model instanceof StoredModel ? model : { format: undefined, removal: undefined };
  if (removal !== undefined) return { removal, current: model as StoredModel };
  throw new SparsifyError(
    'usage',
    'channels can be removed from ONNX and TensorFlow.js models that were read from files',
    {
      found: format === undefined ? 'a model that was not read from files' : `${format} model`,
      allowed: ['ONNX', 'TensorFlow.js'],
    },
  );
}

/** A number that is the same as before only if no number of the model has changed since. */
export const changesOf = (model: FileModel): number => (model instanceof StoredModel ? model.changes : NaN);

const notFromFiles = (): SparsifyError =>
  new SparsifyError('usage', 'only models from files can be stored in another form', {
    hint: 'Read the model with `readModel`',
  });

/** What a model that was read from files consists of; undefined if the files have only weights. */
export const anatomyOf = (model: FileModel): Anatomy | undefined =>
  model instanceof StoredModel ? model.anatomy : undefined;

async function* copies(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield new Uint8Array(chunk);
}

/** Frees the memory of models that were garbage-collected. */
const abandoned = new FinalizationRegistry<ReadonlyMap<string, Block>>((blocks) => {
  for (const block of blocks.values()) block.free();
});
