import * as host from '#host';
import { SparsifyError } from '../../errors.js';
import type { CurrentFiles, ModelOutput, StoredValues } from '../format.js';
import { isFolder } from '../sources.js';
import { isObject } from './description.js';
import type { ModelJson } from './manifest.js';
import type { Affine } from './quantization.js';

/** Files with weights are cut into parts of this many bytes, as converters do, which browsers fetch side by side. */
const shardBytes = 4 * 2 ** 20;

/** A file with weights that is written: a part of a group. */
interface Shard {
  readonly name: string;
  readonly group: string;
  readonly start: number;
  readonly end: number;
}

/** What is known of a model that is written. */
export interface Written {
  /** Of the model.json. */
  readonly name: string;
  readonly model: ModelJson;
  /** In the order of the manifest. */
  readonly groups: readonly { readonly name: string; readonly bytes: number }[];
  readonly values: ReadonlyMap<string, StoredValues>;
}

/**
 * What a model is written to: the JSON to a path, or into a folder under its own name, and the weights beside it.
 * @throws SparsifyError `usage` for a path that is neither
 */
export async function outputsOf(
  path: string | undefined,
  { name, model, groups, values }: Written,
  current: CurrentFiles,
): Promise<readonly ModelOutput[]> {
  const intoFolder = path !== undefined && (await isFolder(path));
  if (path !== undefined && !intoFolder && !/\.json$/i.test(path)) {
    throw new SparsifyError('usage', 'a TensorFlow.js model is written into a folder or to a .json file', {
      given: path,
      hint: 'Give a folder that exists, a path that ends with /, or one that ends with .json',
    });
  }
  const folder = path === undefined ? undefined : intoFolder ? path : host.join(path, '..');
  const inFolder = (file: string) => (folder === undefined ? file : host.join(folder, file));
  const shards = groups.map(shardsOf);
  // When it is asked for, since encoding the weights may change what it says of them.
  const json = () => [modelJson(model, shards, (weight) => current.meaning(values.get(weight)!) as Affine | undefined)];
  return [
    { path: path === undefined || intoFolder ? inFolder(name) : path, from: undefined, chunks: json },
    ...shards.flat().map((shard) => ({
      path: inFolder(shard.name),
      from: shard.group,
      chunks: () => current.chunks(shard.group, shard.start, shard.end),
    })),
  ];
}

/** The files of a group, by the names that converters give. */
function shardsOf({ name, bytes }: Written['groups'][number]): Shard[] {
  const count = Math.max(1, Math.ceil(bytes / shardBytes));
  return Array.from({ length: count }, (_, shard) => ({
    name: `${name}-shard${shard + 1}of${count}.bin`,
    group: name,
    start: shard * shardBytes,
    end: Math.min(bytes, (shard + 1) * shardBytes),
  }));
}

/**
 * The text of a model.json with other files.
 * @param meaningOf what the codes of a quantised weight mean since they were encoded
 */
function modelJson(
  { content }: ModelJson,
  groups: readonly (readonly Shard[])[],
  meaningOf: (weight: string) => Affine | undefined,
): Uint8Array {
  const weightsManifest = (manifestIn(content) as Readonly<Record<string, unknown>>[]).map((group, place) => ({
    ...group,
    paths: groups[place]!.map(({ name }) => name),
    weights: (group.weights as Readonly<Record<string, unknown>>[]).map((weight) => {
      const { quantization } = weight as { readonly quantization?: object };
      const affine = quantization && meaningOf(weight.name as string);
      return affine ? { ...weight, quantization: { ...quantization, scale: affine.scale, min: affine.min } } : weight;
    }),
  }));
  const text = JSON.stringify(Array.isArray(content) ? weightsManifest : { ...(content as object), weightsManifest });
  return new TextEncoder().encode(text);
}

const manifestIn = (content: unknown): unknown => (isObject(content) ? content.weightsManifest : content);
