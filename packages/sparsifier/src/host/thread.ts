/** A `MessagePort`, which is no global type of Node.js. */
interface Port {
  postMessage(message: unknown): void;
  close(): void;
}

/** An object that a message can transfer. */
export type Transfer = ArrayBuffer | Port;

/** A running thread of the host. */
export interface Thread {
  post(message: unknown, transfer?: readonly Transfer[]): void;
  /** Replaces the callbacks for messages and for the failure of the thread. */
  listen(receive: (message: unknown) => void, fail: (error: unknown) => void): void;
  /** Keeps the process alive while the thread works. Does nothing in browsers. */
  hold(): void;
  /** Lets the process exit even though the thread is running. */
  release(): void;
  terminate(): void;
}

/**
 * The functions of a host that the kernels need. The engine's thread provides them, or the caller's if it runs the
 * kernels.
 */
export interface KernelHost {
  /** What helps where a bundler moved the modules away from the other files of the package. */
  readonly ifMoved: string;
  /** Starts another thread from the same file. */
  startThread(): Thread;
  /** Why threads cannot share memory here; undefined if they can. */
  whyNoThreads(): string | undefined;
  /** Loads the wasm from a URL, by default from the package itself. */
  wasmSource(address: string | undefined): Promise<Response | Uint8Array<ArrayBuffer>>;
}
