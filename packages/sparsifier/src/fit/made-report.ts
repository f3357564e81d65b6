import type { ByteCounts } from '../formats/sizes.js';
import { compressedInWords, grouped, ruled, section } from '../pruning/table.js';
import { counted, formatted, percent, percentOf } from '../pruning/text.js';
import { sumOf } from '../model/numbers.js';
import { textOf } from '../printable.js';
import type { FitSetting } from './make.js';
import type { FitOutcome, FitPoint, FitReport } from './report.js';
import type { FittedLayer } from './steps.js';
import { countOf, encodingInWords } from './target.js';

type Contents = Omit<FitReport, 'table' | 'toString'>;

/** A report whose own properties are plain data. */
class MadeFitReport implements FitReport {
  readonly target: FitReport['target'];
  readonly encoding: FitReport['encoding'];
  readonly maxDrop: FitReport['maxDrop'];
  readonly sizes: FitReport['sizes'];
  readonly chosen: FitReport['chosen'];
  readonly layers: FitReport['layers'];
  readonly outcome: FitReport['outcome'];
  readonly final: FitReport['final'];
  readonly curve: FitReport['curve'];
  readonly skippedForms: FitReport['skippedForms'];
  readonly recipe: FitReport['recipe'];
  readonly notes: FitReport['notes'];
  readonly warnings: FitReport['warnings'];

  constructor(contents: Contents) {
    this.target = contents.target;
    this.encoding = contents.encoding;
    this.maxDrop = contents.maxDrop;
    this.sizes = contents.sizes;
    this.chosen = contents.chosen;
    this.layers = contents.layers;
    this.outcome = contents.outcome;
    this.final = contents.final;
    this.curve = contents.curve;
    this.skippedForms = contents.skippedForms;
    this.recipe = contents.recipe;
    this.notes = contents.notes;
    this.warnings = contents.warnings;
  }

  table(): string {
    return textOf([
      ...summary(this),
      ...section('settings', curveLines(this.curve, this.chosen)),
      ...section('layers', layerLines(this.layers)),
      ...section('channels removed', channelLines(this.layers)),
      ...section('not pruned', grouped(leftIn(this.layers), 'layer')),
      ...section(
        'forms that were not tried',
        this.skippedForms.map(({ form, reason }) => `${form}: ${reason}`),
      ),
      ...section('notes', this.notes),
      ...warningLines(this.warnings),
    ]);
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return [`FitReport: ${summary(this)[0]}; table() shows the settings and the layers`, ...this.warnings].join('\n');
  }
}

export const fitReportOf = (contents: Contents): FitReport => new MadeFitReport(contents);

/** What was found, in a few lines. */
const summary = (report: Contents): string[] => [
  sizeLine(report),
  `before: ${sizesInWords(report.sizes.before)}`,
  `after:  ${sizesInWords(report.sizes.after)}`,
  ...outcomeLines(report),
];

/** The bytes before and after, and how near to the target they are. */
export function sizeLine({ target, encoding, sizes }: Contents): string {
  const [before, after] = [sizes.before, sizes.after].map((counts) => counts[countOf[encoding]]) as [number, number];
  const of = target === undefined ? '' : `, ${percent(percentOf(after, target))} of the target of ${formatted(target)}`;
  return `${formatted(before)} -> ${formatted(after)} bytes ${encodingInWords[encoding]}${of}`;
}

/** The setting, and what the model was judged to be. */
export function outcomeLines({ maxDrop, chosen, layers, outcome, final }: Contents): string[] {
  const [weights, zeros] = [sumOf(layers.map((each) => each.weights)), sumOf(layers.map((each) => each.zeros))];
  return [
    `setting: ${settingInWords(chosen)}; ${formatted(zeros)} of ${counted(weights, 'weight')} are 0 (${percent(percentOf(zeros, weights))})`,
    `outcome: ${outcomeInWords(outcome)}${limitInWords(maxDrop)}`,
    ...(final === undefined
      ? []
      : [`at the end, for the part final: ${outcomeInWords(final)}${limitInWords(maxDrop)}`]),
    outcome.meaning,
  ];
}

const sizesInWords = (counts: ByteCounts): string =>
  [counted(counts.raw, 'byte'), ...compressedInWords({ ...counts, files: [] })].join(', ');

const limitInWords = (maxDrop: number | undefined): string =>
  maxDrop === undefined ? '' : `; ${figure(maxDrop)} is allowed`;

const outcomeInWords = ({ dense, fitted, drop }: FitOutcome): string =>
  `${figure(dense)} -> ${figure(fitted)} (worse by ${figure(drop)})`;

/** A number with at most five digits. */
export const figure = (value: number): string => String(Number(value.toPrecision(5)));

/** `int8, 31.20 % of the weights removed, solved for the inputs of the pruned model` */
export function settingInWords({ form, amount, inputs, channels }: FitSetting): string {
  return [
    ...(channels === 0 ? [] : [`${percent(channels)} of the channels removed`]),
    form === 'stored' ? 'weights stored as before' : form,
    amount === 0 ? 'nothing removed' : `${percent(amount)} of the weights removed`,
    ...(inputs === undefined
      ? []
      : [`solved for the inputs of the ${inputs === 'dense' ? 'original' : 'pruned'} model`]),
  ].join(', ');
}

/** Whether two settings are the same. */
export const isSetting = (one: FitSetting, other: FitSetting): boolean =>
  one.form === other.form &&
  one.amount === other.amount &&
  one.channels === other.channels &&
  one.inputs === other.inputs;

/** The models that were made, below the names of the columns. */
export function curveRows(curve: readonly FitPoint[], chosen: FitSetting): string[][] {
  const made = curve.filter(({ isEstimate }) => !isEstimate);
  const hasChannels = made.some(({ channels }) => channels > 0);
  return [
    ['form', ...(hasChannels ? ['channels'] : []), 'removed', 'solved for', 'bytes', 'outcome', 'drop', ''],
    ...made.map((point) => [
      point.form,
      ...(hasChannels ? [percent(point.channels)] : []),
      ...[percent(point.amount), point.inputs ?? '', formatted(point.bytes)],
      point.outcome === undefined ? '' : figure(point.outcome),
      point.drop === undefined ? '' : figure(point.drop),
      isSetting(point, chosen) ? 'chosen' : '',
    ]),
  ];
}

/** How many sizes were estimated; nothing if none were. */
export function estimatesLine(curve: readonly FitPoint[]): string[] {
  const estimates = curve.filter(({ isEstimate }) => isEstimate).length;
  return estimates === 0 ? [] : [`${counted(estimates, 'further size')} estimated`];
}

function curveLines(curve: readonly FitPoint[], chosen: FitSetting): string[] {
  const rows = curveRows(curve, chosen);
  const to = rows[0]!.length - 1;
  return [...ruled(rows, { head: 1, body: rows.length - 1, from: 1, to }), ...estimatesLine(curve)];
}

export function layerLines(layers: readonly FittedLayer[]): string[] {
  if (layers.length === 0) return [];
  const rows = layers.map(({ name, kind, shape, weights, zeros, sparsity, form, error }) => [
    ...[name, kind, shape.join(' x '), form ?? 'as before', formatted(weights), formatted(zeros), percent(sparsity)],
    percent(100 * error),
  ]);
  const head = ['layer', 'kind', 'shape', 'form', 'weights', 'zeros', 'sparsity', 'error'];
  return ruled([head, ...rows], { head: 1, body: rows.length, from: 4 });
}

export const warningLines = (warnings: readonly string[]): string[] => [
  ...(warnings.length > 0 ? [''] : []),
  ...warnings.map((warning) => `warning: ${warning}`),
];

/** Layers with fewer output channels. */
export const channelLines = (layers: readonly FittedLayer[]): string[] =>
  layers.flatMap(({ name, channels }) =>
    channels === undefined ? [] : [`${name}: ${formatted(channels.before)} -> ${formatted(channels.after)}`],
  );

const leftIn = (layers: readonly FittedLayer[]): { name: string; reason: string }[] =>
  layers.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
