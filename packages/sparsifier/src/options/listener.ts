import { attempt } from '../errors.js';

/**
 * The caller's function that is told how far a call has come. What it throws ends the call with the same error, and so
 * does a promise that it returns, if that is rejected while the call runs. Calls do not wait for such promises, since
 * they may wait for calls themselves.
 */
export class Listener<Progress> {
  readonly #onProgress: ((progress: Progress) => void) | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(onProgress?: (progress: Progress) => void) {
    this.#onProgress = onProgress;
  }

  /**
   * @param mustGoOn whether the call changes something that it would leave half done: then {@link settle} throws the error
   * @throws what the listener threw
   */
  tell(progress: Progress, mustGoOn = false): void {
    try {
      if (!this.#failure)
        handled(readable('`onProgress`', this.#onProgress?.(progress)), (error) => (this.#failure ??= { error }));
    } catch (error) {
      this.#failure = { error };
    }
    if (!mustGoOn) this.#throw();
  }

  /** To be awaited at the end of a call. @throws what the listener threw */
  async settle(): Promise<void> {
    await undefined;
    this.#throw();
  }

  #throw(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

/**
 * Takes the errors of a promise that a caller's function returned, if it is one: nobody else would, and they would end
 * the process.
 */
export function handled(returned: unknown, fail: (error: unknown) => void = () => {}): void {
  if (isPromise(returned)) Promise.resolve(returned).catch(fail);
}

/**
 * What a caller's function returned, to be awaited.
 * @param what the function is, in words
 * @throws SparsifyError `usage` for an object that cannot be read, which nobody could await
 */
export function readable<Value>(what: string, returned: Value): Value {
  attempt(`what ${what} returned`, () => isPromise(returned));
  return returned;
}

const isPromise = (value: unknown): boolean =>
  typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
