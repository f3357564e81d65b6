import type {
  BeforeAndAfter,
  BlockedChannels,
  ChannelGroup,
  InputShapes,
  KeptIndices,
  RemovalChanges,
} from '../formats/removal.js';
import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { FileBytes } from '../quantization/report.js';
import type { PlannedOptions } from './options.js';

/** How the tables of plans and reports are printed. */
export interface RemovalTableOptions {
  /** `true` lists all groups, `false` none. By default those that have dead channels. */
  readonly layers?: boolean | undefined;
  /** What `sizes` returned, which is then printed, too. */
  readonly sizes?: Sizes | undefined;
}

/** Which channels a model can lose without a change of its outputs, and what keeps the others. */
export interface RemovalPlan {
  /** The options that it was made with. */
  readonly options: PlannedOptions;
  /** The channels that can go together, in the order of the network. */
  readonly groups: readonly ChannelGroup[];
  /** Output channels of layers that cannot go, whatever their weights are. What would pay most if it were lifted is first. */
  readonly blocked: readonly BlockedChannels[];
  /** How many floats the model has, and will have. */
  readonly parameters: BeforeAndAfter;
  /** The share of them that lie on an axis of a group, from 0 to 1: the others stay, whatever the weights are. */
  readonly touchable: number;
  /** The shapes of inputs for which the network was followed. */
  readonly followed: readonly InputShapes[];
  /** Sentences about what was assumed, and what was not followed. */
  readonly notes: readonly string[];
  /** The plan as text. */
  table(options?: RemovalTableOptions): string;
  /** The same as {@link table}. */
  toString(): string;
}

/** How far the outputs of the new model are from those of the model before. */
export interface Verification {
  /** How many times each model was run. */
  readonly runs: number;
  readonly outputs: readonly VerifiedOutput[];
}

export interface VerifiedOutput {
  readonly name: string;
  /** The largest |a - b|. */
  readonly difference: number;
  /** The largest difference that is allowed: twice the noise, or a millionth of the largest number, ten times that in TensorFlow.js. */
  readonly limit: number;
  /** The largest difference that the runtime's own optimisations make, or in TensorFlow.js the last bits of the inputs. */
  readonly noise: number;
}

/** What `removeChannels` did. */
export interface RemovalReport
  extends Omit<RemovalPlan, 'options' | 'table' | 'toString'>, Omit<RemovalChanges, 'subnormals'> {
  /** Which indices of each changed tensor stayed. */
  readonly indexMap: readonly KeptIndices[];
  /** Weights of the new model that are not 0 and below the smallest normal float. */
  readonly subnormals: number;
  /** Undefined without `verify`. */
  readonly verification: Verification | undefined;
  readonly bytes: FileBytes;
  /**
   * How large the files of the new model are once they are compressed, as the model is now.
   * @throws SparsifyError as `sizesOf` does
   */
  sizes(options?: SizesOptions): Promise<Sizes>;
  /** The report as text: a line of totals, the groups, and what stays. */
  table(options?: RemovalTableOptions): string;
  /** The same as {@link table}. */
  toString(): string;
}
