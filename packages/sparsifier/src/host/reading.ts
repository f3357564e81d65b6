import { SparsifyError } from '../errors.js';

/** Limits for files that are read. Files that exceed one are refused before they take much time or memory. */
export interface ReadLimits {
  /**
   * The bytes of a file that describe a model: the header of a safetensors file, a `model.json` or an index, or an ONNX
   * file without the numbers of its tensors. 100,000,000 by default.
   */
  readonly headerBytes?: number | undefined;
  /** How deeply JSON, and the messages of an ONNX file, are nested. 100 by default, and at most 1,000. */
  readonly depth?: number | undefined;
  /** The number of tensors in a model. 1,000,000 by default. */
  readonly tensors?: number | undefined;
  /** The bytes of each file. By default 4 GiB for a download, and unlimited for others. */
  readonly fileBytes?: number | undefined;
  /** After how many seconds without a byte a download ends with an error. 30 by default. */
  readonly idleSeconds?: number | undefined;
}

/** How files are read. */
export interface Reading {
  /** `fileBytes` is undefined if only downloads are limited. */
  readonly limits: Required<Omit<ReadLimits, 'fileBytes'>> & Pick<ReadLimits, 'fileBytes'>;
  readonly signal: AbortSignal | undefined;
  readonly followLinks: boolean;
}

/** The most levels of nesting that may be asked for: code that walks the content needs a stack. */
export const mostLevels = 1000;

/** How files are read unless options say otherwise. */
export const usualReading: Reading = {
  limits: { headerBytes: 100_000_000, depth: 100, tensors: 1_000_000, fileBytes: undefined, idleSeconds: 30 },
  signal: undefined,
  followLinks: true,
};

/** The bytes of a download unless a limit says otherwise. */
const longestDownload = 2 ** 32;

const summaries: Readonly<Record<keyof ReadLimits, string>> = {
  headerBytes: 'the description of the model is too long',
  depth: 'the content is nested too deeply',
  tensors: 'the model has too many tensors',
  fileBytes: 'the file is too large',
  idleSeconds: 'the download stopped',
};

const units: Readonly<Record<keyof ReadLimits, string>> = {
  headerBytes: 'bytes',
  depth: 'levels',
  tensors: 'tensors',
  fileBytes: 'bytes',
  idleSeconds: 'seconds without a byte',
};

/** The error for a file that exceeds a limit. @param amount what the file has, if it is known */
export function overLimit(limit: keyof ReadLimits, subject: string, most: number, amount?: number): SparsifyError {
  const isFile = limit === 'fileBytes' || limit === 'idleSeconds';
  return new SparsifyError(isFile ? 'file' : 'format', summaries[limit], {
    subject,
    found: amount === undefined ? `more than ${most} ${units[limit]}` : `${amount} ${units[limit]}`,
    allowed: [`up to ${most} ${units[limit]}`],
    hint: `If you trust the file, raise the limit in JavaScript: pass limits: { ${limit}: … } to the function that reads it`,
  });
}

/** @throws SparsifyError `file` for a file of too many bytes; the signal's reason if reading is aborted */
export function checkFile({ limits, signal }: Reading, subject: string, bytes: number): void {
  signal?.throwIfAborted();
  const { fileBytes = Infinity } = limits;
  if (bytes > fileBytes) throw overLimit('fileBytes', subject, fileBytes, bytes);
}

/** The limits of a download. */
export const downloadLimits = ({ limits }: Reading): { readonly bytes: number; readonly milliseconds: number } => ({
  bytes: limits.fileBytes ?? longestDownload,
  // A timer takes at most 31 bits.
  milliseconds: Math.min(limits.idleSeconds * 1000, 2 ** 31 - 1),
});

/** A new array for a part of a file. @throws SparsifyError `memory` if there is no room */
export function newBytes(count: number, subject: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(count);
  } catch (cause) {
    throw new SparsifyError(
      'memory',
      'there is no room for a part of the file',
      { subject, found: `${count} bytes` },
      { cause },
    );
  }
}
