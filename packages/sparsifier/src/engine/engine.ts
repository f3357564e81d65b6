import * as host from '#host';
import { SparsifyError, attempt } from '../errors.js';
import type { Thread } from '../host/thread.js';
import { AllocatedBlock, type Block, type MemoryAccess } from './block.js';
import type { Call } from './call.js';
import type { NotStarted } from './core.js';
import { ready } from './pool.js';
import type { Answer, EngineThread, Ready, Request } from './thread.js';

export type { Block } from './block.js';

/** How the engine is loaded. */
export interface LoadEngineOptions {
  /** How many threads share the work, 1 to 256; by default as many as the host has cores. */
  readonly threads?: number;
  /** The address of `sparsifier_wasm_bg.wasm`, where a bundler does not follow `new URL(..., import.meta.url)`. */
  readonly wasm?: string | URL;
  /** The address of the thread file (`host/browser-thread.js` or `host/node-thread.js`), for the same case. */
  readonly thread?: string | URL;
}

/** The kernels, loaded once per page or process, with their memory. */
export interface Engine {
  /** How many threads share the work. */
  readonly threads: number;
  /** Why there are that many, as a sentence. */
  readonly why: string;
  /** How many blocks of shared memory are in use now, and how many bytes they have together. */
  readonly memory: { readonly blocks: number; readonly bytes: number };
  /**
   * Allocates a block of shared memory, aligned to 16 bytes. It is not zeroed.
   * @throws SparsifyError `memory` if there is no room; the engine continues to work
   */
  allocate(bytes: number): Promise<Block>;
}

/** The way to the thread that runs the kernels. */
interface Transport extends MemoryAccess {
  calls(calls: readonly Call[]): Promise<readonly number[]>;
}

/** How long the engine's thread may take to fetch and compile itself, in milliseconds. */
const loadingPatience = 120_000;

/** The largest block: addresses are 32 bits wide. */
const largestBlock = 2 ** 32 - 1;

class LoadedEngine implements Engine {
  readonly threads: number;
  readonly why: string;
  readonly #transport: Transport;
  readonly #live = new Set<Block>();

  constructor(transport: Transport, { threads, why }: { readonly threads: number; readonly why: string }) {
    this.#transport = transport;
    this.threads = threads;
    this.why = why;
  }

  get memory(): { readonly blocks: number; readonly bytes: number } {
    let bytes = 0;
    for (const block of this.#live) bytes += block.bytes;
    return { blocks: this.#live.size, bytes };
  }

  async allocate(bytes: number): Promise<Block> {
    if (bytes !== Infinity && !(Number.isInteger(bytes) && bytes >= 0)) {
      throw new SparsifyError('usage', 'a block has a whole number of bytes', { given: bytes });
    }
    const address = bytes <= largestBlock ? (await this.calls([['allocate', bytes]]))[0]! : 0;
    if (address === 0) {
      const megabytes = (count: number) => `${Math.ceil(count / 2 ** 20)} MiB`;
      throw new SparsifyError('memory', 'the engine has no room for a block of memory', {
        given: megabytes(bytes),
        found: `${megabytes(this.memory.bytes)} in use of at most 4096 MiB`,
        hint: 'Close models that are not needed any more, or work on fewer layers at once',
      });
    }
    const block: Block = new AllocatedBlock(address, bytes, this.#transport, () => {
      this.#live.delete(block);
      void this.calls([['release', address, bytes]]).catch(() => {});
    });
    this.#live.add(block);
    return block;
  }

  calls(calls: readonly Call[]): Promise<readonly number[]> {
    return this.#transport.calls(calls);
  }
}

/**
 * Calls verbs one after another, in one exchange with the engine's thread, and gives what each returns. A function
 * rather than a member of {@link Engine}, which users see.
 */
export const callsOf = (engine: Engine, calls: readonly Call[]): Promise<readonly number[]> =>
  (engine as LoadedEngine).calls(calls);

/** What {@link loadEngine} was given, with absolute addresses. */
interface Asked {
  readonly threads: number;
  readonly wasm: string | undefined;
  readonly thread: string | undefined;
}

let loading: { readonly asked: Asked; readonly engine: Promise<Engine>; hasStopped: boolean } | undefined;

/**
 * Loads the engine, once: later calls return the same one. Calling it is optional, since whatever needs the engine
 * loads it. If an engine stops working, the next call loads a new one with the same options.
 *
 * Several threads share the work in Node and in pages that are cross-origin isolated; elsewhere there is one thread.
 * `engine.why` says which case it is.
 *
 * @throws SparsifyError `usage` if it was loaded before with other options or an option is invalid, `file` if it cannot
 *   be loaded, `memory` if there is no room for its memory
 */
export async function loadEngine(options: LoadEngineOptions = {}): Promise<Engine> {
  if (options === null || typeof options !== 'object') {
    throw new SparsifyError('usage', 'options are given as an object', {
      given: options,
      hint: 'Such as `loadEngine({ threads: 4 })`',
    });
  }
  const asked = attempt('the options', () =>
    loading && Object.keys(options).length === 0 ? loading.asked : askedFor(options),
  );
  if (loading && JSON.stringify(loading.asked) !== JSON.stringify(asked)) {
    throw new SparsifyError('usage', 'the engine is loaded already, with other options', {
      given: asked,
      found: loading.asked,
      hint: 'Call loadEngine() with options once, before anything else',
    });
  }
  if (!loading || loading.hasStopped) {
    const before = loading;
    const engine = begin(asked, () => (begun.hasStopped = true)).catch((error) => {
      loading = before;
      throw error;
    });
    const begun = { asked, engine, hasStopped: false };
    loading = begun;
  }
  return loading.engine;
}

function askedFor({ threads = host.cores(), wasm, thread, ...others }: LoadEngineOptions): Asked {
  const unknown = Object.keys(others);
  if (unknown.length > 0) {
    throw new SparsifyError('usage', 'unknown option', {
      given: unknown.join(', '),
      allowed: ['threads', 'wasm', 'thread'],
    });
  }
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new SparsifyError('usage', 'the number of threads is a whole number from 1 to 256', { given: threads });
  }
  const address = (name: string, given: string | URL | undefined) => {
    if (given === undefined) return undefined;
    if (typeof given === 'string' || given instanceof URL) return host.addressOf(given);
    throw new SparsifyError('usage', `\`${name}\` is a path or a URL`, { given });
  };
  return { threads, wasm: address('wasm', wasm), thread: address('thread', thread) };
}

/** @param stopped is called when the engine no longer works, and another one can be loaded */
async function begin({ threads, wasm, thread: address }: Asked, stopped: () => void): Promise<Engine> {
  let thread: Thread | undefined;
  let answer: Ready;
  try {
    thread = host.startThread(address);
    thread.post({ role: 'engine', threads, wasm } satisfies EngineThread);
    answer = (await ready(thread, loadingPatience)) as Ready;
  } catch (error) {
    thread?.terminate();
    return onThisThread(wasm, await host.whyNoWorker(error, address));
  }
  if ('error' in answer) {
    thread.terminate();
    throw notLoaded(answer.error);
  }
  return new LoadedEngine(overMessages(thread, answer.memory, answer.alarms, stopped), answer);
}

const notLoaded = ({ code, details }: NotStarted, options?: ErrorOptions): SparsifyError =>
  new SparsifyError(code, 'the engine could not be loaded', details, options);

const brokenBy = (cause: unknown, hint: string): SparsifyError =>
  new SparsifyError('memory', 'the engine stopped working', { found: String(cause), hint }, { cause });

/** The kernels on the caller's own thread, for hosts that cannot start another one. @param reason why they cannot */
async function onThisThread(wasm: string | undefined, reason: string): Promise<Engine> {
  const { call, start, whyNotStarted } = await import('./core.js');
  const { memory, threads } = await start(1, wasm, host).catch((cause: unknown) => {
    throw notLoaded(whyNotStarted(cause, host), { cause });
  });
  let failure: SparsifyError | undefined;
  const transport: Transport = {
    memory,
    calls: async (calls) => {
      if (failure) throw failure;
      try {
        return calls.map(call);
      } catch (cause) {
        // A module's instance lives as long as its thread.
        failure = brokenBy(cause, 'Reload the page or restart the process');
        throw failure;
      }
    },
    write: async (address, bytes) => new Uint8Array(memory.buffer).set(bytes, address),
    read: async (address, length) => new Uint8Array(memory.buffer, address, length),
    get failure() {
      return failure;
    },
  };
  const why = `one thread; the caller's thread does the work, since no other could be started: ${reason}`;
  return new LoadedEngine(transport, { threads, why });
}

function overMessages(
  thread: Thread,
  memory: WebAssembly.Memory | undefined,
  alarms: readonly MessagePort[],
  stopped: () => void,
): Transport {
  interface Waiting {
    resolve(answer: Answer): void;
    reject(error: unknown): void;
  }
  const waiting = new Map<number, Waiting>();
  let next = 0;
  let failure: SparsifyError | undefined;

  const stop = (cause: unknown): void => {
    if (failure) return;
    failure = brokenBy(
      cause,
      'The next call starts a new engine; models read from files were in the memory of this one and must be read again',
    );
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
    thread.terminate();
    stopped();
  };
  for (const alarm of alarms) {
    alarm.addEventListener('message', ({ data }) => stop(data));
    // Hosts that have this event report threads that end without a message by it.
    alarm.addEventListener('close', () => stop('a thread of the pool ended'));
    alarm.start();
    // Node would wait for messages.
    (alarm as { unref?(): void }).unref?.();
  }

  const settle = (id: number): Waiting | undefined => {
    const entry = waiting.get(id);
    waiting.delete(id);
    // A process can end by itself while no request is open.
    if (waiting.size === 0) thread.release();
    return entry;
  };
  thread.listen((message) => {
    const answer = message as Answer;
    if ('error' in answer) stop(answer.error);
    else settle(answer.id)?.resolve(answer);
  }, stop);
  thread.release();

  const ask = (request: Record<string, unknown>, transfer: ArrayBuffer[] = []): Promise<Answer> => {
    if (failure) return Promise.reject(failure);
    return new Promise((resolve, reject) => {
      const id = next++;
      waiting.set(id, { resolve, reject });
      thread.hold();
      thread.post({ id, ...request } as unknown as Request, transfer);
    });
  };
  interface Gathered {
    readonly calls: readonly Call[];
    resolve(results: readonly number[]): void;
    reject(error: unknown): void;
  }
  /** Calls of one moment, such as the allocations for many layers. They go in one message, which takes longer than they do. */
  let gathered: Gathered[] = [];
  const send = async (): Promise<void> => {
    const all = gathered;
    gathered = [];
    try {
      const answer = await ask({ kind: 'calls', calls: all.flatMap(({ calls }) => calls) });
      const results = 'results' in answer ? answer.results : [];
      let at = 0;
      for (const { calls, resolve } of all) resolve(results.slice(at, (at += calls.length)));
    } catch (error) {
      for (const { reject } of all) reject(error);
    }
  };
  return {
    memory,
    calls: (calls) =>
      new Promise((resolve, reject) => {
        if (gathered.length === 0) queueMicrotask(() => void send());
        gathered.push({ calls, resolve, reject });
      }),
    write: async (address, bytes) => void (await ask({ kind: 'write', address, bytes }, [bytes.buffer])),
    read: async (address, length) => {
      const answer = await ask({ kind: 'read', address, length });
      return 'bytes' in answer && answer.bytes ? answer.bytes : new Uint8Array();
    },
    get failure() {
      return failure;
    },
  };
}
