import { SparsifyError } from '../errors.js';
import { wasmAddress } from '../wasm/address.js';
import { toldAddresses, type Thread } from './thread.js';

/** Why threads cannot share memory here; undefined if they can. */
export function whyNoThreads(): string | undefined {
  if (globalThis.crossOriginIsolated === true) return undefined;
  return 'one thread, because the page is not cross-origin isolated (it needs the headers COOP: same-origin and COEP: require-corp)';
}

/**
 * Fetches the wasm from a URL, by default from the package itself. Returns a response that can be compiled while it is
 * streaming, or its bytes.
 * @throws SparsifyError `file` if the response is HTML, which development servers send for files that they do not have
 */
export async function wasmSource(address: string | undefined): Promise<Response | Uint8Array<ArrayBuffer>> {
  const url = address === undefined ? wasmAddress() : new URL(address);
  const response = await fetch(url);
  if (!response.ok || response.headers.get('Content-Type') === 'application/wasm') return response;
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!/^\s*</.test(new TextDecoder().decode(bytes.subarray(0, 64)))) return bytes;
  throw new SparsifyError('file', 'the response is not WebAssembly', {
    subject: url.href,
    found: 'an HTML page',
    hint: `With Vite, set optimizeDeps: { exclude: ['sparsifier'] } in vite.config; otherwise ${toldAddresses}`,
  });
}

export const startWorker = (address: string, type: WorkerType = 'module'): Thread =>
  asThread(new Worker(address, { type }));

export function asThread(worker: Worker): Thread {
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    listen: (receive, fail) => {
      worker.onmessage = (event) => receive(event.data);
      worker.onerror = (event) => fail(new Error(event.message || 'the worker could not be loaded'));
      worker.onmessageerror = () => fail(new Error('a message could not be read'));
    },
    hold: () => {},
    release: () => {},
    terminate: () => worker.terminate(),
  };
}
