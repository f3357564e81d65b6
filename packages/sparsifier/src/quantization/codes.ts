import { inSlices, stepsAtATime } from '../host/slices.js';
import { int4Block, type Form, type NewNumbers } from '../model/forms.js';
import type { WeightTensor } from '../model/model.js';
import { narrowedInSlices, widenedInSlices } from '../model/numbers.js';
import { eachRun, inStoredOrder, matrixOf, type WeightMatrix } from './matrix.js';
import { codeOf, codesAt, decoded, scalesByLeastSquares, scalesByRange, scalesOfTable, type Codes } from './scales.js';

/** What storing numbers in a form does to them. */
interface Loss {
  /** How many of them are 0 afterwards. */
  readonly zeros: number;
  /** How many are farther from 0 than the largest code, so that they are more than half a step off. */
  readonly clipped: number;
  /** The norm of the differences divided by the norm of the numbers; 0 if all of them are 0. */
  readonly error: number;
}

/** The weights of a layer in a form. */
export interface Stored {
  readonly numbers: NewNumbers;
  readonly loss: Loss;
  /** What the numbers then are, in stored order. */
  readonly values: Float32Array;
}

const codesOf: Readonly<Record<'int8' | 'int8-dynamic' | 'int4', Codes>> = {
  int8: { least: -127, most: 127 },
  'int8-dynamic': { least: -127, most: 127, areMultiplied: true },
  int4: { least: -8, most: 7, block: int4Block },
};

/**
 * Stores the weights of a layer in a form.
 * @param weights in stored order
 * @param importance how much the error of a weight counts: see {@link scalesByLeastSquares}
 */
export async function storedAs(
  form: Form,
  tensor: WeightTensor,
  weights: Float32Array,
  importance: Float64Array | undefined,
): Promise<Stored> {
  switch (form) {
    case 'int8':
    case 'int8-dynamic':
    case 'int4': {
      const matrix = await matrixOf(tensor, weights);
      const codes = codesOf[form];
      // Blocks of few codes gain from clipping whatever they are multiplied with. Smaller scales would have larger sums of codes.
      const isFitted = form === 'int4' || (form === 'int8' && importance !== undefined);
      const scales = await (isFitted
        ? scalesByLeastSquares(matrix, codes, importance)
        : tensor.kind === 'embedding' && tensor.onlyWeight === undefined
          ? scalesOfTable(matrix, codes)
          : scalesByRange(matrix, codes));
      const { found, values, loss } = await coded(matrix, codes, scales);
      return {
        numbers: { form, codes: await inStoredOrder(matrix, found, new Int8Array(found.length)), scales },
        values: await inStoredOrder(matrix, values, new Float32Array(found.length)),
        loss,
      };
    }
    case 'uint8':
    case 'uint16':
      return affine(form, weights);
    case 'float16':
    case 'bfloat16':
      return floats(form, weights);
  }
}

/** The codes of a matrix for these scales, and the weights that they stand for. */
async function coded(matrix: WeightMatrix, codes: Codes, scales: Float32Array) {
  const { columns, weights } = matrix;
  const found = new Int8Array(weights.length);
  const values = new Float32Array(weights.length);
  const sums = new Sums();
  const visit = (row: number, from: number, to: number, block: number) => {
    const scale = scales[block]!;
    const limits = codesAt(scale, codes);
    for (let place = row * columns + from; place < row * columns + to; place++) {
      const weight = weights[place]!;
      const code = codeOf(weight, scale, limits);
      const value = decoded(code, scale);
      found[place] = code;
      values[place] = value;
      sums.add(weight, value, Math.abs(weight / scale - code) > 0.5);
    }
  };
  await eachRun(matrix, visit, codes.block);
  return { found, values, loss: sums.loss };
}

/**
 * Codes with one scale and offset for all numbers, of which one code is 0. None is clipped, but where its nearest code stands
 * for an infinite number.
 */
async function affine(form: 'uint8' | 'uint16', numbers: Float32Array): Promise<Stored> {
  const most = form === 'uint8' ? 0xff : 0xffff;
  let [low, high] = [0, 0];
  await inSlices(
    numbers.length,
    (from, to) => {
      for (let index = from; index < to; index++) {
        low = Math.min(low, numbers[index]!);
        high = Math.max(high, numbers[index]!);
      }
    },
    stepsAtATime,
  );
  // The code of 0. Each side of it that has numbers has codes.
  const nearest = high > low ? Math.round((most * -low) / (high - low)) : 0;
  const zero = Math.min(Math.max(nearest, low < 0 ? 1 : 0), high > 0 ? most - 1 : most);
  const scale = Math.max(zero > 0 ? -low / zero : 0, zero < most ? high / (most - zero) : 0) || 1;
  const min = zero === 0 ? 0 : -(zero * scale);
  const valueOf = (code: number) => Math.fround(code * scale + min);
  let [first, last] = [0, most];
  while (!Number.isFinite(valueOf(first))) first++;
  while (!Number.isFinite(valueOf(last))) last--;
  const codes = form === 'uint8' ? new Uint8Array(numbers.length) : new Uint16Array(numbers.length);
  const values = new Float32Array(numbers.length);
  const sums = new Sums();
  await inSlices(
    numbers.length,
    (from, to) => {
      for (let index = from; index < to; index++) {
        const nearest = Math.min(Math.max(Math.round(numbers[index]! / scale) + zero, 0), most);
        const code = Math.min(Math.max(nearest, first), last);
        codes[index] = code;
        values[index] = valueOf(code);
        sums.add(numbers[index]!, values[index]!, code !== nearest);
      }
    },
    stepsAtATime,
  );
  return { numbers: { form, codes, scale, min }, values, loss: sums.loss };
}

/** The numbers with 16 bits each, little-endian. Those that are too large become infinite. */
export async function floats(form: 'float16' | 'bfloat16', numbers: Float32Array): Promise<Stored> {
  const bytes = await narrowedInSlices(numbers, form);
  const values = await widenedInSlices(bytes, form);
  const sums = new Sums();
  const add = (from: number, to: number) => {
    for (let index = from; index < to; index++) sums.add(numbers[index]!, values[index]!, false);
  };
  await inSlices(numbers.length, add, stepsAtATime);
  return { numbers: { form, numbers: bytes }, values, loss: sums.loss };
}

/** Adds up what is lost, in 64 bits. */
class Sums {
  #zeros = 0;
  #clipped = 0;
  #difference = 0;
  #whole = 0;

  add(before: number, after: number, isClipped: boolean): void {
    if (after === 0) this.#zeros++;
    if (isClipped) this.#clipped++;
    this.#difference += (before - after) * (before - after);
    this.#whole += before * before;
  }

  get loss(): Loss {
    const error = this.#whole > 0 ? Math.sqrt(this.#difference / this.#whole) : 0;
    return { zeros: this.#zeros, clipped: this.#clipped, error };
  }
}
