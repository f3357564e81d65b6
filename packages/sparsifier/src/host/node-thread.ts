import { parentPort, type TransferListItem } from 'node:worker_threads';
import { serve } from '../engine/thread.js';
import { ifMoved, startWorker, wasmSource, whyNoThreads } from './node-worker.js';

const port = parentPort!;

serve(
  {
    post: (message, transfer = []) => port.postMessage(message, transfer as TransferListItem[]),
    listen: (receive) => port.on('message', receive),
    sharesMemory: true,
  },
  { ifMoved, startThread: () => startWorker(new URL(import.meta.url)), whyNoThreads, wasmSource },
);
