import { SparsifyError } from '../errors.js';
import type { Storage } from '../formats/format.js';
import { forms, type Form } from '../model/forms.js';
import { asGiven, optionsOf, type Shape } from '../options/check.js';
import { listeningShape, someStatistics, type InputStatistics } from '../options/options.js';
import { rulesShape, type Rules } from '../options/rules.js';
import { unknownValue } from '../options/spelling.js';

/** The forms that numbers other than weights of layers can have. */
export type OtherForm = 'float16' | 'bfloat16';

/** The options of {@link quantize}. */
export interface QuantizeOptions {
  /**
   * The form of the weights. ONNX: `int8`, `int8-dynamic`, `int4` and `float16`; by default `int8-dynamic` for dense layers
   * from opset 11 on, and `int8` for all others. TensorFlow.js: `uint8`, `uint16` and `float16`; by default `uint16` for
   * convolutions, and `uint8` for all others. safetensors: `float16` and `bfloat16`; `float16` by default. Convolutions,
   * embeddings and recurrent layers have no `int8-dynamic` and no `int4`: where these are asked for, they become `int8`.
   */
  readonly weights?: Form | undefined;
  /** The layers whose weights are stored in that form; all by default. */
  readonly rules?: Rules | undefined;
  /**
   * Statistics of the inputs of layers, from `calibrate` or `readStatistics`. Scales are then those of the least squared
   * error of the outputs, and biases make up for what the outputs lose on average. Layers without a bias are given one, if
   * the format allows that. Weights that were removed or changed since the calibration are no error.
   */
  readonly statistics?: InputStatistics | undefined;
  /**
   * The form of the numbers of 32 bits that are not weights of layers, such as biases and normalisations. By default they
   * stay as they are. Tables of fixed numbers always do, and so do tensors with a number that has no such form: it is too
   * large, or would lose more than 1 % because it is too small. Weights of layers have the form of `weights`, or stay as they
   * are where `rules` leave them out. `bfloat16` is for safetensors.
   */
  readonly others?: OtherForm | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: QuantizeProgress) => void) | undefined;
}

/** How far a call has come. */
export interface QuantizeProgress {
  readonly stage: 'quantize';
  /** The weights of the layers that are finished. */
  readonly done: number;
  /** The weights of all layers that are stored in another form. */
  readonly total: number;
}

const quantizeShape: Shape<QuantizeOptions> = {
  weights: asGiven,
  rules: (value) => optionsOf(value as Rules, rulesShape),
  statistics: someStatistics,
  others: asGiven,
  ...listeningShape,
};

/**
 * The options of a call, checked.
 * @throws SparsifyError `usage` for unknown options and wrong values; the signal's reason if it is aborted
 */
export function quantizeOptionsOf(given: QuantizeOptions, storage: Storage, format: string): QuantizeOptions {
  const options = optionsOf(given, quantizeShape);
  const { weights, others, signal } = options;
  checkForm('weights', weights, storage.forms, format);
  checkForm('others', others, storage.forms.filter(isOtherForm), format);
  signal?.throwIfAborted();
  return options;
}

const isOtherForm = (form: Form): form is OtherForm => form === 'float16' || form === 'bfloat16';

function checkForm(
  option: 'weights' | 'others',
  form: Form | undefined,
  allowed: readonly Form[],
  format: string,
): void {
  if (form === undefined || allowed.includes(form)) return;
  if (!forms.includes(form)) throw unknownValue('usage', `form of \`${option}\``, form, allowed, { topic: 'form' });
  // In words, since a command may have another option for it, such as --quantize.
  const what = option === 'weights' ? 'weights' : 'other numbers';
  throw new SparsifyError('usage', `${format} models have no ${what} of this form`, { given: form, allowed });
}
