import { eachRun, type WeightMatrix } from './matrix.js';

/** The codes of a form, and how many columns of a row share a scale. */
export interface Codes {
  readonly least: number;
  readonly most: number;
  /** Undefined if all of them do. */
  readonly block?: number;
}

/** The smallest scale: smaller numbers of 32 bits are rounded to 0 by some hardware. */
const leastScale = 2 ** -126;

const clamped = (code: number, { least, most }: Codes): number => Math.min(Math.max(code, least), most);

/** The code of the number nearest to a weight, as if there were codes for all numbers. */
export const unclamped = (weight: number, scale: number): number => Math.round(weight / scale);

/** A weight as a runtime computes it, in 32 bits. */
export const decoded = (code: number, scale: number): number => Math.fround(code * scale);

/** The scales by which the largest weight has the largest code, so that no weight is clipped. */
export async function scalesByRange(matrix: WeightMatrix, codes: Codes): Promise<Float32Array<ArrayBuffer>> {
  const peaks = await peaksOf(matrix, codes);
  return scalesOf(peaks, (peak) => Math.abs(peak) / codes.most);
}

/** How many scales are tried on either side, and the smallest of them in proportion to that by range. */
const [trials, leastShare] = [12, 0.64];

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
  const best = scalesOf(peaks, (peak) => Math.abs(peak) / codes.most);
  const errors = await errorsOf(matrix, codes, best, importance);
  for (let trial = 0; trial < trials; trial++) {
    const share = 1 - ((1 - leastShare) * trial) / (trials - 1);
    const starts = [(peak: number) => (share * Math.abs(peak)) / codes.most];
    // The code that is farthest from 0 is a negative one, so the scale has the other sign than the largest weight.
    if (-codes.least > codes.most) starts.push((peak) => (share * peak) / codes.least);
    for (const start of starts) {
      const scales = await refitted(matrix, codes, scalesOf(peaks, start), importance);
      const found = await errorsOf(matrix, codes, scales, importance);
      for (const [index, error] of found.entries()) {
        if (error >= errors[index]!) continue;
        [errors[index], best[index]] = [error, scales[index]!];
      }
    }
  }
  return best;
}

const scalesOf = (peaks: Float32Array, scale: (peak: number) => number): Float32Array<ArrayBuffer> =>
  Float32Array.from(peaks, (peak) => {
    const found = scale(peak);
    return Math.abs(found) >= leastScale ? found : leastScale;
  });

/** How many scales a matrix has. */
const countOf = ({ rows, columns }: WeightMatrix, { block = columns }: Codes): number =>
  rows * Math.ceil(columns / block);

/** The weights farthest from 0, one for each scale. */
async function peaksOf(matrix: WeightMatrix, codes: Codes): Promise<Float32Array> {
  const { columns, weights } = matrix;
  const peaks = new Float32Array(countOf(matrix, codes));
  const visit = (row: number, from: number, to: number, block: number) => {
    let peak = peaks[block]!;
    for (let place = row * columns + from; place < row * columns + to; place++) {
      if (Math.abs(weights[place]!) > Math.abs(peak)) peak = weights[place]!;
    }
    peaks[block] = peak;
  };
  await eachRun(matrix, visit, codes.block);
  return peaks;
}

/** The scales that fit best to the codes that these scales give. */
async function refitted(
  matrix: WeightMatrix,
  codes: Codes,
  scales: Float32Array,
  importance: Float64Array | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  const { columns, weights, firstInputs } = matrix;
  const [products, squares] = [new Float64Array(scales.length), new Float64Array(scales.length)];
  const visit = (row: number, from: number, to: number, block: number) => {
    const [first, input, scale] = [row * columns, firstInputs[row]!, scales[block]!];
    let [product, square] = [products[block]!, squares[block]!];
    for (let column = from; column < to; column++) {
      const weight = weights[first + column]!;
      const code = clamped(unclamped(weight, scale), codes);
      const weighted = importance === undefined ? code : code * importance[input + column]!;
      product += weighted * weight;
      square += weighted * code;
    }
    [products[block], squares[block]] = [product, square];
  };
  await eachRun(matrix, visit, codes.block);
  return scales.map((scale, block) => {
    const best = products[block]! / squares[block]!;
    return Math.abs(best) >= leastScale && Number.isFinite(best) ? best : scale;
  });
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
      const error = weight - decoded(clamped(unclamped(weight, scale), codes), scale);
      sum += error * error * (importance === undefined ? 1 : importance[input + column]!);
    }
    errors[block] = sum;
  };
  await eachRun(matrix, visit, codes.block);
  return errors;
}
