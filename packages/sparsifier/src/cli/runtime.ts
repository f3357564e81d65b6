import { createRequire } from 'node:module';
import { join } from 'node:path';
import { hasNetwork, sessionsOfTfjs, type CompareTf } from '../analysis/comparison/tfjs.js';
import type { CompareSession, CreateSession } from '../analysis/comparison/outputs.js';
import type { SessionFiles } from '../calibration/onnx.js';
import type { SparsifyError } from '../errors.js';
import type { OpenModel } from '../formats/open-model.js';
import { failure } from './failure.js';

/** The members of `onnxruntime-node` that are used. */
interface Ort {
  readonly InferenceSession: {
    create(bytes: Uint8Array, options: SessionFiles & { logSeverityLevel: 4 }): Promise<CompareSession>;
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

/** The runtime of a model's format, which is an optional package that is looked for in the working folder. */
export async function runtimeOf({ format, files }: OpenModel): Promise<Runtime> {
  const file = files.main.name ?? 'model';
  if (format === 'ONNX') {
    const ort = installed<Ort>('onnxruntime-node');
    if (ort === undefined) return missing('onnxruntime-node');
    const create: CreateSession = (bytes, further) =>
      // What fails is in the error. ONNX Runtime also warns of what a model contains and does not need.
      ort.InferenceSession.create(bytes, { ...further, logSeverityLevel: 4 });
    return { createSession: explained(file, 'onnxruntime-node', create) };
  }
  if (format !== 'TensorFlow.js') return { reason: `The outputs were not compared: a ${format} file has no network.` };
  if (!hasNetwork(files.main.json)) return { reason: 'The outputs were not compared: the model.json has no network.' };
  const tf = installed<Tf>('@tensorflow/tfjs');
  if (tf === undefined) return missing('@tensorflow/tfjs');
  // Otherwise it recommends other packages.
  tf.enableProdMode();
  await tf.ready();
  return { createSession: explained(file, 'TensorFlow.js', sessionsOfTfjs(tf)) };
}

/** A package that the working folder has. */
function installed<Module>(name: string): Module | undefined {
  const require = createRequire(join(process.cwd(), 'package.json'));
  try {
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

const missing = (name: string): Runtime => ({
  reason: `The outputs were not compared: for that, run npm install ${name} in this folder.`,
});

/** A runtime cannot load or run a model. */
export class RuntimeFailure extends Error {
  constructor(readonly reason: SparsifyError) {
    super(reason.message);
  }
}

/** Turns what a runtime throws into failures that say what it was asked to do. */
function explained(file: string, name: string, create: CreateSession): CreateSession {
  const tell = async <Result>(what: string, work: () => Promise<Result>, hint?: string): Promise<Result> => {
    try {
      return await work();
    } catch (cause) {
      throw new RuntimeFailure(failure(file, `${name} cannot ${what} the model`, cause, hint));
    }
  };
  return async (bytes, files) => {
    const session = await tell('load', () => create(bytes, files));
    const { inputMetadata } = session;
    // Runtimes do not tell scalars and inputs of unknown shape apart.
    const scalar = inputMetadata?.find(({ shape }) => shape?.length === 0)?.name;
    const hint = scalar && `If ${scalar} is no scalar, give its shape: --input ${scalar}:1,3,48,320`;
    return {
      inputMetadata,
      run: (inputs) => tell('run', () => session.run(inputs), hint),
      release: async () => session.release?.(),
    };
  };
}
