import { SparsifyError } from '../errors.js';
import { wasmAddress } from '../wasm/address.js';
import type { Thread } from './thread.js';

export const ifMoved = 'pass the URLs of these files to loadEngine({ wasm, thread })';

/** Why threads cannot share memory here; undefined if they can. */
export function whyNoThreads(): string | undefined {
  if (globalThis.crossOriginIsolated === true) return undefined;
  return 'one thread, because the page is not cross-origin isolated (it needs the headers COOP: same-origin and COEP: require-corp)';
}

/**
 * Fetches the wasm from a URL, by default from the package itself. Returns a response that can be compiled while it is
 * streaming, or its bytes.
 * @throws SparsifyError `file` if there is no good answer, or if it is HTML, which development servers send for files that
 *   they do not have
 */
export async function wasmSource(address: string | undefined): Promise<Response | Uint8Array<ArrayBuffer>> {
  const url = address === undefined ? wasmAddress() : new URL(address);
  const notFetched = (found: string, cause?: unknown) =>
    new SparsifyError(
      'file',
      'the WebAssembly could not be fetched',
      { subject: url.href, found, hint: `Where a bundler moved the package, ${ifMoved}` },
      { cause },
    );
  const response = await fetch(url).catch((cause: unknown) => {
    throw notFetched(messageOf(cause), cause);
  });
  if (!response.ok) throw notFetched(`status ${response.status}`);
  if (response.headers.get('Content-Type') === 'application/wasm') return response;
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!/^\s*</.test(new TextDecoder().decode(bytes.subarray(0, 64)))) return bytes;
  throw new SparsifyError('file', 'the response is not WebAssembly', {
    subject: url.href,
    found: 'an HTML page',
    hint: `With Vite, set optimizeDeps: { exclude: ['sparsifier'] } in vite.config; otherwise ${ifMoved}`,
  });
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const startWorker = (address: string, type: WorkerType = 'module'): Thread =>
  asThread(() => new Worker(isForeign(address) ? importing(address) : address, { type }));

/** Whether browsers refuse to start a worker from a URL. */
const isForeign = (address: string): boolean => {
  const { protocol, origin } = new URL(address);
  return /^https?:$/.test(protocol) && origin !== location.origin;
};

/** The URL of a worker that runs a module of another origin, as modules may import from anywhere. */
const importing = (address: string): string =>
  URL.createObjectURL(new Blob([`import ${JSON.stringify(address)};`], { type: 'text/javascript' }));

/** The directive of the Content-Security-Policy that forbade something here last. */
let forbiddenBy: string | undefined;
let isWatching = false;

/** Browsers report what a policy forbids by this event alone. */
function watchPolicy(): void {
  if (isWatching) return;
  isWatching = true;
  globalThis.addEventListener('securitypolicyviolation', (event) => {
    if (/^(worker|child|script|default)-src/.test(event.effectiveDirective)) forbiddenBy = event.effectiveDirective;
  });
}

export function asThread(start: () => Worker): Thread {
  watchPolicy();
  const worker = start();
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer as Transferable[]),
    listen: (receive, fail) => {
      worker.onmessage = (event) => receive(event.data);
      // An error without a message says that the file was not loaded. The event of a policy may follow it.
      worker.onerror = (event) => {
        if (event.message) fail(new Error(event.message));
        else setTimeout(() => fail(notLoaded()));
      };
      worker.onmessageerror = () => fail(new Error('a message could not be read'));
    },
    hold: () => {},
    release: () => {},
    terminate: () => worker.terminate(),
  };
}

/** The error of a worker whose file was not loaded. */
function notLoaded(): Error {
  if (forbiddenBy === undefined) return new Error('the file of the worker could not be loaded');
  return new Error(
    `the Content-Security-Policy forbids workers (${forbiddenBy}); allow them by worker-src 'self', or blob: for files of another origin`,
  );
}

/** Why a thread did not start, and what helps. @param address that of its file, where it was given */
export async function whyNoWorker(error: unknown, address: string | undefined): Promise<string> {
  const found = messageOf(error);
  if (forbiddenBy !== undefined) return found;
  // The file of the thread lies where the wasm does; bundlers know its address, and do not tell.
  const { href, protocol, origin } = address === undefined ? wasmAddress() : new URL(address);
  if (address === undefined && isForeign(href)) {
    return `the package is on ${origin}, and browsers start workers from the page's own origin; pass the URL of its thread to loadEngine({ thread })`;
  }
  if (address === undefined || !/^https?:$/.test(protocol)) return `${found}; ${ifMoved}`;
  const answer = await fetch(href).catch(messageOf);
  if (typeof answer === 'string') return `${href} could not be fetched (${answer})`;
  if (!answer.ok) return `${href} could not be fetched (status ${answer.status})`;
  const type = answer.headers.get('Content-Type');
  return /javascript/.test(type ?? '') ? `${href}: ${found}` : `${href} is not JavaScript, but ${type}`;
}
