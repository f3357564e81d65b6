import type { ChannelStep, Squares } from '../engine/record.js';
import type { DataType, Model, WeightTensor } from '../model/model.js';
import type { Recipe } from '../options/criteria.js';
import type { Listener } from '../options/listener.js';
import type { Progress } from '../options/options.js';
import type { RowMask, Units } from '../options/units.js';

/** What a call does with one tensor. `Planner.job` makes it. */
export interface Job {
  readonly tensor: WeightTensor;
  /** The tensor's position in the model, which random draws depend on. */
  readonly position: number;
  readonly units: Units;
  readonly recipe: Recipe;
  readonly seed: number;
  /** The mask of an earlier call. */
  readonly earlier: Uint8Array | undefined;
  /** The numbers that it removed, of the weights and of each partner, where they are kept. */
  readonly saved: readonly Uint8Array[] | undefined;
  /**
   * The output channels that are removed, if units are parts of them: their bias and batch normalisation go with them, and
   * they are the units that are counted.
   */
  readonly rows?: RowMask | undefined;
  /** What the criterion compares the weights with. */
  readonly other: Other | undefined;
  /** Jobs of one group are ranked together. */
  readonly group: number;
  /** The largest number of units that may be removed. */
  readonly limit: number;
}

/** A job where units are not ranked, since the masks are known already. */
export const unranked = { other: undefined, group: 0, limit: 0 } as const;

/** Numbers that weights are compared with: one per weight, or one per input channel where steps are given. */
export interface Other {
  readonly dtype: DataType;
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly steps: readonly ChannelStep[];
}

/** What a job left in the tensor. */
export interface Counts {
  readonly zeros: number;
  readonly removedUnits: number;
  /** How many weights these units have. */
  readonly removedWeights: number;
}

/** What a job that removes units left in the tensor. */
export interface Removed extends Counts {
  readonly squares: Squares;
  /** Where units are whole output channels: which are kept. */
  readonly channels: Uint8Array | undefined;
}

/** The result of a job that removes units. */
export interface Done extends Removed {
  readonly mask: Uint8Array;
  /** What has been removed so far, of the weights and of each partner, where it is kept. */
  readonly saved: readonly Uint8Array[] | undefined;
}

/** All that one call does. */
export interface Plan {
  readonly model: Model;
  readonly jobs: readonly Job[];
  /** How many units each group loses. */
  readonly removes: readonly number[];
  readonly roundTo: number | undefined;
  /** Whether removed numbers are kept. */
  readonly restorable: boolean;
  readonly signal: AbortSignal | undefined;
  readonly listener: Listener<Progress>;
}
