import { bytesOf, type DataType } from './model.js';

/** The numbers in these little-endian bytes, as 32-bit floats. */
export function widened(bytes: Uint8Array, dtype: DataType): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers = new Float32Array(bytes.length / bytesOf[dtype]);
  for (let index = 0; index < numbers.length; index++) {
    if (dtype === 'float32') numbers[index] = view.getFloat32(index * 4, true);
    else if (dtype === 'float16') numbers[index] = float16(view.getUint16(index * 2, true));
    else numbers[index] = bfloat16(view.getUint16(index * 2, true));
  }
  return numbers;
}

/** The number that these 16 bits stand for (IEEE 754, binary16). */
export function float16(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const scratch = new DataView(new ArrayBuffer(4));

/** The number that these 16 bits stand for: the upper half of a 32-bit float. */
function bfloat16(bits: number): number {
  scratch.setUint32(0, bits * 2 ** 16);
  return scratch.getFloat32(0);
}

/** The sum of numbers, in their order; 0 for none. */
export const sumOf = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** The number of elements of these sizes; 1 for none. */
export const productOf = (sizes: readonly number[]): number => sizes.reduce((product, size) => product * size, 1);
