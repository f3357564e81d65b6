import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { asPath, startWorker } from './node-worker.js';
import type { Thread } from './thread.js';

export type { OutputFile, Source } from './host.js';
export { open } from './node-reading.js';
export { checkTargets } from './node-targets.js';
export { isFolder, writeFiles } from './node-writing.js';
export { checkStream, checkTarget, writeStream } from './stream.js';
export { ifMoved, wasmSource, whyNoThreads, whyNoWorker } from './node-worker.js';

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

export async function namesIn(folder: string | URL): Promise<readonly string[] | undefined> {
  if (/^https?:/i.test(folder.toString())) return undefined;
  try {
    return (await readdir(asPath(folder))).sort();
  } catch {
    return undefined;
  }
}

export const baseName = (name: string): string => path.basename(name);
export const join = (folder: string, name: string): string => path.join(folder, name);
