import { randomUUID } from 'node:crypto';
import { link, mkdir, open as openFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import * as path from 'node:path';
import { SparsifyError } from '../errors.js';
import type { OutputFile, TargetOptions } from './host.js';
import { reason } from './node-errors.js';
import { asPath } from './node-worker.js';

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

export const isFolder = async (name: string): Promise<boolean> =>
  (await stat(name).catch(() => undefined))?.isDirectory() ?? false;
