import { bytesOf, type DataType } from './model.js';

/** The numbers in these little-endian bytes, as 32-bit floats. */
export function widened(bytes: Uint8Array, dtype: DataType): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / bytesOf[dtype] }, (_, index) =>
    dtype === 'float32'
      ? view.getFloat32(index * 4, true)
      : dtype === 'float16'
        ? float16(view.getUint16(index * 2, true))
        : bfloat16(view.getUint16(index * 2, true)),
  );
}

/** The number that these 16 bits stand for (IEEE 754, binary16). */
export function float16(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const scratch = new DataView(new ArrayBuffer(4));

/** The number that these 16 bits stand for: the upper half of a 32-bit float. */
function bfloat16(bits: number): number {
  scratch.setUint32(0, bits * 2 ** 16);
  return scratch.getFloat32(0);
}
