import { stat, type FileHandle } from 'node:fs/promises';
import type { OutputFile, TargetOptions } from './host.js';
import { notWritten } from './node-errors.js';
import { flushed } from './node-flush.js';
import { checkTargets } from './node-targets.js';
import { Transaction } from './node-transaction.js';

/**
 * Writes all files or none: see `node-staging.ts`.
 * @throws SparsifyError as {@link checkTargets} does; `file` if the folder cannot be written to
 */
export async function writeFiles(files: readonly OutputFile[], options: TargetOptions = {}): Promise<void> {
  const targets = await checkTargets(
    files.map(({ path }) => path),
    options,
  );
  const transaction = new Transaction(options.force ?? false);
  /** The file that is written, for errors. An error of the chunks themselves is not one of writing. */
  let writing: string | undefined;
  try {
    for (const [index, { chunks }] of files.entries()) {
      const { given } = targets[index]!;
      writing = given;
      const handle = await transaction.create(targets[index]!);
      try {
        await writeChunks(handle, chunks(), (isWriting) => (writing = isWriting ? given : undefined));
      } finally {
        await handle.close();
      }
    }
    writing = files[0]?.path;
    await transaction.commit();
  } catch (cause) {
    let hint: string | undefined;
    await transaction.rollBack().catch(() => {
      hint = 'What was there before could not be brought back yet. The next run that writes there does so first';
    });
    if (writing === undefined) throw cause;
    throw notWritten(writing, cause, hint);
  }
}

/** After this many bytes a file is flushed to the disk in the background, so that little is left to flush at the end. */
const flushedBytes = 2 ** 24;

/** @param tell is told whether what comes next is writing a chunk, or getting one */
async function writeChunks(
  handle: FileHandle,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  tell: (isWriting: boolean) => void,
): Promise<void> {
  let [unflushed, flushing] = [0, Promise.resolve()];
  tell(false);
  for await (const chunk of chunks) {
    tell(true);
    for (let done = 0; done < chunk.length;) {
      done += (await handle.write(chunk, done, Math.min(chunk.length - done, 1 << 30))).bytesWritten;
    }
    unflushed += chunk.length;
    if (unflushed >= flushedBytes) {
      await flushing;
      flushing = flushed(handle, 'datasync');
      // It is awaited below.
      flushing.catch(() => {});
      unflushed = 0;
    }
    tell(false);
  }
  tell(true);
  await flushing;
  await flushed(handle);
}

export const isFolder = async (name: string): Promise<boolean> =>
  (await stat(name).catch(() => undefined))?.isDirectory() ?? false;
