import type { Model } from './model.js';

/** What has files that it was read from: a model, or statistics. */
export type Sourced = Pick<Model, 'sourceFiles'>;

/** By what is written, the files that it depends on besides its own. */
const further = new WeakMap<Sourced, Set<string>>();

/** All files that a model or statistics depend on: no call that writes them, or masks of the model, writes to these. */
export const sourceFilesOf = (written: Sourced): readonly string[] => [
  ...(written.sourceFiles ?? []),
  ...(further.get(written) ?? []),
];

/** Adds files that calls on a model read: initial weights, masks, statistics, inputs. */
export function addSourceFiles(written: Sourced, files: readonly string[]): void {
  if (files.length === 0) return;
  const all = further.get(written) ?? new Set<string>();
  for (const file of files) all.add(file);
  further.set(written, all);
}
