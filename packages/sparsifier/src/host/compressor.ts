import { SparsifyError } from '../errors.js';
import type { Thread } from './thread.js';

/** How bytes are compressed: as `gzip -9`, `brotli -q 11` or `brotli -q 5` do. */
export type Compression = 'gzip-9' | 'brotli-11' | 'brotli-5';

/** Counts the bytes that a compression makes of those that are added. */
export interface Counter {
  add(bytes: Uint8Array): Promise<void> | void;
  end(): Promise<number> | number;
}

/** The compressions of a host. @param bytes how many will be added */
export type Counters = Readonly<Record<Compression, (bytes: number) => Promise<Counter> | Counter>>;

type Request =
  | { readonly kind: 'begin'; readonly compression: Compression; readonly bytes: number }
  | { readonly kind: 'add'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' };

type Answer = { readonly size?: number } | { readonly error: string };

/** The other end: the thread that started this one. */
interface Parent {
  post(message: unknown): void;
  listen(receive: (message: unknown) => void): void;
}

/** What the thread of a {@link Compressor} does. */
export function serveCounters({ post, listen }: Parent, counters: Counters): void {
  let counter: Counter | undefined;
  const answer = async (request: Request): Promise<Answer> => {
    if (request.kind === 'begin') counter = await counters[request.compression](request.bytes);
    else if (request.kind === 'add') await counter!.add(request.bytes);
    else return { size: await counter!.end() };
    return {};
  };
  listen((message) => {
    answer(message as Request).then(post, (error: unknown) => post({ error: String(error) } satisfies Answer));
  });
}

/** The number of bytes that are copied to the thread at a time. */
const sliceBytes = 2 ** 16;

/** A thread that compresses, which never blocks the caller's. */
export class Compressor {
  readonly #thread: Thread;
  #pending: { resolve(answer: Answer): void; reject(error: unknown): void } | undefined;

  /** @param thread runs {@link serveCounters} */
  constructor(thread: Thread) {
    this.#thread = thread;
    thread.listen(
      (message) => {
        const answer = message as Answer;
        if ('error' in answer) this.#pending?.reject(failed(answer.error));
        else this.#pending?.resolve(answer);
      },
      (error) => this.#pending?.reject(failed(error)),
    );
  }

  /**
   * How many bytes there are once they are compressed.
   * @param bytes how many there are before
   * @param chunks may be views of shared memory
   * @param onBytes is told how many more bytes are done
   */
  async sizeOf(
    compression: Compression,
    bytes: number,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    { signal, onBytes }: { readonly signal?: AbortSignal | undefined; onBytes?(bytes: number): void } = {},
  ): Promise<number> {
    signal?.throwIfAborted();
    const abort = () => this.#pending?.reject(signal!.reason);
    signal?.addEventListener('abort', abort);
    try {
      await this.#ask({ kind: 'begin', compression, bytes });
      for await (const chunk of chunks) {
        for (let from = 0; from < chunk.length; from += sliceBytes) {
          const slice = new Uint8Array(chunk.subarray(from, from + sliceBytes));
          const { length } = slice;
          signal?.throwIfAborted();
          await this.#ask({ kind: 'add', bytes: slice }, slice.buffer);
          onBytes?.(length);
        }
      }
      const answer = await this.#ask({ kind: 'end' });
      return (answer as { readonly size: number }).size;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Ends the thread, whatever it does. */
  close(): void {
    this.#thread.terminate();
  }

  #ask(request: Request, ...transfer: ArrayBuffer[]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#thread.post(request, transfer);
    });
  }
}

const failed = (error: unknown): SparsifyError =>
  new SparsifyError(
    'file',
    'the files could not be compressed',
    {
      found: error instanceof Error ? error.message : String(error),
      hint: "With the development server of Vite, set optimizeDeps: { exclude: ['sparsifier', 'brotli-wasm'] } in vite.config",
    },
    { cause: error },
  );
