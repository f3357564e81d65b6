import { newBytes } from '../host/reading.js';
import type { Skipped, Values, WeightTensor } from '../model/model.js';
import type { Anatomy } from './anatomy.js';
import { ModelFiles, type MainFile } from './files.js';
import { withFixed } from './fixed.js';
import {
  checkEnding,
  stored,
  type Contents,
  type CurrentFiles,
  type Format,
  type ModelOutput,
  type NewBias,
  type Storage,
} from './format.js';
import { readingOf, type ReadOptions } from './reading.js';
import type { ChannelRemoval } from './removal.js';
import { sliceBytes, type ModelSource, type Opened } from './sources.js';

/** A model whose files are open. Only its description has been read. */
export class OpenModel {
  readonly files: ModelFiles;
  readonly #format: Pick<Format, 'name' | 'endings'>;
  readonly #contents: Contents;
  #storage: Storage | undefined;

  constructor(format: Pick<Format, 'name' | 'endings'>, files: ModelFiles, contents: Contents) {
    this.#format = format;
    this.files = files;
    this.#contents = contents;
  }

  /** The name of the format. */
  get format(): string {
    return this.#format.name;
  }

  get tensors(): readonly WeightTensor[] {
    return this.#contents.tensors;
  }

  get skipped(): readonly Skipped[] {
    return this.#contents.skipped;
  }

  /** How many numbers of two or more axes the files contain: see {@link Model}. */
  get weights(): number {
    return this.#contents.weights;
  }

  /** The paths of the files that the model is read from. */
  get sourceFiles(): readonly string[] {
    return this.files.paths;
  }

  /** @throws SparsifyError `usage` if the name of an output is that of another format */
  checkEnding(path: string): void {
    checkEnding(this.#format, path);
  }

  /** The files that the model is written to, the main file first: see {@link Contents}. */
  async outputs(path: string | undefined, current: CurrentFiles): Promise<readonly ModelOutput[]> {
    if (path !== undefined) this.checkEnding(path);
    return this.#contents.outputs(path, current);
  }

  /** The bias that a layer can be given, or why it cannot have one: see {@link Contents}. */
  async newBias(tensor: WeightTensor, current: CurrentFiles): Promise<NewBias | string> {
    const { newBias } = this.#contents;
    return newBias === undefined ? `biases cannot be added to ${this.format} models` : newBias(tensor, current);
  }

  /** How the numbers can be stored in other forms: see {@link Contents}. */
  get storage(): Storage | undefined {
    return (this.#storage ??= this.#contents.storage?.());
  }

  /** How channels are taken out of the network: see {@link Contents}. */
  get removal(): ChannelRemoval | undefined {
    return this.#contents.removal?.();
  }

  /** What the model consists of; undefined if its files have only weights. */
  anatomy(): Anatomy | undefined {
    return this.#contents.anatomy?.();
  }

  /** The numbers as they are in the files. */
  async copy(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    const { file, start, bytes, coding } = stored(values);
    const target = newBytes(bytes, file);
    const block = this.files.held.get(file);
    if (block) await block.read(start, target);
    else await this.files.sources.get(file)!.read(target, start);
    return coding ? coding.decode(target, undefined) : target;
  }

  /** Closes the files and frees what is held in memory. A second call does nothing. */
  async close(): Promise<void> {
    await this.files.discard();
  }
}

/** The files of a model as they are. */
export const unchanged = ({ files }: OpenModel): CurrentFiles => ({
  async *chunks(file, start = 0, end = files.sizeOf(file)) {
    for (let from = start; from < end; from += sliceBytes) {
      const slice = new Uint8Array(Math.min(sliceBytes, end - from));
      await (files.held.get(file)?.read(from, slice) ?? files.sources.get(file)!.read(slice, from));
      yield slice;
    }
  },
  sizeOf: (file) => files.sizeOf(file),
  meaning: () => undefined,
});

/**
 * Opens a model.
 * @param choose returns the format, given the main file
 * @throws SparsifyError as the format does, and if a file cannot be opened or exceeds a limit; the signal's reason if
 *   aborted
 */
export async function openModel<Options extends ReadOptions>(
  source: ModelSource | Opened,
  choose: (file: MainFile) => Format<Options>,
  options: Options,
): Promise<OpenModel> {
  const files = await ModelFiles.open(source, readingOf(options));
  try {
    const format = choose(files.main);
    const contents = await format.open(files, options);
    return new OpenModel(format, files, { ...contents, tensors: await withFixed(contents, files) });
  } catch (error) {
    await files.discard();
    throw error;
  }
}
