// Must not import the module that starts a worker from this file: bundlers refuse workers that import themselves.
import { serve } from '../engine/thread.js';
import { ifMoved, startWorker, wasmSource, whyNoThreads } from './browser-worker.js';

/** The members of a dedicated worker's global scope that a page's does not have. */
interface WorkerScope {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
  importScripts(address: string): void;
}
const scope = globalThis as unknown as WorkerScope;

/**
 * The type that this worker was started as. Some bundlers make this file a classic script, whatever type is requested, which
 * loads its other files with `importScripts`. Modules refuse to call that with a TypeError; in Firefox only with an address.
 * This one is not valid, so that nothing is fetched. Parcel refuses modules that call the global by its name.
 */
function ownType(): WorkerType {
  try {
    scope.importScripts('http://[');
    return 'classic';
  } catch (error) {
    return error instanceof TypeError ? 'module' : 'classic';
  }
}

serve(
  {
    post: (message, transfer = []) => scope.postMessage(message, transfer as Transferable[]),
    listen: (receive) => {
      scope.onmessage = (event) => receive(event.data);
    },
    sharesMemory: globalThis.crossOriginIsolated === true,
  },
  { ifMoved, startThread: () => startWorker(location.href, ownType()), whyNoThreads, wasmSource },
);
