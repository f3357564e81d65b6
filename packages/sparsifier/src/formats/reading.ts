import { SparsifyError } from '../errors.js';
import { mostLevels, overLimit, usualReading, type Reading, type ReadLimits } from '../host/reading.js';
import { checkListeners } from '../options/options.js';
import { checkNames } from '../options/spelling.js';

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

export const readOptionNames: readonly (keyof ReadOptions)[] = ['limits', 'signal', 'followLinks'];

/** Options for files that this package wrote itself. */
export const trusted: ReadOptions = {
  limits: { headerBytes: Infinity, depth: mostLevels, tensors: Infinity, fileBytes: Infinity, idleSeconds: Infinity },
  signal: undefined,
  followLinks: true,
};

/**
 * How files are read with these options.
 * @throws SparsifyError `usage` for wrong values; the signal's reason if aborted
 */
export function readingOf({ limits = {}, signal, followLinks = true }: ReadOptions): Reading {
  checkNames(limits, Object.keys(usualReading.limits));
  const given = Object.entries(limits as Record<string, unknown>).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) checkLimit(name as keyof ReadLimits, value);
  checkListeners({ signal });
  if (typeof followLinks !== 'boolean') {
    throw new SparsifyError('usage', '`followLinks` is true or false', { given: followLinks });
  }
  signal?.throwIfAborted();
  return { limits: { ...usualReading.limits, ...Object.fromEntries(given) }, signal, followLinks };
}

function checkLimit(name: keyof ReadLimits, value: unknown): void {
  const isNumber = typeof value === 'number' && value > 0;
  const isCount = isNumber && (Number.isSafeInteger(value) || value === Infinity);
  if (name === 'depth' ? isCount && value <= mostLevels : name === 'idleSeconds' ? isNumber : isCount) return;
  throw new SparsifyError(
    'usage',
    `the limit \`${name}\` is ${name === 'idleSeconds' ? 'a' : 'a whole'} number above 0`,
    {
      given: value,
      allowed: name === 'depth' ? [`1 to ${mostLevels}`] : undefined,
    },
  );
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
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
  });
  return Promise.race([value, aborted]).finally(() => signal.removeEventListener('abort', abort));
}
