import type { Sizes } from '../formats/sizes.js';
import type { Skipped } from '../model/model.js';
import { printable, shortened, textOf } from '../printable.js';
import { largestOf } from '../model/numbers.js';
import type { LayerReport, Report, ReportTableOptions } from './report.js';
import { counted, formatted, listed, percent, percentOf } from './text.js';
import { sentenceOf, type Words } from './warnings.js';

/** Longer names have a line of their own, so that they can be copied and the columns stay narrow. */
const longestName = 64;

/** How a report is printed. */
export interface TableOptions extends ReportTableOptions {
  /** Whether the report is that of a call, which has units and removes some of them. */
  readonly isCall: boolean;
  /** How warnings write the options that they suggest. */
  readonly words: Words;
}

/** A report as text. */
export function tableOf(report: Report, options: TableOptions): string {
  const { layers, skipped, weights, engine, notes, warnings } = report;
  const { isCall, words } = options;
  const fixed = layers.flatMap(({ name, fixed }) => (fixed === undefined ? [] : [{ name, reason: fixed }]));
  return textOf([
    totalsIn(report, options).join(', '),
    ...groupLines(report, options),
    ...layerLines(report, options),
    ...section('fixed tables, which rules leave out', grouped(fixed)),
    ...section('groups that are held back', grouped(heldBackIn(report), 'group')),
    ...section('not pruned', grouped(skipped)),
    ...section('notes', notes),
    '',
    `engine: ${engine.why}`,
    ...(isCall ? [] : [weightsLine(weights)]),
    ...(warnings.length > 0 ? [''] : []),
    ...warnings.map((warning) => `warning: ${sentenceOf(warning, words)}`),
  ]);
}

/** All layers together, and how large the files are. */
export function totalsIn(
  { layers, groups, weights, total, bytes }: Report,
  { isCall, sizes }: Pick<TableOptions, 'isCall' | 'sizes'>,
): string[] {
  const isPart = isCall && weights.model > total.weights;
  const ofModel = isPart ? `, ${percent(percentOf(total.zeros, weights.model))} of the whole model` : '';
  const raw = sizes?.raw ?? bytes;
  return [
    counted(layers.length, 'layer'),
    counted(total.weights, 'weight'),
    `${counted(total.zeros, 'zero')} (${percent(total.sparsity)}${ofModel})`,
    ...(isCall && total.units !== total.weights
      ? [`${formatted(total.removedUnits)} of ${counted(total.units, groups ? 'channel' : 'unit')} removed`]
      : []),
    ...(raw === undefined ? [] : [counted(raw, 'byte')]),
    ...compressedInWords(sizes),
  ];
}

/** How large files are once they are compressed; nothing if that is not known. */
export const compressedInWords = (sizes: Sizes | undefined): string[] =>
  sizes === undefined ? [] : [`gzip -9: ${formatted(sizes.gzip)}`, `brotli -q 11: ${formatted(sizes.brotli)}`];

/** The groups of channels, where they were pruned in place of layers. */
function groupLines({ groups = [] }: Report, { layers: listed }: TableOptions): string[] {
  const shown = groups.filter(({ heldBack }) => heldBack === undefined);
  if (listed === false || shown.length === 0) return [];
  const rows = [
    ['channels of', 'layers', 'channels', 'removed', 'of channels'],
    ...shown.map(({ name, layers, units, removedUnits }) => [
      ...[name, formatted(layers.length), formatted(units), formatted(removedUnits)],
      percent(percentOf(removedUnits, units)),
    ]),
  ];
  return ['', ...ruled(rows, { head: 1, body: shown.length, from: 1 })];
}

const heldBackIn = ({ groups = [] }: Report): Pick<Skipped, 'name' | 'reason'>[] =>
  groups.flatMap(({ name, heldBack }) => (heldBack === undefined ? [] : [{ name, reason: heldBack }]));

/** The layers that are listed, and the others together. */
/** The sizes of a layer that the sizes do not list, such as those of another model. */
const none = { raw: 0, estimate: 0 };

function layerLines({ layers, groups }: Report, { isCall, words, layers: listed, sizes }: TableOptions): string[] {
  if (listed === false || layers.length === 0 || (groups && !listed)) return [];
  const usual = listed === undefined && isCall && layers.length > 1 ? usualLayers(layers) : new Set<LayerReport>();
  const shown = layers.filter((layer) => !usual.has(layer));
  if (shown.length === 0) {
    const share = percentOf(sumOf(layers, 'removedUnits'), sumOf(layers, 'units'));
    return [`each layer lost about ${percent(share)} of its units; ${words.option('layers', true)} lists them`];
  }
  const estimates = new Map(sizes?.layers?.map((layer) => [layer.name, layer]));
  const row = (name: string, kind: string, shape: string, members: readonly LayerReport[]) => {
    const [weights, zeros, units, removed] = (['weights', 'zeros', 'units', 'removedUnits'] as const).map((key) =>
      sumOf(members, key),
    ) as [number, number, number, number];
    const sizesOfThem = members.map((layer) => estimates.get(layer.name) ?? none);
    return [
      ...[name, kind, shape, formatted(weights), formatted(zeros), percent(percentOf(zeros, weights))],
      ...(isCall ? [formatted(units), formatted(removed), percent(percentOf(removed, units))] : []),
      ...(estimates.size === 0 ? [] : (['raw', 'estimate'] as const).map((key) => formatted(sumOf(sizesOfThem, key)))),
    ];
  };
  const head = [
    ...['layer', 'kind', 'shape', 'weights', 'zeros', 'sparsity'],
    ...(isCall ? ['units', 'removed', 'of units'] : []),
    ...(estimates.size === 0 ? [] : ['bytes', 'about, in brotli']),
  ];
  const others = usual.size === 0 ? [] : [row(counted(usual.size, 'other layer'), '', '', [...usual])];
  const body = shown.map((layer) => row(layer.name, layer.kind, layer.shape.join(' x '), [layer]));
  return ['', ...ruled([head, ...body, ...others], { head: 1, body: body.length, from: 3 })];
}

/** The layers that lost the same share as most, but for what rounding to whole units makes of it. */
function usualLayers(layers: readonly LayerReport[]): Set<LayerReport> {
  const removed = median(layers, 'removedUnits', 'units');
  const zero = median(layers, 'zeros', 'weights');
  return new Set(
    layers.filter(
      ({ units, removedUnits, weights, zeros }) =>
        Math.abs(removedUnits - removed * units) < 1 && Math.abs(zeros - zero * weights) < Math.max(1, weights / units),
    ),
  );
}

type Count = 'weights' | 'zeros' | 'units' | 'removedUnits';

/** The share of which half of all numbers are in layers with at most this one. */
function median(layers: readonly LayerReport[], part: Count, whole: Count): number {
  const shares = layers
    .filter((layer) => layer[whole] > 0)
    .map((layer) => ({ share: layer[part] / layer[whole], size: layer[whole] }))
    .sort((one, other) => one.share - other.share);
  const half = sumOf(shares, 'size') / 2;
  let below = 0;
  return shares.find(({ size }) => (below += size) >= half)?.share ?? 0;
}

const sumOf = <Key extends string>(items: readonly Readonly<Record<Key, number>>[], key: Key): number =>
  items.reduce((sum, item) => sum + item[key], 0);

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
      ? `${shortened(names[0]!)}: ${reason}`
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
export function ruled(given: readonly (readonly string[])[], { head, body, from, to = Infinity }: Setting): string[] {
  const rows = given.map((cells) => cells.map((cell) => shortened(printable(cell))));
  const isLong = (name: string) => name.length > longestName;
  const widths = rows[0]!.map((_, column) =>
    largestOf(rows.map((cells) => cells[column] ?? '').map((cell) => (column === 0 && isLong(cell) ? 0 : cell.length))),
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
