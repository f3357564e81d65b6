import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { Kind, Skipped } from '../model/model.js';

/** What became of one layer. */
export interface RepairedLayer {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  /** How many rows of inputs the layer was repaired for. */
  readonly rows: number;
  /**
   * How many held-out rows the errors were measured on. If 0, they were measured on the other rows, and are too low.
   */
  readonly heldOutRows: number;
  /** How many weights each output has: input channels of a group x size of the kernel. */
  readonly columns: number;
  /**
   * The relative error of the outputs before the repair, with the mask alone: the norm of the differences from the
   * dense layer, divided by the norm of its outputs without the bias. Removed output channels count, too, unless they are
   * `coupled`: then nothing reads them any more. Undefined if only the bias could change: see `reason`.
   */
  readonly masked: number | undefined;
  /** The same after the repair; never above `masked`. */
  readonly repaired: number | undefined;
  /**
   * Whether the layer was changed. If not, it has the mask alone: its kept weights and its bias are those of the dense
   * layer.
   */
  readonly isRepaired: boolean;
  /** The bias that corrects the means of the outputs: the layer's own, one that was added, or none. */
  readonly bias: 'own' | 'added' | 'none';
  /** Why the layer, its weights or its bias were not repaired. */
  readonly reason?: string;
}

/** What a repair did, layer by layer. */
export interface RepairReport {
  /** The layers that have a mask and statistics, in model order. */
  readonly layers: readonly RepairedLayer[];
  /** The layers that have a mask and were not repaired, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  readonly notes: readonly string[];
  /**
   * How many bytes the files of the model have together, with biases that were added; undefined for models that were not
   * read from files.
   */
  readonly bytes: number | undefined;
  /**
   * How large the files are once they are compressed, of the model as it is now.
   * @throws SparsifyError as `sizesOf` does
   */
  sizes(options?: SizesOptions): Promise<Sizes>;
  /** The report as text. */
  table(): string;
  /** The same as {@link table}. */
  toString(): string;
}
