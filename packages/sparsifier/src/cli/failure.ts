import { SparsifyError } from '../errors.js';

/** The first line of what a package or a module threw, which may introduce a list. */
export const reasonOf = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).split(/:?\n/, 1)[0]!;

/** What a package or a module threw, as an error that says what it was asked to do. */
export const failure = (subject: string, summary: string, cause: unknown): SparsifyError =>
  new SparsifyError('format', summary, { subject, found: reasonOf(cause) }, { cause });
