import type { Thread } from '../host/thread.js';

/** wasm-bindgen-rayon's handle: it hands out the address that threads ask for work, and starts the pool. */
interface PoolBuilder {
  receiver(): number;
  build(): void;
}

/** What a new thread needs to join the pool. */
export interface PoolThread {
  readonly role: 'pool';
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly receiver: number;
  /** Where it reports to the caller's thread that a kernel failed. */
  readonly alarm: MessagePort;
}

/** A pool thread that does not answer within this time, in milliseconds, counts as one that cannot start. */
const startingPatience = 10_000;

/** A thread that is starting, and will join the pool. */
interface Coming {
  readonly thread: Thread;
  /** Rejected if it fails before. */
  readonly failed: Promise<never>;
}

/** A reference is kept: Firefox collects workers that nothing refers to (bug 1702191). */
const coming: Coming[] = [];

/** For each thread of the pool the end of its alarm that the caller's thread gets. */
export const alarms: MessagePort[] = [];

/** Starts the pool's threads as this host does; they come up while the kernels are fetched and compiled. */
export function startThreads(count: number, start: () => Thread): void {
  try {
    while (coming.length < count) {
      const thread = start();
      const failed = new Promise<never>((_, fail) => thread.listen(() => {}, fail));
      // Whoever waits for the pool gets the error.
      failed.catch(() => {});
      coming.push({ thread, failed });
    }
  } catch (error) {
    endThreads();
    throw error;
  }
}

function endThreads(): void {
  for (const { thread } of coming.splice(0)) thread.terminate();
  for (const alarm of alarms.splice(0)) alarm.close();
}

/**
 * The build answers the generated glue's import of wasm-bindgen-rayon's `startWorkers` with this function, which
 * lets the threads join that were started through the host, in Node as in pages.
 */
export async function startWorkers(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  builder: PoolBuilder,
): Promise<void> {
  try {
    await Promise.all(
      coming.map(async ({ thread, failed }) => {
        const { port1, port2 } = new MessageChannel();
        alarms.push(port1);
        const first: PoolThread = { role: 'pool', module, memory, receiver: builder.receiver(), alarm: port2 };
        thread.post(first, [port2]);
        await Promise.race([failed, ready(thread, startingPatience)]);
        thread.release();
      }),
    );
  } catch (error) {
    endThreads();
    throw error;
  }
  builder.build();
}

/** Resolves with a thread's first message, if that comes within `patience` milliseconds. */
export function ready(thread: Thread, patience: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`a thread did not answer in ${patience / 1000} s`)), patience);
    const end = (settle: () => void) => {
      clearTimeout(timer);
      settle();
    };
    thread.listen(
      (message) => end(() => resolve(message)),
      (error) => end(() => reject(error)),
    );
  });
}
