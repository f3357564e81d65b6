import { SparsifyError } from '../../errors.js';
import type { Coding, Encoded } from '../format.js';
import { broken, fields, WireType, type ModelFile, type Range } from './wire.js';

/** The types of numbers that can be changed, by their names in {@link Tensor}, with the bytes of one number. */
export const widths = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
} as const;
export type NumberType = keyof typeof widths;

/** The fields of `TensorProto` whose elements may not be contiguous, and the wire type of an unpacked element. */
export const floatData = { number: 4, type: WireType.Bit32 } as const;
const wholeNumberData = { number: 5, type: WireType.Varint } as const;

/** Calls `visit` with the byte range of each number of a `TensorProto` without `raw_data`. */
export function eachNumber(
  file: ModelFile,
  tensor: Range,
  type: NumberType,
  visit: (start: number, end: number) => void,
): void {
  const { bytes } = file;
  const { number, type: wire } = type === 'float32' ? floatData : wholeNumberData;
  for (const field of fields(file, tensor, 'tensor')) {
    if (field.number !== number || (field.type !== wire && field.type !== WireType.LengthDelimited)) continue;
    for (let start = field.start, end = start; start < field.end; start = end) {
      if (wire === WireType.Bit32) end += 4;
      else while (bytes[end++]! & 0x80);
      if (end > field.end) throw broken(file, 'tensor', start);
      visit(start, end);
    }
  }
}

/** Numbers that are not contiguous in the message of their tensor: each has its own tag, or is a varint. */
export class Scattered implements Coding {
  readonly width = undefined;
  readonly #type: NumberType;
  readonly #length: number;

  constructor(type: NumberType, length: number) {
    this.#type = type;
    this.#length = length;
  }

  decode(message: Uint8Array): Uint8Array<ArrayBuffer> {
    const width = widths[this.#type];
    const numbers = new Uint8Array(this.#length * width);
    const view = new DataView(numbers.buffer);
    let at = 0;
    this.#eachIn(message, (start, end) => {
      if (this.#type === 'float32') numbers.set(message.subarray(start, end), at);
      else put(view, at, width, readVarint(message, start, end));
      at += width;
    });
    return numbers;
  }

  /** Writes the changed numbers in place. No other byte changes, and no byte moves. */
  encode(numbers: Uint8Array, message: Uint8Array): Encoded {
    const width = widths[this.#type];
    const view = new DataView(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    const before = new DataView(new ArrayBuffer(4));
    const isSigned = this.#type.startsWith('int');
    let at = 0;
    this.#eachIn(message, (start, end) => {
      if (this.#type === 'float32') message.set(numbers.subarray(at, at + 4), start);
      else {
        put(before, 0, width, readVarint(message, start, end));
        const number = take(view, at, width, isSigned);
        if (number !== take(before, 0, width, isSigned)) writeVarint(message, start, end, number);
      }
      at += width;
    });
    return {};
  }

  #eachIn(message: Uint8Array, visit: (start: number, end: number) => void): void {
    eachNumber({ name: 'model', bytes: message }, { start: 0, end: message.length }, this.#type, visit);
  }
}

function put(view: DataView, at: number, width: number, number: number): void {
  if (width === 1) view.setUint8(at, number);
  else if (width === 2) view.setUint16(at, number, true);
  else view.setUint32(at, number, true);
}

function take(view: DataView, at: number, width: number, isSigned: boolean): number {
  if (width === 1) return isSigned ? view.getInt8(at) : view.getUint8(at);
  if (width === 2) return isSigned ? view.getInt16(at, true) : view.getUint16(at, true);
  return isSigned ? view.getInt32(at, true) : view.getUint32(at, true);
}

/** The lower 32 bits. */
function readVarint(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let at = start, shift = 0; at < end && shift < 32; at++, shift += 7) number |= (bytes[at]! & 0x7f) << shift;
  return number;
}

/** Writes a number in as many bytes as the old one took. Readers accept varints that are longer than necessary. */
function writeVarint(bytes: Uint8Array, start: number, end: number, number: number): void {
  const length = end - start;
  // Negative numbers have 64 bits.
  let rest = BigInt.asUintN(64, BigInt(number));
  if (rest >> BigInt(7 * length) !== 0n) {
    throw new SparsifyError('weights', 'the new number needs more bytes than the old one took in the file', {
      found: length,
    });
  }
  for (let at = start; at < end; at++, rest >>= 7n) {
    bytes[at] = Number(rest & 0x7fn) | (at < end - 1 ? 0x80 : 0);
  }
}
