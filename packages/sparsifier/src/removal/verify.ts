import { checkInputs, seededInputs, type Inputs, type SessionTensor } from '../analysis/comparison/inputs.js';
import { numbersOf, runModel, type CreateSession, type Runs } from '../analysis/comparison/outputs.js';
import type { SessionModel } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import type { InputShapes } from '../formats/removal.js';
import type { VerifiedOutput, Verification } from './report.js';
import type { VerifyOptions } from './options.js';

/** A difference up to this share of the largest number of an output is always allowed. */
const shareOf = (format: string): number => (format === 'ONNX' ? 1e-6 : 1e-5);

/** What a model returns before channels are removed. */
export interface Reference {
  readonly createSession: CreateSession;
  /** Without optimisations of the runtime. */
  readonly plain: Runs;
  /** With them. */
  readonly optimised: Runs;
}

/**
 * Runs a model before channels are removed from it.
 * @param model a copy of its files
 * @param followed the shapes of seeded inputs if none are given
 * @throws SparsifyError `usage` for inputs that do not fit; what the session throws
 */
export async function referenceOf(
  model: SessionModel,
  { createSession, inputs, shapes }: VerifyOptions,
  followed: readonly InputShapes[],
): Promise<Reference> {
  const optimised = await runModel(model, createSession, (metadata) => {
    if (inputs === undefined) return (shapes ? [shapes] : followed).map((each) => seededInputs(metadata, each));
    const given = [inputs].flat() as readonly Inputs[];
    for (const each of given) checkInputs(metadata, each);
    return given;
  });
  const plain = await runModel(model, withoutOptimisations(createSession), () => optimised.inputs);
  if (model.format === 'ONNX') return { createSession, plain, optimised };
  // TensorFlow.js has no optimisations to leave out. What the last bits of the inputs change stands for them, which is not all
  // of its noise.
  const nudged = await runModel(model, createSession, () => plain.inputs.map(nudgedInputs));
  return { createSession, plain, optimised: nudged };
}

/** Inputs whose floats are some bits off: as far as the rounding of the operators behind them takes outputs. */
const nudgedInputs = (inputs: Inputs): Inputs =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, tensor]) => {
      const { data, type } = tensor;
      if (type !== 'float32' || !(data instanceof Float32Array)) return [name, tensor];
      return [name, { ...tensor, data: data.map((number, index) => number * (1 + (index % 2 ? 1 : -1) * 2 ** -20)) }];
    }),
  );

/** Sessions that compute what the file says, node by node. */
const withoutOptimisations =
  (createSession: CreateSession): CreateSession =>
  (bytes, files) => {
    const options = { ...files, graphOptimizationLevel: 'disabled' };
    return createSession(bytes, options);
  };

/**
 * Runs the new model on the same inputs, and compares.
 * @param small a copy of its files
 * @throws SparsifyError `format` if it cannot be run, or if an output differs by more than the runtime's own noise
 */
export async function verified(
  small: SessionModel,
  { createSession, plain, optimised }: Reference,
): Promise<Verification> {
  let runs: Runs;
  try {
    runs = await runModel(small, withoutOptimisations(createSession), () => plain.inputs);
  } catch (cause) {
    throw wrong('the runtime does not run it', cause instanceof Error ? cause.message : String(cause), cause);
  }
  const share = shareOf(small.format);
  const names = Object.keys(plain.outputs[0]!);
  const outputs = names.map((name): VerifiedOutput => {
    const of = ({ outputs }: Runs) => outputs.map((each) => each[name]);
    const noise = farthest(of(plain), of(optimised));
    const largest = Math.max(...of(plain).map((tensor) => largestIn(tensor!)));
    return { name, difference: farthest(of(plain), of(runs)), limit: Math.max(2 * noise, share * largest), noise };
  });
  const worst = outputs.find(({ difference, limit }) => !(difference <= limit));
  if (worst === undefined) return { runs: plain.inputs.length, outputs };
  throw wrong(
    `its output ${worst.name} differs`,
    `a difference of ${worst.difference.toPrecision(3)}, and ${worst.limit.toPrecision(3)} is allowed`,
  );
}

const wrong = (summary: string, found: string, cause?: unknown): SparsifyError =>
  new SparsifyError(
    'format',
    `the model without its channels is wrong: ${summary}`,
    { found, hint: 'No model was made. Please report this, with the model if possible' },
    { cause },
  );

/** The largest difference of tensors; infinite where one is not finite and the other is, or has another shape. */
function farthest(all: readonly (SessionTensor | undefined)[], others: readonly (SessionTensor | undefined)[]): number {
  let largest = 0;
  for (const [run, tensor] of all.entries()) {
    const other = others[run];
    if (tensor === undefined || other === undefined || tensor.type !== other.type) return Infinity;
    if (tensor.dims.join() !== other.dims.join()) return Infinity;
    const [a, b] = [numbersOf(tensor), numbersOf(other)];
    for (let index = 0; index < a.length; index++) {
      if (Object.is(a[index], b[index]) || a[index] === b[index]) continue;
      const difference = Math.abs(Number(a[index]) - Number(b[index]));
      if (!Number.isFinite(difference)) return Infinity;
      if (difference > largest) largest = difference;
    }
  }
  return largest;
}

function largestIn(tensor: SessionTensor): number {
  const numbers = numbersOf(tensor);
  let largest = 0;
  for (let index = 0; index < numbers.length; index++) {
    const size = Math.abs(Number(numbers[index]));
    if (Number.isFinite(size) && size > largest) largest = size;
  }
  return largest;
}
