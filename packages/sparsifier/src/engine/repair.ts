import { withBlocks, type Blocks } from './blocks.js';
import type { Block, Engine } from './engine.js';
import { finishWord, finishWords, fitWord, fitWords, momentsWord, momentsWords, mostChecks } from './codes.js';
import { bytesOf, maskBytes, plainEntry, unitsOf, weightsOf, type Axis, type DataType } from './record.js';
import { columnsOf, type InputRows, type LayerGeometry, type RowSizes, type WeightLayout } from './rows.js';
import { run, writeTable } from './verbs.js';

/** Second moments and means of the rows of a layer's inputs. */
export interface Moments {
  /** `x'x / n`, `[groups, d, d]` for rows of `d` columns; the diagonals alone, `[groups, d]`, if these were asked for. */
  readonly moment: Float32Array;
  /** `[groups, d]` */
  readonly mean: Float32Array;
}

/** What {@link MomentSums} added up, divided by the number of rows. */
export interface FinishedMoments extends Moments {
  readonly rows: number;
  /** The means of the second rows, where the moments are those of two models: `x_first'x_second / n`. */
  readonly secondMean: Float32Array<ArrayBuffer> | undefined;
}

/** Sums of products of the columns of a layer's inputs, in shared memory. */
export class MomentSums {
  readonly #engine: Engine;
  readonly #sizes: RowSizes;
  readonly #isDiagonal: boolean;
  readonly #block: Block;
  #hasSecond = false;

  private constructor(engine: Engine, sizes: RowSizes, isDiagonal: boolean, block: Block) {
    this.#engine = engine;
    this.#sizes = sizes;
    this.#isDiagonal = isDiagonal;
    this.#block = block;
  }

  /**
   * Sums of no rows.
   * @param isDiagonal whether only squares are added up, which takes the memory of two rows for each group
   * @throws SparsifyError `memory`
   */
  static async allocate(engine: Engine, sizes: RowSizes, isDiagonal = false): Promise<MomentSums> {
    const bytes = MomentSums.bytes(sizes, isDiagonal);
    const block = await engine.allocate(bytes);
    try {
      const zeros = new Uint8Array(Math.min(bytes, zeroedAtOnce));
      for (let at = 0; at < bytes; at += zeros.length) await block.write(zeros.subarray(0, bytes - at), at);
    } catch (error) {
      block.free();
      throw error;
    }
    return new MomentSums(engine, sizes, isDiagonal, block);
  }

  /** How many bytes the sums of a layer take. */
  static bytes(sizes: RowSizes, isDiagonal = false): number {
    const width = widthOf(columnsOf(sizes));
    return sizes.groups * (isDiagonal ? 2 : width) * width * Float64Array.BYTES_PER_ELEMENT;
  }

  /**
   * Adds the rows of a batch.
   * @param geometry that of this batch: it may differ between uses of a layer, and with the size of the input
   * @param second the address of the same samples' inputs in another model, of the same shape. Either all batches have it or
   *   none.
   */
  async add(geometry: LayerGeometry, first: InputRows, second = 0): Promise<void> {
    const { groups, inputs, kernel, strides, pads, dilations, transposed } = geometry;
    const words = new Int32Array(momentsWords);
    words[momentsWord.inputs] = first.address;
    words[momentsWord.second] = second;
    words[momentsWord.length] = first.length;
    words[momentsWord.sums] = this.#block.address;
    words[momentsWord.isDiagonal] = Number(this.#isDiagonal);
    words[momentsWord.groups] = groups;
    words[momentsWord.channels] = inputs;
    words.set(kernel, momentsWord.kernel);
    words.set(strides, momentsWord.strides);
    words.set(pads, momentsWord.pads);
    words.set(dilations, momentsWord.dilations);
    words[momentsWord.transposed] = Number(transposed);
    words[momentsWord.samples] = first.samples;
    words.set(first.space, momentsWord.space);
    words.set(first.positions, momentsWord.positions);
    words.set(first.steps, momentsWord.steps);
    this.#hasSecond ||= second !== 0;
    await withRequest(this.#engine, words, (address) => run(this.#engine, [['moments', address]]));
  }

  /** Moments and means of all rows so far. Those of no rows are 0. */
  async finish(): Promise<FinishedMoments> {
    return this.#isDiagonal ? this.#finishDiagonal() : withBlocks(this.#engine, (held) => this.#finishAll(held));
  }

  free(): void {
    this.#block.free();
  }

  async #finishAll(held: Blocks): Promise<FinishedMoments> {
    const { groups } = this.#sizes;
    const columns = columnsOf(this.#sizes);
    const width = widthOf(columns);
    const results = await held.allocate(4 * groups * columns * columns);
    const means = await held.allocate(4 * groups * columns);
    const secondMeans = this.#hasSecond ? await held.allocate(means.bytes) : undefined;
    const words = new Uint32Array(finishWords);
    words[finishWord.sums] = this.#block.address;
    words[finishWord.groups] = groups;
    words[finishWord.columns] = columns;
    words[finishWord.moments] = results.address;
    words[finishWord.means] = means.address;
    words[finishWord.secondMeans] = secondMeans?.address ?? 0;
    await withRequest(this.#engine, words, (address) => run(this.#engine, [['finish', address]]));
    const count = new Float64Array(1);
    await this.#block.read((columns * width + columns) * 8, new Uint8Array(count.buffer));
    return {
      rows: count[0]!,
      moment: await floatsIn(results),
      mean: await floatsIn(means),
      secondMean: secondMeans && (await floatsIn(secondMeans)),
    };
  }

  async #finishDiagonal(): Promise<FinishedMoments> {
    const { groups } = this.#sizes;
    const columns = columnsOf(this.#sizes);
    const width = widthOf(columns);
    const sums = new Float64Array(groups * 2 * width);
    await this.#block.read(0, new Uint8Array(sums.buffer));
    const rows = sums[columns]!;
    const part = (first: number) =>
      Float32Array.from({ length: groups * columns }, (_, index) => {
        const [group, column] = [Math.floor(index / columns), index % columns];
        return rows > 0 ? sums[(2 * group + first) * width + column]! / rows : 0;
      });
    return { rows, moment: part(0), mean: part(1), secondMean: undefined };
  }
}

/** What is known of the inputs of a layer. */
export interface Seen {
  /** Of the rows that the pruned model sees. */
  readonly pruned: Moments;
  /** Of the rows that the dense model sees, and `x_dense'x_pruned / n`, where they differ. */
  readonly dense?: { readonly own: Moments; readonly cross: Float32Array };
}

/** A layer to fit. */
export interface FitRequest {
  readonly dtype: DataType;
  /** Axes and mask in the form of a record: one bit for each unit, 1 if it is kept. */
  readonly axes: readonly Axis[];
  readonly mask: Uint8Array;
  /** The dense weights as they are stored, little-endian. */
  readonly dense: Uint8Array;
  readonly layout: WeightLayout;
  readonly seen: Seen;
  /** What solutions are compared on; `seen` if there is none. */
  readonly heldOut: Seen | undefined;
  /** Added to the diagonal of the moments, as a share of its mean. */
  readonly ridge: number;
  /** After how many steps solutions are compared, in ascending order: at most 8. 0 is the mask with a corrected bias. */
  readonly checks: readonly number[];
  /** Whether the bias can change. */
  readonly hasBias: boolean;
  /** Whether output channels without any weight have lost their bias, too. Theirs does not change. */
  readonly withoutEmpty: boolean;
}

/** What a fit achieves. Errors are means of squares over the rows that solutions were compared on. */
export interface Fitted {
  /** The weights, stored as the dense ones were; removed ones are +0.0. */
  readonly weights: Uint8Array<ArrayBuffer>;
  /** What is added to the bias of each output channel, in canonical order. */
  readonly shift: Float32Array<ArrayBuffer>;
  /** Of the differences of outputs, with the mask alone and with these weights. */
  readonly masked: number;
  readonly solved: number;
  /** Of the dense outputs, without the bias. */
  readonly whole: number;
  /** How many groups have weights that are better than the mask alone. The others have the masked weights. */
  readonly better: number;
}

/**
 * The weights that keep the outputs of a layer nearest to those of the dense one, on a fixed mask, and the change of its
 * bias. Each group gets the best of the mask alone and of the solutions after `checks` steps of conjugate gradients.
 * @throws SparsifyError `memory`; `usage` if sizes disagree
 */
export const fit = (engine: Engine, request: FitRequest): Promise<Fitted> =>
  withBlocks(engine, (held) => fitWith(held, engine, request));

async function fitWith(held: Blocks, engine: Engine, request: FitRequest): Promise<Fitted> {
  const { dtype, axes, mask, dense, layout, seen, heldOut, ridge, checks, hasBias, withoutEmpty } = request;
  const { sizes, steps } = layout;
  const [groups, outputs] = sizes;
  if (mask.length !== maskBytes(unitsOf(axes)) || dense.length !== weightsOf(axes) * bytesOf[dtype])
    throw new RangeError('the mask and the dense weights are those of the tensor');
  if (checks.length > mostChecks) throw new RangeError(`there are at most ${mostChecks} checks`);
  const shift = await held.allocate(4 * groups * outputs);
  const words = new Uint32Array(2 * Math.ceil(fitWords / 2));
  const doubleAt = (place: number) => new DataView(words.buffer).getFloat64(4 * place, true);
  new DataView(words.buffer).setFloat64(4 * fitWord.ridge, ridge, true);
  words[fitWord.dense] = (await held.copy(dense)).address;
  words.set(sizes, fitWord.sizes);
  words.set(steps, fitWord.steps);
  words.set(await addressesOf(held, seen), fitWord.seen);
  if (heldOut) words.set(await addressesOf(held, heldOut), fitWord.heldOut);
  words.set(checks, fitWord.checks);
  words[fitWord.checkCount] = checks.length;
  words[fitWord.hasBias] = Number(hasBias);
  words[fitWord.withoutEmpty] = Number(withoutEmpty);
  words[fitWord.shift] = shift.address;
  const weights = await held.allocate(dense.length);
  const bits = await held.copy(mask);
  const table = await writeTable(engine, [
    { ...plainEntry, weights: weights.address, dtype, axes, mask: bits.address },
  ]);
  try {
    await withRequest(engine, words, (address) => run(engine, [['fit', table.block.address, address]]));
  } finally {
    table.release();
  }
  return {
    weights: await weights.read(0, new Uint8Array(dense.length)),
    shift: await floatsIn(shift),
    masked: doubleAt(fitWord.masked),
    solved: doubleAt(fitWord.solved),
    whole: doubleAt(fitWord.whole),
    better: words[fitWord.better]!,
  };
}

/** Zeros are written in parts of so many bytes. */
const zeroedAtOnce = 1 << 20;

/** The length of the rows of sums: the columns and one more, in whole registers. */
const widthOf = (columns: number): number => Math.ceil((columns + 1) / 8) * 8;

/** The addresses of moments and means, of the dense model's, and of the moments of both. */
async function addressesOf(held: Blocks, { pruned, dense }: Seen): Promise<number[]> {
  const addresses: number[] = [];
  const arrays = [pruned.moment, pruned.mean, ...(dense ? [dense.own.moment, dense.own.mean, dense.cross] : [])];
  for (const array of arrays) addresses.push((await held.copy(array)).address);
  return addresses;
}

/** Calls a verb with the address of a request, and reads back what it wrote there. */
async function withRequest(
  engine: Engine,
  words: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
  call: (address: number) => Promise<void>,
): Promise<void> {
  const block = await engine.allocate(words.byteLength);
  try {
    const bytes = new Uint8Array(words.buffer);
    await block.write(bytes);
    await call(block.address);
    await block.read(0, bytes);
  } finally {
    block.free();
  }
}

async function floatsIn(block: Block): Promise<Float32Array<ArrayBuffer>> {
  const numbers = new Float32Array(block.bytes / 4);
  await block.read(0, new Uint8Array(numbers.buffer));
  return numbers;
}
