import { widenedInSlices } from '../model/numbers.js';
import { joinedBytes } from './joined.js';
import type { CurrentFiles, StoredValues } from './format.js';

/** The current numbers of a tensor as floats of 32 bits, however they are stored. */
export async function decoded(values: StoredValues, current: CurrentFiles): Promise<Float32Array<ArrayBuffer>> {
  const { dtype, file, start, bytes, length, coding } = values;
  const stored = await joinedBytes(() => current.chunks(file, start, start + bytes), bytes);
  const plain = coding ? await coding.decode(stored, current.meaning(values)) : stored;
  if (dtype === 'float32') return new Float32Array(plain.buffer, plain.byteOffset, length);
  return widenedInSlices(plain, dtype);
}
