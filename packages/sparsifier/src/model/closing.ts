/** What `using` needs. Published types name `Symbol.dispose` only where the compiler of their reader knows it. */
export type Disposing = SymbolConstructor extends { readonly dispose: infer Key extends symbol }
  ? Record<Key, () => void>
  : object;

abstract class Closed {
  abstract close(): void;

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Does work with what is closed at its end. `using` would need `Symbol.dispose`, which some browsers lack. */
export async function withClosed<Held extends { close(): void }, Result>(
  held: Held,
  work: (held: Held) => Promise<Result>,
): Promise<Result> {
  try {
    return await work(held);
  } finally {
    held.close();
  }
}

/** The base of what `using` closes. */
export const Closing: abstract new () => Disposing & { close(): void } = Closed;
