import type { Kind, Skipped } from '../model/model.js';

/** What became of one layer. */
export interface RepairedLayer {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  /** How many rows of inputs the solution is made from. */
  readonly rows: number;
  /** How many others it is compared on; with 0, errors are those on the rows that it is made from. */
  readonly heldOutRows: number;
  /** How many weights each output has: input channels of a group x size of the kernel. */
  readonly columns: number;
  /**
   * How far the outputs were from those of the dense layer before the repair, with the mask alone: the norm of the
   * differences divided by the norm of the outputs, without their bias. Output channels that are removed count as well.
   * Undefined where the statistics have too little for that.
   */
  readonly masked: number | undefined;
  /** The same after the repair; never above `masked`. */
  readonly repaired: number | undefined;
  /** Whether anything was changed. If not, the layer has its dense weights, as far as the mask keeps them, and its dense bias. */
  readonly isRepaired: boolean;
  /** The bias that takes up what the means of the outputs differ by: one that the layer had, one that it was given, or none. */
  readonly bias: 'own' | 'added' | 'none';
  /** What was not done, and why. */
  readonly reason?: string;
}

/** What a repair did. */
export interface RepairReport {
  /** The layers that have a mask and statistics, in model order. */
  readonly layers: readonly RepairedLayer[];
  /** The layers that have a mask and were not repaired, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  readonly notes: readonly string[];
  /** The report as text. */
  table(): string;
  /** The same as {@link table}. */
  toString(): string;
}
