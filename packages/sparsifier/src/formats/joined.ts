import type { OutputFile } from '../host/host.js';
import { inSlices } from '../host/slices.js';
import type { ModelOutput } from './format.js';

/**
 * All bytes of a file in one array, which is not shared memory.
 * @param length how many there are; if omitted, the chunks are asked for once more to count them
 */
export async function joinedBytes(chunks: OutputFile['chunks'], length?: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length ?? (await lengthOf(chunks)));
  let at = 0;
  for await (const chunk of chunks()) {
    await inSlices(chunk.length, (from, to) => bytes.set(chunk.subarray(from, to), at + from));
    at += chunk.length;
  }
  return bytes;
}

async function lengthOf(chunks: OutputFile['chunks']): Promise<number> {
  let length = 0;
  for await (const chunk of chunks()) length += chunk.length;
  return length;
}

/** All bytes of a file of a model. */
export const joinedOutput = ({ from, size, chunks }: ModelOutput): Promise<Uint8Array<ArrayBuffer>> =>
  // The size of a generated file is known once the others are written.
  joinedBytes(chunks, from === undefined ? undefined : size());

/** All bytes of files by name, the main one first. */
export async function joinedFiles(outputs: readonly ModelOutput[]): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const output of outputs) files.set(output.path, await joinedOutput(output));
  return files;
}
