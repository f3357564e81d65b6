import { sessionModelOf, type SessionModel } from '../../calibration/onnx.js';
import { SparsifyError } from '../../errors.js';
import type { FileModel } from '../../formats/file-model.js';
import { joinedFiles } from '../../formats/joined.js';
import type { ModelOutput } from '../../formats/format.js';
import {
  filesOf,
  sizesShape,
  type SizedFiles,
  type Sizes,
  type SizesOptions,
  type SizesProgress,
} from '../../formats/sizes.js';
import { checkModel, type Skipped } from '../../model/model.js';
import { inTurn } from '../../model/turns.js';
import { aFunction, optionsOf, type Shape } from '../../options/check.js';
import { haveSameBytes } from './bytes.js';
import type { Pair } from './difference.js';
import { checkInputs, seededInputs, someInputs, someShapes, type Inputs } from './inputs.js';
import { compareOutputs, runModel, type CreateSession, type OutputDifference, type Runs } from './outputs.js';
import { compareWeights, type LayerDifference, type WeightComparison, type Weights } from './weights.js';

export interface CompareOptions {
  /**
   * Makes a session of a model's bytes, if outputs are to be compared. For `onnxruntime`:
   * `(bytes, files) => ort.InferenceSession.create(bytes, files)`. For TensorFlow.js: `sessionsOfTfjs(tf)`. Each model
   * gets a session, one after the other, which is released afterwards.
   */
  readonly createSession?: CreateSession;
  /**
   * The inputs of one run or of several, by name. By default one run on seeded values: floats from the standard normal
   * distribution, integers and booleans 0 or 1.
   */
  readonly inputs?: Inputs | readonly Inputs[];
  /** The shapes of seeded inputs, by name: needed for those with axes of any size. */
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
}

const compareShape: Shape<CompareOptions> = {
  createSession: aFunction,
  inputs: someInputs,
  shapes: someShapes,
};

/** How far model `b` is from model `a`. */
export interface Comparison {
  /** The layers that both models have, in the order of `a`. */
  readonly layers: readonly LayerDifference[];
  /** The outputs that both models have. Empty without `createSession`. */
  readonly outputs: readonly OutputDifference[];
  /** Layers and outputs that were not compared, and why. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  /** Sentences about what else was not compared. */
  readonly notes: readonly string[];
  /** How many bytes the files of each model have together. */
  readonly bytes: Pair;
  /**
   * How large the files of each model are once they are compressed, both at the same time.
   * @throws SparsifyError as `sizesOf` does
   */
  sizes(options?: ComparedSizesOptions): Promise<ComparedSizes>;
}

export interface ComparedSizes {
  readonly a: Sizes;
  readonly b: Sizes;
}

export interface ComparedSizesOptions extends Omit<SizesOptions, 'onProgress'> {
  readonly onProgress?: ((progress: SizesProgress & { readonly model: 'a' | 'b' }) => void) | undefined;
}

/** The files of two models. */
interface Files {
  readonly a: SizedFiles;
  readonly b: SizedFiles;
}

/** A comparison whose own properties are plain data. */
class MadeComparison implements Comparison {
  readonly layers: Comparison['layers'];
  readonly outputs: Comparison['outputs'];
  readonly skipped: Comparison['skipped'];
  readonly notes: Comparison['notes'];
  readonly bytes: Pair;
  readonly #files: Files;

  constructor(found: Pick<Comparison, 'layers' | 'outputs' | 'skipped' | 'notes'>, files: Files) {
    this.layers = found.layers;
    this.outputs = found.outputs;
    this.skipped = found.skipped;
    this.notes = found.notes;
    this.bytes = { a: files.a.bytes, b: files.b.bytes };
    this.#files = files;
  }

  async sizes(given: ComparedSizesOptions = {}): Promise<ComparedSizes> {
    const { onProgress, ...options } = optionsOf(given, sizesShape as Shape<ComparedSizesOptions>);
    const sizesOfOne = (model: 'a' | 'b') =>
      this.#files[model].sizes({
        ...options,
        onProgress: onProgress && ((progress) => onProgress({ ...progress, model })),
      });
    const [a, b] = await Promise.all([sizesOfOne('a'), sizesOfOne('b')]);
    return { a, b };
  }
}

/**
 * Compares two models: which weights differ, and with a runtime how far each output moves. Layers and outputs are
 * matched by name.
 * @throws SparsifyError `usage` if an input has an axis of any size and no shape, if inputs do not fit model `a`, for
 *   unknown options, and for anything but models; what the session throws
 */
export async function compare(a: FileModel, b: FileModel, options: CompareOptions = {}): Promise<Comparison> {
  checkModel(a);
  checkModel(b);
  const { createSession, inputs, shapes } = optionsOf(options, compareShape);
  const sideOf = (model: FileModel): Side => ({
    model,
    outputs: () => model.outputs(),
    sized: () => filesOf(model),
  });
  if (createSession === undefined) return inTurn([a, b], async () => made(await compareStored(sideOf(a), sideOf(b))));
  if (inputs !== undefined && shapes !== undefined) {
    throw new SparsifyError('usage', '`shapes` are for seeded inputs', { hint: 'Give either `inputs` or `shapes`' });
  }
  // Sessions are the caller's: they run on copies, while other calls may change the models.
  const copyOf = async (model: FileModel) => sessionModelOf(model.format, await joinedFiles(await model.outputs()));
  const { compared, copies } = await inTurn([a, b], async () => ({
    compared: await compareStored(sideOf(a), sideOf(b)),
    copies: { a: await copyOf(a), b: await copyOf(b) },
  }));
  const runs = await runModel(copies.a, createSession, (metadata) => {
    if (inputs === undefined) return [seededInputs(metadata, shapes)];
    const given = [inputs].flat() as readonly Inputs[];
    for (const each of given) checkInputs(metadata, each);
    return given;
  });
  return withOutputs(compared, runs, { createSession, copy: async () => copies.b });
}

/** One of two models that are compared. */
export interface Side {
  readonly model: Weights;
  /** Its files, whose bytes come in chunks. */
  outputs(): Promise<readonly ModelOutput[]>;
  /** How large they are. */
  sized(): Promise<SizedFiles>;
}

/** How the second model is run. */
interface Runnable {
  readonly createSession: CreateSession;
  /** Its files in memory. */
  copy(): Promise<SessionModel>;
}

/** What differs between two models that are not run. */
interface Compared {
  readonly weights: WeightComparison;
  readonly files: Files;
}

/** Compares weights and bytes. */
export async function compareStored(a: Side, b: Side): Promise<Compared> {
  const weights = await compareWeights(a.model, b.model);
  const notes = isEqual(weights) ? await notesOnBytes(a, b, weights) : weights.notes;
  return { weights: { ...weights, notes }, files: { a: await a.sized(), b: await b.sized() } };
}

/** A comparison without outputs. @param more further notes */
export const made = ({ weights, files }: Compared, more: readonly string[] = []): Comparison =>
  new MadeComparison({ ...weights, outputs: [], notes: [...weights.notes, ...more] }, files);

/** Compares the outputs of `a` with those of `b`, too. @param runs those of `a` */
export async function withOutputs(compared: Compared, runs: Runs, b: Runnable): Promise<Comparison> {
  const misfits: string[] = [];
  const other = await runModel(await b.copy(), b.createSession, (metadata) => {
    try {
      for (const each of runs.inputs) checkInputs(metadata, each);
      return runs.inputs;
    } catch (error) {
      if (!(error instanceof SparsifyError)) throw error;
      misfits.push(`The outputs were not compared, since b takes other inputs: ${error.message}`);
      return [];
    }
  });
  if (misfits.length > 0) return made(compared, misfits);
  const { weights, files } = compared;
  const { outputs, skipped } = await compareOutputs(runs.outputs, other.outputs);
  return new MadeComparison({ ...weights, outputs, skipped: [...weights.skipped, ...skipped] }, files);
}

const isEqual = ({ layers, skipped }: WeightComparison): boolean =>
  skipped.length === 0 &&
  layers.every(({ changed, partners }) => changed === 0 && partners.every((partner) => partner.changed === 0));

/** Of models with equal layers, whether the rest is equal as well. */
async function notesOnBytes(a: Side, b: Side, { notes }: WeightComparison): Promise<readonly string[]> {
  if (await haveSameBytes(await a.outputs(), await b.outputs())) return ['All bytes of the files are the same.'];
  return [...notes, 'The files differ in something that is in no layer.'];
}
