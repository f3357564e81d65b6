import type { Engine } from '../engine/engine.js';
import { MomentSums, type FinishedMoments, type Seen } from '../engine/repair.js';
import { SparsifyError } from '../errors.js';
import { rowSizes } from '../model/channels.js';
import type { Geometry, WeightTensor } from '../model/model.js';
import { rowsOf } from '../model/rows.js';
import { ChannelNorms } from './channel-norms.js';
import type { Input } from './inputs.js';

/** What a layer sees in some of the batches. Diagonal moments of two models have an empty `cross`. */
export interface LayerSeen extends Seen {
  /** At least 1. */
  readonly rows: number;
  /** The norm of each input channel. */
  readonly norm: Float32Array;
}

/** How the inputs of a layer are added up. */
export interface SumsOptions {
  /** Whether only squares are added up, and no products of different columns. */
  readonly isDiagonal: boolean;
  /** Whether the inputs of two models are. */
  readonly isPair: boolean;
}

/** How many bytes the sums of a layer take. */
export const bytesOfSums = (tensor: WeightTensor, { isDiagonal, isPair }: SumsOptions): number =>
  MomentSums.bytes(rowSizes(tensor), isDiagonal) * sumsOf({ isDiagonal, isPair });

/** Those of the inputs; of the inputs of the other model; of products of both. */
const sumsOf = ({ isDiagonal, isPair }: SumsOptions): number => (isPair ? (isDiagonal ? 2 : 3) : 1);

/** Sums over the inputs of a layer. */
class LayerSums {
  readonly #tensor: WeightTensor;
  readonly #norms: ChannelNorms;
  readonly #pruned: MomentSums;
  readonly #dense: MomentSums | undefined;
  readonly #cross: MomentSums | undefined;

  private constructor(tensor: WeightTensor, [pruned, dense, cross]: readonly MomentSums[]) {
    this.#tensor = tensor;
    this.#norms = new ChannelNorms(tensor);
    this.#pruned = pruned!;
    this.#dense = dense;
    this.#cross = cross;
  }

  /** @throws SparsifyError `memory` if there is no room */
  static async allocate(engine: Engine, tensor: WeightTensor, options: SumsOptions): Promise<LayerSums> {
    const all: MomentSums[] = [];
    try {
      while (all.length < sumsOf(options))
        all.push(await MomentSums.allocate(engine, rowSizes(tensor), options.isDiagonal));
    } catch (error) {
      for (const each of all) each.free();
      throw error;
    }
    return new LayerSums(tensor, all);
  }

  /**
   * Adds the rows of an input.
   * @param dense of the same samples in the dense model, if there are two models
   * @throws SparsifyError `criteria` if it is no input of the layer, or a number is not finite
   */
  async add(geometry: Geometry, pruned: Input, dense?: Input): Promise<void> {
    await this.#norms.add(pruned, geometry.channelAxis);
    const { rows, geometry: layer } = rowsOf(this.#tensor, geometry, pruned.shape);
    await this.#pruned.add(layer, { ...rows, address: pruned.block.address });
    if (!dense) return;
    if (String(dense.shape) !== String(pruned.shape)) {
      throw new SparsifyError('criteria', 'its input has another shape in the pruned model', {
        subject: this.#tensor.name,
        given: `[${dense.shape.join(', ')}]`,
        found: `[${pruned.shape.join(', ')}]`,
      });
    }
    const original = { ...rows, address: dense.block.address };
    await this.#dense?.add(layer, original);
    await this.#cross?.add(layer, original, pruned.block.address);
  }

  /**
   * @returns undefined if there were no rows
   * @throws SparsifyError `criteria` if moments are larger than 32-bit numbers can be
   */
  async finish(): Promise<LayerSeen | undefined> {
    const pruned = await this.#finished(this.#pruned);
    if (pruned.rows === 0) return undefined;
    const own = this.#dense && (await this.#finished(this.#dense));
    const cross = this.#cross ? (await this.#finished(this.#cross)).moment : new Float32Array(0);
    return { rows: pruned.rows, norm: this.#norms.result(), pruned, ...(own && { dense: { own, cross } }) };
  }

  async #finished(sums: MomentSums): Promise<FinishedMoments> {
    const finished = await sums.finish();
    if (finished.moment.every(Number.isFinite)) return finished;
    throw new SparsifyError('criteria', 'the squares of its inputs are too large', { subject: this.#tensor.name });
  }

  free(): void {
    for (const sums of [this.#pruned, this.#dense, this.#cross]) sums?.free();
  }
}

/** Sums of several layers, over the same batches. */
export class SumsByLayer {
  readonly #engine: Engine;
  readonly #sums = new Map<WeightTensor, LayerSums>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async of(tensor: WeightTensor, options: SumsOptions): Promise<LayerSums> {
    const sums = this.#sums.get(tensor) ?? (await LayerSums.allocate(this.#engine, tensor, options));
    this.#sums.set(tensor, sums);
    return sums;
  }

  /** What a layer has seen, if anything; its sums are freed. */
  async finish(tensor: WeightTensor): Promise<LayerSeen | undefined> {
    const seen = await this.#sums.get(tensor)?.finish();
    this.#sums.get(tensor)?.free();
    this.#sums.delete(tensor);
    return seen;
  }

  free(): void {
    for (const sums of this.#sums.values()) sums.free();
  }
}
