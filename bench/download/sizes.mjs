// How many bytes files take when a server compresses them: with gzip at the highest level of zlib, which is what servers have, and as
// the command `brotli -q 11` does.
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const [gzipped, brotlied] = [gzip, brotliCompress].map((each) => promisify(each));

/** @param files bytes by name */
export async function sizesOf(files, quality = 11) {
  const sizes = { raw: 0, gzip: 0, brotli: 0 };
  for (const bytes of files.values()) {
    sizes.raw += bytes.length;
    sizes.gzip += (await gzipped(bytes, { level: 9 })).length;
    const params = {
      [constants.BROTLI_PARAM_QUALITY]: quality,
      [constants.BROTLI_PARAM_LGWIN]: windowFor(bytes.length),
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    };
    sizes.brotli += (await brotlied(bytes, { params })).length;
  }
  return sizes;
}

/** The smallest window that holds a file, as the command chooses it. */
const windowFor = (length) => Math.min(24, Math.max(10, Math.ceil(Math.log2(length + 16))));
