/** How many numbers are copied one by one, since a view of them would take longer. */
const shortRun = 32;

/** How many numbers are copied at a time to be looked at. */
const chunk = 4096;

/** The bits of the smallest normal number without its sign, which comes first. */
const normalBits = 2 ** 24;

const width = Float32Array.BYTES_PER_ELEMENT;

/**
 * The numbers of a constant: floats of 32 bits, little-endian, wherever they are. They are read in place, since files do not
 * align them, and a copy would be as large as the file. Constants that change apart from each other have objects of their own.
 */
export class Stored {
  readonly length: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Neighbours that are copied together. */
  #row = new Float32Array(0);

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
    const words = new Uint32Array(Math.min(chunk, this.length));
    let count = 0;
    for (let first = 0; first < this.length; first += chunk) {
      const length = Math.min(chunk, this.length - first);
      this.#copy(first, length, words);
      for (let place = 0; place < length; place++) {
        const bits = (words[place]! << 1) >>> 0;
        if (bits < normalBits && bits !== 0) count++;
      }
    }
    return count;
  }

  /** Whether neighbours are all 0. */
  areZeros(first: number, length: number): boolean {
    // Mostly the first few tell.
    for (let place = first; place < first + Math.min(length, shortRun); place++) if (!this.isZero(place)) return false;
    const words = new Uint32Array(Math.min(chunk, length));
    for (let from = shortRun; from < length; from += chunk) {
      const count = Math.min(chunk, length - from);
      this.#copy(first + from, count, words);
      let used = 0;
      for (let place = 0; place < count; place++) used |= words[place]!;
      // Without the sign.
      if (used << 1 !== 0) return false;
    }
    return true;
  }

  /** The bits of a number without its sign. They grow with its size, and those of NaN are the largest. */
  sizeBits(place: number): number {
    return this.#view.getUint32(place * width, true) & 0x7fffffff;
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

  /** Copies neighbours to the beginning of an array, in which they are aligned and fast to read. */
  #copy(first: number, length: number, { buffer }: ArrayBufferView): void {
    new Uint8Array(buffer).set(this.#bytes.subarray(first * width, (first + length) * width));
  }

  /**
   * Copies runs of neighbours behind each other to a place.
   * @param starts where each of them begins, from `first` on, in order
   */
  gather(first: number, starts: Int32Array, run: number, target: Float32Array, place: number): void {
    const length = starts.length === 0 ? 0 : starts.at(-1)! + run - starts[0]!;
    let at = place;
    if (run >= shortRun) {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      for (let index = 0; index < starts.length; index++, at += run) {
        const from = (first + starts[index]!) * width;
        bytes.set(this.#bytes.subarray(from, from + run * width), at * width);
      }
    } else if (length < shortRun) {
      for (let index = 0; index < starts.length; index++) {
        const from = first + starts[index]!;
        for (let next = from; next < from + run; next++) target[at++] = this.at(next);
      }
    } else {
      if (this.#row.length < length) this.#row = new Float32Array(length);
      const row = this.#row;
      this.#copy(first + starts[0]!, length, row);
      for (let index = 0; index < starts.length; index++) {
        const from = starts[index]! - starts[0]!;
        for (let next = from; next < from + run; next++) target[at++] = row[next]!;
      }
    }
  }
}
