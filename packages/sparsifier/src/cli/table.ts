import type { Explanation } from '../pruning/explain.js';
import { ruled } from '../pruning/table.js';
import { formatted } from '../pruning/text.js';
import type { Words } from '../pruning/warnings.js';

/** Options as the command line takes them: `--layer-type all`. */
export const commandWords: Words = {
  option: (name, value) => {
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return value === undefined || value === true ? option : `${option} ${value}`;
  },
  withoutDepthwise: '--exclude is:depthwise',
};

/** The result of `explain` as a table. */
export function explanations(layers: readonly Explanation[]): string {
  const count = (value: number | undefined) => (value === undefined ? '' : formatted(value));
  const rows = layers.map(({ name, kind = '', units, removedUnits, selected, reason }) => [
    name,
    kind,
    selected ? 'yes' : 'no',
    count(units),
    count(removedUnits),
    reason,
  ]);
  const head = ['layer', 'kind', 'pruned', 'units', 'removed', 'because'];
  return ruled([head, ...rows], { head: 1, body: rows.length, from: 3, to: 5 }).join('\n');
}
