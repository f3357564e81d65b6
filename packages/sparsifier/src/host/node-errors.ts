import { SparsifyError } from '../errors.js';

/** Why a call of the file system failed, in words. */
export const reason = (error: unknown): string => {
  const code = (error as NodeJS.ErrnoException).code;
  const known: Record<string, string> = {
    ENOENT: 'there is no such file or folder',
    EACCES: 'permission is denied',
    EISDIR: 'it is a folder',
    ENOTDIR: 'part of the path is not a folder',
    ENOSPC: 'the disk is full',
  };
  return (code && known[code]) || (error instanceof Error ? error.message : String(error));
};

/** What a call of the file system threw while a file was to be written. */
export const notWritten = (subject: string, cause: unknown, hint?: string): SparsifyError =>
  cause instanceof SparsifyError
    ? cause
    : new SparsifyError(
        'file',
        'could not be written',
        { subject, found: reason(cause), ...(hint === undefined ? {} : { hint }) },
        { cause },
      );
