import type { ModelFiles } from '../formats/files.js';
import type { StoredValues } from '../formats/format.js';
import { sliceBytes } from '../formats/sources.js';
import type { Source } from '../host/host.js';
import { bytesOf } from '../model/model.js';

/** The bytes of values as they are stored in a streamed file. */
export async function storedBytes(
  { sources }: ModelFiles,
  { file, start, bytes }: StoredValues,
): Promise<Uint8Array<ArrayBuffer>> {
  const target = new Uint8Array(bytes);
  await sources.get(file)!.read(target, start);
  return target;
}

/** Concatenated runs of `length` consecutive numbers, one from each of `starts`, which count numbers. */
export async function runsOf(
  { sources }: ModelFiles,
  { file, start, dtype, coding }: StoredValues,
  starts: readonly number[],
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  // In streamed files all codes have the same width.
  const width = coding?.width ?? bytesOf[dtype];
  const stored = new Uint8Array(starts.length * length * width);
  const read = (run: number) =>
    sources
      .get(file)!
      .read(stored.subarray(run * length * width, (run + 1) * length * width), start + starts[run]! * width);
  // A few at a time, since each waits for the file.
  for (let run = 0; run < starts.length; run += 16)
    await Promise.all([...starts.keys()].slice(run, run + 16).map(read));
  if (!coding) return stored;
  const numbers = new Uint8Array(starts.length * length * bytesOf[dtype]);
  for (const [run, first] of starts.entries()) {
    const codes = stored.subarray(run * length * width, (run + 1) * length * width);
    numbers.set(await coding.decode(codes, undefined, first), run * length * bytesOf[dtype]);
  }
  return numbers;
}

/**
 * The bytes of a file in which some values are changed.
 * @param change is called when the bytes of values come next; returns the new bytes, or undefined to keep them
 */
export async function* changedChunks(
  source: Source,
  values: readonly StoredValues[],
  change: (values: StoredValues) => Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array> | undefined>,
): AsyncGenerator<Uint8Array> {
  let end = 0;
  // In no format do two tensors share bytes.
  for (const next of [...values].sort((first, second) => first.start - second.start)) {
    yield* copied(source, end, next.start);
    end = next.start + next.bytes;
    yield* (await change(next)) ?? copied(source, next.start, end);
  }
  yield* copied(source, end, source.size);
}

/** Bytes of a file, in a buffer that the next slice overwrites. */
async function* copied(source: Source, start: number, end: number): AsyncGenerator<Uint8Array> {
  const window = new Uint8Array(Math.min(sliceBytes, end - start));
  for (let at = start; at < end; at += sliceBytes) {
    const slice = window.subarray(0, Math.min(sliceBytes, end - at));
    await source.read(slice, at);
    yield slice;
  }
}

/** Bytes that are taken in several parts, as when one file is written to several. */
export class Parts {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest = new Uint8Array(0);
  #position = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The bytes from `start` to `end`, or to the end of the file. Each part begins where the one before it ended. */
  async *take(start: number, end: number): AsyncGenerator<Uint8Array> {
    if (start !== this.#position) throw new Error(`a part begins at ${start}, and not at ${this.#position}`);
    while (this.#position < end) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done) return;
        this.#rest = next.value as Uint8Array<ArrayBuffer>;
      }
      const chunk = this.#rest.subarray(0, end - this.#position);
      this.#rest = this.#rest.subarray(chunk.length);
      this.#position += chunk.length;
      yield chunk;
    }
  }
}
