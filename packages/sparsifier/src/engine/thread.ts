import type { KernelHost, Transfer } from '../host/thread.js';
import type { Call } from './call.js';
import { call, joinPool, start, whyNotStarted, type NotStarted } from './core.js';
import { alarms, type PoolThread } from './pool.js';

/** The first message to a thread that becomes the engine. */
export interface EngineThread {
  readonly role: 'engine';
  readonly threads: number;
  readonly wasm: string | undefined;
}

/** A request to the engine's thread, with a number that its answer repeats. */
export type Request = { readonly id: number } & (
  | { readonly kind: 'calls'; readonly calls: readonly Call[] }
  | { readonly kind: 'write'; readonly address: number; readonly bytes: Uint8Array }
  | { readonly kind: 'read'; readonly address: number; readonly length: number }
);

export type Answer = { readonly id: number } & (
  | { readonly results: readonly number[] }
  | { readonly bytes: Uint8Array<ArrayBuffer> | undefined }
  | { readonly error: string }
);

/** The first answer of the engine's thread. `memory` is missing where this host cannot share it. */
export type Ready =
  | {
      readonly threads: number;
      readonly why: string;
      readonly alarms: readonly MessagePort[];
      readonly memory?: WebAssembly.Memory;
    }
  | { readonly error: NotStarted };

/** The other end: the thread that started this one. */
export interface Parent {
  post(message: unknown, transfer?: readonly Transfer[]): void;
  listen(receive: (message: unknown) => void): void;
  readonly sharesMemory: boolean;
}

/** What a thread does: it becomes the engine or joins the pool, as its first message says. */
export function serve(parent: Parent, host: KernelHost): void {
  let answerTo: ((request: Request) => void) | undefined;
  parent.listen((message) => {
    if (answerTo) return answerTo(message as Request);
    const first = message as EngineThread | PoolThread;
    if (first.role === 'pool') {
      joinPool(first, () => parent.post('ready')).catch((error) => {
        // Thrown outside of the promise so that it reaches the parent as this thread's error event.
        setTimeout(() => {
          throw error;
        });
      });
      return;
    }
    start(first.threads, first.wasm, host).then(
      ({ memory, threads, why }) => {
        answerTo = (request) => answer(parent, memory, request);
        parent.post({ threads, why, alarms, ...(parent.sharesMemory ? { memory } : {}) } satisfies Ready, alarms);
      },
      (error) => {
        const { code, details } = whyNotStarted(error, host);
        parent.post({ error: { code, details } } satisfies Ready);
      },
    );
  });
}

function answer(parent: Parent, memory: WebAssembly.Memory, request: Request): void {
  const { id, kind } = request;
  try {
    if (kind === 'calls') {
      parent.post({ id, results: request.calls.map(call) } satisfies Answer);
    } else if (kind === 'write') {
      new Uint8Array(memory.buffer).set(request.bytes, request.address);
      parent.post({ id, bytes: undefined } satisfies Answer);
    } else {
      const bytes = new Uint8Array(memory.buffer, request.address, request.length).slice() as Uint8Array<ArrayBuffer>;
      parent.post({ id, bytes } satisfies Answer, [bytes.buffer]);
    }
  } catch (error) {
    parent.post({ id, error: String(error) } satisfies Answer);
  }
}
