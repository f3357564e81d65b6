import * as host from '#host';
import type { Block } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { OutputFile } from '../../host/host.js';
import { isFolder, slices } from '../sources.js';
import type { ModelJson } from './manifest.js';
import type { Affine } from './quantization.js';
import { isObject } from './description.js';

/** Files with weights are cut into parts of this many bytes, as converters do, which browsers fetch side by side. */
const shardBytes = 4 * 2 ** 20;

/** The bytes of a group of the manifest. */
export interface GroupBytes {
  readonly block: Block;
  readonly bytes: number;
  /** The paths of the files that they were read from. */
  readonly sourceFiles: readonly string[];
}

/** A file with weights that is written. */
export interface Shard {
  readonly name: string;
  readonly block: Block;
  readonly start: number;
  readonly end: number;
}

/** The files of each group, by the names that converters give. */
export function shardsOf(groups: readonly GroupBytes[]): Shard[][] {
  return groups.map(({ block, bytes }, group) => {
    const count = Math.max(1, Math.ceil(bytes / shardBytes));
    return Array.from({ length: count }, (_, shard) => ({
      name: `group${group + 1}-shard${shard + 1}of${count}.bin`,
      block,
      start: shard * shardBytes,
      end: Math.min(bytes, (shard + 1) * shardBytes),
    }));
  });
}

/** The text of a model.json with other files, and with other quantisations by the names of weights. */
export function modelJson(
  { content }: ModelJson,
  shards: readonly (readonly Shard[])[],
  changed: ReadonlyMap<string, Affine>,
): Uint8Array<ArrayBuffer> {
  const weightsManifest = (manifestIn(content) as Readonly<Record<string, unknown>>[]).map((group, place) => ({
    ...group,
    paths: shards[place]!.map(({ name }) => name),
    weights: (group.weights as Readonly<Record<string, unknown>>[]).map((weight) => {
      const affine = changed.get(weight.name as string);
      const { quantization } = weight as { readonly quantization?: object };
      return affine ? { ...weight, quantization: { ...quantization, scale: affine.scale, min: affine.min } } : weight;
    }),
  }));
  const text = JSON.stringify(Array.isArray(content) ? weightsManifest : { ...(content as object), weightsManifest });
  return new TextEncoder().encode(text);
}

const manifestIn = (content: unknown): unknown => (isObject(content) ? content.weightsManifest : content);

/**
 * What a model is written to: the JSON to a path, or into a folder under its own name, and the weights beside it.
 * @throws SparsifyError `usage` for a path that is neither
 */
export async function outputsOf(
  path: string,
  name: string,
  json: Uint8Array,
  shards: readonly Shard[],
): Promise<OutputFile[]> {
  const intoFolder = await isFolder(path);
  if (!intoFolder && !/\.json$/i.test(path)) {
    throw new SparsifyError('usage', 'a TensorFlow.js model is written into a folder or to a .json file', {
      asked: path,
      hint: 'Give a folder that exists, a path that ends with /, or one that ends with .json',
    });
  }
  const folder = intoFolder ? path : host.join(path, '..');
  return [
    { path: intoFolder ? host.join(path, name) : path, chunks: () => [json] },
    ...shards.map(({ name: shard, block, start, end }) => ({
      path: host.join(folder, shard),
      chunks: () => slices(block, start, end),
    })),
  ];
}
