import { SparsifyError } from '../../errors.js';
import { bytesOf, type DataType } from '../../model/model.js';
import type { Coding, Encoded } from '../format.js';
import { broken, fields, WireType, type ModelFile, type Range } from './wire.js';

/** The fields of `TensorProto` whose elements may not be contiguous, and the wire type of an unpacked element. */
export const floatData = { number: 4, type: WireType.Bit32 } as const;
const wholeNumberData = { number: 5, type: WireType.Varint } as const;

/** Calls `visit` with the byte range of each number of a `TensorProto` without `raw_data`. */
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

/** Numbers that are not contiguous in the message of their tensor: each has its own tag, or is a varint. */
export class Scattered implements Coding {
  readonly width = undefined;
  readonly #dtype: DataType;
  readonly #length: number;

  constructor(dtype: DataType, length: number) {
    this.#dtype = dtype;
    this.#length = length;
  }

  decode(message: Uint8Array): Uint8Array<ArrayBuffer> {
    const numbers = new Uint8Array(this.#length * bytesOf[this.#dtype]);
    let at = 0;
    this.#eachIn(message, (start, end) => {
      if (this.#dtype === 'float32') numbers.set(message.subarray(start, end), at);
      else {
        const number = readVarint(message, start, end);
        numbers[at] = number;
        numbers[at + 1] = number >>> 8;
      }
      at += bytesOf[this.#dtype];
    });
    return numbers;
  }

  /** Writes the changed numbers in place. No other byte changes, and no byte moves. */
  encode(numbers: Uint8Array, message: Uint8Array): Encoded {
    let at = 0;
    this.#eachIn(message, (start, end) => {
      if (this.#dtype === 'float32') message.set(numbers.subarray(at, at + 4), start);
      else {
        const number = numbers[at]! | (numbers[at + 1]! << 8);
        if (number !== readVarint(message, start, end)) writeVarint(message, start, end, number);
      }
      at += bytesOf[this.#dtype];
    });
    return {};
  }

  #eachIn(message: Uint8Array, visit: (start: number, end: number) => void): void {
    eachNumber({ name: 'model', bytes: message }, { start: 0, end: message.length }, this.#dtype, visit);
  }
}

/** The lower 16 bits, which are the bits of the 16-bit float. */
function readVarint(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let at = start, shift = 0; at < end && shift < 16; at++, shift += 7) number |= (bytes[at]! & 0x7f) << shift;
  return number & 0xffff;
}

/** Writes a number in as many bytes as the old one took. Readers accept varints that are longer than necessary. */
function writeVarint(bytes: Uint8Array, start: number, end: number, number: number): void {
  const length = end - start;
  if (length < 3 && number >> (7 * length) !== 0) {
    throw new SparsifyError('weights', 'the new number needs more bytes than the old one took in the file', {
      found: length,
    });
  }
  for (let at = start, rest = number; at < end; at++, rest >>>= 7) {
    bytes[at] = (rest & 0x7f) | (at < end - 1 ? 0x80 : 0);
  }
}
