import type { CompareOptions } from '../analysis/comparison/compare.js';
import { someInputs, someShapes } from '../analysis/comparison/inputs.js';
import { SparsifyError } from '../errors.js';
import { usualRounding } from '../formats/removal.js';
import { aBoolean, aCount, aFunction, optionsOf, type Shape } from '../options/check.js';
import { inputShapesOf, somePatterns, type InputShapes } from '../options/coupled.js';
import { listeningShape } from '../options/options.js';

/** The options of {@link planRemoval}. */
export interface PlanRemovalOptions {
  /**
   * The shapes of inputs with axes of any size, by name: `{ x: [1, 3, 48, 320] }`. Without them the network is followed for
   * two sizes of each such axis, and only what goes for both is removed. If a network computes shapes from those of its
   * inputs, more channels can go for inputs of one shape; the new model may then be for inputs of that shape only.
   */
  readonly inputShapes?: InputShapes | undefined;
  /** Names and globs of layers, tensors or values whose channels stay. */
  readonly protect?: string | readonly string[] | undefined;
  /** How many channels of a group stay: a multiple of this, or all. By default 8, which runtimes compute fastest. */
  readonly roundTo?: number | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RemovalProgress) => void) | undefined;
}

/** The options of {@link removeChannels}. */
export interface RemoveChannelsOptions {
  /**
   * Runs both models on the same inputs, and fails if an output differs. `createSession` should pass on its second argument:
   * `(bytes, files) => ort.InferenceSession.create(bytes, files)`, or `sessionsOfTfjs(tf)` for TensorFlow.js. By default inputs are seeded, of the shapes for which the
   * plan was made.
   */
  readonly verify?: VerifyOptions | undefined;
  /**
   * Whether weights below the smallest normal float become 0: many processors compute with them much more slowly. That
   * changes outputs by less than can be measured. False by default.
   */
  readonly flushSubnormals?: boolean | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RemovalProgress) => void) | undefined;
}

/** How models are run, as for `compare`. */
export type VerifyOptions = CompareOptions & Required<Pick<CompareOptions, 'createSession'>>;

/** How far a call has come. */
export interface RemovalProgress {
  readonly stage: 'load' | 'write' | 'verify';
  /** Numbers that are loaded, files that are written or runs that are finished, and how many there are. */
  readonly done: number;
  readonly total: number;
}

/** Options of a plan that are checked, as the plan keeps them. */
export interface PlannedOptions {
  readonly inputShapes: InputShapes;
  readonly protect: readonly string[];
  readonly roundTo: number;
}

export const planShape: Shape<PlanRemovalOptions> = {
  inputShapes: inputShapesOf,
  protect: somePatterns,
  roundTo: aCount(),
  ...listeningShape,
};

/** Options of a plan with their defaults. */
export interface CheckedPlanOptions {
  readonly planned: PlannedOptions;
  readonly listeners: Pick<PlanRemovalOptions, 'signal' | 'onProgress'>;
}

/** @throws SparsifyError `usage` for unknown options and wrong values; the signal's reason if it is aborted */
export function planOptionsOf(given: PlanRemovalOptions): CheckedPlanOptions {
  const { inputShapes = {}, protect = [], roundTo = usualRounding, ...listeners } = optionsOf(given, planShape);
  listeners.signal?.throwIfAborted();
  return { planned: { inputShapes, protect: [protect].flat(), roundTo }, listeners };
}

const verifyShape: Shape<VerifyOptions> = { createSession: aFunction, inputs: someInputs, shapes: someShapes };

const removeShape: Shape<RemoveChannelsOptions> = {
  verify: (value) => verifyOptionsOf(value as VerifyOptions),
  flushSubnormals: aBoolean,
  ...listeningShape,
};

/** @throws SparsifyError `usage` for unknown options and wrong values; the signal's reason if it is aborted */
export function removeOptionsOf(given: RemoveChannelsOptions): RemoveChannelsOptions {
  const options = optionsOf(given, removeShape);
  options.signal?.throwIfAborted();
  return options;
}

function verifyOptionsOf(given: VerifyOptions): VerifyOptions {
  const options = optionsOf(given, verifyShape);
  if (options.createSession === undefined) {
    throw new SparsifyError('usage', '`verify` needs a function `createSession`', {
      hint: 'Such as `(bytes, files) => ort.InferenceSession.create(bytes, files)`',
    });
  }
  if (options.inputs !== undefined && options.shapes !== undefined) {
    throw new SparsifyError('usage', '`shapes` are for seeded inputs', { hint: 'Give either `inputs` or `shapes`' });
  }
  return options;
}
