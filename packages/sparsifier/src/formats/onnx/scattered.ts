import { SparsifyError } from '../../errors.js';
import { bytesOf, type DataType } from '../../model/model.js';
import { broken, fields, WireType, type ModelFile, type Range } from './wire.js';

/** The fields of `TensorProto` whose elements may lie apart, and how one that is not packed is written. */
export const floatData = { number: 4, type: WireType.Bit32 } as const;
const wholeNumberData = { number: 5, type: WireType.Varint } as const;

/** Calls `visit` with the bytes of each number of a `TensorProto` that has no `raw_data`. */
export function eachNumber(
  file: ModelFile,
  tensor: Range,
  dtype: DataType,
  visit: (start: number, end: number) => void,
): void {
  const { bytes } = file;
  const { number, type } = dtype === 'float32' ? floatData : wholeNumberData;
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number !== number || (field.type !== type && field.type !== WireType.LengthDelimited)) continue;
    for (let start = field.start, end = start; start < field.end; start = end) {
      if (type === WireType.Bit32) end += 4;
      else while (bytes[end++]! & 0x80);
      if (end > field.end) throw broken(file, 'tensor', start);
      visit(start, end);
    }
  }
}

/** Copies the numbers of such a tensor to one array. */
export function gather(file: ModelFile, tensor: Range, dtype: DataType, target: Uint8Array): void {
  const { bytes } = file;
  let at = 0;
  eachNumber(file, tensor, dtype, (start, end) => {
    if (dtype === 'float32') target.set(bytes.subarray(start, end), at);
    else writeUint16(target, at, readVarint(bytes, start, end));
    at += bytesOf[dtype];
  });
}

/** Puts the numbers that changed back to where they came from; no other byte is touched, and no byte moves. */
export function scatter(file: ModelFile, tensor: Range, dtype: DataType, source: Uint8Array): void {
  const { bytes } = file;
  let at = 0;
  eachNumber(file, tensor, dtype, (start, end) => {
    if (dtype === 'float32') bytes.set(source.subarray(at, at + 4), start);
    else {
      const number = source[at]! | (source[at + 1]! << 8);
      if (number !== readVarint(bytes, start, end)) writeVarint(bytes, start, end, number);
    }
    at += bytesOf[dtype];
  });
}

function writeUint16(target: Uint8Array, at: number, number: number): void {
  target[at] = number;
  target[at + 1] = number >>> 8;
}

/** The lower 16 bits, which are those of the half-precision number. */
function readVarint(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let at = start, shift = 0; at < end && shift < 16; at++, shift += 7) number |= (bytes[at]! & 0x7f) << shift;
  return number & 0xffff;
}

/** Writes a number in as many bytes as the one before it took: readers accept varints that are longer than needed. */
function writeVarint(bytes: Uint8Array, start: number, end: number, number: number): void {
  const length = end - start;
  if (length < 3 && number >> (7 * length) !== 0) {
    throw new SparsifyError('weights', 'the new number takes more bytes than the file has for it', { found: length });
  }
  for (let at = start, rest = number; at < end; at++, rest >>>= 7) {
    bytes[at] = (rest & 0x7f) | (at < end - 1 ? 0x80 : 0);
  }
}
