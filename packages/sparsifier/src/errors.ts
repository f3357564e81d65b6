import { printable, shortened } from './printable.js';

/** The causes an operation can fail for; the `code` of a {@link SparsifyError}. */
export type ErrorCode =
  'file' | 'format' | 'layer' | 'kind' | 'granularity' | 'criteria' | 'sparsity' | 'weights' | 'memory' | 'usage';

/** What an error is about, as data. The message is made from it. */
export interface ErrorDetails {
  /** The layer, file or option concerned. */
  readonly subject?: string;
  /** What was given. */
  readonly given?: unknown;
  /** What was found instead. */
  readonly found?: unknown;
  /** The values that would have worked. */
  readonly allowed?: readonly string[];
  /** A sentence that says what to do. */
  readonly hint?: string;
}

/** The one error class of the package: a code per cause, the facts as data, and a message that says what would work. */
export class SparsifyError extends Error {
  override readonly name = 'SparsifyError';

  /**
   * @param code the cause
   * @param summary what went wrong, one clause without a full stop
   */
  constructor(
    readonly code: ErrorCode,
    summary: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(messageOf(summary, details), options);
  }
}

/**
 * Reads what a caller gave.
 * @param what is read, for the error
 * @throws SparsifyError `usage` where a getter throws or a proxy is revoked, with that error as the cause
 */
export function attempt<Value>(what: string, read: () => Value): Value {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof SparsifyError) throw cause;
    const found = cause instanceof Error ? cause.message : cause;
    throw new SparsifyError('usage', `${what} could not be read`, { found }, { cause });
  }
}

const listedAtMost = 20;
/** Longer lists are not shown, but counted. */
const shownAtMost = 1000;

/** On one line. What cannot be seen in names is escaped, and long values are shortened. */
function messageOf(summary: string, { subject, given, found, allowed, hint }: ErrorDetails): string {
  const parts = [subject === undefined ? summary : `${shortened(subject)}: ${summary}`];
  if (given !== undefined) parts.push(`given: ${show(given)}`);
  if (found !== undefined) parts.push(`found: ${show(found)}`);
  if (allowed !== undefined) {
    const more = allowed.length - listedAtMost;
    parts.push(
      `allowed: ${allowed.slice(0, listedAtMost).map(shortened).join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
    );
  }
  if (hint !== undefined) parts.push(hint);
  return printable(parts.map((part) => (/[.?]$/.test(part) ? part : `${part}.`)).join(' '));
}

const show = (value: unknown): string => shortened(inFull(value));

function inFull(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  try {
    if (Array.isArray(value) && value.length > shownAtMost) return `a list of ${value.length}`;
    if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
    return JSON.stringify(value instanceof Map ? Object.fromEntries(value) : value) ?? String(value);
  } catch {
    return inOneWord(value);
  }
}

/** A bigint, an object that contains itself or is nested too deeply, or one that cannot be read. */
function inOneWord(value: unknown): string {
  try {
    return typeof value === 'object' ? Object.prototype.toString.call(value) : String(value);
  } catch {
    return typeof value;
  }
}
