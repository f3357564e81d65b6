import type { OutputFile } from '../host/host.js';
import { inSlices } from '../host/slices.js';
import type { ModelOutput } from './format.js';

/** All bytes of a file in one array, which is not shared memory. */
export async function joinedBytes(chunks: OutputFile['chunks']): Promise<Uint8Array<ArrayBuffer>> {
  let length = 0;
  for await (const chunk of chunks()) length += chunk.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for await (const chunk of chunks()) {
    await inSlices(chunk.length, (from, to) => bytes.set(chunk.subarray(from, to), at + from));
    at += chunk.length;
  }
  return bytes;
}

/** All bytes of files by name, the main one first. */
export async function joinedFiles(outputs: readonly ModelOutput[]): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const { path, chunks } of outputs) files.set(path, await joinedBytes(chunks));
  return files;
}
