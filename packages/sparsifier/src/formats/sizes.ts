import { startCompressor } from '#host';
import { SparsifyError } from '../errors.js';
import { Compressor, type Compression } from '../host/compressor.js';
import { checkModel, type Model, type WeightTensor } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import { listeningShape } from '../options/options.js';
import { aBoolean, optionsOf, type Shape } from '../options/check.js';
import { Listener } from '../options/listener.js';
import { StoredModel, type FileModel } from './file-model.js';
import { stored, type CurrentFiles, type ModelOutput } from './format.js';
import { unchanged, type OpenModel } from './open-model.js';

/** The bytes of files, as they are and as they travel. */
export interface ByteCounts {
  readonly raw: number;
  /** As `gzip -9` compresses them, each file by itself, without its name. */
  readonly gzip: number;
  /** As `brotli -q 11` compresses them. In pages that differs by up to 0.5 %, since the window is never above 4 MiB. */
  readonly brotli: number;
}

/** How large the files of a model are. */
export interface Sizes extends ByteCounts {
  readonly files: readonly (ByteCounts & { readonly name: string })[];
  /** With `layers: true`: in model order. */
  readonly layers?: readonly LayerSizes[];
}

/** How large the weight of a layer is. */
export interface LayerSizes {
  readonly name: string;
  /** The bytes that it has in its file. */
  readonly raw: number;
  /** As `brotli -q 5` compresses them alone: an estimate of what the layer adds to the compressed file. */
  readonly estimate: number;
}

/** How far the compression has come. */
export interface SizesProgress {
  readonly stage: 'gzip' | 'brotli' | 'layers';
  /** Bytes that the stage has finished. */
  readonly done: number;
  /** All bytes of the stage. */
  readonly total: number;
}

export interface SizesOptions {
  /** Also estimate how much each layer takes; false by default. */
  readonly layers?: boolean | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SizesProgress) => void) | undefined;
}

export const sizesShape: Shape<SizesOptions> = { layers: aBoolean, ...listeningShape };

/** The files that a report is about. */
export interface SizedFiles {
  /** How many bytes they have. */
  readonly bytes: number;
  sizes(options?: SizesOptions): Promise<Sizes>;
}

/**
 * How large the files of a model are now, compressed and not: those that `toFiles` returns. Another thread compresses
 * them, which takes about 2 seconds per megabyte.
 * @throws SparsifyError `usage` for a model that was not read from files or is closed, and for unknown options; `file` if
 *   the thread cannot be started; the signal's reason if aborted
 */
export async function sizesOf(model: FileModel, options: SizesOptions = {}): Promise<Sizes> {
  checkModel(model);
  if (!(model instanceof StoredModel)) throw withoutFiles();
  return inTurn(model, async () => compressed(model.tensors, await model.outputs(), model, options));
}

/** Counts compressed bytes, one model after the other, until it is closed. Another thread compresses. */
export class FileCompressor {
  #compressor: Compressor | undefined;

  /**
   * How many bytes files have together once each is compressed.
   * @throws SparsifyError `file` if the thread cannot be started; the signal's reason if aborted, after which no more can be
   *   compressed
   */
  async bytesOf(
    files: ReadonlyMap<string, Uint8Array>,
    compression: Compression,
    { signal, onBytes }: { readonly signal?: AbortSignal | undefined; onBytes?(bytes: number): void } = {},
  ): Promise<number> {
    this.#compressor ??= new Compressor(startCompressor());
    let sum = 0;
    for (const bytes of files.values())
      sum += await this.#compressor.sizeOf(compression, bytes.length, [bytes], { signal, onBytes });
    return sum;
  }

  close(): void {
    this.#compressor?.close();
  }
}

/** The files of a model as they will be when it is written. */
export const filesOf = async (model: FileModel): Promise<SizedFiles> => ({
  bytes: bytesIn(await model.outputs()),
  sizes: (options) => sizesOf(model, options),
});

/** The same of any model; undefined if it was not read from files. */
export const filesOfAny = async (model: Model): Promise<SizedFiles | undefined> =>
  model instanceof StoredModel ? filesOf(model) : undefined;

/**
 * The sizes of the files that a report is about.
 * @throws SparsifyError `usage` if its model was not read from files
 */
export async function sizesIn(files: SizedFiles | undefined, options?: SizesOptions): Promise<Sizes> {
  if (files) return files.sizes(options);
  throw withoutFiles();
}

const withoutFiles = (): SparsifyError =>
  new SparsifyError('usage', 'the model was not read from files, so there are none to compress', {
    hint: 'Read the model with `readModel`',
  });

/** The files of an open model. */
export async function filesOfOpen(model: OpenModel): Promise<SizedFiles> {
  const current = unchanged(model);
  const outputs = await model.outputs(undefined, current);
  return { bytes: bytesIn(outputs), sizes: (options) => compressed(model.tensors, outputs, current, options) };
}

/** How many bytes files have together. */
export const bytesIn = (outputs: readonly ModelOutput[]): number =>
  outputs.reduce((sum, output) => sum + output.size(), 0);

async function compressed(
  tensors: readonly WeightTensor[],
  outputs: readonly ModelOutput[],
  current: CurrentFiles,
  options: SizesOptions = {},
): Promise<Sizes> {
  const { layers = false, signal, onProgress } = optionsOf(options, sizesShape);
  signal?.throwIfAborted();
  const listener = new Listener(onProgress);
  const compressor = new Compressor(startCompressor());
  /** The sizes of pieces that are compressed one after another. */
  const sizesOfEach = async (
    stage: SizesProgress['stage'],
    compression: Compression,
    pieces: readonly (readonly [bytes: number, chunks: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>])[],
  ): Promise<number[]> => {
    const total = pieces.reduce((sum, [bytes]) => sum + bytes, 0);
    let done = 0;
    const onBytes = (bytes: number) => listener.tell({ stage, done: (done += bytes), total });
    const sizes: number[] = [];
    for (const [bytes, chunks] of pieces)
      sizes.push(await compressor.sizeOf(compression, bytes, chunks(), { signal, onBytes }));
    return sizes;
  };
  try {
    const whole = outputs.map((output) => [output.size(), output.chunks] as const);
    const gzip = await sizesOfEach('gzip', 'gzip-9', whole);
    const brotli = await sizesOfEach('brotli', 'brotli-11', whole);
    const files = outputs.map(({ path }, index) => ({
      name: path,
      raw: whole[index]![0],
      gzip: gzip[index]!,
      brotli: brotli[index]!,
    }));
    const sum = (key: keyof ByteCounts) => files.reduce((total, file) => total + file[key], 0);
    const sizes = { raw: sum('raw'), gzip: sum('gzip'), brotli: sum('brotli'), files };
    if (!layers) {
      await listener.settle();
      return sizes;
    }
    const places = tensors.map(({ values }) => stored(values));
    const estimates = await sizesOfEach(
      'layers',
      'brotli-5',
      places.map(({ file, start, bytes }) => [bytes, () => current.chunks(file, start, start + bytes)] as const),
    );
    await listener.settle();
    return {
      ...sizes,
      layers: tensors.map(({ name }, index) => ({ name, raw: places[index]!.bytes, estimate: estimates[index]! })),
    };
  } finally {
    compressor.close();
  }
}
