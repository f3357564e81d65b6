import * as host from '#host';
import type { Block, Engine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import type { Source } from '../host/host.js';

/** The bytes of a file, without its path. */
export type Bytes = Blob | Uint8Array | ArrayBuffer;

/** The source of a model: a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL. */
export type ModelSource = string | URL | Bytes;

/** A source that is open already. */
export class Opened {
  constructor(readonly source: Source) {}
}

/** Returns another file of a model, given its name. */
export type GiveFile = (name: string) => Bytes | Promise<Bytes>;

/** The number of bytes that are read or written at a time. */
export const sliceBytes = 2 ** 24;

/**
 * The path of a file that a model names, without empty parts.
 * @param what a description of the file, for errors
 * @throws SparsifyError `file` if the path leaves the folder of the model, or could do so on another system
 */
export function pathInFolder(path: string, what: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const leaves = path.startsWith('/') || /^[a-z][a-z0-9+.-]*:|[\\\0]/i.test(path) || parts.includes('..');
  if (leaves || parts.length === 0) {
    throw new SparsifyError('file', `${what} must be in the folder of the model`, {
      found: path,
      allowed: ["a relative path without '..', drive letter or backslash"],
    });
  }
  return parts.join('/');
}

export const emptyFile = (subject: string): SparsifyError =>
  new SparsifyError('format', 'the file is empty', { subject, hint: 'Copy or export the model again' });

/** Reads a file into a new block. */
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

/** Fills the first `bytes` bytes of a block with those of a file from `start` on, two slices at a time. */
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
  // All reads must have ended before an error is thrown, since the caller then frees the block.
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

/** Whether an output path is a folder: one that exists, or a path that ends with a separator. */
export const isFolder = async (path: string): Promise<boolean> => /[\\/]$/.test(path) || (await host.isFolder(path));
