import { inSlices, stepsAtATime } from '../../host/slices.js';
import type { Coding, Encoded } from '../format.js';
import { decode, encode, withZero, type Affine, type Codes } from './quantization.js';

/** 32-bit floats that are stored as integers. The meaning of the codes is an {@link Affine}. */
export class AffineCoding implements Coding {
  readonly width: number;
  /** What the codes mean in the file. */
  readonly affine: Affine;
  readonly #keepScale: boolean;

  /** @param keepScale whether the meaning must not change, even if no code is exactly zero */
  constructor(affine: Affine, keepScale: boolean) {
    this.width = affine.dtype === 'uint8' ? 1 : 2;
    this.affine = affine;
    this.#keepScale = keepScale;
  }

  async decode(stored: Uint8Array, meaning: unknown): Promise<Uint8Array<ArrayBuffer>> {
    const codes = this.#codesIn(stored);
    const numbers = new Float32Array(codes.length);
    const affine = this.#affine(meaning);
    const slice = (from: number, to: number) => decode(codes.subarray(from, to), affine, numbers.subarray(from, to));
    await inSlices(codes.length, slice, stepsAtATime);
    return new Uint8Array(numbers.buffer);
  }

  async encode(numbers: Uint8Array, stored: Uint8Array, meaning: unknown): Promise<Encoded> {
    const values = new Float32Array(numbers.buffer, numbers.byteOffset, numbers.length / 4);
    const codes = this.#codesIn(stored);
    const before = this.#affine(meaning);
    let [lowest, highest] = [Infinity, -Infinity];
    const measure = (from: number, to: number) => {
      for (let place = from; place < to; place++) {
        lowest = Math.min(lowest, codes[place]!);
        highest = Math.max(highest, codes[place]!);
      }
    };
    await inSlices(codes.length, measure, stepsAtATime);
    const after = this.#keepScale ? before : withZero(before, lowest, highest);
    let zeros = 0;
    const encodeSlice = (from: number, to: number) => {
      zeros += encode(values.subarray(from, to), codes.subarray(from, to), before, after);
    };
    await inSlices(codes.length, encodeSlice, stepsAtATime);
    if (codes.buffer !== stored.buffer) stored.set(new Uint8Array(codes.buffer));
    return { zeros, ...(after === this.affine ? {} : { meaning: after }) };
  }

  #affine(meaning: unknown): Affine {
    return (meaning as Affine | undefined) ?? this.affine;
  }

  /** The codes in place, or a copy of them if they are not aligned. */
  #codesIn(stored: Uint8Array): Codes {
    if (this.width === 1) return stored;
    const isAligned = stored.byteOffset % 2 === 0;
    const bytes = isAligned ? stored : stored.slice();
    return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  }
}
