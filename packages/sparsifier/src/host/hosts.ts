// Apart from host.ts, so that the published types do not need those of both hosts.
import type { OutputFile, Source, TargetOptions } from './host.js';
import type { Reading } from './reading.js';
import type { KernelHost, Thread } from './thread.js';

/** Everything that differs between Node and browsers. `#host` is a module with these functions. */
interface Host extends KernelHost {
  /** The number of threads that can run at once. */
  cores(): number;
  /** Starts a thread from a URL, by default from the package's own file. */
  startThread(address?: string): Thread;
  /** Why a thread did not start, and what helps, as the end of a sentence. */
  whyNoWorker(error: unknown, address: string | undefined): Promise<string>;
  /** Starts the thread of a `Compressor`. */
  startCompressor(): Thread;
  /** The absolute URL of a file that was passed to `loadEngine`. */
  addressOf(given: string | URL): string;
  /**
   * Opens a source. In Node only a file can be a path: a pipe, socket or device is refused before it is opened.
   * @throws SparsifyError `file` if it cannot be opened or fetched or exceeds a limit, `usage` for anything else than a
   *   source; the signal's reason if aborted
   */
  open(source: string | URL | Blob | Uint8Array | ArrayBuffer, reading: Reading): Promise<Source>;
  /**
   * Checks before any work is done that files can be written. Undoes what runs that were killed began in their folders.
   * @throws SparsifyError `file` if a file is also read, or if it exists and `force` is not set; `usage` if two of the
   *   files are the same, and always in browsers
   */
  checkTargets(paths: readonly string[], options: TargetOptions): Promise<unknown>;
  /**
   * Writes all files or none, also if the process is killed: what was there before then comes back with the next call
   * that writes there, and {@link open} refuses the files until then. Missing folders are created. A file that is
   * replaced keeps its permissions. Nothing is written if {@link checkTargets} fails. An error thrown by the chunks is
   * not wrapped.
   */
  writeFiles(files: readonly OutputFile[], options: TargetOptions): Promise<void>;
  /** @throws SparsifyError `usage` for what is neither a path nor a stream, `file` where the stream is locked */
  checkTarget(target: string | WritableStream<Uint8Array<ArrayBuffer>>): void;
  /** @throws SparsifyError `usage` for what is no stream, `file` where the stream is locked */
  checkStream(stream: WritableStream<Uint8Array<ArrayBuffer>>): void;
  /**
   * Writes all chunks, which may be views of shared memory, to a stream, respecting its backpressure, and closes it.
   * Aborts it on an error. An error thrown by the chunks is not wrapped.
   * @throws SparsifyError `file` if the stream is locked
   */
  writeStream(
    stream: WritableStream<Uint8Array<ArrayBuffer>>,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void>;
  /** False if the path does not exist. */
  isFolder(path: string): Promise<boolean>;
  /** The names in a folder, sorted; undefined for what is not the path or `file:` URL of a folder, always in browsers. */
  namesIn(folder: string | URL): Promise<readonly string[] | undefined>;
  baseName(path: string): string;
  /** Joins and normalises a path: `join(path, '..')` is the folder of `path`. */
  join(folder: string, name: string): string;
}

type MustBe<Wanted, Given extends Wanted> = Given;

/** Does not compile unless both hosts implement all of {@link Host}. */
export type Hosts = [MustBe<Host, typeof import('./node.js')>, MustBe<Host, typeof import('./browser.js')>];
