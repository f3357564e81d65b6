import { productOf } from '../model/numbers.js';

/**
 * Tells tables of fixed numbers from learned weights, by the numbers alone. A table is an arithmetic sequence along one
 * axis and constant along the others; or sines or cosines along one axis; or a mask. Numbers that are all equal are not
 * a table: so are weights that were never trained, or were removed.
 */

/** The numbers of a tensor in stored order. There may be fewer than the shape says: then they are the first ones. */
interface Numbers {
  readonly numbers: Float32Array;
  readonly shape: readonly number[];
}

/** How many numbers a line of sines has at least: three equations of neighbours, of which one only gives the frequency. */
export const lineLength = 5;

/** How many equations, without those that give a frequency, make a table of sines. In bfloat16 each is worth 4 bits. */
const fewestEquations = 6;

/** What table the numbers are; undefined for any other weight. */
export function tableIn(numbers: Float32Array, shape: readonly number[]): string | undefined {
  if (numbers.every((each) => each === numbers[0])) return undefined;
  const value = maskedValue(numbers);
  if (value !== undefined) return `a mask of 0 and ${value}`;
  const unit = roundoff(numbers);
  const sequence = shape.findIndex((_, axis) => isSequence({ numbers, shape }, axis, unit));
  if (sequence >= 0) return `an arithmetic sequence along axis ${sequence}`;
  const sines = shape.findIndex((_, axis) => areSines({ numbers, shape }, axis, unit));
  return sines >= 0 ? `sines or cosines along axis ${sines}` : undefined;
}

/** Whether numbers that begin so may be a mask or a sequence. */
export function mayContinue(numbers: Float32Array, shape: readonly number[]): boolean {
  const unit = roundoff(numbers);
  return beginsAsMask(numbers) || shape.some((_, axis) => beginsAsSequence({ numbers, shape }, axis, unit));
}

/** Whether the numbers of one line may be those of a sine: a line of a table of sines is, and so is one of zeros. */
export const mayBeSine = (line: Float32Array): boolean =>
  sine(line, roundoff(line), new Uint8Array(line.length).fill(1)) !== undefined;

/** How many neighbours in memory lie between two numbers that follow each other along an axis. */
export const strideOf = (shape: readonly number[], axis: number): number => productOf(shape.slice(axis + 1));

/**
 * The largest relative error of one rounding of these numbers: that of bfloat16 or float16 if all of them have no more
 * digits, since files often store them as 32-bit floats.
 */
function roundoff(numbers: Float32Array): number {
  const bits = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  let used = 0;
  // Nearly all others have more digits at once.
  for (let place = 0; place < bits.length && (used & 0x1fff) === 0; place++) used |= bits[place]!;
  return (used & 0xffff) === 0 ? 2 ** -8 : (used & 0x1fff) === 0 ? 2 ** -11 : 2 ** -24;
}

/** A number that removes what it is added to before a softmax. */
const masksBelow = -1e4;

const beginsAsMask = (numbers: Float32Array): boolean => {
  const value = numbers.find((each) => each !== 0) ?? 0;
  return (value === 0 || value <= masksBelow) && numbers.every((each) => each === 0 || each === value);
};

/** The value that a mask has besides 0, of numbers that are not all equal. */
const maskedValue = (numbers: Float32Array): number | undefined =>
  beginsAsMask(numbers) ? numbers.find((each) => each !== 0) : undefined;

/** Whether numbers are the same wherever they are along all axes but one. */
function isConstantAcross({ numbers, shape }: Numbers, axis: number): boolean {
  const [size, stride] = [shape[axis]!, strideOf(shape, axis)];
  for (let start = 0, place = 0; start < numbers.length; start += stride, place = (place + 1) % size) {
    const value = numbers[place * stride];
    const end = Math.min(start + stride, numbers.length);
    for (let at = start; at < end; at++) if (numbers[at] !== value) return false;
  }
  return true;
}

/** Two numbers are a sequence by themselves, so that the axis must have three. */
const shortestSequence = 3;

/** How many bits of evidence make a sequence: one random tensor in a million has them. */
const leastEvidence = 20;

function beginsAsSequence(given: Numbers, axis: number, unit: number): boolean {
  const { numbers, shape } = given;
  if (shape[axis]! < shortestSequence || !isConstantAcross(given, axis)) return false;
  const stride = strideOf(shape, axis);
  const last = Math.min(shape[axis]!, Math.ceil(numbers.length / stride)) - 1;
  for (let place = 1; place < last; place++) {
    const [before, here, after] = [-1, 0, 1].map((step) => numbers[(place + step) * stride]!) as [
      number,
      number,
      number,
    ];
    const error = 8 * unit * Math.max(Math.abs(before), Math.abs(after));
    if (!(Math.abs(before + after - 2 * here) <= error)) return false;
  }
  return true;
}

function isSequence(given: Numbers, axis: number, unit: number): boolean {
  const { numbers, shape } = given;
  if (!beginsAsSequence(given, axis, unit)) return false;
  const [size, stride] = [shape[axis]!, strideOf(shape, axis)];
  const [first, last] = [numbers[0]!, numbers[(size - 1) * stride]!];
  const error = 4 * unit * Math.max(Math.abs(first), Math.abs(last));
  // How unlikely it is that other numbers of the same range lie on this line. None do that are equal but for rounding.
  const bits = (numbers.length - 2) * Math.log2(Math.abs(last - first) / (2 * error));
  if (!(bits >= leastEvidence)) return false;
  for (let place = 0; place < size; place++) {
    const expected = first + ((last - first) * place) / (size - 1);
    if (!(Math.abs(numbers[place * stride]! - expected) <= error)) return false;
  }
  return true;
}

/**
 * Samples of a sine, of any frequency, phase and amplitude, are those x with x[k - 1] + x[k + 1] = c x[k] for a c that
 * is the same for all k, namely twice the cosine of the angle between two samples.
 * @param uses 1 for each place whose equation counts
 * @returns undefined if the line is not a sine; otherwise whether it oscillates so much that a straight line does not
 *   fit, too
 */
function sine(line: Float32Array, unit: number, uses: Uint8Array): boolean | undefined {
  let [product, square, largest] = [0, 0, 0];
  for (let place = 1; place + 1 < line.length; place++) {
    if (uses[place] === 0) continue;
    const [before, here, after] = [line[place - 1]!, line[place]!, line[place + 1]!];
    product += here * (before + after);
    square += here * here;
    largest = Math.max(largest, Math.abs(before), Math.abs(here), Math.abs(after));
  }
  if (largest === 0) return false;
  const factor = product / square;
  if (!(Math.abs(factor) <= 2 + 8 * unit)) return undefined;
  // The angle of the last position was itself rounded, as a 32-bit float.
  const angle = Math.acos(Math.max(-1, Math.min(1, factor / 2)));
  const error = 8 * unit + 4 * 2 ** -24 * angle * line.length;
  for (let place = 1; place + 1 < line.length; place++) {
    const rest = line[place - 1]! + line[place + 1]! - factor * line[place]!;
    if (uses[place] === 1 && !(Math.abs(rest) <= error * largest)) return undefined;
  }
  return 2 - factor >= 8 * error;
}

/** Where three neighbours along an axis count: an equation is 1 at the place of the one in the middle. */
function equationsOf({ numbers, shape }: Numbers, axis: number): Uint8Array {
  const [size, stride] = [shape[axis]!, strideOf(shape, axis)];
  // The row of a padding token is zero; whatever is beside it tells nothing.
  const isRow = new Uint8Array(size);
  for (let start = 0, place = 0; start < numbers.length; start += stride, place = (place + 1) % size) {
    for (let at = start; isRow[place] === 0 && at < start + stride; at++) if (numbers[at] !== 0) isRow[place] = 1;
  }
  return isRow.map((each, place) => each & (isRow[place - 1] ?? 0) & (isRow[place + 1] ?? 0));
}

/** Whether all lines along an axis are sines, and one of them oscillates. */
function areSines(given: Numbers, axis: number, unit: number): boolean {
  const { numbers, shape } = given;
  const size = shape[axis]!;
  if (size < lineLength) return false;
  const stride = strideOf(shape, axis);
  const uses = equationsOf(given, axis);
  const spare = uses.reduce((sum, each) => sum + each, 0) - 1;
  const line = new Float32Array(size);
  let oscillates = false;
  let equations = 0;
  for (let outer = 0; outer < numbers.length; outer += size * stride) {
    for (let inner = outer; inner < outer + stride; inner++) {
      for (let place = 0; place < size; place++) line[place] = numbers[inner + place * stride]!;
      const found = sine(line, unit, uses);
      if (found === undefined) return false;
      oscillates ||= found;
      if (line.some((each) => each !== 0)) equations += spare;
    }
  }
  return oscillates && equations >= fewestEquations;
}
