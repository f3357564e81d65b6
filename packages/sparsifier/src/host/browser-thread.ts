// Must not import what starts a worker from this file: bundlers refuse workers that lead back to themselves.
import { serve } from '../engine/thread.js';
import { startWorker, wasmSource, whyNoThreads } from './browser-worker.js';

/** What a dedicated worker's global scope has beyond a page's. */
interface WorkerScope {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}
const scope = globalThis as unknown as WorkerScope;

/**
 * The type that this worker was started as. Some bundlers make this file a classic script, whatever type is asked for,
 * which loads its further files with `importScripts`: started as a module, it would fail, since modules do not have that.
 */
function ownType(): WorkerType {
  try {
    importScripts();
    return 'classic';
  } catch {
    return 'module';
  }
}

serve(
  {
    post: (message, transfer = []) => scope.postMessage(message, [...transfer]),
    listen: (receive) => {
      scope.onmessage = (event) => receive(event.data);
    },
    sharesMemory: globalThis.crossOriginIsolated === true,
  },
  { startThread: () => startWorker(location.href, ownType()), whyNoThreads, wasmSource },
);
