import * as host from '#host';
import { load, type Block, type Engine } from '../../engine/engine.js';
import { SparsifyError } from '../../errors.js';
import type { OutputFile, Source } from '../../host/host.js';
import { inSlices, stepsAtATime } from '../../host/slices.js';
import {
  bytesOf,
  type DataType,
  type Model,
  type Region,
  type Skipped,
  type Values,
  type WeightTensor,
} from '../../model/model.js';
import { abandoned, openFurther, pathsOf, readInto, type GiveFile, type ModelSource } from '../sources.js';
import { modelJson, outputsOf, shardsOf, type GroupBytes, type Shard } from './outputs.js';
import { describe } from './description.js';
import { lengthOf, parseModel, startsOf, type Group, type ModelJson } from './manifest.js';
import { codeOfZero, decode, encode, hasZero, withZero, type Affine, type Codes } from './quantization.js';

export interface ReadTfjsOptions {
  /** Gives a file with weights by its path in the manifest, in place of a file beside the model. */
  readonly shards?: GiveFile;
  /**
   * Leaves `scale` and `min` of quantised weights as they are: removed weights get the code whose value is nearest to 0. By
   * default weights are coded so that 0 is exact.
   */
  readonly keepScale?: boolean;
}

export interface WriteTfjsOptions {
  /** Replace files that exist. The files that the model was read from are never replaced. */
  readonly force?: boolean;
}

/**
 * Reads a TensorFlow.js model, a LayersModel or a GraphModel: its `model.json` and the files with weights beside it.
 * TensorFlow.js itself is not needed.
 * @param source of the `model.json`: a path or URL in Node; a URL, a Blob or bytes anywhere. A string in a page is a URL.
 * @throws SparsifyError `file` if a file is missing or lies outside the model's folder, `format` if a file is no whole
 *   part of such a model, `memory` if it does not fit
 */
export async function readTfjs(
  source: ModelSource,
  { shards, keepScale = false }: ReadTfjsOptions = {},
): Promise<TfjsModel> {
  const engine = await load();
  const opened = await host.open(source);
  const groups: GroupBytes[] = [];
  try {
    const name = opened.name ?? 'model.json';
    const bytes = new Uint8Array(opened.size);
    await opened.read(bytes, 0);
    const json = parseModel(bytes, name);
    const description = describe(
      json.topology,
      json.groups.flatMap(({ weights }) => weights),
    );
    const places = new Map<string, StoredValues>();
    for (const [index, group] of json.groups.entries()) {
      groups.push(await readGroup(engine, opened, group, shards));
      for (const values of await placed(group, groups[index]!, index)) places.set(values.weight, values);
    }
    const tensors = description.tensors.map(({ weight, partners, ...tensor }): WeightTensor => {
      const values = places.get(weight)!;
      const ownPartners = partners.map(({ part, weight }) => ({ part, values: places.get(weight)! }));
      const storage = values.affine && storageOf(values.affine, keepScale);
      return { ...tensor, values, partners: ownPartners, ...(storage ? { storage } : {}) };
    });
    return new TfjsModel({
      tensors,
      skipped: description.skipped,
      json,
      name,
      groups,
      keepScale,
      sourceFiles: [...pathsOf([opened]), ...groups.flatMap(({ sourceFiles }) => sourceFiles)],
    });
  } catch (error) {
    for (const { block } of groups) block.free();
    throw error;
  } finally {
    await opened.close();
  }
}

/** Reads the files of a group into one block. */
async function readGroup(
  engine: Engine,
  model: Source,
  { paths }: Group,
  shards: GiveFile | undefined,
): Promise<GroupBytes> {
  const files: Source[] = [];
  try {
    for (const path of paths) files.push(await openFurther(model, path, shards, 'shards'));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const block = await engine.allocate(bytes);
    try {
      let at = 0;
      for (const file of files) {
        await readInto(block, file, 0, file.size, at);
        at += file.size;
      }
    } catch (error) {
      block.free();
      throw error;
    }
    return { block, bytes, sourceFiles: pathsOf(files) };
  } finally {
    for (const file of files) await file.close();
  }
}

/** Numbers of a weight, and where they lie. */
class StoredValues implements Values {
  constructor(
    readonly dtype: DataType,
    readonly length: number,
    readonly weight: string,
    readonly group: number,
    /** The first byte in the group. */
    readonly start: number,
    /** Where 32-bit floats are stored as codes: how these were meant when they were read. */
    readonly affine: Affine | undefined,
  ) {}
}

/** The weights of a group that are floating point numbers. */
async function placed(group: Group, { block, bytes }: GroupBytes, index: number): Promise<StoredValues[]> {
  const hasStrings = group.weights.some(({ dtype }) => dtype === 'string');
  const content = hasStrings ? (block.view() ?? (await block.read(0, new Uint8Array(bytes)))) : undefined;
  const starts = startsOf(group, bytes, content);
  return group.weights.flatMap((weight, place) => {
    const { dtype, quantization } = weight;
    if (dtype !== 'float32' && dtype !== 'float16') return [];
    const affine = quantization?.dtype === 'float16' ? undefined : quantization;
    const type = quantization?.dtype === 'float16' || (dtype === 'float16' && !affine) ? 'float16' : 'float32';
    return [new StoredValues(type, lengthOf(weight), weight.name, index, starts[place]!, affine)];
  });
}

/** What becomes of quantised weights that have no code for zero, in words. */
function storageOf(affine: Affine, keepScale: boolean): string | undefined {
  const { dtype, scale, min } = affine;
  if (hasZero(affine)) return undefined;
  return keepScale
    ? `its ${dtype} codes have no exact zero: removed weights become ${Math.fround(codeOfZero(affine) * scale + min)}`
    : `its ${dtype} codes get an exact zero: weights that stay move by half a step of ${scale} at most`;
}

/**
 * A TensorFlow.js model in shared memory. Weights of 32 and 16 bits are changed in place there, quantised ones are decoded
 * for each call and coded again; every other byte and all of the JSON stay as they were, and the files are never changed.
 */
export class TfjsModel implements Model {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly sourceFiles: readonly string[];
  readonly #json: ModelJson;
  readonly #name: string;
  readonly #groups: readonly GroupBytes[];
  readonly #keepScale: boolean;
  /** How codes are meant now, where that was changed, by the names of weights. */
  readonly #changed = new Map<string, Affine>();
  #isClosed = false;

  /** @internal Use {@link readTfjs}. */
  constructor(parts: {
    readonly tensors: readonly WeightTensor[];
    readonly skipped: readonly Skipped[];
    readonly json: ModelJson;
    readonly name: string;
    readonly groups: readonly GroupBytes[];
    readonly keepScale: boolean;
    readonly sourceFiles: readonly string[];
  }) {
    this.tensors = parts.tensors;
    this.skipped = parts.skipped;
    this.sourceFiles = parts.sourceFiles;
    this.#json = parts.json;
    this.#name = parts.name;
    this.#groups = parts.groups;
    this.#keepScale = parts.keepScale;
    abandoned.register(this, this.#blocks(), this);
  }

  /** The numbers in place, or decoded in a scratch copy where they are quantised. */
  async load(engine: Engine, values: Values): Promise<Region> {
    const { dtype, length, start, affine } = stored(values);
    const block = this.#blockOf(values);
    const bytes = length * bytesOf[dtype];
    if (!affine) return { block, offset: start, bytes, release: block.retain() };
    const scratch = await engine.allocate(bytes);
    try {
      const decoded = await this.#decoded(values);
      await scratch.write(decoded);
    } catch (error) {
      scratch.free();
      throw error;
    }
    return { block: scratch, offset: 0, bytes, release: () => scratch.free() };
  }

  /**
   * Codes a scratch copy again; numbers in place need nothing.
   * @returns how many quantised numbers are zero then
   */
  async store(_engine: Engine, values: Values, { block: scratch, offset, bytes }: Region): Promise<number | undefined> {
    const { affine, weight, start } = stored(values);
    const block = this.#blockOf(values);
    if (!affine) return undefined;
    const numbers = new Float32Array((await scratch.read(offset, new Uint8Array(bytes))).buffer);
    const codes = await this.#codes(values);
    const before = this.#changed.get(weight) ?? affine;
    let [lowest, highest] = [Infinity, -Infinity];
    await inSlices(
      codes.length,
      (from, to) => {
        for (let place = from; place < to; place++) {
          lowest = Math.min(lowest, codes[place]!);
          highest = Math.max(highest, codes[place]!);
        }
      },
      stepsAtATime,
    );
    const after = this.#keepScale ? before : withZero(before, lowest, highest);
    let zeros = 0;
    const encodeSlice = (from: number, to: number) => {
      zeros += encode(numbers.subarray(from, to), codes.subarray(from, to), before, after);
    };
    await inSlices(codes.length, encodeSlice, stepsAtATime);
    await block.write(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength), start);
    if (after !== affine) this.#changed.set(weight, after);
    return zeros;
  }

  /** The numbers as they are now, decoded where they are quantised. */
  copy(values: Values): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const { dtype, length, start, affine } = stored(values);
    const block = this.#blockOf(values);
    if (affine) return this.#decoded(values);
    const bytes = length * bytesOf[dtype];
    return block.view(start, bytes)?.slice() ?? block.read(start, new Uint8Array(bytes));
  }

  /** Codes, and how they are meant. */
  async hold(values: Values): Promise<() => Promise<void>> {
    const { dtype, length, weight, start, affine } = stored(values);
    const block = this.#blockOf(values);
    const bytes = await block.read(start, new Uint8Array(length * (affine ? codeBytes(affine) : bytesOf[dtype])));
    const meaning = this.#changed.get(weight);
    return async () => {
      await block.write(bytes, start);
      if (meaning) this.#changed.set(weight, meaning);
      else this.#changed.delete(weight);
    };
  }

  /**
   * Writes the model into a folder (one that exists, or a path that ends with a separator), or its JSON to a path that ends
   * with `.json` and the weights beside it, in files of 4 MB as converters cut them. Node only.
   * @throws SparsifyError `file` if a file exists and `force` is not set, or if the model was read from it; `usage` for
   *   another path, or in a page
   */
  async write(path: string, { force = false }: WriteTfjsOptions = {}): Promise<void> {
    await host.writeFiles(await this.outputs(path), { force, sourceFiles: this.sourceFiles });
  }

  /** The files that {@link write} writes, with their bytes. */
  async outputs(path: string): Promise<OutputFile[]> {
    const shards = this.#shards();
    return outputsOf(path, this.#name, this.#text(shards), shards.flat());
  }

  /** The bytes of the `model.json` that names the {@link files}. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#text(this.#shards());
  }

  /** The bytes of the files with weights, by their names in the manifest. */
  async files(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const { name, block, start, end } of this.#shards().flat()) {
      files.set(name, await block.read(start, new Uint8Array(end - start)));
    }
    return files;
  }

  /** Gives the memory back; the model cannot be used afterwards. A second call does nothing. */
  close(): void {
    this.#isClosed = true;
    abandoned.unregister(this);
    for (const block of this.#blocks()) block.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #blocks(): Block[] {
    return this.#groups.map(({ block }) => block);
  }

  #open(): readonly GroupBytes[] {
    if (!this.#isClosed) return this.#groups;
    throw new SparsifyError('usage', 'the model is closed', { subject: this.#name });
  }

  #shards(): Shard[][] {
    return shardsOf(this.#open());
  }

  #text(shards: readonly (readonly Shard[])[]): Uint8Array<ArrayBuffer> {
    return modelJson(this.#json, shards, this.#changed);
  }

  #blockOf(values: Values): Block {
    const group = this.#open()[stored(values).group];
    if (group === undefined) throw new SparsifyError('usage', 'the values are those of another model');
    return group.block;
  }

  /** A copy of the codes of a quantised weight. */
  async #codes(values: Values): Promise<Codes> {
    const { length, start, affine } = stored(values);
    const bytes = new Uint8Array(length * codeBytes(affine!));
    await this.#blockOf(values).read(start, bytes);
    return affine!.dtype === 'uint8' ? bytes : new Uint16Array(bytes.buffer);
  }

  async #decoded(values: Values): Promise<Uint8Array<ArrayBuffer>> {
    const { length, weight, affine } = stored(values);
    const codes = await this.#codes(values);
    const numbers = new Float32Array(length);
    const now = this.#changed.get(weight) ?? affine!;
    const decodeSlice = (from: number, to: number) => decode(codes.subarray(from, to), now, numbers.subarray(from, to));
    await inSlices(length, decodeSlice, stepsAtATime);
    return new Uint8Array(numbers.buffer);
  }
}

const codeBytes = ({ dtype }: Affine): number => (dtype === 'uint8' ? 1 : 2);

/** The values of a tensor of a TensorFlow.js model, which know where they lie. */
function stored(values: Values): StoredValues {
  if (values instanceof StoredValues) return values;
  throw new SparsifyError('usage', 'the values are not those of a TensorFlow.js model');
}
