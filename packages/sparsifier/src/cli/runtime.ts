import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { InputMetadata, Inputs } from '../analysis/comparison/inputs.js';
import { hasNetwork, sessionsOfTfjs, type CompareTf } from '../analysis/comparison/tfjs.js';
import type { CompareSession, CreateSession } from '../analysis/comparison/outputs.js';
import type { SessionFiles } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import type { OpenModel } from '../formats/open-model.js';
import { failure, reasonOf } from './failure.js';

/** A session of ONNX Runtime, which returns only the outputs whose names are given. */
interface OnnxSession extends CompareSession {
  run(inputs: Inputs, names?: readonly string[]): ReturnType<CompareSession['run']>;
}

/** Makes a session of ONNX Runtime. */
export type CreateOnnxSession = (bytes: Uint8Array<ArrayBuffer>, files?: SessionFiles) => Promise<OnnxSession>;

/** The members of `onnxruntime-node` that are used. */
interface Ort {
  readonly InferenceSession: {
    create(bytes: Uint8Array, options: Partial<SessionFiles> & { logSeverityLevel: 4 }): Promise<OnnxSession>;
  };
}

/** The members of `@tensorflow/tfjs` that are used. */
interface Tf extends CompareTf {
  enableProdMode(): void;
  ready(): Promise<void>;
}

/** How to run a model, or a sentence that says why it is not run. */
export type Runtime =
  | { readonly createSession: CreateSession; readonly reason?: undefined }
  | { readonly createSession?: undefined; readonly reason: string };

/** A runtime cannot load or run a model. */
export class RuntimeFailure extends SparsifyError {}

/** The runtime of a model's format, which is an optional package that is looked for in the working folder. */
export async function runtimeOf({ format, files }: OpenModel): Promise<Runtime> {
  const file = files.main.name ?? 'model';
  const name = packageOf(format);
  if (name === undefined) return { reason: `The outputs were not compared: a ${format} file has no network.` };
  if (format === 'TensorFlow.js' && !hasNetwork(files.main.json))
    return { reason: 'The outputs were not compared: the model.json has no network.' };
  const createSession = await sessionsOf(format, file, scalarHint);
  return createSession === undefined
    ? { reason: `The outputs were not compared: for that, run npm install ${name} in this folder.` }
    : { createSession };
}

/** The package that runs models of a format; undefined for those that are no networks. */
export const packageOf = (format: string): string | undefined =>
  ({ ONNX: 'onnxruntime-node', 'TensorFlow.js': '@tensorflow/tfjs' })[format];

/**
 * Sessions of a model of a format; undefined if the working folder does not have the package that runs it.
 * @param file the name of the model, for errors
 * @param hint what to do if the model cannot be run
 */
export async function sessionsOf(format: string, file: string, hint?: Hint): Promise<CreateSession | undefined> {
  if (format !== 'TensorFlow.js') return sessionsOfOnnx(file, hint);
  const tf = installed<Tf>('@tensorflow/tfjs');
  if (tf === undefined) return undefined;
  // Otherwise it recommends other packages.
  tf.enableProdMode();
  await tf.ready();
  return explained(file, 'TensorFlow.js', sessionsOfTfjs(tf), hint);
}

/** What an input may need that gets random values. */
function scalarHint(metadata: readonly InputMetadata[]): string | undefined {
  // Runtimes do not tell scalars and inputs of unknown shape apart.
  const scalar = metadata.find(({ shape }) => shape?.length === 0)?.name;
  return scalar && `If ${scalar} is no scalar, give its shape: --input ${scalar}:1,3,48,320`;
}

/**
 * Sessions of an ONNX model; undefined if the working folder does not have `onnxruntime-node`.
 * @param file the name of the model, for errors
 * @param hint what to do if the model cannot be run
 */
export function sessionsOfOnnx(file: string, hint?: Hint): CreateOnnxSession | undefined {
  const ort = installed<Ort>('onnxruntime-node');
  if (ort === undefined) return undefined;
  const create: CreateOnnxSession = (bytes, files) =>
    // What fails is in the error. ONNX Runtime also warns of what a model contains and does not need.
    ort.InferenceSession.create(bytes, { ...files, logSeverityLevel: 4 });
  return explained(file, 'onnxruntime-node', create, hint);
}

/** A package that the working folder has. */
function installed<Module>(name: string): Module | undefined {
  let require: NodeJS.Require;
  try {
    // The working folder may have been removed.
    require = createRequire(join(process.cwd(), 'package.json'));
    require.resolve(name);
  } catch {
    return undefined;
  }
  try {
    return require(name) as Module;
  } catch (cause) {
    throw failure(name, 'could not be loaded', cause);
  }
}

type Hint = (metadata: readonly InputMetadata[]) => string | undefined;

/** Turns what a runtime throws into failures that say what it was asked to do. */
function explained<Files>(
  file: string,
  name: string,
  create: (bytes: Uint8Array<ArrayBuffer>, files: Files) => Promise<OnnxSession>,
  hintOf?: Hint,
): (bytes: Uint8Array<ArrayBuffer>, files: Files) => Promise<OnnxSession> {
  const tell = async <Result>(what: string, work: () => Promise<Result>, hint?: string): Promise<Result> => {
    try {
      return await work();
    } catch (cause) {
      const details = { subject: file, found: reasonOf(cause), ...(hint && { hint }) };
      throw new RuntimeFailure('format', `${name} cannot ${what} the model`, details, { cause });
    }
  };
  return async (bytes, files) => {
    const session = await tell('load', () => create(bytes, files));
    const { inputMetadata } = session;
    const hint = hintOf?.(inputMetadata ?? []);
    return {
      inputMetadata,
      run: (...words) => tell('run', () => session.run(...words), hint),
      release: async () => session.release?.(),
    };
  };
}
