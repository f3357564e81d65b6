/** What helps where files of the package were moved. */
export const toldAddresses = 'tell loadEngine({ wasm, thread }) where these files are';

/** What a message can hand over. */
export type Transfer = ArrayBuffer | MessagePort;

/** A thread of the host, started. */
export interface Thread {
  post(message: unknown, transfer?: readonly Transfer[]): void;
  /** Replaces what is called with each message, and when the thread fails. */
  listen(receive: (message: unknown) => void, fail: (error: unknown) => void): void;
  /** Keeps the process alive while the thread works; does nothing in pages. */
  hold(): void;
  /** Lets the process end although the thread is there. */
  release(): void;
  terminate(): void;
}

/** What the kernels need of a host: what the engine's thread brings, or the caller's where there is no other. */
export interface KernelHost {
  /** Starts one more thread from the same file. */
  startThread(): Thread;
  /** Why threads cannot share memory here, or nothing where they can. */
  whyNoThreads(): string | undefined;
  /** The wasm from an address, or from where the package has it. */
  wasmSource(address: string | undefined): Promise<Response | Uint8Array<ArrayBuffer>>;
}
