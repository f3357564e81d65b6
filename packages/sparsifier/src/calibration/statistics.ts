import type { Model, Skipped } from '../model/model.js';

/** What the inputs of a layer have in common, over some rows: one for each position of the output, the numbers under the kernel. */
export interface LayerMoments {
  readonly rows: number;
  /**
   * The second moments `x'x / rows`, `[groups, columns, columns]`, or only those of each column with itself,
   * `[groups, columns]`.
   */
  readonly moment: Float32Array;
  /** The means of the columns, `[groups, columns]`. */
  readonly mean: Float32Array;
  /**
   * The norm of each input channel, group by group: the root of the sum of squares over all positions of the input, without
   * padding. Undefined if a file does not have it.
   */
  readonly norm: Float32Array | undefined;
}

/** Statistics of one layer. */
export interface LayerStatistics extends LayerMoments {
  readonly groups: number;
  /** The numbers of a row: input channels of a group times positions of the kernel. */
  readonly columns: number;
  /** Whether there are only the moments of each column with itself: enough for a bias, but not to solve for weights. */
  readonly isDiagonal: boolean;
  /** Of the batches that were held out, if there were any. */
  readonly heldOut: LayerMoments | undefined;
  /** The SHA-256 of the weights of the layer, in hexadecimal, where it is known. */
  readonly sha256: string | undefined;
}

export interface WriteStatisticsOptions {
  /** Overwrite an existing file. */
  readonly force?: boolean;
}

/** What is measured of a model's inputs, layer by layer. */
export declare class Statistics {
  /** By the names of the layers. */
  readonly layers: ReadonlyMap<string, LayerStatistics>;
  /** Layers that have none, and why. Not part of files. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  /** Sentences, such as about layers without the moments that a solution needs. Not part of files. */
  readonly notes: readonly string[];
  merge(other: Statistics): Statistics;
  bytes(): Uint8Array<ArrayBuffer>;
  write(target: string | WritableStream<Uint8Array<ArrayBuffer>>, options?: WriteStatisticsOptions): Promise<void>;
  /**
   * Checks that these are statistics of a model.
   * @param model its layers, and `copy`, which gives the weights that were there when it was calibrated
   * @returns sentences about what could not be checked
   * @throws SparsifyError `criteria` if a layer has another shape or other weights, or no layer has statistics
   */
  check(model: Pick<Model, 'tensors' | 'copy'>): Promise<readonly string[]>;
}
