import { measureShape, type MeasureOptions } from '../calibration/options.js';
import type { SessionData } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import { aBoolean, aFunction, being, oneOf, optionsOf, type Shape } from '../options/check.js';
import { listeningShape } from '../options/options.js';

const methods = ['solve', 'bias'] as const;
const inputs = ['dense', 'pruned'] as const;
const mostSteps = 1000;

/** The options of `Sparsifier.repair`. */
export interface RepairOptions<Feeds = never> {
  /**
   * `solve` (the default) computes new values for the kept weights and the bias of each layer, so that its outputs are
   * close to those of the dense layer; `bias` changes biases only.
   */
  readonly method?: (typeof methods)[number] | undefined;
  /** The maximum number of steps of `solve` (conjugate gradients), a whole number from 0 to 1000; 10 by default. */
  readonly steps?: number | undefined;
  /**
   * What is added to the diagonal of the covariance matrix of the inputs, as a fraction of the diagonal's mean; at
   * least 0, 0.01 by default. It keeps weights small that the statistics say little about.
   */
  readonly ridge?: number | undefined;
  /** Whether layers without a bias may be given one, where the format allows that; true by default. */
  readonly addBias?: boolean | undefined;
  /**
   * The inputs that layers are repaired for. `dense` (the default): those in the dense model, which the statistics of
   * the Sparsifier describe. `pruned`: those in the model as repaired so far. They are measured from the front of the
   * network to the back, for one layer at a time, or for several that share an input. With the criterion `fluctuation`,
   * or a function, each layer also gets a new mask for these inputs, with as many units removed. `pruned` takes an ONNX
   * model, and needs `createSession` and `batches`.
   */
  readonly inputs?: (typeof inputs)[number] | undefined;
  /**
   * This and the next three, for `inputs: 'pruned'`: the same as for `calibrate`. The functions must not wait for other
   * calls on the model, which wait for the repair.
   */
  readonly createSession?: SessionData<Feeds>['createSession'] | undefined;
  readonly batches?: SessionData<Feeds>['batches'] | undefined;
  readonly holdOut?: MeasureOptions['holdOut'];
  readonly memory?: MeasureOptions['memory'];
  /** Ends the call with the signal's reason. The model is then unchanged. */
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

const repairShape: Shape<RepairOptions> = {
  method: oneOf('method', methods),
  steps: being(
    `a whole number from 0 to ${mostSteps}`,
    (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= mostSteps,
  ),
  ridge: being('a number that is not negative', (value) => Number.isFinite(value) && (value as number) >= 0),
  addBias: aBoolean,
  inputs: oneOf('inputs', inputs),
  createSession: aFunction,
  batches: aFunction,
  ...measureShape,
  ...listeningShape,
};

/** @throws SparsifyError as {@link optionsOf} */
export const repairOptionsOf = <Feeds>(options: RepairOptions<Feeds>): RepairOptions<Feeds> =>
  optionsOf(options, repairShape as Shape<RepairOptions<Feeds>>);

/** What options ask for, with their defaults. */
export interface Settings {
  /** After how many steps solutions are compared; after 0, only the bias is corrected. */
  readonly checks: readonly number[];
  readonly ridge: number;
  readonly addBias: boolean;
}

/** The steps after which solutions are compared, if there are as many. */
const usualChecks = [0, 1, 3, 10];

/** @throws SparsifyError `usage` for contradicting options; the signal's reason if it is aborted */
export function settingsOf<Feeds>(options: RepairOptions<Feeds>): Settings {
  const { method = 'solve', steps = 10, ridge = 0.01, addBias = true, signal } = options;
  checkInputs(options);
  signal?.throwIfAborted();
  const last = method === 'bias' ? 0 : steps;
  const checks = [...new Set([...usualChecks.filter((each) => each < last), last])];
  return { checks, ridge, addBias };
}

/** @throws SparsifyError `usage` */
function checkInputs<Feeds>(options: RepairOptions<Feeds>): void {
  const { inputs: given = 'dense', createSession, batches, holdOut, memory } = options;
  const extra = Object.entries({ createSession, batches, holdOut, memory }).find(([, value]) => value !== undefined);
  if (given === 'dense' && extra) {
    throw new SparsifyError('usage', `the option \`${extra[0]}\` is for \`inputs: 'pruned'\``, {
      hint: "Add `inputs: 'pruned'`, or leave it out",
    });
  }
  const missing = Object.entries({ createSession, batches }).find(([, value]) => value === undefined);
  if (given === 'pruned' && missing) {
    throw new SparsifyError('usage', "`inputs: 'pruned'` runs the model, which needs `createSession` and `batches`", {
      given: `${missing[0]}: ${String(missing[1])}`,
      hint: 'Pass what `calibrate` was given',
    });
  }
}
