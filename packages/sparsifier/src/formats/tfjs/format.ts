import { isObject } from '../../model/json.js';
import { loadEngine } from '../../engine/engine.js';
import { bytesOf, type DataType, type WeightTensor } from '../../model/model.js';
import { readAs, type FileModel } from '../file-model.js';
import { joined, type ModelFiles } from '../files.js';
import { StoredValues, type Contents, type Format } from '../format.js';
import type { Source } from '../../host/host.js';
import type { ChannelRemoval } from '../removal.js';
import type { ModelSource } from '../sources.js';
import { AffineCoding } from './coding.js';
import { describe, isGraph } from './describe.js';
import { lengthOf, mostIntegers, outputsIn, type PartnerWeight, type WeightEntry } from './description.js';
import { bytesOfWeight, parseModel, startsOf, type Group, type ManifestWeight } from './manifest.js';
import { anatomyOf } from './anatomy.js';
import { outputsOf } from './outputs.js';
import { codeOfZero, hasZero, type Affine } from './quantization.js';
import { signature, type ReadTfjsOptions } from './signature.js';
import { TfjsStorage } from './storing.js';

/**
 * TensorFlow.js: a model.json, or the bare manifest of old converters, and files with weights in the same folder. The
 * files of a group in the manifest are read as one file, since a weight may be split between two of them.
 */
export const tfjs: Format<ReadTfjsOptions> = { ...signature, open };

/**
 * Reads a TensorFlow.js model, a LayersModel or a GraphModel: its `model.json` and the files with its weights.
 * TensorFlow.js itself is not needed.
 * @param source the `model.json`: a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a
 *   URL.
 * @throws SparsifyError `file` if a file is missing or is outside the folder of the model; `format` if a file is
 *   incomplete or not part of such a model; `memory` if the model does not fit
 */
export const readTfjs = (source: ModelSource, options: ReadTfjsOptions = {}): Promise<FileModel> =>
  readAs(tfjs, source, options);

async function open(files: ModelFiles, { shards, keepScale = false }: ReadTfjsOptions): Promise<Contents> {
  const name = files.main.name ?? 'model.json';
  const model = parseModel(files.main, name, files.reading);
  const groups: OpenGroup[] = [];
  for (const [index, group] of model.groups.entries()) {
    groups.push(await openGroup(files, group, `group${index + 1}`, { shards, keepScale }));
  }
  const description = describe(
    model.topology,
    groups.flatMap(({ weights }) => weights),
    isObject(model.content) ? outputsIn(model.content) : undefined,
  );
  const values = new Map(groups.flatMap(({ values }) => values));
  const tensors = description.tensors.map(({ weight, partners, bias, ...tensor }): WeightTensor => {
    const own = values.get(weight)!;
    const storage = own.coding instanceof AffineCoding ? noteOf(own.coding.affine, keepScale) : undefined;
    return {
      ...tensor,
      values: own,
      partners: partners.map(({ part, weight, range }) => ({ part, values: within(values.get(weight)!, range) })),
      ...(bias && { bias: { values: values.get(bias.weight)!, sign: bias.sign } }),
      ...(storage ? { storage } : {}),
    };
  });
  const { topology } = model;
  const stored = { name, model, groups, values };
  return {
    tensors,
    skipped: description.skipped,
    weights: description.weights,
    // The constants of a graph may be anything, while the layers of a Keras config are learned.
    ...(isGraph(model.topology) ? {} : { learned: new Set(tensors) }),
    outputs: (path, current) => outputsOf(path, stored, current),
    storage: () => new TfjsStorage(stored, new Map(description.tensors.map(({ name, weight }) => [name, weight]))),
    anatomy: () => anatomyOf(model),
    ...(isObject(topology) && {
      // Loaded once it is needed.
      removal: (): ChannelRemoval => {
        const removal = async () => {
          const { removalIn } = await import('./structure/removal.js');
          return removalIn(
            stored,
            groups.flatMap(({ weights }) => weights),
            description,
          );
        };
        return {
          plan: async (request, current) => (await removal()).plan(request, current),
          channels: async (request, current) => (await removal()).channels(request, current),
        };
      },
    }),
  };
}

/** A group whose files are open as one, and where its floating-point weights are. */
interface OpenGroup {
  readonly name: string;
  readonly bytes: number;
  /** Where each weight begins. */
  readonly starts: readonly number[];
  readonly weights: readonly WeightEntry[];
  readonly values: readonly (readonly [weight: string, values: StoredValues])[];
}

/** These entries of a weight that is a plain array. */
function within(values: StoredValues, range: PartnerWeight['range']): StoredValues {
  if (range === undefined) return values;
  const { dtype, file, start } = values;
  return new StoredValues(dtype, range.count, file, start + range.start * bytesOf[dtype]);
}

async function openGroup(
  files: ModelFiles,
  group: Group,
  name: string,
  { shards, keepScale = false }: ReadTfjsOptions,
): Promise<OpenGroup> {
  const parts: Source[] = [];
  for (const path of group.paths) parts.push(await files.further(path, shards, 'shards'));
  const source = joined(parts);
  let content: Uint8Array | undefined;
  if (group.weights.some(({ dtype }) => dtype === 'string')) {
    // The length of strings is stored in the data itself, so the group must be held in memory.
    const block = await files.hold(await loadEngine(), name, source);
    content = block.view() ?? (await block.read(0, new Uint8Array(block.bytes)));
  } else files.add(name, source);
  const starts = startsOf(group, source.size, content);
  const integers = new Integers(source);
  const weights: WeightEntry[] = [];
  for (const [place, weight] of group.weights.entries()) {
    const isDivisible = weight.quantization === undefined || weight.quantization.dtype === 'float16';
    const isList = weight.dtype === 'int32' && isDivisible && lengthOf(weight) <= mostIntegers;
    const known = isList ? { integers: await integers.at(starts[place]!, lengthOf(weight)) } : {};
    weights.push({ ...weight, isDivisible, ...known });
  }
  const values = group.weights.flatMap((weight, place) => {
    const own = valuesOf(weight, name, starts[place]!, keepScale);
    return own ? [[weight.name, own] as const] : [];
  });
  return { name, bytes: source.size, starts, weights, values };
}

/** Short lists of integers in a file: shapes and axes, which the nodes of a graph read. */
class Integers {
  readonly #source: Source;
  #window = new DataView(new ArrayBuffer(0));
  #start = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  /** @param start the offset of the first one, which must not be less than that of an earlier call */
  async at(start: number, count: number): Promise<number[]> {
    if (start + 4 * count > this.#start + this.#window.byteLength) {
      const bytes = new Uint8Array(Math.min(2 ** 16, this.#source.size - start));
      await this.#source.read(bytes, start);
      this.#window = new DataView(bytes.buffer);
      this.#start = start;
    }
    return Array.from({ length: count }, (_, at) => this.#window.getInt32(start - this.#start + 4 * at, true));
  }
}

/** Where a weight is stored, if it is floating-point. */
function valuesOf(weight: ManifestWeight, file: string, start: number, keepScale: boolean): StoredValues | undefined {
  const { dtype, quantization } = weight;
  if (dtype !== 'float32' && dtype !== 'float16') return undefined;
  const affine = quantization?.dtype === 'float16' ? undefined : quantization;
  const isHalf = quantization?.dtype === 'float16' || (dtype === 'float16' && !affine);
  const type: DataType = isHalf ? 'float16' : 'float32';
  const coding = affine && new AffineCoding(affine, keepScale);
  return new StoredValues(type, lengthOf(weight), file, start, bytesOfWeight(weight), coding);
}

/** A note about what happens to quantised weights that have no code for zero. */
function noteOf(affine: Affine, keepScale: boolean): string | undefined {
  const { dtype, scale, min } = affine;
  if (hasZero(affine)) return undefined;
  return keepScale
    ? `its ${dtype} codes have no exact zero: removed weights become ${Math.fround(codeOfZero(affine) * scale + min)}`
    : `its ${dtype} codes get an exact zero: the other weights change by at most half a step of ${scale}`;
}
