import loadBrotli from 'brotli-wasm';
import { serveCounters, type Counter } from './compressor.js';
import { gzip } from './gzip.js';

/** The members of a dedicated worker's global scope that a page's does not have. */
const scope = globalThis as unknown as {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
};

/** The number of bytes that come out at a time. */
const outputBytes = 2 ** 20;

/** brotli-wasm always has a window of 2^22 bytes: sizes differ a little from those of the command. */
async function brotli(quality: number): Promise<Counter> {
  const { BrotliStreamResultCode, CompressStream } = await loadBrotli;
  const stream = new CompressStream(quality);
  let size = 0;
  const next = (input: Uint8Array | undefined) => {
    const result = stream.compress(input, outputBytes);
    const { code, input_offset: read } = result;
    size += result.buf.length;
    result.free();
    return { isFull: code === BrotliStreamResultCode.NeedsMoreOutput, read };
  };
  return {
    add: (bytes) => {
      for (let rest = bytes; ;) {
        const { isFull, read } = next(rest);
        rest = rest.subarray(read);
        if (!isFull) return;
      }
    },
    end: () => {
      while (next(undefined).isFull);
      stream.free();
      return size;
    },
  };
}

serveCounters(
  {
    post: (message) => scope.postMessage(message),
    listen: (receive) => {
      scope.onmessage = (event) => receive(event.data);
    },
  },
  { 'gzip-9': () => gzip(), 'brotli-11': () => brotli(11), 'brotli-5': () => brotli(5) },
);
