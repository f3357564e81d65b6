import { SparsifyError } from '../errors.js';
import { asThread, startWorker } from './browser-worker.js';
import type { OutputFile, Source, TargetOptions } from './host.js';
import type { Reading } from './reading.js';
import { checkSource, fetched, fromBlob, urlOf } from './source.js';
import type { Thread } from './thread.js';

export type { OutputFile, Source } from './host.js';
export { checkStream, checkTarget, writeStream } from './stream.js';
export { ifMoved, wasmSource, whyNoThreads, whyNoWorker } from './browser-worker.js';

/** The number of threads that the machine has. */
export const cores = (): number => navigator.hardwareConcurrency || 1;

/** Starts a thread from a URL, by default from the package's own file, in the form that bundlers recognise. */
export function startThread(address?: string): Thread {
  if (address !== undefined) return startWorker(address);
  return asThread(() => new Worker(new URL('./browser-thread.js', import.meta.url), { type: 'module' }));
}

/** Starts the thread of a `Compressor`, in the form that bundlers recognise. */
export const startCompressor = (): Thread =>
  asThread(() => new Worker(new URL('./browser-compressor-thread.js', import.meta.url), { type: 'module' }));

/** The absolute URL, relative to the page. */
export const addressOf = (given: string | URL): string => new URL(given, location.href).href;

/** Opens a source of a model: a URL, a Blob or bytes. */
export async function open(source: string | URL | Blob | Uint8Array | ArrayBuffer, reading: Reading): Promise<Source> {
  checkSource(source);
  if (typeof source === 'string' || source instanceof URL) return fetched(urlOf(source, location.href), reading);
  const blob = source instanceof Blob ? source : new Blob([source as BlobPart]);
  return fromBlob(blob, source instanceof File ? source.name : undefined, reading);
}

export async function checkTargets(_paths: readonly string[], _options: TargetOptions = {}): Promise<void> {
  throw new SparsifyError('usage', 'a web page cannot write to paths', {
    hint: 'Offer the result of bytes() or toFiles() for download, or pass a stream to sparsifyFile and saveMasks',
  });
}

export const writeFiles = (files: readonly OutputFile[], options: TargetOptions = {}): Promise<void> =>
  checkTargets(
    files.map(({ path }) => path),
    options,
  );

export const isFolder = async (_path: string): Promise<boolean> => false;
export const namesIn = async (_folder: string | URL): Promise<undefined> => undefined;
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const join = (folder: string, name: string): string => `${folder.replace(/(?<!\/)\/+$/, '')}/${name}`;
