import { attempt, SparsifyError } from '../errors.js';
import { download } from './download.js';
import type { Source } from './host.js';
import { checkFile, type Reading } from './reading.js';
import { inSlices } from './slices.js';

/** @throws SparsifyError `usage` for what is neither bytes nor where they are */
export function checkSource(source: unknown): void {
  const isSource = attempt('the source', () => {
    // Fails for memory that was transferred to another thread.
    if (source instanceof ArrayBuffer) void new Uint8Array(source);
    return typeof source === 'string' || [URL, Blob, Uint8Array, ArrayBuffer].some((type) => source instanceof type);
  });
  if (isSource) return;
  throw new SparsifyError('usage', 'a file is given by its path or URL, or as a Blob or bytes', {
    given: Object.prototype.toString.call(source).slice('[object '.length, -1),
    allowed: ['string', 'URL', 'Blob', 'Uint8Array', 'ArrayBuffer'],
  });
}

/** @throws SparsifyError `file` for a text that is not a URL */
export function urlOf(text: string | URL, base?: string): URL {
  try {
    return new URL(text, base);
  } catch (cause) {
    throw new SparsifyError('file', 'is not a valid URL', { subject: text.toString() }, { cause });
  }
}

/**
 * What is at a URL, which is fetched at once.
 * @throws SparsifyError as {@link download} does
 */
export async function fetched(url: URL, reading: Reading): Promise<Source> {
  return {
    ...fromBlob(await download(url, reading), nameIn(url), reading),
    // Each part of the name is taken literally.
    sibling: (name) => fetched(siblingOf(url, name), reading),
  };
}

function nameIn({ pathname }: URL): string {
  const last = pathname.slice(pathname.lastIndexOf('/') + 1);
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/**
 * The name of a file in a folder: a name that someone else chose must not lead out of the folder that a model is
 * written to.
 */
function plainName(name: string | undefined): string | undefined {
  const last = name?.split(/[/\\\0]/).at(-1);
  return last === '' || last === '.' || last === '..' ? undefined : last;
}

function siblingOf(url: URL, name: string): URL {
  try {
    return new URL(name.split('/').map(encodeURIComponent).join('/'), url);
  } catch (cause) {
    // Half of a surrogate pair, or a URL without folders, such as that of a Blob.
    const found = url.href.slice(0, 100);
    throw new SparsifyError(
      'file',
      'the file has no URL beside that of the model',
      { subject: name, found },
      { cause },
    );
  }
}

/** Always fails: a source without a path or URL has no folder. */
export async function noSibling(name: string): Promise<never> {
  throw new SparsifyError('file', 'the file was not found: a Blob or bytes have no folder', {
    given: name,
    hint: 'Pass a function that returns the other files by name: the option external for ONNX, shards for other formats',
  });
}

/**
 * A Blob, of which only the requested bytes are read, in slices.
 * @param given its name, which may be any text
 */
export function fromBlob(blob: Blob, given: string | undefined, reading: Reading): Source {
  const name = plainName(given);
  const subject = name ?? 'the Blob';
  checkFile(reading, subject, blob.size);
  return {
    name,
    size: blob.size,
    read: (target, position) =>
      inSlices(target.length, async (from, to) => {
        reading.signal?.throwIfAborted();
        const bytes = await blob
          .slice(position + from, position + to)
          .arrayBuffer()
          .catch((cause: unknown) => {
            throw notReadable(subject, (cause as Error).message, cause);
          });
        if (bytes.byteLength < to - from) throw notReadable(subject, 'it has become shorter');
        target.set(new Uint8Array(bytes), from);
      }),
    sibling: noSibling,
    close: async () => {},
  };
}

const notReadable = (subject: string, found: string, cause?: unknown): SparsifyError =>
  new SparsifyError(
    'file',
    'could not be read',
    { subject, found, hint: 'The file may have been changed, moved or deleted. Choose it again' },
    { cause },
  );
