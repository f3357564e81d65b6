import type { SessionFiles, SessionModel } from '../../calibration/onnx.js';
import { SparsifyError } from '../../errors.js';
import { inSlices, stepsAtATime } from '../../host/slices.js';
import { float16 } from '../../model/numbers.js';
import { isObject } from '../../model/json.js';
import { typeOf, type Skipped } from '../../model/model.js';
import { readable } from '../../options/listener.js';
import { DifferenceSum, isSame, type Difference } from './difference.js';
import { type InputMetadata, type Inputs, type SessionTensor } from './inputs.js';

/** What is used of an inference session. An `ort.InferenceSession` is one. */
export interface CompareSession {
  readonly inputMetadata: readonly InputMetadata[];
  run(inputs: Inputs): Promise<Readonly<Record<string, SessionTensor>>>;
  release?(): Promise<void>;
}

/** Makes a session of the bytes of a model's main file and its further files. */
export type CreateSession = (bytes: Uint8Array<ArrayBuffer>, files: SessionFiles) => Promise<CompareSession>;

/** How far one output of the model moves. */
export interface OutputDifference extends Difference {
  readonly name: string;
  /** Such as `float32`. */
  readonly type: string;
  /** The shape that the output of `a` has in the first run. */
  readonly shape: readonly number[];
  /**
   * The cosine of the angle between the numbers of all runs; undefined if either are all zero, or if they are no floats.
   */
  readonly cosine: number | undefined;
  /**
   * Of the rows along the last axis, how many have their largest number at another place; undefined if that axis has a
   * single number, or if they are no floats.
   */
  readonly argmax: { readonly rows: number; readonly changed: number } | undefined;
}

/** Returns the inputs of each run, given what the model says about them. */
export type ChooseInputs = (metadata: readonly InputMetadata[]) => readonly Inputs[] | Promise<readonly Inputs[]>;

/** What a model returns for some inputs. */
export interface Runs {
  readonly inputs: readonly Inputs[];
  readonly outputs: readonly Readonly<Record<string, SessionTensor>>[];
}

/**
 * Runs a model.
 * @throws SparsifyError `usage` if the session has no metadata; what `choose` and the session throw
 */
export async function runModel(
  { bytes, files }: SessionModel,
  createSession: CreateSession,
  choose: ChooseInputs,
): Promise<Runs> {
  const session = await readable('`createSession`', createSession(bytes, files));
  checkSession(session);
  try {
    const { inputMetadata } = session;
    if (!Array.isArray(inputMetadata)) {
      throw new SparsifyError('usage', 'the session does not say which inputs the model has', {
        found: typeof inputMetadata,
        hint: 'Sessions of onnxruntime do since version 1.22',
      });
    }
    const inputs = await choose(inputMetadata);
    const outputs: Runs['outputs'][number][] = [];
    for (const each of inputs) {
      // Sessions refuse those that they do not know.
      const known = inputMetadata
        .filter(({ name }) => Object.hasOwn(each, name))
        .map(({ name }) => [name, each[name]!]);
      outputs.push(await session.run(Object.fromEntries(known) as Inputs));
    }
    return { inputs, outputs };
  } finally {
    await session.release?.();
  }
}

/** @throws SparsifyError `usage` for what is no session */
function checkSession(session: unknown): void {
  if (isObject(session) && typeof session.run === 'function') return;
  throw new SparsifyError('usage', '`createSession` returns a session, or a promise of one', {
    found: typeOf(session),
    hint: 'Such as `(bytes, files) => ort.InferenceSession.create(bytes, files)`',
  });
}

/** Compares what two models return for the same inputs. */
export async function compareOutputs(
  a: Runs['outputs'],
  b: Runs['outputs'],
): Promise<{ outputs: OutputDifference[]; skipped: Pick<Skipped, 'name' | 'reason'>[] }> {
  const outputs: OutputDifference[] = [];
  const skipped: Pick<Skipped, 'name' | 'reason'>[] = [];
  const names = new Set([...Object.keys(a[0]!), ...Object.keys(b[0]!)]);
  for (const name of names) {
    const pairs = a.map((own, run) => [own[name], b[run]![name]] as const);
    const reason = pairs.map(([own, other]) => obstacle(own, other)).find((each) => each !== undefined);
    if (reason !== undefined) skipped.push({ name, reason });
    else outputs.push(await outputDifference(name, pairs as [SessionTensor, SessionTensor][]));
  }
  return { outputs, skipped };
}

/** Why two outputs cannot be compared. */
function obstacle(a: SessionTensor | undefined, b: SessionTensor | undefined): string | undefined {
  if (a === undefined || b === undefined) return `this output is only in ${a ? 'a' : 'b'}`;
  const [own, other] = [a, b].map(({ type, dims }) => `${type} [${dims.join(', ')}]`);
  return own === other ? undefined : `this output is ${own} in a and ${other} in b`;
}

async function outputDifference(
  name: string,
  pairs: readonly (readonly [SessionTensor, SessionTensor])[],
): Promise<OutputDifference> {
  const { type, dims: shape } = pairs[0]![0];
  if (type === 'string') return { name, type, shape, ...differenceOfTexts(pairs) };
  const isFloat = type.startsWith('float');
  const sum = new DifferenceSum();
  const argmax = { rows: 0, changed: 0 };
  for (const [a, b] of pairs) {
    const [own, other] = [numbersOf(a), numbersOf(b)];
    await sum.add(own, other);
    const size = a.dims.at(-1) ?? 1;
    if (!isFloat || size < 2) continue;
    const rows = own.length / size;
    argmax.rows += rows;
    await inSlices(
      rows,
      (from, to) => {
        for (let row = from; row < to; row++) {
          if (largestIn(own, row * size, size) !== largestIn(other, row * size, size)) argmax.changed++;
        }
      },
      Math.ceil(stepsAtATime / size),
    );
  }
  return {
    name,
    type,
    shape,
    ...sum.result(),
    cosine: isFloat ? sum.cosine() : undefined,
    argmax: argmax.rows > 0 ? argmax : undefined,
  };
}

/** The numbers of a tensor, or its texts; half precision comes as bits where JavaScript has no array for it. */
export function numbersOf({ type, data }: SessionTensor): ArrayLike<number> {
  return type === 'float16' && data instanceof Uint16Array
    ? Float32Array.from(data, float16)
    : (data as ArrayLike<number>);
}

/** The place of the largest number of a row, the first of several; -1 if all are NaN. */
function largestIn(numbers: ArrayLike<number>, start: number, length: number): number {
  let largest = -1;
  for (let place = 0; place < length; place++) {
    const value = numbers[start + place]!;
    if (largest < 0 ? !Number.isNaN(value) : value > numbers[start + largest]!) largest = place;
  }
  return largest;
}

function differenceOfTexts(
  pairs: readonly (readonly [SessionTensor, SessionTensor])[],
): Omit<OutputDifference, 'name' | 'type' | 'shape'> {
  const texts = pairs.flatMap(([a, b]) => {
    const other = b.data as ArrayLike<string>;
    return Array.from(a.data as ArrayLike<string>, (text, index) => isSame(text, other[index]));
  });
  return {
    numbers: texts.length,
    changed: texts.filter((same) => !same).length,
    maxDifference: undefined,
    relativeRms: undefined,
    zeros: { a: 0, b: 0 },
    notFinite: { a: 0, b: 0 },
    cosine: undefined,
    argmax: undefined,
  };
}
