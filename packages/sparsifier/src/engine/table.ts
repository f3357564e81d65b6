import type { Recipe } from '../criteria.js';
import type { DataType } from '../tensor.js';

/** One stored axis, as the kernels see it. */
export interface Axis {
  readonly size: number;
  /** Whether it runs inside a unit. */
  readonly reduced: boolean;
  /** Its place in the canonical order. */
  readonly order: number;
}

/** A part of an input channel's number: position / stride % size x factor. */
export interface ChannelStep {
  readonly stride: number;
  readonly size: number;
  readonly factor: number;
}

/** Numbers in memory that weights are compared with: one for each, or one for each input channel where steps are given. */
export interface OtherNumbers {
  readonly address: number;
  readonly dtype: DataType;
  readonly length: number;
  readonly steps: readonly ChannelStep[];
}

/** What a record is written from. Addresses of 0 mean that there is none. */
export interface Entry {
  readonly weights: number;
  readonly dtype: DataType;
  readonly axes: readonly Axis[];
  readonly recipe: Recipe;
  readonly seed: number;
  /** The layer's position in the model, which random draws depend on. */
  readonly position: number;
  readonly scores: number;
  readonly earlier: number;
  readonly mask: number;
  readonly group: number;
  readonly limit: number;
  readonly other: OtherNumbers | undefined;
}

/** What the kernels wrote into a record. */
export interface Outcome {
  readonly removed: number;
  readonly settled: boolean;
  readonly zeros: number;
  readonly firstNotFinite: number | undefined;
}

// The words of a record, as in crates/wasm/src/table.rs.
const words = 48;
const maximumAxes = 8;
const word = {
  weights: 0,
  dataType: 1,
  axes: 2,
  sizes: 3,
  orders: 11,
  element: 19,
  reducer: 20,
  normalizer: 21,
  seed: 22,
  layer: 23,
  scores: 24,
  earlier: 25,
  mask: 26,
  group: 27,
  limit: 28,
  removed: 29,
  settled: 32,
  zeros: 33,
  firstNotFinite: 34,
  other: 35,
  otherType: 36,
  otherLength: 37,
  channelSteps: 38,
} as const;
const dataTypes: Readonly<Record<DataType, number>> = { float32: 0, float16: 1, bfloat16: 2 };
const reducedAxis = 1 << 8;
const none = 0xffff_ffff;

/** Bytes of one record. */
export const recordBytes = words * Uint32Array.BYTES_PER_ELEMENT;

export const weightsOf = (axes: readonly Axis[]): number => axes.reduce((product, { size }) => product * size, 1);
export const unitsOf = (axes: readonly Axis[]): number => weightsOf(axes.filter(({ reduced }) => !reduced));

/** For each unit in canonical order its number in stored order. */
export function storedUnits(axes: readonly Axis[]): number[] {
  const kept = axes
    .filter(({ reduced }) => !reduced)
    .map(({ size, order }, index, all) => ({
      size,
      order,
      stride: all.slice(index + 1).reduce((product, axis) => product * axis.size, 1),
    }));
  const canonical = [...kept].sort((a, b) => a.order - b.order);
  return canonical.reduce<number[]>(
    (units, { size, stride }) =>
      units.flatMap((unit) => Array.from({ length: size }, (_, index) => unit + index * stride)),
    [0],
  );
}

/** Bytes of a mask: one bit per unit, in whole words. */
export const maskBytes = (units: number): number => Math.ceil(units / 32) * 4;

/** Writes records. Words that the kernels fill are 0. */
export function encode(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const table = new Uint32Array(entries.length * words);
  entries.forEach((entry, index) => {
    if (entry.axes.length > maximumAxes) throw new RangeError(`a record has room for ${maximumAxes} axes`);
    const record = table.subarray(index * words, (index + 1) * words);
    record[word.weights] = entry.weights;
    record[word.dataType] = dataTypes[entry.dtype];
    record[word.axes] = entry.axes.length;
    entry.axes.forEach(({ size, reduced, order }, axis) => {
      record[word.sizes + axis] = size;
      record[word.orders + axis] = order | (reduced ? reducedAxis : 0);
    });
    record[word.element] = entry.recipe.element;
    record[word.reducer] = entry.recipe.reducer;
    record[word.normalizer] = entry.recipe.normalizer;
    record[word.seed] = entry.seed;
    record[word.layer] = entry.position;
    record[word.scores] = entry.scores;
    record[word.earlier] = entry.earlier;
    record[word.mask] = entry.mask;
    record[word.group] = entry.group;
    record[word.limit] = entry.limit;
    if (entry.other) {
      record[word.other] = entry.other.address;
      record[word.otherType] = dataTypes[entry.other.dtype];
      record[word.otherLength] = entry.other.length;
      record.set(
        entry.other.steps.flatMap(({ stride, size, factor }) => [stride, size, factor]),
        word.channelSteps,
      );
    }
  });
  return new Uint8Array(table.buffer);
}

/** Reads what the kernels wrote into records. */
export function decode(bytes: Uint8Array<ArrayBuffer>): Outcome[] {
  const table = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return Array.from({ length: table.length / words }, (_, index) => {
    const at = (place: number) => table[index * words + place]!;
    return {
      removed: at(word.removed),
      settled: at(word.settled) !== 0,
      zeros: at(word.zeros),
      firstNotFinite: at(word.firstNotFinite) === none ? undefined : at(word.firstNotFinite),
    };
  });
}
