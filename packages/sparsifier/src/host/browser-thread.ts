// Must not import what starts a worker from this file: bundlers refuse workers that lead back to themselves.
import { serve } from '../engine/thread.js';
import { startWorker, wasmSource, whyNoThreads } from './browser-worker.js';

/** What a dedicated worker's global scope has beyond a page's. */
interface WorkerScope {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}
const scope = globalThis as unknown as WorkerScope;

serve(
  {
    post: (message, transfer = []) => scope.postMessage(message, [...transfer]),
    listen: (receive) => {
      scope.onmessage = (event) => receive(event.data);
    },
    sharesMemory: globalThis.crossOriginIsolated === true,
  },
  { startThread: () => startWorker(location.href), whyNoThreads, wasmSource },
);
