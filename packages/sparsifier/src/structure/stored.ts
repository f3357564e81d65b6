/** How many numbers are copied one by one, since a view of them would take longer. */
const shortRun = 32;

const width = Float32Array.BYTES_PER_ELEMENT;

/**
 * The numbers of a constant: floats of 32 bits, little-endian, wherever they are. They are read in place, since files do not
 * align them, and a copy would be as large as the file. Constants that change apart from each other have objects of their own.
 */
export class Stored {
  readonly length: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param bytes those of the numbers, at any place in memory */
  constructor(bytes: Uint8Array) {
    this.length = bytes.length / width;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The numbers of an array. */
  static of({ buffer, byteOffset, byteLength }: Float32Array): Stored {
    return new Stored(new Uint8Array(buffer, byteOffset, byteLength));
  }

  /** The same numbers, which change without these. */
  own(): Stored {
    return new Stored(this.#bytes);
  }

  at(place: number): number {
    return this.#view.getFloat32(place * width, true);
  }

  /** How many numbers are closer to 0 than any normal one, and not 0. */
  get subnormals(): number {
    let count = 0;
    for (let at = 0; at < this.#view.byteLength; at += width) {
      // Without the sign, which comes first.
      const bits = this.#view.getUint32(at, true) << 1;
      if (bits >>> 24 === 0 && bits !== 0) count++;
    }
    return count;
  }

  /** Whether a number is 0. Unlike a comparison of floats, this is also fast before it is compiled. */
  isZero(place: number): boolean {
    return this.#view.getInt32(place * width, true) << 1 === 0;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let place = 0; place < this.length; place++) yield this.at(place);
  }

  /** All numbers in memory of their own. */
  copy(): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#bytes.slice().buffer);
  }

  /**
   * Copies runs of neighbours behind each other to a place.
   * @param starts where each of them begins, from `first` on
   */
  gather(first: number, starts: Int32Array, run: number, target: Float32Array, place: number): void {
    let at = place;
    if (run < shortRun) {
      for (let index = 0; index < starts.length; index++) {
        const from = first + starts[index]!;
        for (let next = from; next < from + run; next++) target[at++] = this.at(next);
      }
      return;
    }
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    for (let index = 0; index < starts.length; index++, at += run) {
      const from = (first + starts[index]!) * width;
      bytes.set(this.#bytes.subarray(from, from + run * width), at * width);
    }
  }
}
