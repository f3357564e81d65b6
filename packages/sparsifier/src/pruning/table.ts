import type { Skipped } from '../model/model.js';
import type { LayerReport, Report } from './report.js';
import { counted, formatted, listed, percent, percentOf } from './text.js';
import { sentenceOf, type Words } from './warnings.js';

/** Longer names have a line of their own, so that they can be copied and the columns stay narrow. */
const longestName = 64;

/** How a report is printed. */
export interface TableOptions {
  /** Whether the report is that of a call, which has units and removes some of them. */
  readonly isCall: boolean;
  /** How warnings write the options that they suggest. */
  readonly words: Words;
}

/** A report as text. */
export function tableOf(report: Report, { isCall, words }: TableOptions): string {
  const { layers, skipped, weights, total, engine, notes, warnings } = report;
  const row = (name: string, kind: string, shape: string, counts: Report['total']) => [
    name,
    kind,
    shape,
    formatted(counts.weights),
    formatted(counts.zeros),
    percent(counts.sparsity),
    ...(isCall ? unitsOf(counts) : []),
  ];
  const whole = ['of the whole model', '', '', formatted(weights.model), formatted(total.zeros)];
  const rows = [
    ['layer', 'kind', 'shape', 'weights', 'zeros', 'sparsity', ...(isCall ? ['units', 'removed', 'of units'] : [])],
    ...layers.map((layer) => row(layer.name, layer.kind, layer.shape.join(' x '), layer)),
    row(counted(layers.length, 'layer'), '', '', total),
    ...(isCall && weights.model > total.weights ? [[...whole, percent(percentOf(total.zeros, weights.model))]] : []),
  ];
  const fixed = layers.flatMap(({ name, fixed }) => (fixed === undefined ? [] : [{ name, reason: fixed }]));
  return [
    ...ruled(rows, { head: 1, body: layers.length, from: 3 }),
    ...section('fixed tables, which rules leave out', grouped(fixed)),
    ...section('not pruned', grouped(skipped)),
    ...section('notes', notes),
    '',
    `engine: ${engine.why}`,
    ...(isCall ? [] : [weightsLine(weights)]),
    ...(warnings.length > 0 ? [''] : []),
    ...warnings.map((warning) => `warning: ${sentenceOf(warning, words)}`),
  ].join('\n');
}

/** The columns about units. */
const unitsOf = ({ units, removedUnits }: Pick<LayerReport, 'units' | 'removedUnits'>): string[] => [
  formatted(units),
  formatted(removedUnits),
  percent(percentOf(removedUnits, units)),
];

const weightsLine = ({ layers, skipped, model }: Report['weights']): string =>
  `weights: ${formatted(layers)} in layers, ${formatted(skipped)} skipped, ${formatted(model)} in the file`;

/** A line for each tensor; one for all that have the same reason. @param noun what they are called */
export function grouped(
  tensors: readonly (Pick<Skipped, 'name' | 'reason'> & { readonly weights?: number })[],
  noun = 'tensor',
): string[] {
  const groups = new Map<string, { readonly names: string[]; weights: number }>();
  for (const { name, reason, weights = 0 } of tensors) {
    const group = groups.get(reason) ?? { names: [], weights: 0 };
    group.names.push(name);
    group.weights += weights;
    groups.set(reason, group);
  }
  return [...groups].map(([reason, { names, weights }]) =>
    names.length === 1
      ? `${names[0]}: ${reason}`
      : `${counted(names.length, noun)}${weights > 0 ? ` of ${counted(weights, 'weight')}` : ''}: ${reason}: ${listed(names)}`,
  );
}

/** How the rows of a table are set. */
interface Setting {
  /** How many rows are the head, and how many the body; the others are sums. */
  readonly head: number;
  readonly body: number;
  /** The columns that are right-aligned. */
  readonly from: number;
  readonly to?: number;
}

/** Rows as lines, with a rule below the head and one below the body, unless that is empty. */
export function ruled(rows: readonly (readonly string[])[], { head, body, from, to = Infinity }: Setting): string[] {
  const isLong = (name: string) => name.length > longestName;
  const widths = rows[0]!.map((_, column) =>
    Math.max(
      ...rows.map((cells) => cells[column] ?? '').map((cell) => (column === 0 && isLong(cell) ? 0 : cell.length)),
    ),
  );
  const lineOf = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column >= from && column < to ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  const lines = rows.map((cells) => {
    const [name = '', ...others] = cells;
    return isLong(name) ? [name, lineOf(['', ...others])] : [lineOf(cells)];
  });
  const columns = widths.reduce((sum, width) => sum + width + 2, -2);
  const rule = '-'.repeat(columns);
  const sums = lines.slice(head + body).flat();
  return [
    ...lines.slice(0, head).flat(),
    rule,
    ...lines.slice(head, head + body).flat(),
    ...(body > 0 && sums.length > 0 ? [rule] : []),
    ...sums,
  ];
}

/** Lines below a title; nothing if there are none. */
export const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `${title}:`, ...lines.map((line) => `  ${line}`)];
