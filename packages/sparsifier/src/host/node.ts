import { randomUUID } from 'node:crypto';
import { link, mkdir, open as openFile, readdir, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { SparsifyError } from '../errors.js';
import { inSlices } from './slices.js';
import { asPath, startWorker } from './node-worker.js';
import type { OutputFile, Source, TargetOptions } from './host.js';
import { checkSource, fetchFrom, fromBlob, noSibling, siblingOf } from './source.js';
import type { Thread } from './thread.js';

export type { OutputFile, Source } from './host.js';
export { checkStream, writeStream } from './stream.js';
export { wasmSource, whyNoThreads } from './node-worker.js';

/** The number of threads that the process may use at once. */
export const cores = (): number => availableParallelism();

/** Starts a thread from a URL, by default from the package's own file. */
export const startThread = (address?: string): Thread =>
  startWorker(address === undefined ? new URL('./node-thread.js', import.meta.url) : new URL(address));

/** Starts the thread of a `Compressor`. */
export const startCompressor = (): Thread => startWorker(new URL('./node-compressor-thread.js', import.meta.url));

/** The absolute URL of a path or URL. */
export const addressOf = (given: string | URL): string =>
  /^[a-z]{2,}:/.test(given.toString()) ? given.toString() : pathToFileURL(given.toString()).href;

/** Opens a source of a model: a path, a URL, a Blob or bytes. */
export async function open(source: string | URL | Blob | Uint8Array | ArrayBuffer): Promise<Source> {
  checkSource(source);
  if (source instanceof Blob) return fromBlob(source, source instanceof File ? source.name : undefined);
  if (source instanceof ArrayBuffer) return fromBytes(new Uint8Array(source), undefined);
  if (source instanceof Uint8Array) return fromBytes(source, undefined);
  const address = source.toString();
  if (/^https?:/.test(address)) return fetched(new URL(address));
  const file = asPath(source);
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

/**
 * Says before any work is done that files could not be written.
 * @throws SparsifyError `file` where one is read, or exists and `force` is not set, or is no file; `usage` where two are
 *   the same file, or one is no path
 */
export async function checkTargets(
  targets: readonly string[],
  { force = false, sourceFiles = [] }: TargetOptions = {},
): Promise<void> {
  const address = targets.find((target) => target === '' || /^(file|https?):/i.test(target));
  if (address !== undefined) {
    throw new SparsifyError('usage', 'a file is written to a path', {
      given: address === '' ? 'an empty one' : address,
      hint: 'Give a path rather than an address. `fileURLToPath` makes one of a file: address',
    });
  }
  const read = new Set(await Promise.all(sourceFiles.map((file) => identityOf(asPath(file)))));
  const written = new Set<string>();
  for (const target of targets) {
    const identity = await identityOf(target);
    if (read.has(identity)) {
      throw new SparsifyError('file', 'an input file cannot be overwritten', {
        subject: target,
        hint: 'Write to another path, then move the file',
      });
    }
    if (written.has(identity)) {
      throw new SparsifyError('usage', 'two outputs would be the same file', {
        subject: target,
        hint: 'Give each output its own path',
      });
    }
    written.add(identity);
  }
  for (const target of targets) {
    const found = await stat(target).catch(() => undefined);
    if (found && !force) throw exists(target);
    if (found && !found.isFile()) throw new SparsifyError('file', 'exists and is not a file', { subject: target });
  }
}

/** Equal for two paths that lead to the same file, through links or not, even if the file does not exist yet. */
async function identityOf(name: string): Promise<string> {
  const place = await placeOf(name);
  const found = await stat(place, { bigint: true }).catch(() => undefined);
  return found ? `${found.dev}:${found.ino}` : place;
}

/** The absolute path with links resolved. Folders that do not exist yet are those that writing would create. */
async function placeOf(name: string): Promise<string> {
  const place = await realpath(name).catch(() => undefined);
  const folder = path.dirname(name);
  return place ?? (folder === name ? name : path.join(await placeOf(folder), path.basename(name)));
}

/**
 * After this many bytes the file is flushed to the disk in the background, so that little is left to flush at the end.
 */
const flushedBytes = 2 ** 24;

/**
 * Writes all files or none: each is written to a temporary file in the folder of its target, and all are renamed at the
 * end.
 * @throws SparsifyError as {@link checkTargets} does; `file` if the folder cannot be written to
 */
export async function writeFiles(files: readonly OutputFile[], options: TargetOptions = {}): Promise<void> {
  let isWriting = true;
  await checkTargets(
    files.map(({ path: target }) => target),
    options,
  );
  const written: { readonly temporary: string; readonly target: string }[] = [];
  /** What brings back, the last first, what was there before. */
  const undo: Undo[] = [];
  try {
    for (const { path: target, chunks } of files) {
      await makeFolder(path.dirname(target), undo);
      const temporary = path.join(path.dirname(target), `.sparsifier-${randomUUID()}`);
      written.push({ temporary, target });
      undo.push(() => rm(temporary, { force: true }));
      const handle = await openFile(temporary, 'wx');
      let [unflushed, flushing] = [0, Promise.resolve()];
      try {
        isWriting = false;
        for await (const chunk of chunks()) {
          isWriting = true;
          for (let done = 0; done < chunk.length;) {
            done += (await handle.write(chunk, done, Math.min(chunk.length - done, 1 << 30))).bytesWritten;
          }
          unflushed += chunk.length;
          if (unflushed >= flushedBytes) {
            await flushing;
            flushing = handle.datasync();
            // It is awaited below.
            flushing.catch(() => {});
            unflushed = 0;
          }
          isWriting = false;
        }
        isWriting = true;
        await flushing;
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    for (const { temporary, target } of written) await (options.force ? replace : place)(temporary, target, undo);
  } catch (cause) {
    for (const step of undo.reverse()) await step().catch(() => {});
    if (cause instanceof SparsifyError || !isWriting) throw cause;
    throw new SparsifyError(
      'file',
      'could not be written',
      { subject: files[0]?.path ?? '', found: reason(cause) },
      { cause },
    );
  }
  for (const { temporary } of written) {
    for (const rest of [temporary, formerOf(temporary)]) await rm(rest, { force: true }).catch(() => {});
  }
}

/** Takes a step back. */
type Undo = () => Promise<void>;

/** Makes a folder with those above it. Node's own `recursive` never ends where a file system refuses, as /proc does. */
async function makeFolder(folder: string, undo: Undo[]): Promise<void> {
  if (await isFolder(folder)) return;
  const parent = path.dirname(folder);
  if (parent !== folder) await makeFolder(parent, undo);
  try {
    await mkdir(folder);
    // Only if it is empty.
    undo.push(() => rmdir(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Gives a file its name, which no other may have. */
async function place(temporary: string, target: string, undo: Undo[]): Promise<void> {
  try {
    // A link, unlike a renaming, refuses a target that came into being meanwhile.
    await link(temporary, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw exists(target);
    // Some file systems have no links.
    await rename(temporary, target);
  }
  undo.push(() => rm(target));
}

/** Where the file is kept that another takes the name of. */
const formerOf = (temporary: string): string => `${temporary}-former`;

/** Gives a file its name, in place of one that may have it. */
async function replace(temporary: string, target: string, undo: Undo[]): Promise<void> {
  const former = formerOf(temporary);
  const status = await link(target, former).catch((error: NodeJS.ErrnoException) => error.code);
  if (status === undefined) undo.push(() => rm(former, { force: true }));
  await rename(temporary, target);
  if (status === undefined) undo.push(() => rename(former, target));
  // Where a file cannot be kept, as on file systems without links, the new one is better than none.
  else if (status === 'ENOENT') undo.push(() => rm(target));
}

const exists = (target: string): SparsifyError =>
  new SparsifyError('file', 'already exists', {
    subject: target,
    hint: 'Choose another name, or overwrite it with `force: true`',
  });

const reason = (error: unknown): string => {
  const code = (error as NodeJS.ErrnoException).code;
  const known: Record<string, string> = {
    ENOENT: 'there is no such file or folder',
    EACCES: 'permission is denied',
    EISDIR: 'it is a folder',
    ENOTDIR: 'part of the path is not a folder',
    ENOSPC: 'the disk is full',
  };
  return (code && known[code]) || (error instanceof Error ? error.message : String(error));
};

export const isFolder = async (name: string): Promise<boolean> =>
  (await stat(name).catch(() => undefined))?.isDirectory() ?? false;

export async function namesIn(folder: string | URL): Promise<readonly string[] | undefined> {
  if (/^https?:/.test(folder.toString())) return undefined;
  try {
    return (await readdir(asPath(folder))).sort();
  } catch {
    return undefined;
  }
}

export const baseName = (name: string): string => path.basename(name);
export const join = (folder: string, name: string): string => path.join(folder, name);
