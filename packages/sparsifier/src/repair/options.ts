import type { MeasureOptions } from '../calibration/measure.js';
import type { SessionData } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import { checkListeners } from '../options/options.js';
import { checkNames, unknownValue } from '../options/spelling.js';

const methods = ['solve', 'bias'] as const;
const inputs = ['dense', 'pruned'] as const;

/** The options of `Sparsifier.repair`. */
export interface RepairOptions<Feeds = never> {
  /**
   * `solve` (the default) solves for the kept weights and the bias of each layer, so that its outputs are close to those
   * of the dense layer; `bias` changes biases alone.
   */
  readonly method?: (typeof methods)[number] | undefined;
  /** The most steps that `solve` takes, a whole number; 10 by default. */
  readonly steps?: number | undefined;
  /**
   * What is added to the diagonal of the covariances of the inputs, as a share of its mean, which keeps weights small that
   * the statistics say little about; 0.01 by default.
   */
  readonly ridge?: number | undefined;
  /** Whether layers without a bias may be given one, where the format can do that; they may by default. */
  readonly addBias?: boolean | undefined;
  /**
   * The inputs that layers are repaired for: those of the dense model (`dense`, the default), which the statistics of the
   * Sparsifier describe; or those of the model as repaired so far (`pruned`), which are measured from the front to the
   * back, one layer at a time, or several that have the same input. With the criterion `fluctuation` each of these layers
   * gets a new mask by them, with as many units removed. That needs `createSession` and `batches`, and an ONNX model.
   */
  readonly inputs?: (typeof inputs)[number] | undefined;
  /** For `inputs: 'pruned'`: as for `calibrate`. */
  readonly createSession?: SessionData<Feeds>['createSession'] | undefined;
  readonly batches?: SessionData<Feeds>['batches'] | undefined;
  readonly holdOut?: MeasureOptions['holdOut'];
  readonly memory?: MeasureOptions['memory'];
  /** Ends the call with the signal's reason; the model is then as it was before. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RepairProgress) => void) | undefined;
}

/** How far a repair has come. */
export interface RepairProgress {
  readonly stage: 'repair';
  /** The weights of the layers that are finished. */
  readonly done: number;
  /** All weights of the layers that have a mask. */
  readonly total: number;
}

const optionNames: readonly (keyof RepairOptions)[] = [
  'method',
  'steps',
  'ridge',
  'addBias',
  'inputs',
  'createSession',
  'batches',
  'holdOut',
  'memory',
  'signal',
  'onProgress',
];

/** What options ask for, with their defaults. */
export interface Settings {
  /** After how many steps solutions are compared; after 0, only the bias is corrected. */
  readonly checks: readonly number[];
  readonly ridge: number;
  readonly addBias: boolean;
}

/** The steps after which solutions are compared, if there are as many. */
const usualChecks = [0, 1, 3, 10];

/** @throws SparsifyError `usage` for unknown or contradicting options; the signal's reason if it is aborted */
export function settingsOf<Feeds>(options: RepairOptions<Feeds>): Settings {
  checkNames(options, optionNames);
  const { method = 'solve', steps = 10, ridge = 0.01, addBias = true, signal } = options;
  if (!methods.includes(method)) throw unknownValue('usage', 'method', method, methods);
  if (!(Number.isInteger(steps) && steps >= 0 && steps <= mostSteps)) {
    throw new SparsifyError('usage', `\`steps\` is a whole number from 0 to ${mostSteps}`, { given: steps });
  }
  if (!(Number.isFinite(ridge) && ridge >= 0)) {
    throw new SparsifyError('usage', '`ridge` is a number that is not negative', { given: ridge });
  }
  if (typeof addBias !== 'boolean') throw new SparsifyError('usage', '`addBias` is true or false', { given: addBias });
  checkInputs(options);
  checkListeners(options);
  signal?.throwIfAborted();
  const last = method === 'bias' ? 0 : steps;
  const checks = [...new Set([...usualChecks.filter((each) => each < last), last])];
  return { checks, ridge, addBias };
}

const mostSteps = 1000;

/** @throws SparsifyError `usage` */
function checkInputs<Feeds>(options: RepairOptions<Feeds>): void {
  const { inputs: given = 'dense', createSession, batches, holdOut, memory } = options;
  if (!inputs.includes(given)) throw unknownValue('usage', 'inputs', given, inputs);
  const extra = Object.entries({ createSession, batches, holdOut, memory }).find(([, value]) => value !== undefined);
  if (given === 'dense' && extra) {
    throw new SparsifyError('usage', `the option \`${extra[0]}\` is for \`inputs: 'pruned'\``, {
      hint: "Add `inputs: 'pruned'`, or leave it out",
    });
  }
  const missing = Object.entries({ createSession, batches }).find(([, value]) => typeof value !== 'function');
  if (given === 'pruned' && missing) {
    throw new SparsifyError('usage', "`inputs: 'pruned'` runs the model, which needs `createSession` and `batches`", {
      given: `${missing[0]}: ${String(missing[1])}`,
      hint: 'Pass what `calibrate` was given',
    });
  }
}
