// TensorFlow.js itself, and models as it stores them.
import * as tf from '@tensorflow/tfjs';
import { xorshift } from './layers.js';

export { tf };

// Layers draw their initial weights with Math.random. So each run of a file tests the same ones.
const next = xorshift(1);
Math.random = () => next() / 2 ** 32;

/** The files of a model: `model.json`, and others by their paths. */
export interface Files {
  readonly json: Record<string, unknown>;
  readonly shards: Map<string, Uint8Array>;
}

/** What TensorFlow.js gives of a weight: its own numbers, in its own type. */
export interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly quantization?: { readonly dtype: string; readonly scale?: number; readonly min?: number };
  readonly bytes: Uint8Array;
}

export const floats = (...numbers: number[]): Uint8Array => new Uint8Array(Float32Array.from(numbers).buffer);

/** A model of weights and a topology; the weights' bytes are cut into shards of `shardBytes`. */
export function filesOf(modelTopology: unknown, entries: readonly Entry[], shardBytes = Infinity): Files {
  const whole = Uint8Array.from(entries.flatMap(({ bytes }) => [...bytes]));
  const shards = new Map<string, Uint8Array>();
  const count = Math.max(1, Math.ceil(whole.length / shardBytes));
  for (let shard = 0; shard < count; shard++) {
    const name = `group1-shard${shard + 1}of${count}.bin`;
    shards.set(name, whole.slice(shard * shardBytes, Math.min(whole.length, (shard + 1) * shardBytes)));
  }
  const weights = entries.map(({ bytes: _, ...entry }) => entry);
  return { json: { modelTopology, weightsManifest: [{ paths: [...shards.keys()], weights }] }, shards };
}

/** A graph of nodes `[name, op, inputs, attributes]`, with a constant for each weight. */
export function graphOf(
  entries: readonly Entry[],
  nodes: readonly (readonly [name: string, op: string, input: readonly string[], attr?: object])[],
): object {
  return {
    node: [
      ...entries.map(({ name }) => ({ name, op: 'Const', attr: {} })),
      ...nodes.map(([name, op, input, attr = {}]) => ({ name, op, input, attr })),
    ],
  };
}

export const textOf = (content: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(content));
export const jsonOf = (bytes: Uint8Array): Record<string, never> =>
  JSON.parse(new TextDecoder().decode(bytes)) as never;

/** What stock TensorFlow.js makes of a model's files. */
export function handlerOf(json: Uint8Array, shards: ReadonlyMap<string, Uint8Array>): tf.io.IOHandler {
  const { weightsManifest, ...rest } = jsonOf(json) as unknown as Record<string, unknown> & {
    weightsManifest: { paths: string[]; weights: tf.io.WeightsManifestEntry[] }[];
  };
  const bytes = weightsManifest.flatMap(({ paths }) => paths.flatMap((path) => [...shards.get(path)!]));
  return {
    load: async () =>
      ({
        ...rest,
        weightSpecs: weightsManifest.flatMap(({ weights }) => weights),
        weightData: Uint8Array.from(bytes).buffer,
      }) as tf.io.ModelArtifacts,
  };
}

/** The files that `model.save` would write. */
export async function saved(model: tf.LayersModel): Promise<Files> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save({
    save: async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    },
  });
  const { modelTopology, weightSpecs, weightData } = artifacts!;
  const buffer = Array.isArray(weightData) ? weightData[0]! : weightData!;
  return {
    json: { format: 'layers-model', modelTopology, weightsManifest: [{ paths: ['w.bin'], weights: weightSpecs }] },
    shards: new Map([['w.bin', new Uint8Array(buffer)]]),
  };
}
