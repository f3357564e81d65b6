import { checkTargets } from '#host';
import { addSourceFiles, sourceFilesOf, type Sourced } from '../model/source-files.js';

/**
 * Says before any work is done that a command could not write its files. All files that it reads are known from then on, so
 * that nothing that is made of the model is written to them.
 * @param model what is read, or made of it
 * @param outputs the paths of all files that are written
 * @param read further files that are read; undefined for options that were not given
 * @throws SparsifyError as {@link checkTargets} does
 */
export async function checkOutputs(
  model: Sourced,
  outputs: readonly (string | undefined)[],
  { force = false, read }: { readonly force?: boolean; readonly read: readonly (string | undefined)[] },
): Promise<void> {
  addSourceFiles(model, given(read));
  await checkTargets(given(outputs), { force, sourceFiles: sourceFilesOf(model) });
}

/** Those that were given. */
export const given = (paths: readonly (string | undefined)[]): string[] => paths.filter((path) => path !== undefined);

/** The paths of files. */
export const pathsOf = (files: readonly { readonly path: string }[]): string[] => files.map(({ path }) => path);
