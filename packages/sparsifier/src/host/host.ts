/** A source of bytes: a file, a response to a URL, a Blob, or bytes in memory. */
export interface Source {
  /** The base name; undefined for bytes without a name. */
  readonly name: string | undefined;
  /** In bytes. */
  readonly size: number;
  /** The path of the file with links resolved; undefined if the source is not a file on this machine. */
  readonly path?: string;
  /**
   * Fills `target`, which may be a view of shared memory, with the bytes from `position` on.
   * @throws SparsifyError `file` if they cannot be read; the signal's reason if aborted
   */
  read(target: Uint8Array, position: number): Promise<void>;
  /**
   * Opens a file relative to the folder of this one. `name` is a relative path with `/` between its parts, each of
   * which is taken literally (and encoded in a URL).
   * @throws SparsifyError `file` if there is no such file, if this source is neither a path nor a URL, or if links lead
   *   out of the folder and are not followed
   */
  sibling(name: string): Promise<Source>;
  close(): Promise<void>;
}

/** A file to write, in chunks that may be views of shared memory. */
export interface OutputFile {
  readonly path: string;
  readonly chunks: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Options that decide whether files may be written. */
export interface TargetOptions {
  /** Overwrite existing files. */
  readonly force?: boolean | undefined;
  /** The paths or `file:` URLs of all files that the call reads. They are never overwritten. */
  readonly sourceFiles?: readonly string[];
}
