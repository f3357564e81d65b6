import type { KernelHost, Thread } from './thread.js';

/** Bytes to read from: a file, what a URL answers, a Blob, or bytes in memory. */
export interface Source {
  /** Base name; undefined for bytes that have none. */
  readonly name: string | undefined;
  /** In bytes. */
  readonly size: number;
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

/** What differs between Node and browsers; `#host` is a module with these functions. */
export interface Host extends KernelHost {
  /** How many threads the machine gives. */
  cores(): number;
  /** Starts a thread from an address, or from the package's own file. */
  startThread(address?: string): Thread;
  /** The whole address of a file that {@link load} was told about. */
  addressOf(given: string | URL): string;
  /** Ends the current task, so that a page can paint and a server can answer. */
  pause(): Promise<void>;
  open(source: string | URL | Blob | Uint8Array | ArrayBuffer): Promise<Source>;
  /**
   * Says before any work is done that files could not be written: some exist and `force` is not set (`file`). In
   * browsers none can be (`usage`).
   */
  checkTargets(paths: readonly string[], options: { readonly force?: boolean }): Promise<void>;
  /**
   * Writes all files or none: each goes to a temporary file beside its target, in folders that are made where they are
   * missing, and all are renamed at the end. What {@link checkTargets} refuses is not
   * begun. An error of the chunks themselves comes through as it is.
   */
  writeFiles(files: readonly OutputFile[], options: { readonly force?: boolean }): Promise<void>;
  /** @throws SparsifyError `file` where the stream is locked */
  checkStream(stream: WritableStream<Uint8Array>): void;
  /**
   * Writes all chunks, which may be views of shared memory, to a stream at the stream's pace, and closes it; on an error
   * aborts it. A locked stream is an error of code `file`; an error of the chunks themselves comes through as it is.
   */
  writeStream(
    stream: WritableStream<Uint8Array>,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void>;
  /** False where there is nothing of that name. */
  isFolder(path: string): Promise<boolean>;
  baseName(path: string): string;
  /** Joins and normalises, so that `join(path, '..')` is the folder of `path`. */
  join(folder: string, name: string): string;
  /** Whether both are the same existing file, links followed; false for what is not on this machine's disk. */
  sameFile(first: string | URL, second: string | URL): Promise<boolean>;
}

type MustBe<Wanted, Given extends Wanted> = Given;

/** Does not compile unless both hosts have all of it. */
export type Hosts = [MustBe<Host, typeof import('./node.js')>, MustBe<Host, typeof import('./browser.js')>];
