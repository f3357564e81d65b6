import type { Explanation } from '../pruning/explain.js';
import { ruled } from '../pruning/table.js';
import { formatted } from '../pruning/text.js';

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
