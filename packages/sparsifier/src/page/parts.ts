import { SparsifyError } from '../errors.js';
import { fitReportOf, outcomeLines, sizeLine } from '../fit/made-report.js';
import { repeatReportOf, repeatedLines } from '../fit/made-repeat-report.js';
import type { FitReport, RepeatReport } from '../fit/report.js';
import type { ByteCounts } from '../formats/sizes.js';
import { isObject } from '../model/json.js';
import { typeOf } from '../model/model.js';
import { repairReportOf } from '../pruning/repair-report.js';
import type { Report } from '../pruning/report.js';
import { tableOf, totalsIn as prunedTotals } from '../pruning/table.js';
import { counted, formatted } from '../pruning/text.js';
import { sentenceOf, type Words } from '../pruning/warnings.js';
import { quantizeTable, totalsIn as quantizedTotals } from '../quantization/made-report.js';
import type { QuantizeReport } from '../quantization/report.js';
import { quantizeSentence } from '../quantization/warnings.js';
import { removalTable, totalsIn as removedTotals } from '../removal/made-report.js';
import type { RemovalReport } from '../removal/report.js';
import type { RepairReport } from '../repair/report.js';

/** A report that a page can be made of. Only its data are read, so it may have been JSON in between. */
export type PageReport = FitReport | RepeatReport | Report | RepairReport | QuantizeReport | RemovalReport;

/** What a report says about a layer; what is undefined it does not say. */
export interface SaidOfLayer {
  readonly name: string;
  readonly kind: string;
  readonly shape: readonly number[];
  readonly weights?: number | undefined;
  readonly zeros?: number | undefined;
  readonly form?: string | undefined;
  /** Its output channels, if it has lost some. */
  readonly channels?: { readonly before: number; readonly after: number } | undefined;
  /** The relative errors that removing and rounding leave: of outputs, or else of weights. */
  readonly removing?: number | undefined;
  readonly rounding?: number | undefined;
}

export interface NamedReason {
  readonly name: string;
  readonly reason: string;
}

/** What a page says about one report. */
export interface Part {
  /** What was done, in a word. */
  readonly title: string;
  /** Short phrases that sum it up. */
  readonly facts: readonly string[];
  readonly before: Partial<ByteCounts>;
  readonly after: Partial<ByteCounts>;
  readonly layers: readonly SaidOfLayer[];
  /** What was not changed, or in another way than asked, and why, below its title. */
  readonly left: readonly { readonly title: string; readonly items: readonly NamedReason[] }[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** Only of `fit`. */
  readonly fit?: FitReport;
  readonly recipe?: unknown;
  /** The whole report as the command line prints it. */
  readonly text: string;
}

/** @throws SparsifyError `usage` for what is no report */
export function partOf(report: PageReport, words: Words): Part {
  const part =
    isObject(report) && Array.isArray(report.notes) ? anyPart(report as unknown as PageReport, words) : undefined;
  if (part !== undefined) return part;
  throw new SparsifyError('usage', 'a page is made of reports', {
    found: typeOf(report),
    hint: 'Such as that of `fit`, `sparsifyModel`, `repair`, `quantize` or `removeChannels`, or a list of them',
  });
}

function anyPart(report: PageReport, words: Words): Part | undefined {
  if ('curve' in report) return ofFit(report);
  if ('isSame' in report) return ofRepeating(report);
  if ('indexMap' in report) return ofRemoval(report, words);
  if ('others' in report) return ofQuantizing(report, words);
  if ('engine' in report) return ofPruning(report, words);
  return 'layers' in report && 'skipped' in report ? ofRepair(report) : undefined;
}

/** Names with reasons below their title; nothing if there are none. */
const below = (title: string, items: readonly NamedReason[]): Part['left'] =>
  items.length === 0 ? [] : [{ title, items }];

/** The names of those that have a reason. */
const withReason = <Item extends { readonly name: string }>(items: readonly Item[], key: keyof Item): NamedReason[] =>
  items.flatMap((item) => (typeof item[key] === 'string' ? [{ name: item.name, reason: item[key] }] : []));

const ofFit = (report: FitReport): Part => ({
  title: 'fit',
  facts: [sizeLine(report), ...outcomeLines(report)],
  ...report.sizes,
  layers: report.layers.map((layer) => ({ ...layer, removing: layer.error })),
  left: [
    ...below('Layers that were not pruned', withReason(report.layers, 'reason')),
    ...below(
      'Forms that were not tried',
      report.skippedForms.map(({ form, reason }) => ({ name: form, reason })),
    ),
  ],
  notes: report.notes,
  warnings: report.warnings,
  fit: report,
  recipe: report.recipe,
  text: fitReportOf(report).table(),
});

const ofRepeating = (report: RepeatReport): Part => ({
  title: 'repetition of a recipe',
  facts: repeatedLines(report),
  before: { raw: report.bytes.before },
  after: { raw: report.bytes.after },
  layers: report.layers.map((layer) => ({ ...layer, removing: layer.error })),
  left: below('Layers that were not pruned', withReason(report.layers, 'reason')),
  notes: report.notes,
  warnings: report.warnings,
  recipe: report.recipe,
  text: repeatReportOf(report).table(),
});

const ofPruning = (report: Report, words: Words): Part => ({
  title: 'pruning',
  facts: prunedTotals(report, { isCall: true }),
  before: {},
  after: report.bytes === undefined ? {} : { raw: report.bytes },
  layers: report.layers.map((layer) => ({ ...layer, removing: layer.error })),
  left: [
    ...below('Fixed tables, which rules leave out', withReason(report.layers, 'fixed')),
    ...below('Groups that are held back', withReason(report.groups ?? [], 'heldBack')),
    ...below('Tensors that were not pruned', report.skipped),
  ],
  notes: report.notes,
  warnings: report.warnings.map((warning) => sentenceOf(warning, words)),
  text: tableOf(report, { isCall: true, layers: true, words }),
});

function ofRepair(report: RepairReport): Part {
  const repaired = report.layers.filter(({ isRepaired }) => isRepaired).length;
  return {
    title: 'repair',
    facts: [`${formatted(repaired)} of ${counted(report.layers.length, 'layer')} repaired`],
    before: {},
    after: report.bytes === undefined ? {} : { raw: report.bytes },
    layers: report.layers.map(({ name, kind, shape, masked, repaired }) => ({
      ...{ name, kind, shape, removing: repaired ?? masked },
    })),
    left: [
      ...below('Layers that were not repaired', report.skipped),
      ...below('Layers that were repaired in part, or not', withReason(report.layers, 'reason')),
    ],
    notes: report.notes,
    warnings: [],
    text: repairReportOf(report).table(),
  };
}

const ofQuantizing = (report: QuantizeReport, words: Words): Part => ({
  title: 'quantisation',
  facts: quantizedTotals(report),
  before: { raw: report.bytes.before },
  after: { raw: report.bytes.after },
  layers: report.layers.map(({ name, kind, shape, weights, zeros, form, error, outputError }) => ({
    ...{ name, kind, shape, weights, zeros, form, rounding: outputError ?? error },
  })),
  left: [
    ...below('Layers in another form than asked', withReason(report.layers, 'reason')),
    ...below('Layers without a new bias', withReason(report.layers, 'biasReason')),
    ...below('Tensors that stay as they are', report.skipped),
    ...below('Other numbers that stay as they are', withReason(report.others, 'reason')),
  ],
  notes: report.notes,
  warnings: report.warnings.map((warning) => quantizeSentence(warning, words)),
  text: quantizeTable(report, { words, layers: true }),
});

const ofRemoval = (report: RemovalReport, words: Words): Part => ({
  title: 'removal of channels',
  facts: removedTotals(report),
  before: { raw: report.bytes.before },
  after: { raw: report.bytes.after },
  layers: [],
  left: below(
    'Channels that cannot go',
    report.blocked.flatMap(({ by, layers, channels }) => {
      const reason = `${by} keeps ${counted(channels, 'channel')}`;
      return layers.map((name) => ({ name, reason }));
    }),
  ),
  notes: report.notes,
  warnings: [],
  text: removalTable(report, { words, layers: true }),
});
