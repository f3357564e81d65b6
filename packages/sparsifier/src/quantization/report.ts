import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { Form } from '../model/forms.js';
import type { Kind } from '../model/model.js';
import type { ReportTableOptions } from '../pruning/report.js';
import type { OtherForm } from './options.js';
import type { QuantizeWarning } from './warnings.js';

/** What became of one layer. */
export interface QuantizedLayer {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  /** How many weights the layer has. */
  readonly weights: number;
  readonly form: Form;
  /** Why it is not the form that was asked for. */
  readonly reason?: string;
  /** How many weights are 0 afterwards: those that were, and those that are nearer to 0 than to any other code. */
  readonly zeros: number;
  /**
   * How many weights are farther from 0 than the largest code. All other weights are at most half a step off; those in
   * 16-bit floats are rounded to the nearest one.
   */
  readonly clipped: number;
  /** The relative error of the weights: ||W - V|| / ||W||, where V are the weights as they are stored. */
  readonly error: number;
  /**
   * The relative error of the outputs that is to be expected, after the correction of the bias, if inputs are not
   * correlated: the root of sum h (w - v)^2 / sum h w^2, where h is the variance of the input of a weight, or the mean of its
   * square if no bias was corrected. Undefined without statistics of the layer, and for 16-bit forms.
   */
  readonly outputError?: number;
  /** How many output channels the layer has, and how many lost all of their weights: these were not 0, and are now. */
  readonly channels: number;
  readonly lostChannels: number;
  /**
   * The bias that makes up for what the outputs lose on average: the layer's own, one that was added, or none. Without
   * statistics of the layer it is none.
   */
  readonly bias: 'own' | 'added' | 'none';
  /** Why the layer has statistics and none of its biases changed. */
  readonly biasReason?: string;
  /** The bytes of the weights before and afterwards, with their scales. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** A tensor that stays as it is, and why. */
export interface LeftTensor {
  readonly name: string;
  readonly reason: string;
  /** How many numbers it has. */
  readonly weights: number;
}

/** Numbers that are not those of a layer, such as a bias. */
export interface OtherTensor {
  readonly name: string;
  /** How many numbers it has. */
  readonly length: number;
  /** Undefined if it stays as it is. */
  readonly form?: OtherForm;
  /** Why it stays as it is. */
  readonly reason?: string;
}

/** The bytes of all files of a model. */
export interface FileBytes {
  readonly before: number;
  readonly after: number;
}

/** What `quantize` did. */
export interface QuantizeReport {
  /** The layers that are stored in another form, in model order. */
  readonly layers: readonly QuantizedLayer[];
  /** The layers and other weights that are not. */
  readonly skipped: readonly LeftTensor[];
  /** Numbers that are not those of a layer; none unless the option `others` asks for them. */
  readonly others: readonly OtherTensor[];
  readonly bytes: FileBytes;
  readonly notes: readonly string[];
  /** What is likely to break the model. At most one for each code. */
  readonly warnings: readonly QuantizeWarning[];
  /**
   * How large the files of the new model are once they are compressed, as the model is now.
   * @throws SparsifyError as `sizesOf` does
   */
  sizes(options?: SizesOptions): Promise<Sizes>;
  /**
   * The report as text: a line of totals, and layers that are stored in another form than most, or all of them with
   * `layers: true`.
   */
  table(options?: ReportTableOptions): string;
  /** The same as {@link table}. */
  toString(): string;
}

/** What `dequantize` did. */
export interface DequantizeReport {
  /** The tensors whose numbers are floats of 32 bits now, and what they were. */
  readonly tensors: readonly { readonly name: string; readonly from: string }[];
  /** Those that still are stored in another form, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly bytes: FileBytes;
  /** The report as text. */
  table(): string;
  /** The same as {@link table}. */
  toString(): string;
}
