import { inSlices, stepsAtATime } from '../host/slices.js';
import { largestFloat, leastNormal } from '../model/numbers.js';
import { eachRun, type WeightMatrix } from './matrix.js';

/** The codes of a form, and how many columns of a row share a scale. */
export interface Codes {
  readonly least: number;
  readonly most: number;
  /** Undefined if all of them do. */
  readonly block?: number;
  /**
   * Whether a runtime multiplies the codes with inputs of 8 bits. x86 processors without VNNI add the products of columns 2k and
   * 2k + 1 in 16 bits (VPMADDUBSW), which saturate. An input is at most 255, so the two codes may add up to ±128.
   */
  readonly areMultiplied?: boolean;
}

/** Adding and subtracting it rounds smaller numbers of 64 bits to whole ones, of two that are as near to the even one. */
const rounding = 1.5 * 2 ** 52;

/** The code of the number nearest to a weight. */
export function codeOf(weight: number, scale: number, { least, most }: Codes): number {
  const exact = weight / scale;
  return exact >= most ? most : exact <= least ? least : exact + rounding - rounding;
}

/** A weight as a runtime computes it, in 32 bits. */
export const decoded = (code: number, scale: number): number => Math.fround(code * scale);

/**
 * The scales by which the largest weight has the largest code, so that no weight is clipped. Of codes that are multiplied, the
 * largest sum of two has it: rounding both adds at most 1.
 */
export async function scalesByRange(matrix: WeightMatrix, codes: Codes): Promise<Float32Array<ArrayBuffer>> {
  const peaks = await peaksOf(matrix, codes);
  return scalesOf(peaks, codes, (peak) => Math.abs(peak) / codes.most);
}

/** The relative error that the codes of a table may have, and how many times coarser than by range they may be. */
const [tableError, coarsest] = [0.04, 16];

/**
 * The scales of a table, of which a row is looked up. The rows are of similar size: with about one step for all of them they have
 * few codes in common use, which compress far better than those of scales by range. A step s gives a mean squared error of
 * s^2 / 12 (Bennett 1948, "Spectra of quantized signals"), so the step is the one whose error is {@link tableError} times the
 * root mean square of the table.
 */
export async function scalesOfTable(matrix: WeightMatrix, codes: Codes): Promise<Float32Array<ArrayBuffer>> {
  const scales = await scalesByRange(matrix, codes);
  let squares = 0;
  await eachRun(matrix, (row, from, to) => {
    for (let place = row * matrix.columns + from; place < row * matrix.columns + to; place++)
      squares += matrix.weights[place]! * matrix.weights[place]!;
  });
  const step = tableError * Math.sqrt((12 * squares) / matrix.weights.length);
  // The infinite step of squares that overflow leaves the scales as they are.
  if (!Number.isFinite(step)) return scales;
  await eachScale(scales, (index) => {
    const byRange = scales[index]!;
    scales[index] = Math.min(Math.max(byRange, step), coarsest * byRange);
  });
  return scales;
}

/** The scales that are tried, in proportion to those by range. */
const shares = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65];

/**
 * The scales of the least squared error. For scales between that by range and a smaller one that clips, the codes are
 * found, and for these codes the best scale. None is worse than that by range.
 * @param importance how much the error of a weight counts, one number for each column of the inputs of all groups; the
 *   same for all weights if undefined
 */
export async function scalesByLeastSquares(
  matrix: WeightMatrix,
  codes: Codes,
  importance: Float64Array | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  const peaks = await peaksOf(matrix, codes);
  const starts = shares.map((share) => (peak: number) => (share * Math.abs(peak)) / codes.most);
  // If the code that is farthest from 0 is a negative one, the scale may have the other sign than the largest weight.
  if (-codes.least > codes.most) starts.push(...shares.map((share) => (peak: number) => (share * peak) / codes.least));
  const range = await scalesOf(peaks, codes, starts[0]!);
  const best = range.slice();
  const explained = new Float64Array(best.length).fill(-Infinity);
  for (const start of starts) {
    const { products, squares } = await sumsOf(matrix, codes, await scalesOf(peaks, codes, start), importance);
    await eachScale(best, (index) => {
      const [product, square] = [products[index]!, squares[index]!];
      // For these codes this scale leaves the least error: all squares of the weights but these.
      const [scale, gain] = [product / square, (product * product) / square];
      if (!(gain > explained[index]!) || !(Math.abs(scale) >= leastNormal)) return;
      [explained[index], best[index]] = [gain, withinFloats(scale, codes)];
    });
  }
  const before = await errorsOf(matrix, codes, range, importance);
  const after = await errorsOf(matrix, codes, best, importance);
  await eachScale(best, (index) => {
    if (!(after[index]! < before[index]!)) best[index] = range[index]!;
  });
  return best;
}

/** Visits all scales, slice by slice: there may be millions. */
const eachScale = (scales: Float32Array, visit: (index: number) => void): Promise<void> =>
  inSlices(
    scales.length,
    (from, to) => {
      for (let index = from; index < to; index++) visit(index);
    },
    stepsAtATime,
  );

async function scalesOf(
  peaks: Float32Array,
  codes: Codes,
  scale: (peak: number) => number,
): Promise<Float32Array<ArrayBuffer>> {
  const scales = new Float32Array(peaks.length);
  await eachScale(peaks, (index) => {
    const found = scale(peaks[index]!);
    scales[index] = Math.abs(found) >= leastNormal ? withinFloats(found, codes) : leastNormal;
  });
  return scales;
}

/** The largest scale for which no code stands for an infinite number, once both are floats of 32 bits. */
const largestScale = ({ least, most }: Codes): number =>
  // Rounding such a quotient to 32 bits adds at most 2 ** -24 of it.
  Math.fround((largestFloat / Math.max(-least, most)) * (1 - 2 ** -23));

function withinFloats(scale: number, codes: Codes): number {
  const largest = largestScale(codes);
  return Math.min(Math.max(scale, -largest), largest);
}

/** The codes for a scale: of those that are multiplied only half where the scale of a sum would be too large. */
export const codesAt = (scale: number, codes: Codes): Codes =>
  codes.areMultiplied && scale >= largestScale(codes) ? { ...codes, least: -64, most: 64 } : codes;

/** How many scales a matrix has. */
const countOf = ({ rows, columns }: WeightMatrix, { block = columns }: Codes): number =>
  rows * Math.ceil(columns / block);

/** The weights farthest from 0, or sums of two that count as one, one for each scale. */
async function peaksOf(matrix: WeightMatrix, codes: Codes): Promise<Float32Array> {
  const { columns, weights } = matrix;
  const peaks = new Float32Array(countOf(matrix, codes));
  const visit = (row: number, from: number, to: number, block: number) => {
    const first = row * columns;
    let peak = peaks[block]!;
    for (let column = from; column < to; column++) {
      const weight = weights[first + column]!;
      if (Math.abs(weight) > Math.abs(peak)) peak = weight;
      if (!codes.areMultiplied || column % 2 === 0) continue;
      const sum = weights[first + column - 1]! + weight;
      if (Math.abs(sum) > Math.abs(peak)) peak = sum;
    }
    peaks[block] = peak;
  };
  await eachRun(matrix, visit, codes.block);
  return peaks;
}

/** For the codes of these scales: the sums of code x weight and of code x code, in proportion to their importance. */
async function sumsOf(
  matrix: WeightMatrix,
  codes: Codes,
  scales: Float32Array,
  importance: Float64Array | undefined,
): Promise<{ readonly products: Float64Array; readonly squares: Float64Array }> {
  const { columns, weights, firstInputs } = matrix;
  const [products, squares] = [new Float64Array(scales.length), new Float64Array(scales.length)];
  const visit = (row: number, from: number, to: number, block: number) => {
    const [first, input, scale] = [row * columns, firstInputs[row]!, scales[block]!];
    let [product, square] = [products[block]!, squares[block]!];
    for (let column = from; column < to; column++) {
      const weight = weights[first + column]!;
      const code = codeOf(weight, scale, codes);
      const weighted = importance === undefined ? code : code * importance[input + column]!;
      product += weighted * weight;
      square += weighted * code;
    }
    [products[block], squares[block]] = [product, square];
  };
  await eachRun(matrix, visit, codes.block);
  return { products, squares };
}

/** The sum of the squared errors of the weights of each scale, in proportion to their importance. */
async function errorsOf(
  matrix: WeightMatrix,
  codes: Codes,
  scales: Float32Array,
  importance: Float64Array | undefined,
): Promise<Float64Array> {
  const { columns, weights, firstInputs } = matrix;
  const errors = new Float64Array(scales.length);
  const visit = (row: number, from: number, to: number, block: number) => {
    const [first, input, scale] = [row * columns, firstInputs[row]!, scales[block]!];
    let sum = errors[block]!;
    for (let column = from; column < to; column++) {
      const weight = weights[first + column]!;
      const error = weight - decoded(codeOf(weight, scale, codes), scale);
      sum += error * error * (importance === undefined ? 1 : importance[input + column]!);
    }
    errors[block] = sum;
  };
  await eachRun(matrix, visit, codes.block);
  return errors;
}
