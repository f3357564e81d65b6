import { sumOf, widened } from '../../../model/numbers.js';
import { Stored } from '../../../structure/stored.js';
import type { CurrentFiles, StoredValues } from '../../format.js';
import { joinedBytes } from '../../joined.js';
import type { RemovalRequest } from '../../removal.js';
import type { Constant, Graph } from '../graph.js';
import type { ModelFile } from '../wire.js';

/** The numbers of all constants that are floats. */
export async function numbersIn(
  { constants }: Graph,
  file: ModelFile,
  current: CurrentFiles,
  { signal, onLoaded }: Pick<RemovalRequest, 'signal' | 'onLoaded'>,
): Promise<Map<Constant, Stored>> {
  const numbers = new Map<Constant, Stored>();
  const floats = constants.filter(({ tensor }) => tensor.values !== undefined);
  const total = sumOf(floats.map(({ tensor }) => tensor.length));
  let done = 0;
  for (const constant of floats) {
    signal?.throwIfAborted();
    numbers.set(constant, new Stored(await bytesOf(constant.tensor.values!, file, current)));
    done += constant.tensor.length;
    onLoaded?.(done, total);
  }
  return numbers;
}

/** The numbers of a constant as floats of 32 bits: where they are, if they are an array of them in the model file. */
async function bytesOf(
  { file: name, start, bytes, dtype, coding }: StoredValues,
  file: ModelFile,
  current: CurrentFiles,
): Promise<Uint8Array> {
  const stored =
    name === file.name
      ? file.bytes.subarray(start, start + bytes)
      : await joinedBytes(() => current.chunks(name, start, start + bytes), bytes);
  const plain = coding === undefined ? stored : await coding.decode(stored, undefined);
  return dtype === 'float32' ? plain : new Uint8Array(widened(plain, dtype).buffer);
}
