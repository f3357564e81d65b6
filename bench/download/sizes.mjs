// How many bytes files take when a server compresses them, as the library counts them.
import { Compressor, startCompressor } from '../../packages/sparsifier/dist/internal.js';

/**
 * @param files bytes by name
 * @param brotli `brotli-11`, or the faster `brotli-5`
 */
export async function sizesOf(files, brotli = 'brotli-11') {
  const compressor = new Compressor(startCompressor());
  const sizes = { raw: 0, gzip: 0, brotli: 0 };
  try {
    for (const bytes of files.values()) {
      sizes.raw += bytes.length;
      sizes.gzip += await compressor.sizeOf('gzip-9', bytes.length, [bytes]);
      sizes.brotli += await compressor.sizeOf(brotli, bytes.length, [bytes]);
    }
  } finally {
    compressor.close();
  }
  return sizes;
}
