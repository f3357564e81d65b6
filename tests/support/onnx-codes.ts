// What quantised weights stand for, and what is left of them, in the most literal way and without the library.
import { concat } from './onnx-builder.js';

const arrays = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array };
export type CodeType = keyof typeof arrays;

/** Which number a code stands for: `(code - zero) * scale`. */
export interface Affine {
  readonly type: CodeType;
  readonly shape: readonly number[];
  readonly scales: readonly number[];
  readonly zeros: readonly number[];
  /** Which scale belongs to the code at these indices. */
  scaleOf(indices: readonly number[]): number;
}

/** Codes that are made up, all different where the type has enough of them. */
export function codesOf(type: CodeType, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const count = shape.reduce((product, size) => product * size, 1);
  const codes = arrays[type].from(Array.from({ length: count }, (_, index) => ((index + 1) * 89) % 251));
  return new Uint8Array(codes.buffer);
}

/**
 * The values of codes, and the codes without `percent` of the weights, the smallest first and equal ones in the order of
 * their axes `out`, `in`.
 */
export function naiveCodes(
  { type, shape, scales, zeros, scaleOf }: Affine,
  data: Uint8Array<ArrayBuffer>,
  percent = 0,
): { values: number[]; pruned: Uint8Array<ArrayBuffer>; zeros: number } {
  const codes = new arrays[type](data.slice().buffer);
  const indicesOf = (index: number) => {
    const indices: number[] = [];
    for (let axis = shape.length - 1, rest = index; axis >= 0; rest = Math.floor(rest / shape[axis--]!)) {
      indices.unshift(rest % shape[axis]!);
    }
    return indices;
  };
  const scaleAt = Array.from(codes, (_, index) => scaleOf(indicesOf(index)));
  const values = Array.from(codes, (code, index) =>
    // Scales are stored as 32-bit floats.
    Math.fround((code - zeros[scaleAt[index]!]!) * Math.fround(scales[scaleAt[index]!]!)),
  );
  const ranking = values.map((_, index) => index).sort((a, b) => Math.abs(values[a]!) - Math.abs(values[b]!));
  for (const index of ranking.slice(0, Math.round((percent * codes.length) / 100))) {
    codes[index] = zeros[scaleAt[index]!]!;
  }
  const left = Array.from(codes, (code, index) => code - zeros[scaleAt[index]!]!);
  return { values, pruned: new Uint8Array(codes.buffer), zeros: left.filter((value) => value === 0).length };
}

/** A file with some of its bytes replaced. @throws if they are not in the file exactly once */
export function keptBytes(file: Uint8Array, before: Uint8Array, after: Uint8Array): Uint8Array<ArrayBuffer> {
  const places = Array.from(file.keys()).filter((start) => before.every((byte, index) => file[start + index] === byte));
  if (places.length !== 1) throw new Error(`the bytes are in ${places.length} places`);
  return concat(file.subarray(0, places[0]), after, file.subarray(places[0]! + before.length));
}
