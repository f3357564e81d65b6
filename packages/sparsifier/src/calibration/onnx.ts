import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { joinedFiles } from '../formats/joined.js';
import { hasOwnData } from '../formats/onnx/external.js';
import { incomingIn, withOutputs } from '../formats/onnx/incoming.js';
import { isObject } from '../model/json.js';
import { checkModel, typeOf } from '../model/model.js';
import { float16 } from '../model/numbers.js';
import { inTurn } from '../model/turns.js';
import { givesBatches, type Batches } from './batches.js';
import { collect, measurableLayers } from './collect.js';
import { asGiven, optionsOf, type Shape } from '../options/check.js';
import { readable } from '../options/listener.js';
import { measureShape, type MeasureOptions } from './options.js';
import type { Activations, Probe } from './probe.js';
import type { Statistics } from './statistics.js';

/** What is used of a tensor of `onnxruntime`. */
export interface OnnxTensorLike {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
  dispose?(): void;
}

/** What is used of an `onnxruntime` session. */
export interface SessionLike<Feeds> {
  run(feeds: Feeds, names: readonly string[]): Promise<Readonly<Record<string, OnnxTensorLike>>>;
  release?(): Promise<void>;
}

/**
 * Further files of a model, as `onnxruntime` takes them: its external data. The main file is one of them if it has external
 * data itself.
 */
export interface SessionFiles {
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array<ArrayBuffer> }[];
}

/** What an ONNX model is run with. */
export interface SessionData<Feeds> {
  /**
   * Creates a session: `(bytes, files) => InferenceSession.create(bytes, files)`. `bytes` is a copy of the model with
   * further outputs, the inputs of its layers. The session is released afterwards.
   */
  readonly createSession: (bytes: Uint8Array<ArrayBuffer>, files: SessionFiles) => Promise<SessionLike<Feeds>>;
  /**
   * Returns inputs of the model, as `session.run` takes them. It is called for each pass over the data, and must return
   * the same batches each time.
   */
  readonly batches: () => Batches<Feeds>;
}

export interface CalibrateOptions<Feeds> extends SessionData<Feeds>, MeasureOptions {}

const calibrateShape: Shape<CalibrateOptions<never>> = { createSession: asGiven, batches: asGiven, ...measureShape };

/**
 * Statistics of the inputs of each layer of an ONNX model. The model is run on all batches, in as many passes as
 * `memory` requires; it is not changed.
 * @throws SparsifyError `criteria` if there is no batch, or an input of a layer is not finite or has another type than
 *   float32 and float16; `usage` for a model of another format, for wrong options, and if `batches` returns another
 *   number of batches later; `memory` if there is not enough memory; what the session and `batches` throw; the signal's
 *   reason if aborted
 */
export async function calibrate<Feeds>(model: FileModel, options: CalibrateOptions<Feeds>): Promise<Statistics> {
  checkModel(model);
  const { createSession, batches, ...rest } = optionsOf(options, calibrateShape as Shape<CalibrateOptions<Feeds>>);
  if (model.format !== 'ONNX') {
    throw new SparsifyError('usage', 'calibrate takes an ONNX model', { found: `${model.format ?? 'another'} model` });
  }
  if (typeof createSession !== 'function') throw wrongSession('is a function that makes a session', createSession);
  givesBatches(batches, '`batches`');
  // Sessions run on a copy, while other calls may change the model.
  const { probe, layers } = await inTurn(model, async () => {
    const probe = probeOfOnnx(await joinedFiles(await model.outputs()), createSession);
    return { probe, layers: await measurableLayers(model, probe) };
  });
  return collect(layers, probe, batches, rest);
}

const wrongSession = (what: string, found: unknown): SparsifyError =>
  new SparsifyError('usage', `\`createSession\` ${what}`, {
    found: typeOf(found),
    hint: 'Such as `(bytes, files) => InferenceSession.create(bytes, files)`',
  });

/** A model as sessions are made of it. */
export interface SessionModel {
  readonly format: string;
  /** Of its main file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly files: SessionFiles;
}

/**
 * @param format the name of the model's format
 * @param all its files by name, the main one first
 */
export function sessionModelOf(format: string, all: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): SessionModel {
  const [main, ...further] = Array.from(all, ([path, data]) => ({ path, data }));
  const { path: name, data: bytes } = main!;
  // Runtimes do not look for them in the bytes of the model.
  const isOwn = format === 'ONNX' && hasOwnData({ name, bytes });
  return { format, bytes, files: { externalData: isOwn ? [main!, ...further] : further } };
}

/**
 * A look inside an ONNX model.
 * @param files its files by name, the main one first
 */
export function probeOfOnnx<Feeds>(
  files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  createSession: SessionData<Feeds>['createSession'],
): Probe<Feeds> {
  const [[name, main]] = [...files] as [[string, Uint8Array<ArrayBuffer>]];
  const file = { name, bytes: main };
  const incoming = incomingIn(file);
  return {
    usesOf: ({ name }) => {
      const uses = incoming.get(name) ?? [];
      return uses.length > 0 ? uses : 'its input is not an activation';
    },
    open: async (values) => {
      // In the order of the files, the main one first.
      const changed = sessionModelOf('ONNX', new Map([...files, [name, withOutputs(file, values)]]));
      const session = await readable('`createSession`', createSession(changed.bytes, changed.files));
      if (typeof (session as Partial<SessionLike<Feeds>> | undefined)?.run !== 'function') {
        throw wrongSession('returns a session, or a promise of one', session);
      }
      return {
        run: (batch) => runFor(session, batch, values),
        release: async () => session.release?.(),
      };
    },
  };
}

/** Runs a session for these values only. Inputs of the model are no outputs of it: they are what the batch says. */
async function runFor<Feeds>(
  session: SessionLike<Feeds>,
  batch: Feeds,
  values: readonly string[],
): Promise<Activations> {
  const inputs = new Map(values.map((value) => [value, inputOf(batch, value)]));
  const wanted = values.filter((value) => inputs.get(value) === undefined);
  const outputs = wanted.length > 0 ? await session.run(batch, wanted) : {};
  return {
    get: (value) => {
      const tensor = inputs.get(value) ?? outputs[value];
      return tensor && { shape: tensor.dims, type: tensor.type, numbers: () => floatsOf(tensor) };
    },
    release: () => {
      for (const value of wanted) outputs[value]?.dispose?.();
    },
  };
}

function inputOf(batch: unknown, value: string): OnnxTensorLike | undefined {
  const found = isObject(batch) && Object.hasOwn(batch, value) ? batch[value] : undefined;
  return isObject(found) && Array.isArray(found.dims) ? (found as unknown as OnnxTensorLike) : undefined;
}

/** The numbers of a tensor; half precision comes as bits where JavaScript has no array for it. */
function floatsOf({ type, data }: OnnxTensorLike): Float32Array | undefined {
  if (type === 'float32') return data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>);
  if (type !== 'float16') return undefined;
  return data instanceof Uint16Array ? Float32Array.from(data, float16) : Float32Array.from(data as ArrayLike<number>);
}
