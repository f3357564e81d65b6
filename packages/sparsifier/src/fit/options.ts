import { givesBatches } from '../calibration/batches.js';
import type { SessionData } from '../calibration/onnx.js';
import { measureShape, type MeasureOptions } from '../calibration/options.js';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { checkModel } from '../model/model.js';
import { aBoolean, aFunction, being, oneOf, optionsOf, type Check, type Shape } from '../options/check.js';
import { inputShapesOf, type InputShapes } from '../options/coupled.js';
import { listeningShape, someStatistics, type InputStatistics } from '../options/options.js';
import { rulesShape, type Rules } from '../options/rules.js';
import { bytesOfSize, encodings, type ByteSize, type Encoding } from './target.js';

export const means = ['quantize', 'prune', 'remove'] as const;
/** Channels that go make a model faster, but of the same bytes, weights that go keep more of the accuracy. */
export const defaultMeans = ['quantize', 'prune'] as const;
/** What may be done to a model. */
export type FitMeans = (typeof means)[number];

/** What {@link FitOptions.evaluate} is told. */
export interface EvaluateOptions {
  /** That of the call. */
  readonly signal: AbortSignal | undefined;
  /**
   * `search` while settings are compared. `final` for the original model and the result at the end: a function that uses
   * other data then measures what the search did not see.
   */
  readonly part: 'search' | 'final';
}

/**
 * Measures a model, such as its accuracy. The files of the model come by their names, the main one first; they are copies.
 */
export type Evaluate = (
  files: Map<string, Uint8Array<ArrayBuffer>>,
  options: EvaluateOptions,
) => number | Promise<number>;

/** Inputs of an ONNX model and what runs it. */
export type FitSession<Feeds> = Pick<SessionData<Feeds>, 'createSession' | 'batches'>;

/** Inputs of an ONNX model and what runs it, as `calibrate` takes them. */
export type FitData<Feeds> = SessionData<Feeds> & Pick<MeasureOptions, 'holdOut' | 'memory'>;

/** The options of {@link fit}. `target`, `maxDrop` or both must be given. */
export interface FitOptions<Feeds = never> {
  /** The most bytes that all files may have together, once they are encoded: `3000000` or `'3MB'`. */
  readonly target?: ByteSize | undefined;
  /** How bytes are counted; `br` by default, which is how most files are downloaded. */
  readonly encoding?: Encoding | undefined;
  /**
   * How much worse `evaluate` may be than for the original model, at least 0. Without a target the result is the smallest
   * model that was found within it. With a target it is the best model that meets the target, and an error if that is worse.
   */
  readonly maxDrop?: number | undefined;
  /** Judges models; needed for `maxDrop`. */
  readonly evaluate?: Evaluate | undefined;
  /** Whether a larger result of `evaluate` is better, such as an accuracy; `false` for a loss. `true` by default. */
  readonly higherIsBetter?: boolean | undefined;
  /**
   * Statistics of the inputs of layers, from `calibrate` or `readStatistics`. Without them, and without `data`, neither
   * weights nor biases make up for what is removed or rounded.
   */
  readonly statistics?: InputStatistics | undefined;
  /**
   * Inputs of an ONNX model. Statistics are measured with them, unless they are given. Without `evaluate`, every fourth batch
   * judges models and is used for nothing else.
   */
  readonly data?: FitData<Feeds> | undefined;
  /**
   * What may be done: `quantize`, `prune` (weights) and `remove` (channels, with `data` or `statistics`); the first two by default.
   * Removing channels makes a model faster, but it keeps less of the accuracy for the same bytes than removing weights, unless
   * files are not compressed, and the search takes longer.
   */
  readonly allow?: readonly FitMeans[] | undefined;
  /**
   * For `remove`: the shapes of inputs with axes of any size, by name, such as `{ x: [1, 3, 48, 320] }`. More channels may be
   * coupled then, and some networks can only be followed with them.
   */
  readonly inputShapes?: InputShapes | undefined;
  /** The layers that may be changed; all by default. Depthwise convolutions are never pruned. */
  readonly rules?: Rules | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FitProgress) => void) | undefined;
}

/** How far a call has come. */
export interface FitProgress {
  /**
   * `calibrate`: the inputs of layers are measured; `measure`: the errors of layers; `search`: settings are tried; `judge`: a
   * model is judged; `check`: files are compressed as for the download.
   */
  readonly stage: 'calibrate' | 'measure' | 'search' | 'judge' | 'check';
  /** How much is done of `total`, which is an estimate of all work, not a number of bytes or weights. */
  readonly done: number;
  readonly total: number;
  /** About how many seconds the rest will take; undefined at the beginning. */
  readonly remaining: number | undefined;
}

/** Options that are checked, with their defaults. */
export interface FitRequest<Feeds> extends FitOptions<Feeds> {
  readonly target: number | undefined;
  readonly encoding: Encoding;
  readonly higherIsBetter: boolean;
  readonly allow: readonly FitMeans[];
  readonly rules: Rules;
}

const someMeans: Check<readonly FitMeans[]> = (value, name) => {
  if (!Array.isArray(value) || value.length === 0) {
    throw new SparsifyError('usage', `${name} is a list of what may be done`, { given: value, allowed: means });
  }
  // By index, which also visits the holes of a list.
  for (let index = 0; index < value.length; index++) aMean(value[index], name);
  return means.filter((each) => value.includes(each));
};
const aMean = oneOf('item of `allow`', means);

const { holdOut, memory } = measureShape;
const dataShape: Shape<FitData<never>> = { createSession: aFunction, batches: givesBatches, holdOut, memory };

const fitShape: Shape<FitOptions> = {
  target: bytesOfSize,
  encoding: oneOf('encoding', encodings),
  maxDrop: being('a number that is not negative', (value) => Number.isFinite(value) && (value as number) >= 0),
  evaluate: aFunction,
  higherIsBetter: aBoolean,
  statistics: someStatistics,
  data: (value) => dataFrom(value as FitData<never>, dataShape),
  allow: someMeans,
  inputShapes: inputShapesOf,
  rules: (value) => optionsOf(value as Rules, rulesShape),
  ...listeningShape,
};

/** @throws SparsifyError `usage` if one of the functions is missing */
export function dataFrom<Data extends FitSession<never>>(given: Data, shape: Shape<Data>): Data {
  const data = optionsOf(given, shape);
  const missing = (['createSession', 'batches'] as const).find((name) => data[name] === undefined);
  if (missing === undefined) return data;
  throw new SparsifyError('usage', '`data` has the functions `createSession` and `batches`', {
    found: `no \`${missing}\``,
    hint: 'Such as `{ createSession: (bytes, files) => ort.InferenceSession.create(bytes, files), batches: () => list }`',
  });
}

/** @throws SparsifyError `usage` for wrong and contradicting options; the signal's reason if it is aborted */
export function fitOptionsOf<Feeds>(model: FileModel, given: FitOptions<Feeds>): FitRequest<Feeds> {
  checkModel(model);
  const options = optionsOf(given, fitShape as Shape<FitOptions<Feeds>>);
  const { target, maxDrop, evaluate, data, signal } = options;
  const fail = (summary: string, hint: string, found?: string) => {
    throw new SparsifyError('usage', summary, { ...(found === undefined ? {} : { found }), hint });
  };
  if (target === undefined && maxDrop === undefined) {
    fail('fit needs a target, or a drop that is allowed', "Give `target: '3MB'`, or `maxDrop: 0.02` with `evaluate`");
  }
  if (maxDrop !== undefined && evaluate === undefined) {
    fail('a drop is that of what `evaluate` returns', 'Give `evaluate`, a function that judges a model');
  }
  if (options.higherIsBetter !== undefined && evaluate === undefined) {
    fail('`higherIsBetter` says what `evaluate` returns', 'Give `evaluate`, or leave it out');
  }
  const allow = options.allow ?? defaultMeans;
  if (options.inputShapes !== undefined && !allow.includes('remove')) {
    fail('`inputShapes` say how channels are followed', "Give `allow` with 'remove', or leave them out");
  }
  if (data !== undefined && model.format !== 'ONNX') {
    fail(
      '`data` runs the model, which is possible for ONNX models only',
      'Give `statistics` that were measured elsewhere, and `evaluate`',
      `${model.format ?? 'another'} model`,
    );
  }
  signal?.throwIfAborted();
  return {
    ...options,
    target: target as number | undefined,
    encoding: options.encoding ?? 'br',
    higherIsBetter: options.higherIsBetter ?? true,
    allow,
    rules: { ...options.rules, layerType: options.rules?.layerType ?? 'all' },
  };
}
