// Ends a process that hangs. Node only.
import { Worker } from 'node:worker_threads';

/** How long one input may take, on the busiest machine. */
const seconds = 60;

const code = `
  const { workerData: { runs, seconds } } = require('node:worker_threads');
  let last = -1;
  setInterval(() => {
    const now = Atomics.load(runs, 0);
    if (now === last) process.kill(process.pid, 'SIGKILL');
    last = now;
  }, 1000 * seconds);
`;

/** Ends the process if nobody calls `next` for a minute. The caller's own thread may be what hangs. */
export function watch(): { readonly next: () => void; readonly stop: () => Promise<number> } {
  const runs = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(code, { eval: true, workerData: { runs, seconds } });
  return { next: () => void Atomics.add(runs, 0, 1), stop: () => worker.terminate() };
}
