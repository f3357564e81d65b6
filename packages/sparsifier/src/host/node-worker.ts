import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Worker, type TransferListItem } from 'node:worker_threads';
import { SparsifyError } from '../errors.js';
import type { Thread } from './thread.js';

/** Why threads cannot share memory here. In Node they always can. */
export const whyNoThreads = (): string | undefined => undefined;

export const ifMoved = `leave it out of the bundle (in Next.js by serverExternalPackages: ['sparsifier']), or pass the URLs of these files to loadEngine({ wasm, thread })`;

/** Why a thread did not start, and what helps. */
export async function whyNoWorker(error: unknown, _address?: string): Promise<string> {
  return `${error instanceof Error ? error.message : error}; where a bundler moved the package, ${ifMoved}`;
}

/** The bytes of the wasm. */
export const wasmSource = (address: string | undefined): Promise<Uint8Array<ArrayBuffer>> =>
  readFile(address === undefined ? new URL('../wasm/sparsifier_wasm_bg.wasm', import.meta.url) : asPath(address));

/**
 * The path of a file that is given by its path or `file:` URL.
 * @throws SparsifyError `file` for a URL that is not that of a file on this machine
 */
export function asPath(source: string | URL): string {
  if (!(source instanceof URL) && !/^file:/i.test(source)) return source;
  try {
    return fileURLToPath(source);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : undefined;
    throw new SparsifyError('file', 'is not the URL of a file', { subject: source.toString(), found }, { cause });
  }
}

export function startWorker(url: URL): Thread {
  // Options of the process, such as --eval or a loader, must not apply to these threads.
  const worker = new Worker(url, { execArgv: [] });
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer as TransferListItem[]),
    listen: (receive, fail) => {
      worker.removeAllListeners();
      worker.on('message', receive);
      worker.on('error', fail);
      worker.on('messageerror', fail);
      worker.on('exit', (code) => fail(new Error(`the thread ended with code ${code}`)));
    },
    hold: () => worker.ref(),
    release: () => worker.unref(),
    terminate: () => void worker.terminate(),
  };
}
