import { constants, type Stats } from 'node:fs';
import { open as openFile, realpath, stat, type FileHandle } from 'node:fs/promises';
import * as path from 'node:path';
import { SparsifyError } from '../errors.js';
import type { Source } from './host.js';
import { reason } from './node-errors.js';
import { checkFinished } from './node-recovery.js';
import { asPath } from './node-worker.js';
import { checkFile, type Reading } from './reading.js';
import { inSlices } from './slices.js';
import { checkSource, fetched, fromBlob, noSibling, urlOf } from './source.js';

/** How many bytes are read at a time. Reading can be aborted in between. */
const readAtOnce = 2 ** 26;

/** Opens a source of a model: a path, a URL, a Blob or bytes. */
export async function open(source: string | URL | Blob | Uint8Array | ArrayBuffer, reading: Reading): Promise<Source> {
  checkSource(source);
  if (source instanceof Blob) return fromBlob(source, source instanceof File ? source.name : undefined, reading);
  if (source instanceof ArrayBuffer) return fromBytes(new Uint8Array(source), reading);
  if (source instanceof Uint8Array) return fromBytes(source, reading);
  const address = source.toString();
  if (/^https?:/i.test(address)) return fetched(urlOf(address), reading);
  const file = asPath(source);
  return openFrom(path.dirname(file), file, reading);
}

/** Opens a file of a model in this folder. */
async function openFrom(folder: string, file: string, reading: Reading): Promise<Source> {
  const failed = (summary: string) => (cause: unknown) => {
    if (cause instanceof SparsifyError) throw cause;
    throw new SparsifyError('file', summary, { subject: file, found: reason(cause) }, { cause });
  };
  await checkFinished(file).catch(failed('could not be opened'));
  // Opening a FIFO would wait for a writer, and opening a device may do anything.
  checkIsFile(file, await stat(file).catch(failed('could not be opened')));
  const real = await realpath(file).catch(failed('could not be opened'));
  if (!reading.followLinks) checkStays(await realpath(folder).catch(failed('could not be opened')), file, real);
  const handle = await openFile(real, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    failed('could not be opened'),
  );
  try {
    const { size } = checkIsFile(file, await handle.stat().catch(failed('could not be read')));
    checkFile(reading, file, size);
    return {
      name: path.basename(file),
      size,
      path: real,
      read: (target, position) =>
        readFrom(handle, file, target, position, reading).catch((error: unknown) => {
          if (reading.signal?.aborted && error === reading.signal.reason) throw error;
          failed('could not be read')(error);
        }),
      sibling: (name) => openFrom(folder, path.join(folder, name), reading),
      // Nothing was written to it, so nothing is lost if that fails.
      close: () => handle.close().catch(() => {}),
    };
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
}

/** @throws SparsifyError `file` for what is not a file that can be read in parts */
function checkIsFile(subject: string, status: Stats): Stats {
  if (status.isFile()) return status;
  const found = status.isDirectory()
    ? 'a folder'
    : status.isFIFO()
      ? 'a pipe'
      : status.isSocket()
        ? 'a socket'
        : 'a device';
  const hint = status.isDirectory() ? undefined : 'Write its content to a file first';
  throw new SparsifyError('file', 'is not a file', { subject, found, ...(hint && { hint }) });
}

/** @throws SparsifyError `file` if links lead out of the folder, whose own links are resolved */
function checkStays(folder: string, file: string, real: string): void {
  const inside = path.relative(folder, real);
  if (inside !== '..' && !inside.startsWith(`..${path.sep}`) && !path.isAbsolute(inside)) return;
  throw new SparsifyError('file', 'a link leads out of the folder of the model', {
    subject: file,
    found: real,
    hint: 'Links are followed unless `followLinks: false` is given',
  });
}

async function readFrom(
  handle: FileHandle,
  subject: string,
  target: Uint8Array,
  position: number,
  { signal }: Reading,
): Promise<void> {
  for (let done = 0; done < target.length;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(target, done, Math.min(target.length - done, readAtOnce), position + done);
    if (bytesRead === 0) throw new SparsifyError('file', 'the file was truncated while it was being read', { subject });
    done += bytesRead;
  }
}

function fromBytes(bytes: Uint8Array, reading: Reading): Source {
  checkFile(reading, 'the bytes', bytes.length);
  return {
    name: undefined,
    size: bytes.length,
    read: (target, position) =>
      inSlices(target.length, (from, to) => {
        reading.signal?.throwIfAborted();
        target.set(bytes.subarray(position + from, position + to), from);
      }),
    sibling: noSibling,
    close: async () => {},
  };
}
