import { bytesOf, type DataType } from '../../../model/model.js';
import { narrowed, productOf } from '../../../model/numbers.js';
import { stridesOf } from '../../../structure/numbers.js';
import type { Axis } from '../../../structure/coupling.js';
import type { Tensor } from '../../../structure/network.js';
import type { Carry } from '../../../structure/plan.js';
import { Stored } from '../../../structure/stored.js';
import type { Weights } from '../../../structure/weights.js';
import type { MadeBytes } from '../edits.js';
import type { Constant, Node } from '../graph.js';
import { isFloat } from '../types.js';
import type { Use } from './follow.js';
import { sizesAfter } from './lists.js';
import type { OnnxRemoval } from './remove.js';
import type { Cut } from './site.js';

/** The indices that stay along each axis; undefined where all do. */
export type Kept = readonly (readonly number[] | undefined)[];

/** What is done to the stored numbers of a constant that some inputs read. */
export class Cutting {
  readonly tensor: Tensor;
  readonly constant: Constant;
  readonly readers: { readonly node: Node; readonly input: number }[] = [];
  /** In float64, so that sums are rounded once. */
  readonly #changes: ((numbers: Float64Array) => void)[] = [];
  /** Of weights. They may be many, so that these are not changed in float64. */
  readonly #carries = new Map<Weights, Map<number, Carry[]>>();

  constructor({ tensor, constant }: Use) {
    this.tensor = tensor;
    this.constant = constant;
  }

  /** Changes the numbers before any of them go. */
  change(by: (numbers: Float64Array) => void): void {
    this.#changes.push(by);
  }

  /** Adds weights of channels that go to those of another one. */
  carry(carry: Carry): void {
    const { weights, to } = carry;
    let carries = this.#carries.get(weights);
    if (carries === undefined) this.#carries.set(weights, (carries = new Map()));
    const known = carries.get(to);
    if (known === undefined) carries.set(to, [carry]);
    else known.push(carry);
  }

  get isChanged(): boolean {
    return this.#changes.length > 0 || this.#carries.size > 0;
  }

  /** The numbers as they are stored. */
  get stored(): Stored {
    return this.tensor.view!.stored;
  }

  /** The numbers that stay. */
  numbers(kept: Kept): Float32Array<ArrayBuffer> {
    const { shape } = this.tensor;
    const numbers = gathered(this.#changed(), shape, kept);
    if (this.#carries.size === 0) return numbers;
    const placeIn = placesAfter(shape, kept);
    for (const [weights, carries] of this.#carries)
      for (const [to, sources] of carries) weights.carry(sources, to, numbers, placeIn);
    return numbers;
  }

  /** The numbers before any of them go. Weights that are carried are added to those that stay. */
  #changed(): Stored {
    if (this.#changes.length === 0) return this.stored;
    const numbers = new Float64Array(this.stored.copy());
    for (const change of this.#changes) change(numbers);
    return Stored.of(new Float32Array(numbers));
  }
}

/** What is done to each constant, by the tensors that stand for it. */
export function cuttingsOf({ followed, removal }: Pick<OnnxRemoval, 'followed' | 'removal'>): Map<Tensor, Cutting> {
  const cuttings = new Map<Tensor, Cutting>();
  for (const use of followed.uses) {
    if (use.tensor.view === undefined) continue;
    let cutting = cuttings.get(use.tensor);
    if (cutting === undefined) cuttings.set(use.tensor, (cutting = new Cutting(use)));
    cutting.readers.push(use);
  }
  const byNumbers = new Map([...cuttings.values()].map((cutting) => [cutting.tensor.view!.stored, cutting]));
  for (const carry of removal.carries) byNumbers.get(carry.weights.view.stored)!.carry(carry);
  return cuttings;
}

/** The numbers of a constant for those that read it in one way. Their bytes are made when they are written. */
export class Version implements MadeBytes {
  readonly shape: readonly number[];
  readonly kept: Kept;
  readonly isChanged: boolean;
  #subnormals: number | undefined;

  /** @param isFlushed whether subnormal numbers become 0 */
  constructor(
    readonly cutting: Cutting,
    cut: Cut,
    readonly isFlushed: boolean,
  ) {
    const { shape, axes } = cutting.tensor;
    this.kept = axes.map((axis) => (cut.sizeOf(axis) === axis.length ? undefined : indicesIn(axis, cut)));
    this.shape = sizesAfter(shape, axes, cut);
    const isCut = this.kept.some((each) => each !== undefined);
    this.isChanged = isCut || cutting.isChanged || (isFlushed && this.#subnormalsIn(cutting.stored) > 0);
  }

  get type(): string {
    return this.cutting.constant.tensor.type;
  }

  /** How many of its numbers are subnormal, unless they have become 0. */
  get subnormals(): number {
    return (this.#subnormals ??= this.#subnormalsIn(this.isChanged ? Stored.of(this.#numbers()) : this.cutting.stored));
  }

  /** How many bytes it has. */
  get length(): number {
    return productOf(this.shape) * bytesOf[this.type as DataType];
  }

  bytes(): Uint8Array {
    const numbers = this.#numbers();
    // They are not made once more to be counted.
    this.#subnormals ??= this.#subnormalsIn(Stored.of(numbers));
    return narrowedTo(numbers, this.type as DataType);
  }

  /** The numbers that stay. */
  #numbers(): Float32Array {
    const numbers = this.cutting.numbers(this.kept);
    if (this.isFlushed && this.type === 'float32') flush(numbers);
    return numbers;
  }

  #subnormalsIn(numbers: Stored): number {
    // Those of other types become normal numbers when they are computed with.
    return this.type === 'float32' ? numbers.subnormals : 0;
  }
}

/** A constant of which the file stores several versions, or another one. */
export interface StoredVersions {
  readonly constant: Constant;
  /** Each set is of those that are the same; one that is not changed comes first. */
  readonly sets: readonly (readonly [Version, ...Version[]])[];
}

/** The versions of each constant. */
export function storedOf(versions: readonly Version[]): StoredVersions[] {
  const byConstant = new Map<Constant, [Version, ...Version[]]>();
  for (const version of versions) {
    const { constant } = version.cutting;
    const known = byConstant.get(constant);
    if (known === undefined) byConstant.set(constant, [version]);
    else known.push(version);
  }
  // Those who read it unchanged keep it.
  return Array.from(byConstant, ([constant, all]) => ({
    constant,
    sets: (all.length === 1 ? [all] : alikeIn(all)).sort(
      ([one], [other]) => Number(one.isChanged) - Number(other.isChanged),
    ),
  }));
}

/** The versions of a constant in sets of those that are the same, in order. */
function alikeIn(versions: readonly Version[]): [Version, ...Version[]][] {
  const sets = new Map<string, [Version, ...Version[]]>();
  for (const version of versions) {
    const { isChanged, shape } = version;
    const key = isChanged ? `${shape.join()} ${textOf(version.bytes())}` : '';
    const known = sets.get(key);
    if (known === undefined) sets.set(key, [version]);
    else known.push(version);
  }
  return [...sets.values()];
}

/** Bytes as a text, by which they are found. */
function textOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Whether a constant counts among the parameters of a model: it consists of floats, and is no attribute of an operator. */
export const isParameter = ({ tensor, readers }: Constant): boolean =>
  isFloat(tensor.type) && readers.every(({ input }) => input >= 0);

/** The indices of an axis that stay. */
export function indicesIn(axis: Axis, cut: Cut): number[] {
  const indices: number[] = [];
  let count = 0;
  for (let index = 0; index < axis.length; index++) {
    const before = count;
    count = cut.countBefore(axis, index + 1);
    if (count > before) indices.push(index);
  }
  return indices;
}

/** A copy of the numbers that stay. */
export function gathered(numbers: Stored, shape: readonly number[], kept: Kept): Float32Array<ArrayBuffer> {
  // Neighbours along the last axes that stay whole are copied together.
  let depth = shape.length;
  while (depth > 0 && kept[depth - 1] === undefined) depth--;
  if (depth === 0) return numbers.copy();
  const strides = stridesOf(shape);
  const sizes = shape.map((size, axis) => kept[axis]?.length ?? size);
  const result = new Float32Array(productOf(sizes));
  const run = strides[depth - 1]!;
  const starts = Int32Array.from(kept[depth - 1]!, (index) => index * run);
  let at = 0;
  const visit = (axis: number, place: number) => {
    if (axis < depth - 1) {
      for (let index = 0; index < sizes[axis]!; index++) {
        visit(axis + 1, place + (kept[axis]?.[index] ?? index) * strides[axis]!);
      }
      return;
    }
    numbers.gather(place, starts, run, result, at);
    at += run * starts.length;
  };
  visit(0, 0);
  return result;
}

/** Where numbers are once indices have gone, by where they were: less than 0 for those that have gone, too. */
function placesAfter(shape: readonly number[], kept: Kept): (place: number) => number {
  const before = stridesOf(shape);
  const after = stridesOf(shape.map((size, axis) => kept[axis]?.length ?? size));
  const indices = shape.map((size, axis) => {
    const found = new Int32Array(size).fill(-1);
    for (const [place, index] of (kept[axis] ?? [...found.keys()]).entries()) found[index] = place * after[axis]!;
    return found;
  });
  return (place) => {
    let [rest, at] = [place, 0];
    for (let axis = 0; axis < shape.length; axis++) {
      const stride = before[axis]!;
      const index = Math.floor(rest / stride);
      rest -= index * stride;
      const part = indices[axis]![index]!;
      if (part < 0) return -1;
      at += part;
    }
    return at;
  };
}

/** The bytes of numbers in their type, little-endian. */
export function narrowedTo(numbers: Float32Array, type: DataType): Uint8Array {
  if (type === 'float32') return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  const bytes = new Uint8Array(numbers.length * bytesOf[type]);
  const view = new DataView(bytes.buffer);
  for (const [index, number] of numbers.entries()) view.setUint16(2 * index, narrowed(number, type), true);
  return bytes;
}

/** Makes numbers 0 that are closer to it than any normal one. */
function flush(numbers: Float32Array): void {
  for (let index = 0; index < numbers.length; index++) {
    if (numbers[index] !== 0 && Math.abs(numbers[index]!) < 2 ** -126) numbers[index] = 0;
  }
}
