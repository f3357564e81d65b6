import { attempt, SparsifyError } from '../errors.js';
import { readTfjs } from '../formats/tfjs/format.js';
import { sessionsOfTfjs, type CompareTf } from '../analysis/comparison/tfjs.js';
import { withClosed } from '../model/closing.js';
import { typeOf } from '../model/model.js';
import { aBoolean, optionsOf, type Shape } from '../options/check.js';
import { planShape, type PlanRemovalOptions, type RemoveChannelsOptions } from './options.js';
import { planRemoval, removeChannels } from './remove.js';
import type { RemovalReport } from './report.js';

/** What a model gives to a handler that saves it. */
interface Artifacts {
  readonly modelTopology?: unknown;
  readonly weightSpecs?: readonly object[];
  readonly weightData?: ArrayBuffer | readonly ArrayBuffer[];
}

/** The members of a `tf.LayersModel` that are used. */
export interface SavedModelLike {
  save(handler: never): Promise<unknown>;
}

/** The functions of TensorFlow.js that are used. */
export interface RemovalTf<Model> extends Omit<CompareTf, 'loadLayersModel'> {
  loadLayersModel(handler: never): Promise<Model>;
}

/** The options of {@link removeLiveChannels}. */
export interface RemoveLiveOptions extends PlanRemovalOptions, Pick<RemoveChannelsOptions, 'flushSubnormals'> {
  /** Whether both models are run on the same seeded inputs, on the backend that is set. False by default. */
  readonly verify?: boolean | undefined;
}

/** A live model without the channels that nothing needs. */
export interface LiveWithoutChannels<Model> {
  /** A model of its own, which is not compiled. */
  readonly model: Model;
  readonly report: RemovalReport;
}

const shape: Shape<RemoveLiveOptions> = { ...planShape, flushSubnormals: aBoolean, verify: aBoolean };

/**
 * Makes a `tf.LayersModel` without channels that nothing needs, as {@link planRemoval} and {@link removeChannels} do for files.
 * @param tf the TensorFlow.js module
 * @param model is not changed, and not disposed
 * @throws SparsifyError `usage` for anything but TensorFlow.js and a `tf.LayersModel`, and for wrong options; others as
 *   {@link removeChannels}
 */
export async function removeLiveChannels<Model extends SavedModelLike>(
  tf: RemovalTf<Model>,
  model: Model,
  options: RemoveLiveOptions = {},
): Promise<LiveWithoutChannels<Model>> {
  const { verify = false, flushSubnormals, ...planned } = optionsOf(options, shape);
  const { signal, onProgress } = planned;
  const { json, weights } = await savedFrom(tf, model);
  return withClosed(await readTfjs(json, { shards: () => weights }), async (read) => {
    const plan = await planRemoval(read, planned);
    const createSession = sessionsOfTfjs(tf as unknown as CompareTf);
    const { model: files, report } = await removeChannels(read, plan, {
      ...{ flushSubnormals, signal, onProgress },
      verify: verify ? { createSession } : undefined,
    });
    return withClosed(files, async (small) => ({ model: await loadedFrom(tf, await small.toFiles()), report }));
  });
}

const shard = 'weights.bin';

/** The files of a live model. */
async function savedFrom(
  tf: unknown,
  model: SavedModelLike,
): Promise<{ readonly json: Uint8Array<ArrayBuffer>; readonly weights: Uint8Array<ArrayBuffer> }> {
  const isKnown = attempt('the model', () => {
    const { io, loadLayersModel } = (tf ?? {}) as Partial<RemovalTf<unknown>>;
    const { save, layers } = (model ?? {}) as Partial<SavedModelLike> & { readonly layers?: unknown };
    return (
      typeof io?.fromMemory === 'function' &&
      typeof loadLayersModel === 'function' &&
      typeof save === 'function' &&
      Array.isArray(layers)
    );
  });
  if (!isKnown) {
    throw new SparsifyError('usage', 'the arguments must be TensorFlow.js itself and a tf.LayersModel', {
      found: typeOf(model),
      hint: 'Read the files of a GraphModel with `readTfjs`, and remove channels from that',
    });
  }
  let artifacts: Artifacts = {};
  const save = async (given: Artifacts) => {
    artifacts = given;
    return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
  };
  await model.save({ save } as never);
  const { modelTopology, weightSpecs = [], weightData } = artifacts;
  const parts = [weightData ?? []].flat() as ArrayBuffer[];
  const weightsManifest = [{ paths: [shard], weights: weightSpecs }];
  return {
    json: new TextEncoder().encode(JSON.stringify({ modelTopology, weightsManifest })),
    weights: new Uint8Array(await new Blob(parts).arrayBuffer()),
  };
}

/** The live model of files, the main one first. */
async function loadedFrom<Model>(
  tf: RemovalTf<Model>,
  files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
): Promise<Model> {
  const [[, main], ...further] = [...files] as [
    [string, Uint8Array<ArrayBuffer>],
    ...[string, Uint8Array<ArrayBuffer>][],
  ];
  const json = JSON.parse(new TextDecoder().decode(main)) as Readonly<Record<string, unknown>>;
  const [group] = json.weightsManifest as readonly [{ readonly weights: readonly object[] }];
  const handler = tf.io.fromMemory({
    modelTopology: json.modelTopology,
    weightSpecs: group.weights,
    weightData: await new Blob(further.map(([, bytes]) => bytes)).arrayBuffer(),
  } as never);
  return tf.loadLayersModel(handler as never);
}
