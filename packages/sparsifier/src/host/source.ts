import { SparsifyError } from '../errors.js';
import { inSlices } from './slices.js';
import type { Source } from './host.js';

/** @throws SparsifyError `usage` for what is neither bytes nor where they are */
export function checkSource(source: unknown): void {
  const isSource =
    typeof source === 'string' ||
    [URL, Blob, Uint8Array, ArrayBuffer].some((type) => source instanceof (type as new () => object));
  if (isSource) return;
  throw new SparsifyError('usage', 'a file is given by its path or URL, or as a Blob or bytes', {
    given: Object.prototype.toString.call(source).slice('[object '.length, -1),
    allowed: ['string', 'URL', 'Blob', 'Uint8Array', 'ArrayBuffer'],
  });
}

/** @throws SparsifyError `file` where there is no good answer */
export async function fetchFrom(url: URL): Promise<Response> {
  const response = await fetch(url).catch((cause: unknown) => {
    throw new SparsifyError('file', 'could not be fetched', { subject: url.href }, { cause });
  });
  if (response.ok) return response;
  throw new SparsifyError('file', 'could not be fetched', { subject: url.href, found: `status ${response.status}` });
}

/** The URL of a file in the folder of another; each part of `name` is taken literally. */
export const siblingOf = (url: URL, name: string): URL =>
  new URL(name.split('/').map(encodeURIComponent).join('/'), url);

/** Always fails: a source without a path or URL has no folder. */
export async function noSibling(name: string): Promise<never> {
  throw new SparsifyError('file', 'the file was not found: a Blob or bytes have no folder', {
    given: name,
    hint: 'Pass a function that returns the other files by name: the option external for ONNX, shards for other formats',
  });
}

/** A Blob, of which only the requested bytes are read, in slices. */
export const fromBlob = (blob: Blob, name: string | undefined): Source => ({
  name,
  size: blob.size,
  read: (target, position) =>
    inSlices(target.length, async (from, to) => {
      target.set(new Uint8Array(await blob.slice(position + from, position + to).arrayBuffer()), from);
    }),
  sibling: noSibling,
  close: async () => {},
});
