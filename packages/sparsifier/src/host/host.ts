import type { KernelHost, Thread } from './thread.js';

/** Bytes to read from: a file, what a URL answers, a Blob, or bytes in memory. */
export interface Source {
  /** Base name; undefined for bytes that have none. */
  readonly name: string | undefined;
  /** In bytes. */
  readonly size: number;
  /** Where the file lies, links resolved; undefined for what does not come from this machine's disk. */
  readonly path?: string;
  /** Fills `target`, which may be a view of shared memory, with the bytes from `position` on. */
  read(target: Uint8Array, position: number): Promise<void>;
  /**
   * A file beside this one; `name` is a relative path with `/` between its parts, each taken literally (a URL encodes
   * them). An error of code `file` if there is none, or if the source is neither a path nor a URL.
   */
  sibling(name: string): Promise<Source>;
  close(): Promise<void>;
}

/** A file to write, in pieces that may be views of shared memory. */
export interface OutputFile {
  readonly path: string;
  readonly chunks: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** What decides whether files may be written. */
export interface TargetOptions {
  /** Replace files that exist. */
  readonly force?: boolean | undefined;
  /** The paths, or addresses `file:`, of all files that the call reads, which are never replaced. */
  readonly sourceFiles?: readonly string[];
}

/** What differs between Node and browsers; `#host` is a module with these functions. */
export interface Host extends KernelHost {
  /** How many threads the machine gives. */
  cores(): number;
  /** Starts a thread from an address, or from the package's own file. */
  startThread(address?: string): Thread;
  /** The whole address of a file that `loadEngine` was given. */
  addressOf(given: string | URL): string;
  /** @throws SparsifyError `file` if it cannot be opened or fetched, `usage` for anything else than a source */
  open(source: string | URL | Blob | Uint8Array | ArrayBuffer): Promise<Source>;
  /**
   * Says before any work is done that files could not be written: some exist and `force` is not set, or are files that
   * are read (`file`), or two of them are the same file (`usage`). In browsers none can be (`usage`).
   */
  checkTargets(paths: readonly string[], options: TargetOptions): Promise<void>;
  /**
   * Writes all files or none: each goes to a temporary file beside its target, in folders that are made where they are
   * missing, and all are renamed at the end. What {@link checkTargets} refuses is not
   * begun. An error of the chunks themselves comes through as it is.
   */
  writeFiles(files: readonly OutputFile[], options: TargetOptions): Promise<void>;
  /** @throws SparsifyError `usage` for what is no stream, `file` where the stream is locked */
  checkStream(stream: WritableStream<Uint8Array<ArrayBuffer>>): void;
  /**
   * Writes all chunks, which may be views of shared memory, to a stream at the stream's pace, and closes it; on an error
   * aborts it. A locked stream is an error of code `file`; an error of the chunks themselves comes through as it is.
   */
  writeStream(
    stream: WritableStream<Uint8Array<ArrayBuffer>>,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void>;
  /** False where there is nothing of that name. */
  isFolder(path: string): Promise<boolean>;
  baseName(path: string): string;
  /** Joins and normalises, so that `join(path, '..')` is the folder of `path`. */
  join(folder: string, name: string): string;
}

type MustBe<Wanted, Given extends Wanted> = Given;

/** Does not compile unless both hosts have all of it. */
export type Hosts = [MustBe<Host, typeof import('./node.js')>, MustBe<Host, typeof import('./browser.js')>];
