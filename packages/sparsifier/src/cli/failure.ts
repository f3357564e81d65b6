import { SparsifyError } from '../errors.js';

/** What a package or a module threw, as an error that says what it was asked to do. */
export function failure(subject: string, summary: string, cause: unknown, hint?: string): SparsifyError {
  // The first line, which may introduce a list.
  const [found] = (cause instanceof Error ? cause.message : String(cause)).split(/:?\n/, 1);
  return new SparsifyError('format', summary, { subject, found, ...(hint && { hint }) }, { cause });
}
