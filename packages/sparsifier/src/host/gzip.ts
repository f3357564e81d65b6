import { Deflate } from 'pako';
import type { Counter } from './compressor.js';

/** Bytes that come out at a time. */
const chunkSize = 2 ** 18;

/**
 * Counts what zlib makes of bytes with the effort of `gzip -9` and as many symbols in a block, which is what `gzip -9` makes
 * of them but for where it ends blocks early. Node's own zlib finds no matches of three bytes.
 */
export function gzip(): Counter {
  const deflate = new Deflate({ level: 9, memLevel: 9, gzip: true, legacyHash: true, chunkSize });
  let size = 0;
  deflate.onData = ({ length }) => {
    size += length;
  };
  return {
    add: (bytes) => void deflate.push(bytes, false),
    end: () => {
      deflate.push(new Uint8Array(), true);
      return size;
    },
  };
}
