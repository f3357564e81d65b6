import { dataTypes, infinityKey, maximumAxes, none, recordWords, word } from './codes.js';

/** How a number is stored, little-endian. */
export type DataType = 'float32' | 'float16' | 'bfloat16';

/** Bytes of one number. */
export const bytesOf: Readonly<Record<DataType, number>> = { float32: 4, float16: 2, bfloat16: 2 };

/** One stored axis, as the kernels see it. */
export interface Axis {
  readonly size: number;
  /** How many neighbours along it lie in one unit: 1 where the axis counts units, `size` where a unit spans it. */
  readonly block: number;
  /** Its place in the canonical order. */
  readonly order: number;
}

/** A part of an input channel's number: position / stride % size x factor. */
export interface ChannelStep {
  readonly stride: number;
  readonly size: number;
  readonly factor: number;
}

/** Numbers in memory that weights are compared with: one per weight, or one per input channel where steps are given. */
interface OtherNumbers {
  readonly address: number;
  readonly dtype: DataType;
  readonly length: number;
  readonly steps: readonly ChannelStep[];
}

/** How weights are scored, in the kernels' numbers. */
interface Scoring {
  readonly element: number;
  readonly reducer: number;
  readonly normalizer: number;
}

/** What a record is written from. An address of 0 means that there is none. */
export interface Entry {
  readonly weights: number;
  readonly dtype: DataType;
  readonly axes: readonly Axis[];
  readonly recipe: Scoring;
  readonly seed: number;
  /** The layer's position in the model, which random draws depend on. */
  readonly position: number;
  readonly scores: number;
  readonly earlier: number;
  readonly mask: number;
  readonly group: number;
  readonly limit: number;
  readonly other: OtherNumbers | undefined;
  /** For N:M: of every `of` units along an axis, `keep` are kept. */
  readonly pattern: { readonly keep: number; readonly of: number; readonly along: number } | undefined;
  /** Room for the numbers that `save` copies, or those that `restore` puts back, of the same type as the weights. */
  readonly saved: { readonly address: number; readonly length: number } | undefined;
  /** The cut, where it is already known. */
  readonly cut: Cut | undefined;
}

/** Where a ranking is cut: units below the key are removed, and of those with this key the ones below the bound. */
interface Cut {
  readonly key: number;
  readonly bound: number;
}

/** What the kernels wrote into a record. */
export interface Outcome {
  readonly removed: number;
  /** How many numbers `save` copied. */
  readonly saved: number;
  readonly settled: boolean;
  readonly cut: Cut;
  /** Whether a score is infinite or not a number, or may be, since not all of them were computed. */
  readonly mayBeInfinite: boolean;
  readonly zeros: number;
  readonly firstNotFinite: number | undefined;
  /** The sum of the squares of the numbers that `apply` or `remove` kept, and of those that it zeroed. */
  readonly squares: Squares;
}

/** Sums of squares of the numbers of a tensor, as they were before some of them became zero. */
export interface Squares {
  readonly kept: number;
  readonly removed: number;
  /** Whether any of the removed numbers was not zero. Their sum does not tell: squares of numbers below 1e-23 are 0. */
  readonly isChanged: boolean;
}

/** Bytes of one record. */
export const recordBytes = recordWords * Uint32Array.BYTES_PER_ELEMENT;

export const weightsOf = (axes: readonly Axis[]): number => axes.reduce((product, { size }) => product * size, 1);
export const unitsOf = (axes: readonly Axis[]): number =>
  axes.reduce((product, { size, block }) => product * Math.ceil(size / block), 1);

/** For each unit in canonical order its number in stored order. */
export function storedUnits(axes: readonly Axis[]): number[] {
  const steps = axes.map((axis, index) => ({
    order: axis.order,
    size: Math.ceil(axis.size / axis.block),
    stride: unitsOf(axes.slice(index + 1)),
  }));
  const canonical = steps.sort((a, b) => a.order - b.order);
  return canonical.reduce<number[]>(
    (units, { size, stride }) =>
      units.flatMap((unit) => Array.from({ length: size }, (_, index) => unit + index * stride)),
    [0],
  );
}

/** Bytes of a mask: one bit per unit, in whole words. */
export const maskBytes = (units: number): number => Math.ceil(units / 32) * 4;

/** Whether a mask keeps a unit. */
export const isKept = (mask: Uint8Array, unit: number): boolean => ((mask[unit >> 3]! >> (unit & 7)) & 1) === 1;

/** The entry of a tensor that is neither ranked nor masked, without its weights, type and axes. */
export const plainEntry = {
  recipe: { element: 0, reducer: 0, normalizer: 0 },
  seed: 0,
  position: 0,
  scores: 0,
  earlier: 0,
  mask: 0,
  group: 0,
  limit: 0,
  other: undefined,
  pattern: undefined,
  saved: undefined,
  cut: undefined,
} as const;

/** Writes records. Words that the kernels fill are 0. */
export function encode(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const table = new Uint32Array(entries.length * recordWords);
  entries.forEach((entry, index) => {
    if (entry.axes.length > maximumAxes) throw new RangeError(`a record has room for ${maximumAxes} axes`);
    const record = table.subarray(index * recordWords, (index + 1) * recordWords);
    record[word.weights] = entry.weights;
    record[word.dataType] = dataTypes[entry.dtype];
    record[word.axes] = entry.axes.length;
    entry.axes.forEach(({ size, block, order }, axis) => {
      record[word.sizes + axis] = size;
      record[word.orders + axis] = order;
      record[word.blocks + axis] = block;
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
    if (entry.pattern) {
      record[word.keep] = entry.pattern.keep;
      record[word.of] = entry.pattern.of;
      record[word.along] = entry.pattern.along;
    }
    if (entry.cut) {
      record[word.key] = entry.cut.key;
      record[word.bound] = entry.cut.bound;
    }
    if (entry.saved) {
      record[word.saved] = entry.saved.address;
      record[word.savedLength] = entry.saved.length;
    }
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: table.length / recordWords }, (_, index) => {
    const at = (place: number) => table[index * recordWords + place]!;
    const doubleAt = (place: number) => view.getFloat64((index * recordWords + place) * 4, true);
    return {
      removed: at(word.removed),
      saved: at(word.savedLength),
      settled: at(word.settled) !== 0,
      cut: { key: at(word.key), bound: at(word.bound) },
      mayBeInfinite: at(word.highest) >= infinityKey,
      zeros: at(word.zeros),
      firstNotFinite: at(word.firstNotFinite) === none ? undefined : at(word.firstNotFinite),
      squares: {
        kept: doubleAt(word.keptSquares),
        removed: doubleAt(word.removedSquares),
        isChanged: at(word.changed) !== 0,
      },
    };
  });
}
