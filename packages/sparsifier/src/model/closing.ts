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

/** The base of what `using` closes. */
export const Closing: abstract new () => Disposing & { close(): void } = Closed;
