import { SparsifyError, type ErrorCode, type ErrorDetails } from '../errors.js';
import type { KernelHost } from '../host/thread.js';
import initialize, * as kernels from '../../wasm/sparsifier_wasm.js';
import type { Call } from './call.js';
import { startThreads, type PoolThread } from './pool.js';

/** The kernels once they are loaded. */
export interface Started {
  readonly memory: WebAssembly.Memory;
  readonly threads: number;
  /** Why there are that many threads, as a sentence. */
  readonly why: string;
}

/** The shared maximum is reserved up front, and hosts with little address space refuse large ones. In 64 kB pages. */
const maximumPages = [65536, 32768, 16384, 8192];

/** Instantiates the kernels in this thread and starts the pool, or explains why there is none. */
export async function start(threads: number, wasm: string | undefined, host: KernelHost): Promise<Started> {
  const notStarted = (error: unknown) => `threads did not start (${error instanceof Error ? error.message : error})`;
  let reason = threads === 1 ? 'one thread was requested, or there is only one core' : host.whyNoThreads();
  try {
    if (reason === undefined) startThreads(threads, host.startThread);
  } catch (error) {
    reason = notStarted(error);
  }
  const memory = reserve();
  await initialize({ module_or_path: await host.wasmSource(wasm), memory });
  if (reason !== undefined) return { memory, threads: 1, why: reason };
  try {
    await kernels.initThreadPool(threads);
    return { memory, threads, why: `${threads} threads share the work` };
  } catch (error) {
    return { memory, threads: 1, why: notStarted(error) };
  }
}

/** Why the kernels could not be loaded, in a form that messages can carry. */
export interface NotStarted {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
}

/** What is known of why {@link start} failed. */
export function whyNotStarted(error: unknown, { ifMoved }: KernelHost): NotStarted {
  if (error instanceof SparsifyError) return error;
  const found = error instanceof Error ? error.message : String(error);
  // Hosts throw it where they have no room for the memory, or for the code.
  if (error instanceof RangeError) {
    const hint =
      'Close what takes memory, or allow the process more address space, of which the engine reserves up to 4 GiB';
    return { code: 'memory', details: { found, hint } };
  }
  // Browsers say so in their own words, some by its initials.
  if (/content.security.policy|\bCSP\b/i.test(found)) {
    const hint = `Allow WebAssembly in the Content-Security-Policy: script-src 'self' 'wasm-unsafe-eval'`;
    return { code: 'file', details: { found, hint } };
  }
  return { code: 'file', details: { found, hint: `Where a bundler moved the package, ${ifMoved}` } };
}

/** Calls a verb, and returns its number: an address, or a status. */
export function call([verb, ...numbers]: Call): number {
  const kernel = kernels[verb] as (...numbers: number[]) => number | undefined;
  return kernel(...numbers) ?? 0;
}

/**
 * Gives this thread to the pool for good; `answer` is called just before. Later failures are reported to the caller's
 * thread: the engine's thread, which started this one, sleeps until the work is done, and would sleep for ever.
 */
export async function joinPool({ module, memory, receiver, alarm }: PoolThread, answer: () => void): Promise<void> {
  await initialize({ module_or_path: module, memory });
  answer();
  try {
    kernels.wbg_rayon_start_worker(receiver);
  } catch (error) {
    alarm.postMessage(String(error));
  }
}

function reserve(): WebAssembly.Memory {
  for (const maximum of maximumPages) {
    try {
      // The module asks for this many pages to begin with, for its own data and stack.
      return new WebAssembly.Memory({ initial: 64, maximum, shared: true });
    } catch (error) {
      if (!(error instanceof RangeError) || maximum === maximumPages.at(-1)) throw error;
    }
  }
  throw new RangeError('no memory could be reserved');
}
