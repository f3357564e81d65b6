import type { Thread } from './thread.js';

/** Why threads cannot share memory here, or nothing where they can. */
export function whyNoThreads(): string | undefined {
  if (globalThis.crossOriginIsolated === true) return undefined;
  return 'one thread, since the page is not cross-origin isolated (it needs the headers COOP: same-origin and COEP: require-corp)';
}

/** Where the wasm comes from; nothing means where the glue looks for it by itself, an address that bundlers see. */
export const wasmSource = (address: string | undefined): URL | undefined =>
  address === undefined ? undefined : new URL(address);

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
