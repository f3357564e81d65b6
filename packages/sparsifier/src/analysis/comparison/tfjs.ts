import { attempt, SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import { typeOf } from '../../model/model.js';
import type { InputMetadata, SessionTensor } from './inputs.js';
import type { CompareSession, CreateSession } from './outputs.js';

/** The members of a `tf.Tensor` that are used. */
interface TensorLike {
  readonly shape: number[];
  readonly dtype: string;
  data(): Promise<unknown>;
  dispose(): void;
}

/** What a model says about an input or output. */
interface Slot {
  readonly name: string;
  readonly dtype?: string;
  readonly shape?: readonly (number | null)[];
}

/** The members of a symbolic tensor of a `tf.LayersModel` that are used. */
interface SymbolicTensorLike extends Slot {
  readonly sourceLayer: { readonly name: string };
}

/** The members of a `tf.GraphModel` that are used. */
interface GraphModelLike {
  readonly inputs: readonly Slot[];
  readonly outputs: readonly Slot[];
  execute(inputs: never, outputs: string[]): unknown;
  executeAsync(inputs: never, outputs: string[]): Promise<unknown>;
  dispose(): unknown;
}

/** The members of a `tf.LayersModel` that are used. */
interface LayersModelLike {
  readonly inputs: readonly SymbolicTensorLike[];
  readonly outputs: readonly SymbolicTensorLike[];
  predictOnBatch(inputs: never): unknown;
  dispose(): unknown;
}

/** The functions of TensorFlow.js that are used. */
export interface CompareTf {
  readonly io: { fromMemory(artifacts: never): unknown };
  loadGraphModel(handler: never): Promise<GraphModelLike>;
  loadLayersModel(handler: never): Promise<LayersModelLike>;
  tensor(values: never, shape: number[], dtype: never): TensorLike;
}

/**
 * For {@link compare}: sessions that run TensorFlow.js models, of either kind.
 * @param tf `@tensorflow/tfjs`, with a backend
 * @throws SparsifyError `format`, when a session is created, if the model.json contains weights and no network
 */
export const sessionsOfTfjs =
  (tf: CompareTf): CreateSession =>
  async (bytes, { externalData }) => {
    checkTf(tf);
    const json = parsed(bytes);
    if (!hasNetwork(json)) {
      throw new SparsifyError('format', 'the model.json contains weights and no network, so it cannot be run');
    }
    const { weightsManifest, ...rest } = json;
    const files = new Map(externalData.map(({ path, data }) => [path, data]));
    const parts = weightsManifest.flatMap(({ paths }) => paths.map((path) => files.get(path)!));
    const handler = tf.io.fromMemory({
      ...rest,
      weightSpecs: weightsManifest.flatMap(({ weights }) => weights),
      weightData: await new Blob(parts).arrayBuffer(),
    } as never) as never;
    return 'node' in json.modelTopology
      ? graphSession(tf, await tf.loadGraphModel(handler))
      : layersSession(tf, await tf.loadLayersModel(handler));
  };

/** @throws SparsifyError `usage` for another module than TensorFlow.js */
function checkTf(tf: CompareTf): void {
  const isTf = attempt('TensorFlow.js', () =>
    [tf?.io?.fromMemory, tf?.loadGraphModel, tf?.loadLayersModel].every((each) => typeof each === 'function'),
  );
  if (!isTf) throw new SparsifyError('usage', 'the argument must be TensorFlow.js itself', { found: typeOf(tf) });
}

/** @throws SparsifyError `format` for what is no JSON */
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new SparsifyError('format', 'the bytes are no model.json', { found: typeOf(bytes) }, { cause });
  }
}

interface ModelJson {
  readonly modelTopology: object;
  readonly weightsManifest: readonly { readonly paths: readonly string[]; readonly weights: readonly unknown[] }[];
}

/** Whether a model.json contains a network, and not only weights. */
export const hasNetwork = (json: unknown): json is ModelJson =>
  isObject(json) && isObject(json.modelTopology) && Array.isArray(json.weightsManifest);

function graphSession(tf: CompareTf, model: GraphModelLike): CompareSession {
  const names = model.outputs.map(({ name }) => name);
  const feeds = (tensors: readonly TensorLike[]) =>
    Object.fromEntries(model.inputs.map(({ name }, index) => [name, tensors[index]!])) as never;
  return session(tf, model, model.inputs, names, async (tensors) => {
    try {
      return model.execute(feeds(tensors), names);
    } catch {
      // Only this runs loops, conditions and operators whose outputs have any size.
      return model.executeAsync(feeds(tensors), names);
    }
  });
}

function layersSession(tf: CompareTf, model: LayersModelLike): CompareSession {
  const names = namesOf(model.inputs);
  const inputs = model.inputs.map(({ dtype, shape }, index) => ({
    name: names[index]!,
    ...(dtype && { dtype }),
    ...(shape && { shape }),
  }));
  const run = async (tensors: readonly TensorLike[]) => model.predictOnBatch([...tensors] as never);
  return session(tf, model, inputs, namesOf(model.outputs), run);
}

/**
 * The names of the layers that tensors come from, with a number if a layer has several: tensors are named anew each time
 * a model is loaded.
 */
function namesOf(tensors: readonly SymbolicTensorLike[]): string[] {
  const names = tensors.map(({ sourceLayer }) => sourceLayer.name);
  return names.map((name, index) => {
    const earlier = names.slice(0, index).filter((each) => each === name).length;
    return earlier === 0 ? name : `${name}:${earlier}`;
  });
}

function session(
  tf: CompareTf,
  model: { dispose(): unknown },
  inputs: readonly Slot[],
  names: readonly string[],
  run: (tensors: readonly TensorLike[]) => Promise<unknown>,
): CompareSession {
  return {
    inputMetadata: inputs.map(({ name, dtype = 'float32', shape = [] }): InputMetadata => ({
      name,
      isTensor: true,
      type: dtype,
      shape: shape.map((size) => size ?? -1),
    })),
    run: async (feeds) => {
      const tensors = inputs.map(({ name }) => {
        const { data, dims, type } = feeds[name]!;
        return tf.tensor(data as never, [...dims], type as never);
      });
      try {
        const results = await run(tensors);
        const outputs = (Array.isArray(results) ? results : [results]) as TensorLike[];
        try {
          const entries = await Promise.all(outputs.map(async (output, index) => [names[index]!, await read(output)]));
          return Object.fromEntries(entries) as Record<string, SessionTensor>;
        } finally {
          for (const output of outputs) output.dispose();
        }
      } finally {
        for (const tensor of tensors) tensor.dispose();
      }
    },
    release: async () => void model.dispose(),
  };
}

const read = async (tensor: TensorLike): Promise<SessionTensor> => ({
  type: tensor.dtype,
  dims: tensor.shape,
  data: await tensor.data(),
});
