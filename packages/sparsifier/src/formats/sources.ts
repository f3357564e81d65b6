import * as host from '#host';
import type { Block, Engine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import type { Source } from '../host/host.js';

/** A file's bytes, without its place. */
export type Bytes = Blob | Uint8Array | ArrayBuffer;

/** What a model is read from: a path or URL in Node; a URL, a Blob or bytes anywhere. A string in a page is a URL. */
export type ModelSource = string | URL | Bytes;

/** Gives a further file of a model by its name. */
export type GiveFile = (name: string) => Bytes | Promise<Bytes>;

/** How many bytes are read or written at a time. */
export const sliceBytes = 2 ** 24;

/**
 * The path of a file that a model names, without empty parts.
 * @param what the file is, in words
 * @throws `file` error if it leaves the folder of the model, or could on another system
 */
export function pathInFolder(path: string, what: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const leaves = path.startsWith('/') || /^[a-z][a-z0-9+.-]*:|[\\\0]/i.test(path) || parts.includes('..');
  if (leaves || parts.length === 0) {
    throw new SparsifyError('file', `${what} must lie in the folder of the model`, {
      found: path,
      allowed: ["a relative path without '..', drive letter or backslash"],
    });
  }
  return parts.join('/');
}

export const emptyFile = (subject: string): SparsifyError =>
  new SparsifyError('format', 'the file is empty', { subject, hint: 'Copy or export the model again' });

/** Reads a file into a block of its own. */
export async function readBlock(engine: Engine, file: Source): Promise<Block> {
  const block = await engine.allocate(file.size);
  try {
    await readInto(block, file, 0, file.size);
  } catch (error) {
    block.free();
    throw error;
  }
  return block;
}

/** Fills the first `bytes` of a block with those of a file from `start` on, two slices at a time. */
export async function readInto(block: Block, file: Source, start: number, bytes: number): Promise<void> {
  const every = 2;
  const read = async (first: number) => {
    for (let at = first * sliceBytes; at < bytes; at += every * sliceBytes) {
      const length = Math.min(sliceBytes, bytes - at);
      const shared = block.view(at, length);
      const slice = shared ?? new Uint8Array(length);
      await file.read(slice, start + at);
      if (shared === undefined) await block.write(slice, at);
    }
  };
  // All have ended before anybody hears of a failure and gives the block back.
  const ended = await Promise.allSettled(Array.from({ length: every }, (_, first) => read(first)));
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
}

/** The bytes of a block, slice by slice. */
export async function* slices(block: Block, start = 0, end = block.bytes): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += sliceBytes) {
    const length = Math.min(sliceBytes, end - at);
    yield block.view(at, length) ?? (await block.read(at, new Uint8Array(length)));
  }
}

/** Whether a path to write to is a folder: one that exists, or a path that ends with a separator. */
export const isFolder = async (path: string): Promise<boolean> => /[\\/]$/.test(path) || (await host.isFolder(path));
