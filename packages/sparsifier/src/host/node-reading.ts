import { open as openFile, realpath } from 'node:fs/promises';
import * as path from 'node:path';
import { SparsifyError } from '../errors.js';
import type { Source } from './host.js';
import { reason } from './node-errors.js';
import { checkFinished } from './node-recovery.js';
import { asPath } from './node-worker.js';
import { inSlices } from './slices.js';
import { checkSource, fetchFrom, fromBlob, noSibling, siblingOf } from './source.js';

/** Opens a source of a model: a path, a URL, a Blob or bytes. */
export async function open(source: string | URL | Blob | Uint8Array | ArrayBuffer): Promise<Source> {
  checkSource(source);
  if (source instanceof Blob) return fromBlob(source, source instanceof File ? source.name : undefined);
  if (source instanceof ArrayBuffer) return fromBytes(new Uint8Array(source), undefined);
  if (source instanceof Uint8Array) return fromBytes(source, undefined);
  const address = source.toString();
  if (/^https?:/.test(address)) return fetched(new URL(address));
  const file = asPath(source);
  await checkFinished(file);
  const handle = await openFile(file, 'r').catch((cause) => {
    throw new SparsifyError('file', 'could not be opened', { subject: file, found: reason(cause) }, { cause });
  });
  const status = await handle.stat();
  if (!status.isFile()) {
    await handle.close();
    throw new SparsifyError('file', 'is not a file', { subject: file });
  }
  return {
    name: path.basename(file),
    size: status.size,
    path: await realpath(file).catch(() => path.resolve(file)),
    read: async (target, position) => {
      for (let done = 0; done < target.length;) {
        // A single read can be at most 2 GiB long.
        const { bytesRead } = await handle.read(target, done, Math.min(target.length - done, 1 << 30), position + done);
        if (bytesRead === 0)
          throw new SparsifyError('file', 'the file was truncated while it was being read', { subject: file });
        done += bytesRead;
      }
    },
    sibling: (name) => open(path.join(path.dirname(file), name)),
    close: () => handle.close(),
  };
}

async function fetched(url: URL): Promise<Source> {
  const source = fromBytes(
    new Uint8Array(await (await fetchFrom(url)).arrayBuffer()),
    path.posix.basename(url.pathname),
  );
  return { ...source, sibling: (name) => open(siblingOf(url, name)) };
}

function fromBytes(bytes: Uint8Array, name: string | undefined): Source {
  return {
    name,
    size: bytes.length,
    read: (target, position) =>
      inSlices(target.length, (from, to) => target.set(bytes.subarray(position + from, position + to), from)),
    sibling: noSibling,
    close: async () => {},
  };
}
