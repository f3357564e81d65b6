import * as host from '#host';
import { isObject } from '../../model/json.js';
import { SparsifyError } from '../../errors.js';
import type { CurrentFiles, ModelOutput, StoredValues } from '../format.js';
import { isFolder } from '../sources.js';
import type { ManifestWeight, ModelJson } from './manifest.js';
import type { Affine } from './quantization.js';

/** Weights are split into files of this many bytes, as converters do, so that browsers can fetch them in parallel. */
const shardBytes = 4 * 2 ** 20;

/** An output file with weights: a part of a group. */
interface Shard {
  readonly name: string;
  readonly group: string;
  readonly start: number;
  readonly end: number;
}

/** A model to write. */
export interface Written {
  /** The name of the model.json. */
  readonly name: string;
  readonly model: ModelJson;
  /** In the order of the manifest. */
  readonly groups: readonly { readonly name: string; readonly bytes: number }[];
  readonly values: ReadonlyMap<string, StoredValues>;
  /** What the manifest has to say of weights that have changed. */
  readonly changed?: ReadonlyMap<string, ChangedWeight>;
}

/** What is new of a weight. */
export interface ChangedWeight {
  readonly shape?: readonly number[] | undefined;
  /** How its 32-bit floats are stored, in place of what the model says. */
  readonly form?: { readonly quantization: ManifestWeight['quantization'] } | undefined;
}

/**
 * The files that a model is written to. The JSON is written to a path that ends with `.json`, or into a folder under
 * its own name, and the weights to the same folder.
 * @throws SparsifyError `usage` for a path that is neither
 */
export async function outputsOf(
  path: string | undefined,
  written: Written,
  current: CurrentFiles,
): Promise<readonly ModelOutput[]> {
  const { name, groups } = written;
  const intoFolder = path !== undefined && (await isFolder(path));
  if (path !== undefined && !intoFolder && !/\.json$/i.test(path)) {
    throw new SparsifyError('usage', 'a TensorFlow.js model must be written to a folder or a .json file', {
      given: path,
      hint: 'Pass an existing folder, a path that ends with /, or one that ends with .json',
    });
  }
  const folder = path === undefined ? undefined : intoFolder ? path : host.join(path, '..');
  const inFolder = (file: string) => (folder === undefined ? file : host.join(folder, file));
  const shards = groups.map(shardsOf);
  // Generated only when requested, since encoding the weights may change their quantisation.
  const json = () => modelJson(written, shards, current);
  return [
    {
      path: path === undefined || intoFolder ? inFolder(name) : path,
      from: undefined,
      size: () => json().length,
      chunks: () => [json()],
    },
    ...shards.flat().map((shard) => ({
      path: inFolder(shard.name),
      from: shard.group,
      size: () => shard.end - shard.start,
      chunks: () => current.chunks(shard.group, shard.start, shard.end),
    })),
  ];
}

/** The files of a group, named as converters name them. */
function shardsOf({ name, bytes }: Written['groups'][number]): Shard[] {
  const count = Math.max(1, Math.ceil(bytes / shardBytes));
  return Array.from({ length: count }, (_, shard) => ({
    name: `${name}-shard${shard + 1}of${count}.bin`,
    group: name,
    start: shard * shardBytes,
    end: Math.min(bytes, (shard + 1) * shardBytes),
  }));
}

/** The text of the model.json with new paths and quantisation. */
function modelJson(
  { model: { content }, values, changed }: Written,
  groups: readonly (readonly Shard[])[],
  current: CurrentFiles,
): Uint8Array {
  const describe = (before: Readonly<Record<string, unknown>>): object => {
    const name = before.name as string;
    const { shape, form } = changed?.get(name) ?? {};
    const weight = shape ? { ...before, shape } : before;
    const { quantization, ...own } = weight as Readonly<Record<string, unknown>>;
    if (form !== undefined) {
      const type = 'float32';
      const stored = form.quantization;
      return { ...own, dtype: type, ...(stored && { quantization: { ...stored, original_dtype: type } }) };
    }
    // What the codes of a quantised weight mean since they were last encoded.
    const affine = quantization ? (current.meaning(values.get(name)!) as Affine | undefined) : undefined;
    if (!affine) return weight;
    return { ...weight, quantization: { ...(quantization as object), scale: affine.scale, min: affine.min } };
  };
  const weightsManifest = (manifestIn(content) as Readonly<Record<string, unknown>>[]).map((group, place) => ({
    ...group,
    paths: groups[place]!.map(({ name }) => name),
    weights: (group.weights as Readonly<Record<string, unknown>>[]).map(describe),
  }));
  const text = JSON.stringify(Array.isArray(content) ? weightsManifest : { ...(content as object), weightsManifest });
  return new TextEncoder().encode(text);
}

const manifestIn = (content: unknown): unknown => (isObject(content) ? content.weightsManifest : content);
