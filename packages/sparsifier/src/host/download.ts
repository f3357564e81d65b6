import { SparsifyError } from '../errors.js';
import { downloadLimits, overLimit, type Reading } from './reading.js';

/** The largest array of bytes that is filled before it becomes a part of a Blob. */
const largestPart = 2 ** 24;

/**
 * Fetches a file.
 * @throws SparsifyError `file` if there is no good answer, if it breaks off or cannot be decompressed, if it has too many
 *   bytes, or if no byte arrives for too long; the signal's reason if aborted
 */
export async function download(url: URL, reading: Reading): Promise<Blob> {
  const { bytes: most, milliseconds } = downloadLimits(reading);
  const { signal } = reading;
  signal?.throwIfAborted();
  const ending = new AbortController();
  const abort = () => ending.abort(signal!.reason);
  const idle = () => ending.abort(overLimit('idleSeconds', url.href, milliseconds / 1000));
  let timer = setTimeout(idle, milliseconds);
  const arrived = () => {
    clearTimeout(timer);
    timer = setTimeout(idle, milliseconds);
  };
  signal?.addEventListener('abort', abort);
  // In Node 20 a body that cannot be decompressed may never end, not even if the request is aborted.
  const ended = new Promise<never>((_, reject) => {
    ending.signal.addEventListener('abort', () => reject(ending.signal.reason));
  });
  try {
    return await Promise.race([receive(url, most, ending.signal, arrived), ended]);
  } catch (cause) {
    if (ending.signal.aborted) throw ending.signal.reason;
    throw cause instanceof SparsifyError ? cause : notFetched(url, reasonOf(cause), cause);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    // Ends what is still on its way after an error.
    ending.abort();
  }
}

/** @param arrived is called whenever something arrives */
async function receive(url: URL, most: number, signal: AbortSignal, arrived: () => void): Promise<Blob> {
  const response = await fetch(url, { signal });
  arrived();
  if (!response.ok) throw notFetched(url, `status ${response.status}`);
  // The length of a compressed answer says nothing about that of the file.
  const stated = response.headers.has('content-encoding') ? 0 : Number(response.headers.get('content-length'));
  if (stated > most) throw overLimit('fileBytes', url.href, most, stated);
  const parts = new Parts();
  const reader = response.body?.getReader();
  for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) {
    arrived();
    parts.add(next.value);
    if (parts.bytes > most) throw overLimit('fileBytes', url.href, most);
  }
  return parts.whole();
}

const notFetched = (url: URL, found: string, cause?: unknown): SparsifyError =>
  new SparsifyError('file', 'could not be fetched', { subject: url.href, found }, { cause });

/** The first cause of an error: that of Node's `fetch failed` says more than the error itself. */
function reasonOf(error: unknown): string {
  const { cause, message, code } = error as { cause?: unknown; message?: unknown; code?: unknown };
  if (cause instanceof Error) return reasonOf(cause);
  return String(message || code || error);
}

/** Bytes that arrive one after another. They become a Blob in large parts, so that they are never in memory twice. */
class Parts {
  bytes = 0;
  readonly #full: Blob[] = [];
  #part = new Uint8Array(2 ** 16);
  #filled = 0;

  add(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    for (let at = 0; at < bytes.length;) {
      if (this.#filled === this.#part.length) this.#end(Math.min(2 * this.#part.length, largestPart));
      const some = bytes.subarray(at, at + this.#part.length - this.#filled);
      this.#part.set(some, this.#filled);
      this.#filled += some.length;
      at += some.length;
    }
  }

  whole(): Blob {
    this.#end(0);
    return new Blob(this.#full);
  }

  /** Keeps what arrived, and begins a part of `next` bytes. */
  #end(next: number): void {
    this.#full.push(new Blob([this.#part.subarray(0, this.#filled)]));
    this.#part = next === this.#part.length ? this.#part : new Uint8Array(next);
    this.#filled = 0;
  }
}
