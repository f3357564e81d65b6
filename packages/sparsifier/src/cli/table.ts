import type { Explanation } from '../pruning/explain.js';
import type { Report } from '../pruning/report.js';

const number = new Intl.NumberFormat('en');
/** Longer names are shortened in the middle: some exporters write paths of hundreds of characters. */
const longestName = 96;
const shortened = (name: string): string => {
  if (name.length <= longestName) return name;
  const half = (longestName - 3) / 2;
  return `${name.slice(0, Math.floor(half))}...${name.slice(-Math.ceil(half))}`;
};
const percent = (value: number): string => `${value.toFixed(2)} %`;

/** A report as a table. @param units whether to show the columns about units */
export function table(
  { layers, skipped, total, engine, notes }: Report,
  { units: withUnits }: { readonly units: boolean },
): string {
  const share = (units: number, removed: number) => percent(units === 0 ? 0 : (100 * removed) / units);
  const row = (
    name: string,
    kind: string,
    shape: string,
    { weights, zeros, sparsity, units, removedUnits }: Report['total'],
  ) => [
    name,
    kind,
    shape,
    number.format(weights),
    number.format(zeros),
    percent(sparsity),
    ...(withUnits ? [number.format(units), number.format(removedUnits), share(units, removedUnits)] : []),
  ];
  const rows = [
    ['layer', 'kind', 'shape', 'weights', 'zeros', 'sparsity', ...(withUnits ? ['units', 'removed', 'of units'] : [])],
    ...layers.map((layer) => row(shortened(layer.name), layer.kind, layer.shape.join(' x '), layer)),
    row(`${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}`, '', '', total),
  ];
  const lines = aligned(rows, 3);
  const rule = '-'.repeat(Math.max(...lines.map((line) => line.length)));
  return [
    lines[0]!,
    rule,
    ...lines.slice(1, -1),
    rule,
    lines.at(-1)!,
    ...section(
      'not pruned',
      skipped.map(({ name, reason }) => `${name}: ${reason}`),
    ),
    ...section('notes', notes),
    '',
    `engine: ${engine.why}`,
  ].join('\n');
}

/** The result of `explain` as a table. */
export function explanations(layers: readonly Explanation[]): string {
  const count = (value: number | undefined) => (value === undefined ? '' : number.format(value));
  const rows = layers.map(({ name, kind = '', units, removedUnits, selected, reason }) => [
    shortened(name),
    kind,
    selected ? 'yes' : 'no',
    count(units),
    count(removedUnits),
    reason,
  ]);
  const lines = aligned([['layer', 'kind', 'pruned', 'units', 'removed', 'because'], ...rows], 3, 5);
  return [lines[0]!, '-'.repeat(Math.max(...lines.map((line) => line.length))), ...lines.slice(1)].join('\n');
}

/** Formats rows as lines. The columns from `from` up to, but not including, `to` are right-aligned. */
function aligned(rows: readonly (readonly string[])[], from: number, to = Infinity): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) =>
    cells
      .map((cell, column) =>
        column >= from && column < to ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd(),
  );
}

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `${title}:`, ...lines.map((line) => `  ${line}`)];
