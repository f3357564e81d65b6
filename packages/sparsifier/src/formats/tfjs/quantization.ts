/** How 32-bit floats are stored as integers: a value is `code * scale + min`, computed in 64 bits. */
export interface Affine {
  readonly dtype: 'uint8' | 'uint16';
  readonly scale: number;
  readonly min: number;
}

export type Codes = Uint8Array | Uint16Array;

const highestOf = ({ dtype }: Pick<Affine, 'dtype'>): number => (dtype === 'uint8' ? 0xff : 0xffff);

/** Decodes codes as TensorFlow.js does: each value is rounded to 32 bits once. */
export function decode(codes: Codes, { scale, min }: Affine, values: Float32Array): void {
  for (let index = 0; index < codes.length; index++) values[index] = codes[index]! * scale + min;
}

/** The code whose value is nearest to 0; the lower one if two are equally near. */
export function codeOfZero(affine: Affine): number {
  const { scale, min } = affine;
  const nearest = Math.ceil(-min / scale - 0.5);
  return Math.min(highestOf(affine), Math.max(0, nearest));
}

/** Whether the code of zero has the value +0. */
export const hasZero = (affine: Affine): boolean =>
  Object.is(Math.fround(codeOfZero(affine) * affine.scale + affine.min), 0);

/**
 * A quantisation in which one code is exactly 0. If 0 is within the range of values, only `min` changes, by at most
 * half a step, and the codes stay the same. Otherwise the range is extended to 0.
 * @param lowest the lowest code in use, and `highest` the highest
 */
export function withZero(affine: Affine, lowest: number, highest: number): Affine {
  const { dtype, scale, min } = affine;
  if (hasZero(affine)) return affine;
  const point = codeOfZero(affine);
  const isInside = -min / scale > -0.5 && -min / scale < highestOf(affine) + 0.5;
  // Subtracting from 0 avoids -0 in the file. The product is rounded here as it is in decoding.
  if (isInside && highest > lowest) return { dtype, scale, min: 0 - point * scale };
  const low = Math.min(0, lowest * scale + min);
  const high = Math.max(0, highest * scale + min);
  const step = (high - low) / highestOf(affine);
  return { dtype, scale: step, min: 0 - Math.round(-low / step) * step };
}

/**
 * Writes the codes of changed values. An unchanged value keeps its code if the scale is the same.
 * @param before the old meaning of the codes, and `after` the new one
 * @returns how many codes then have the value 0
 */
export function encode(values: Float32Array, codes: Codes, before: Affine, after: Affine): number {
  const zero = codeOfZero(after);
  const zeroCounts = hasZero(after);
  const keepsCodes = before.scale === after.scale;
  const highest = highestOf(after);
  let zeros = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    if (value === 0) codes[index] = zero;
    else if (!keepsCodes || Math.fround(codes[index]! * before.scale + before.min) !== value) {
      codes[index] = Math.min(highest, Math.max(0, Math.round((value - after.min) / after.scale)));
    }
    if (zeroCounts && codes[index] === zero) zeros++;
  }
  return zeros;
}
