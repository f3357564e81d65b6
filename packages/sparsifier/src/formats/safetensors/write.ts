import { SparsifyError, type ErrorDetails } from '../../errors.js';
import { agrees, briefly, lengthBytes, longestHeader, metadataKey, quoted } from './header.js';

/** A tensor to write. */
export interface TensorToWrite {
  readonly name: string;
  /** As the format spells it, such as `F32`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Row-major, little-endian. */
  readonly bytes: Uint8Array;
}

/**
 * The bytes of a safetensors file: its header, then the bytes of each tensor, which are not copied. Header and data
 * keep the given order, so that a file that is read and written again keeps its order. The reference implementation
 * sorts by dtype, widest first, which aligns all numbers, but reads any order. For aligned numbers, pass the tensors in
 * that order. The data begin at a multiple of 8 bytes.
 * @throws SparsifyError `usage` as {@link safetensorsHeader}
 */
export const safetensorsChunks = (
  tensors: readonly TensorToWrite[],
  metadata: ReadonlyMap<string, string>,
): readonly Uint8Array[] => [safetensorsHeader(tensors, metadata), ...tensors.map(({ bytes }) => bytes)];

/** A tensor of which the header says how many bytes it has. */
type TensorInHeader = Omit<TensorToWrite, 'bytes'> & { readonly bytes: { readonly length: number } };

/**
 * What comes before the bytes of the tensors.
 * @throws SparsifyError `usage` for what the format does not allow: a duplicate name, `__metadata__` as a name, bytes
 *   that disagree with the shape, lone surrogates, a header above 100 MB
 */
export function safetensorsHeader(
  tensors: readonly TensorInHeader[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array {
  const entries: string[] = [];
  if (metadata.size > 0) {
    const pairs = Array.from(metadata, ([key, value]) => `${json(key)}:${json(value)}`);
    entries.push(`${json(metadataKey)}:{${pairs.join()}}`);
  }
  const taken = new Set([metadataKey]);
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    if (taken.has(name)) throw unwritable('the name is already taken', { given: `a tensor named ${quoted(name)}` });
    taken.add(name);
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !agrees(dtype, shape, bytes.length)) {
      throw unwritable(`the shape and the bytes of tensor ${quoted(name)} disagree`, {
        given: `shape [${briefly(shape)}] of ${dtype} and ${bytes.length} bytes`,
      });
    }
    const start = end;
    end += bytes.length;
    entries.push(`${json(name)}:{"dtype":${json(dtype)},"shape":[${shape.join()}],"data_offsets":[${start},${end}]}`);
  }
  return headerBytes(`{${entries.join()}}`);
}

/** The header, preceded by its length and padded with spaces to a multiple of 8 bytes. */
function headerBytes(content: string): Uint8Array {
  const encoded = new TextEncoder().encode(content);
  const length = Math.ceil(encoded.length / 8) * 8;
  if (length > longestHeader) {
    throw unwritable('the header is too long', {
      given: `${length} bytes`,
      allowed: [`up to ${longestHeader} bytes`],
      hint: 'Write fewer tensors, or less metadata',
    });
  }
  const bytes = new Uint8Array(lengthBytes + length).fill(' '.charCodeAt(0));
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(encoded, lengthBytes);
  return bytes;
}

function json(text: string): string {
  // UTF-8 cannot represent lone surrogates.
  if (!/\p{Surrogate}/u.test(text)) return JSON.stringify(text);
  throw unwritable('text with a lone surrogate cannot be written', { given: JSON.stringify(text) });
}

const unwritable = (summary: string, details: ErrorDetails): SparsifyError =>
  new SparsifyError('usage', summary, { subject: 'safetensors file', ...details });
