import { mostLevels, overLimit, usualReading, type Reading, type ReadLimits } from '../host/reading.js';
import { aBoolean, aSignal, being, optionsOf, type Shape } from '../options/check.js';
import { handled } from '../options/listener.js';

export type { ReadLimits } from '../host/reading.js';

/** The options of everything that reads files. */
export interface ReadOptions {
  /** Limits for files that are not trusted, or that need more than usual. */
  readonly limits?: ReadLimits | undefined;
  /** Ends reading with the signal's reason. A download is cancelled. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether links may lead out of the folder of the model, as they do in the caches of model hubs; true by default. If
   * false, a file that such a link leads to is an error. In browsers there are no links.
   */
  readonly followLinks?: boolean | undefined;
}

const aLimit = being<number>(
  'a whole number above 0',
  (value) => (Number.isSafeInteger(value) && (value as number) > 0) || value === Infinity,
);
const limitsShape: Shape<ReadLimits> = {
  headerBytes: aLimit,
  depth: being(
    `a whole number from 1 to ${mostLevels}`,
    (value) => Number.isInteger(value) && (value as number) > 0 && (value as number) <= mostLevels,
  ),
  tensors: aLimit,
  fileBytes: aLimit,
  idleSeconds: being('a number above 0', (value) => typeof value === 'number' && value > 0),
};

export const readingShape: Shape<ReadOptions> = {
  limits: (value) => optionsOf(value as ReadLimits, limitsShape),
  signal: aSignal,
  followLinks: aBoolean,
};

/** Options for files that this package wrote itself. */
export const trusted: ReadOptions = {
  limits: { headerBytes: Infinity, depth: mostLevels, tensors: Infinity, fileBytes: Infinity, idleSeconds: Infinity },
  signal: undefined,
  followLinks: true,
};

/**
 * How files are read with these options.
 * @param options checked by {@link readingShape}
 * @throws the signal's reason if aborted
 */
export function readingOf({ limits, signal, followLinks = true }: ReadOptions): Reading {
  signal?.throwIfAborted();
  return { limits: { ...usualReading.limits, ...limits }, signal, followLinks };
}

/** @throws SparsifyError `format` if a model has too many tensors */
export function checkTensors({ limits }: Reading, subject: string, count: number): void {
  if (count > limits.tensors) throw overLimit('tensors', subject, limits.tensors, count);
}

/**
 * What a caller's function gives, which may never be there.
 * @throws the signal's reason if reading is aborted before
 */
export async function unlessAborted<Value>({ signal }: Reading, value: Value | Promise<Value>): Promise<Value> {
  if (signal === undefined) return value;
  // Also where the signal comes first.
  handled(value);
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
  });
  return Promise.race([value, aborted]).finally(() => signal.removeEventListener('abort', abort));
}
