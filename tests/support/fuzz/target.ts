// What is fuzzed: a reader, and what has to be true of it.
import { SparsifyError } from 'sparsifier';
import type { Input } from './input.js';

/** What is true of a reader, whatever it is given. */
export interface Target {
  /** Its files: the beginnings of their paths in `dist`. Those of the last run's coverage. */
  readonly files: readonly string[];
  /** Inputs to begin with, by what they are: valid ones, and those with which readers of such files have failed. */
  seeds(): Promise<Readonly<Record<string, Input>>>;
  /**
   * Reads an input and uses what comes of it.
   * @returns whether it could be read
   * @throws if something is not as it has to be
   */
  check(input: Input): Promise<boolean>;
}

/**
 * Awaits a call, which may fail with nothing but an error of this library.
 * @returns undefined if it did
 */
export async function attempt<Value>(call: () => Value | Promise<Value>): Promise<Value | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof SparsifyError) return undefined;
    throw error;
  }
}

/** @throws if something is not true */
export function hold(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(what);
}
