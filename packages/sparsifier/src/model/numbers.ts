import { inSlices, stepsAtATime } from '../host/slices.js';
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

/** The same as {@link widened}, slice by slice. */
export async function widenedInSlices(bytes: Uint8Array, dtype: DataType): Promise<Float32Array<ArrayBuffer>> {
  const width = bytesOf[dtype];
  const numbers = new Float32Array(bytes.length / width);
  const widen = (from: number, to: number) =>
    numbers.set(widened(bytes.subarray(from * width, to * width), dtype), from);
  await inSlices(numbers.length, widen, stepsAtATime);
  return numbers;
}

/** These numbers with 16 bits each, little-endian, slice by slice. Those that are too large become infinite. */
export async function narrowedInSlices(
  numbers: Float32Array,
  dtype: keyof typeof narrow,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(2 * numbers.length);
  const view = new DataView(bytes.buffer);
  const narrowAll = (from: number, to: number) => {
    for (let index = from; index < to; index++) view.setUint16(2 * index, narrowed(numbers[index]!, dtype), true);
  };
  await inSlices(numbers.length, narrowAll, stepsAtATime >> 2);
  return bytes;
}

/** The index of the first number that is infinite or not a number, slice by slice; undefined if there is none. */
export async function firstNotFinite(numbers: Float32Array): Promise<number | undefined> {
  let found: number | undefined;
  const look = (from: number, to: number) => {
    for (let index = from; found === undefined && index < to; index++)
      if (!Number.isFinite(numbers[index])) found = index;
  };
  await inSlices(numbers.length, look, stepsAtATime);
  return found;
}

/** How many of these numbers are zero, slice by slice. */
export async function zerosIn(numbers: Float32Array): Promise<number> {
  let zeros = 0;
  const count = (from: number, to: number) => {
    for (let index = from; index < to; index++) if (numbers[index] === 0) zeros++;
  };
  await inSlices(numbers.length, count, stepsAtATime);
  return zeros;
}

/** The smallest normal float of 32 bits. Some hardware takes smaller ones for 0. */
export const leastNormal = 2 ** -126;

/** The largest float of 32 bits. */
export const largestFloat = 2 ** 128 - 2 ** 104;

/** The number that these 16 bits stand for (IEEE 754, binary16). */
export function float16(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Of the 16-bit types: the bits of the fraction, the least exponent, and infinity. */
const narrow = {
  float16: { fraction: 10, least: -14, infinity: 0x7c00 },
  bfloat16: { fraction: 7, least: -126, infinity: 0x7f80 },
} as const;

/** The bits of the 16-bit number nearest to this one, of two the even one. */
export function narrowed(number: number, dtype: keyof typeof narrow): number {
  const { fraction, least, infinity } = narrow[dtype];
  scratch.setFloat64(0, number);
  const sign = (scratch.getUint16(0) >> 15) << 15;
  if (Number.isNaN(number)) return infinity + 1;
  // Of an exponent that is less, numbers are as far apart as of the least one.
  const exponent = Math.max(((scratch.getUint16(0) >> 4) & 0x7ff) - 1023, least);
  const exact = Math.abs(number) * 2 ** (fraction - exponent);
  const below = Math.floor(exact);
  const isUp = exact - below > 0.5 || (exact - below === 0.5 && below % 2 === 1);
  // The leading 1 of the fraction counts as one exponent.
  return sign | Math.min((exponent - least) * 2 ** fraction + below + Number(isUp), infinity);
}

const scratch = new DataView(new ArrayBuffer(8));

/** The number that these 16 bits stand for: the upper half of a 32-bit float. */
export function bfloat16(bits: number): number {
  scratch.setUint32(0, bits * 2 ** 16);
  return scratch.getFloat32(0);
}

/** The sum of numbers, in their order; 0 for none. */
export const sumOf = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** The largest of numbers, which may be more than a call takes as arguments; `least` for none. */
export const largestOf = (numbers: Iterable<number>, least = -Infinity): number => {
  let largest = least;
  for (const number of numbers) largest = Math.max(largest, number);
  return largest;
};

/** Of many items, so many with the largest numbers, in the order that they have; of equal ones, the first. */
export function largestItems<Item>(
  items: readonly Item[],
  most: number,
  numberOf: (item: Item) => number,
): readonly Item[] {
  if (items.length <= most) return items;
  const numbers = items.map((item, index) => ({ index, number: numberOf(item) }));
  const chosen = numbers.sort((a, b) => b.number - a.number || a.index - b.index).slice(0, most);
  return chosen.sort((a, b) => a.index - b.index).map(({ index }) => items[index]!);
}

/** The number of elements of these sizes; 1 for none. */
export const productOf = (sizes: readonly number[]): number => sizes.reduce((product, size) => product * size, 1);

/** Whether two arrays have the same bytes. */
export async function areEqual(a: Uint8Array, b: Uint8Array): Promise<boolean> {
  let same = a.length === b.length;
  await inSlices(a.length, (from, to) => {
    for (let index = from; same && index < to; index++) same = a[index] === b[index];
  });
  return same;
}
