/** How a manifest says that 32-bit floats are stored as whole numbers: a value is `code * scale + min`, in 64 bits. */
export interface Affine {
  readonly dtype: 'uint8' | 'uint16';
  readonly scale: number;
  readonly min: number;
}

export type Codes = Uint8Array | Uint16Array;

const highestOf = ({ dtype }: Pick<Affine, 'dtype'>): number => (dtype === 'uint8' ? 0xff : 0xffff);

/** The values of codes, each rounded to 32 bits once, as TensorFlow.js decodes them. */
export function decode(codes: Codes, { scale, min }: Affine, values: Float32Array): void {
  for (let index = 0; index < codes.length; index++) values[index] = codes[index]! * scale + min;
}

/** The code whose value is nearest to 0, the lower one of two. */
export function codeOfZero(affine: Affine): number {
  const { scale, min } = affine;
  const nearest = Math.ceil(-min / scale - 0.5);
  return Math.min(highestOf(affine), Math.max(0, nearest));
}

/** Whether the code of zero has the value +0. */
export const hasZero = (affine: Affine): boolean =>
  Object.is(Math.fround(codeOfZero(affine) * affine.scale + affine.min), 0);

/**
 * A quantisation in which one code is exactly 0. Where 0 lies between the codes' values, `min` alone moves, by half a step
 * at most, and all codes stay as they are; else the range is widened to 0.
 * @param lowest the lowest and the highest code that are in use
 */
export function withZero(affine: Affine, lowest: number, highest: number): Affine {
  const { dtype, scale, min } = affine;
  if (hasZero(affine)) return affine;
  const point = codeOfZero(affine);
  const isInside = -min / scale > -0.5 && -min / scale < highestOf(affine) + 0.5;
  // Subtracting from 0 keeps -0 out of the file. The product is rounded here as it is when codes become values.
  if (isInside && highest > lowest) return { dtype, scale, min: 0 - point * scale };
  const low = Math.min(0, lowest * scale + min);
  const high = Math.max(0, highest * scale + min);
  const step = (high - low) / highestOf(affine);
  return { dtype, scale: step, min: 0 - Math.round(-low / step) * step };
}

/**
 * Writes the codes of changed values. What kept its value keeps its code, where the scale is the same.
 * @param before how the codes are meant before, and `after` how they are meant then
 * @returns how many codes have the value 0 then
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
