import type { Block, Engine } from '../engine/engine.js';
import type { OutputFile, Source } from '../host/host.js';
import { bytesOf, type Model, type Region, type Skipped, type Values, type WeightTensor } from '../model/model.js';
import { readInto, sliceBytes, slices } from '../formats/sources.js';

/** Where numbers lie in one of the files that are read piece by piece. */
export interface Place {
  readonly file: string;
  /** The first byte. */
  readonly start: number;
}

/** What a format says of a model whose files are open. */
export interface OpenModel {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  /** The paths of all files that the model is read from, where they lie on disk. */
  readonly sourceFiles: readonly string[];
  /** The files that are read piece by piece, by name. */
  readonly files: ReadonlyMap<string, Source>;
  /** Where numbers lie in these files; undefined for those that are in memory as a whole. */
  place(values: Values): Place | undefined;
  /** What brings the numbers that are in memory, and changes them there. */
  readonly whole: Model | undefined;
  /**
   * What the model is written to, the main file first: the one, the index, or the one that is in memory.
   * @param path undefined where files go to streams, which get the names that the files have
   * @param chunks the bytes of a file that is read piece by piece
   */
  outputs(path: string | undefined, chunks: (file: string) => AsyncIterable<Uint8Array>): Promise<OutputFile[]>;
  close(): Promise<void>;
}

/**
 * A model of which one tensor's weights are in memory at a time. What `store` is given goes into the bytes of the
 * {@link changed} files as these pass by, and nowhere else.
 */
export class StreamedModel implements Model {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly sourceFiles: readonly string[];
  readonly #open: OpenModel;
  readonly #weights: ReadonlySet<Values>;
  /** Where one tensor's weights are at a time: one block for all, so that memory has no holes. */
  #window: Block | undefined;
  /** What became of other numbers, which are few: biases and batch normalisation. */
  readonly #stored = new Map<Values, Uint8Array>();

  constructor(open: OpenModel) {
    this.#open = open;
    this.tensors = open.tensors;
    this.skipped = open.skipped;
    this.sourceFiles = open.sourceFiles;
    this.#weights = new Set(open.tensors.map(({ values }) => values));
  }

  /** Makes room for the largest of these tensors. */
  async reserve(engine: Engine, tensors: readonly WeightTensor[]): Promise<void> {
    const streamed = tensors.filter(({ values }) => this.#open.place(values) !== undefined);
    this.#window = await engine.allocate(Math.max(0, ...streamed.map(({ values }) => sizeOf(values))));
  }

  async load(engine: Engine, values: Values): Promise<Region> {
    const place = this.#open.place(values);
    if (place === undefined) return this.#open.whole!.load(engine, values);
    const bytes = sizeOf(values);
    const isWeights = this.#weights.has(values);
    const block = isWeights ? this.#window! : await engine.allocate(bytes);
    const release = () => {
      if (!isWeights) block.free();
    };
    try {
      await readInto(block, this.#open.files.get(place.file)!, place.start, bytes);
    } catch (error) {
      release();
      throw error;
    }
    return { block, offset: 0, bytes, release };
  }

  async store(engine: Engine, values: Values, region: Region): Promise<number | void> {
    if (this.#open.place(values) === undefined) return this.#open.whole!.store(engine, values, region);
    if (this.#weights.has(values)) return;
    this.#stored.set(values, await region.block.read(region.offset, new Uint8Array(region.bytes)));
  }

  /** The numbers as the files have them. */
  async copy(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    const place = this.#open.place(values);
    if (place === undefined) return this.#open.whole!.copy(values);
    const bytes = new Uint8Array(sizeOf(values));
    await this.#open.files.get(place.file)!.read(bytes, place.start);
    return bytes;
  }

  /** Runs of so many numbers, one after the other; each begins at one of these numbers. */
  async runs(engine: Engine, values: Values, starts: readonly number[], length: number): Promise<Uint8Array> {
    const size = bytesOf[values.dtype];
    const numbers = new Uint8Array(starts.length * length * size);
    const targetOf = (run: number) => numbers.subarray(run * length * size, (run + 1) * length * size);
    const place = this.#open.place(values);
    if (place === undefined) {
      const { block, offset, release } = await this.#open.whole!.load(engine, values);
      for (const [run, start] of starts.entries()) await block.read(offset + start * size, targetOf(run));
      release();
      return numbers;
    }
    const file = this.#open.files.get(place.file)!;
    const read = (run: number) => file.read(targetOf(run), place.start + starts[run]! * size);
    // A few at a time: each waits for the file.
    for (let run = 0; run < starts.length; run += 16)
      await Promise.all([...starts.keys()].slice(run, run + 16).map(read));
    return numbers;
  }

  /**
   * The bytes of a file as they are to be written, one after the other.
   * @param expected the numbers in all files that may be changed
   * @param change is called when the bytes of such numbers are next; it brings weights into memory and changes them there
   */
  async *changed(
    file: string,
    expected: readonly Values[],
    change: (values: Values) => Promise<void>,
  ): AsyncGenerator<Uint8Array> {
    const source = this.#open.files.get(file)!;
    let end = 0;
    for (const { values, start } of this.#passing(file, expected)) {
      yield* copied(source, end, start);
      end = start + sizeOf(values);
      if (this.#weights.has(values)) {
        await change(values);
        yield* slices(this.#window!, 0, sizeOf(values));
      } else {
        await change(values);
        const stored = this.#stored.get(values);
        if (stored === undefined) yield* copied(source, start, end);
        else yield stored;
        this.#stored.delete(values);
      }
    }
    yield* copied(source, end, source.size);
  }

  /** The numbers among `expected` that lie in a file, in its order. */
  #passing(file: string, expected: readonly Values[]): { readonly values: Values; readonly start: number }[] {
    const passing = expected.flatMap((values) => {
      const place = this.#open.place(values);
      return place?.file === file ? [{ values, start: place.start }] : [];
    });
    // No format gives two tensors the same bytes.
    return passing.sort((first, second) => first.start - second.start);
  }

  free(): void {
    this.#window?.free();
    this.#window = undefined;
  }
}

const sizeOf = ({ dtype, length }: Values): number => length * bytesOf[dtype];

/** Bytes of a file, through a window that the next slice overwrites. */
async function* copied(source: Source, start: number, end: number): AsyncGenerator<Uint8Array> {
  const window = new Uint8Array(Math.min(sliceBytes, end - start));
  for (let at = start; at < end; at += sliceBytes) {
    const slice = window.subarray(0, Math.min(sliceBytes, end - at));
    await source.read(slice, at);
    yield slice;
  }
}
