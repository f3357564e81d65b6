import { once } from 'node:events';
import { parentPort } from 'node:worker_threads';
import { constants, createBrotliCompress } from 'node:zlib';
import { serveCounters, type Counter } from './compressor.js';
import { gzip } from './gzip.js';

const port = parentPort!;

/** The smallest window that the bytes fit into, as the command `brotli` chooses it: up to 2^24 bytes. */
function windowFor(bytes: number): number {
  let bits = constants.BROTLI_MIN_WINDOW_BITS;
  while (2 ** bits - 16 < bytes && bits < constants.BROTLI_MAX_WINDOW_BITS) bits++;
  return bits;
}

function brotli(quality: number, bytes: number): Counter {
  const stream = createBrotliCompress({
    params: {
      [constants.BROTLI_PARAM_QUALITY]: quality,
      [constants.BROTLI_PARAM_LGWIN]: windowFor(bytes),
      [constants.BROTLI_PARAM_SIZE_HINT]: Math.min(bytes, 2 ** 30),
    },
  });
  let size = 0;
  stream.on('data', (chunk: Uint8Array) => (size += chunk.length));
  return {
    add: (chunk) =>
      new Promise((resolve, reject) => stream.write(chunk, (error) => (error ? reject(error) : resolve()))),
    end: async () => {
      stream.end();
      await once(stream, 'end');
      return size;
    },
  };
}

serveCounters(
  { post: (message) => port.postMessage(message), listen: (receive) => port.on('message', receive) },
  {
    'gzip-9': () => gzip(),
    'brotli-11': (bytes) => brotli(11, bytes),
    'brotli-5': (bytes) => brotli(5, bytes),
  },
);
