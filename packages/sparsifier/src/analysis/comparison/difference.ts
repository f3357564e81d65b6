import { inSlices, stepsAtATime } from '../../host/slices.js';

/** One value for each of two models. */
export interface Pair {
  readonly a: number;
  readonly b: number;
}

/** How far the numbers of `b` are from those of `a`. */
export interface Difference {
  /** How many numbers were compared. */
  readonly numbers: number;
  /** How many of them differ. NaN does not differ from NaN, nor 0 from -0. */
  readonly changed: number;
  /** The largest |a - b|, of the numbers that are finite in both; undefined if the values are texts. */
  readonly maxDifference: number | undefined;
  /**
   * ||a - b|| / ||a||, of the numbers that are finite in both; undefined if `a` is zero everywhere and `b` is not, or if
   * the values are texts.
   */
  readonly relativeRms: number | undefined;
  readonly zeros: Pair;
  /** How many numbers are NaN or infinite. */
  readonly notFinite: Pair;
}

type Numbers = ArrayLike<number | bigint>;

/** Sums up the difference of numbers that come in several arrays. */
export class DifferenceSum {
  #numbers = 0;
  #changed = 0;
  #largest = 0;
  #squares = { a: 0, b: 0, both: 0, difference: 0 };
  #zeros = { a: 0, b: 0 };
  #notFinite = { a: 0, b: 0 };

  /** Adds two arrays of the same length. */
  async add(a: Numbers, b: Numbers): Promise<void> {
    await inSlices(a.length, (from, to) => this.#add(a, b, from, to), stepsAtATime);
  }

  #add(a: Numbers, b: Numbers, from: number, to: number): void {
    let [changed, largest, aa, bb, ab, dd] = [0, this.#largest, 0, 0, 0, 0];
    for (let index = from; index < to; index++) {
      // Integers of 64 bits are compared before they are rounded.
      if (!isSame(a[index]!, b[index]!)) changed++;
      const [x, y] = [Number(a[index]), Number(b[index])];
      if (x === 0) this.#zeros.a++;
      if (y === 0) this.#zeros.b++;
      const difference = Math.abs(x - y);
      // The difference of two finite numbers may be infinite.
      if (!Number.isFinite(difference) && !(Number.isFinite(x) && Number.isFinite(y))) {
        if (!Number.isFinite(x)) this.#notFinite.a++;
        if (!Number.isFinite(y)) this.#notFinite.b++;
        continue;
      }
      if (difference > largest) largest = difference;
      aa += x * x;
      bb += y * y;
      ab += x * y;
      dd += difference * difference;
    }
    this.#numbers += to - from;
    this.#changed += changed;
    this.#largest = largest;
    this.#squares.a += aa;
    this.#squares.b += bb;
    this.#squares.both += ab;
    this.#squares.difference += dd;
  }

  result(): Difference {
    const { a, difference } = this.#squares;
    return {
      numbers: this.#numbers,
      changed: this.#changed,
      maxDifference: this.#largest,
      relativeRms: difference === 0 ? 0 : a === 0 ? undefined : Math.sqrt(difference / a),
      zeros: { ...this.#zeros },
      notFinite: { ...this.#notFinite },
    };
  }

  /** The cosine of the angle between all numbers of `a` and of `b`; undefined if either are all zero. */
  cosine(): number | undefined {
    const { a, b, both, difference } = this.#squares;
    if (a === 0 || b === 0) return undefined;
    return difference === 0 ? 1 : both / (Math.sqrt(a) * Math.sqrt(b));
  }
}

/** Whether two values are equal. NaN is equal to NaN. */
export const isSame = (x: unknown, y: unknown): boolean =>
  x === y || (typeof x === 'number' && typeof y === 'number' && Number.isNaN(x) && Number.isNaN(y));
