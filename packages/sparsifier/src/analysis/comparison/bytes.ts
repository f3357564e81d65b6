import type { ModelOutput } from '../../formats/format.js';
import { areEqual } from '../../model/numbers.js';

/** Whether the files of two models have the same bytes. Their names may differ. */
export async function haveSameBytes(a: readonly ModelOutput[], b: readonly ModelOutput[]): Promise<boolean> {
  if (a.length !== b.length) return false;
  for (const [index, file] of a.entries()) {
    // Equal files come in equal chunks.
    const others = chunksOf(b[index]!);
    for await (const chunk of file.chunks()) {
      const { value } = await others.next();
      if (value === undefined || !(await areEqual(chunk, value))) return false;
    }
    if (!(await others.next()).done) return false;
  }
  return true;
}

async function* chunksOf({ chunks }: ModelOutput): AsyncGenerator<Uint8Array, undefined> {
  yield* chunks();
}
