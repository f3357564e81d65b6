import { textOf } from '../printable.js';
import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { Form } from '../model/forms.js';
import { optionsOf } from '../options/check.js';
import { tableShape, type ReportTableOptions } from '../pruning/report.js';
import { compressedInWords, grouped, ruled, section } from '../pruning/table.js';
import { counted, formatted, percent, percentOf } from '../pruning/text.js';
import { libraryWords, type Words } from '../pruning/warnings.js';
import type { DequantizeReport, FileBytes, LeftTensor, OtherTensor, QuantizedLayer, QuantizeReport } from './report.js';
import { quantizeSentence, warningsOf, type QuantizeWarning } from './warnings.js';

type Contents = Pick<QuantizeReport, 'layers' | 'skipped' | 'others' | 'bytes' | 'notes' | 'sizes'>;

/** A report whose own properties are plain data; its methods are those of the class. */
class MadeQuantizeReport implements QuantizeReport {
  readonly layers: readonly QuantizedLayer[];
  readonly skipped: readonly LeftTensor[];
  readonly others: readonly OtherTensor[];
  readonly bytes: FileBytes;
  readonly notes: readonly string[];
  readonly warnings: readonly QuantizeWarning[];
  readonly #sizes: QuantizeReport['sizes'];

  constructor({ layers, skipped, others, bytes, notes, sizes }: Contents) {
    this.layers = layers;
    this.skipped = skipped;
    this.others = others;
    this.bytes = bytes;
    this.notes = notes;
    this.warnings = warningsOf(layers);
    this.#sizes = sizes;
  }

  sizes(options?: SizesOptions): Promise<Sizes> {
    return this.#sizes(options);
  }

  table(options: ReportTableOptions = {}): string {
    const given = optionsOf(options, tableShape);
    return quantizeTable(this, { ...given, words: libraryWords });
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { layers, bytes, warnings } = this;
    return [
      `QuantizeReport: ${counted(layers.length, 'layer')} stored in another form, ${bytesLine(bytes)}; table({ layers: true }) shows each layer`,
      ...warnings.map(({ message }) => `warning: ${message}`),
    ].join('\n');
  }
}

export const quantizeReportOf = (contents: Contents): QuantizeReport => new MadeQuantizeReport(contents);

class MadeDequantizeReport implements DequantizeReport {
  readonly tensors: DequantizeReport['tensors'];
  readonly skipped: DequantizeReport['skipped'];
  readonly bytes: FileBytes;

  constructor({ tensors, skipped, bytes }: Pick<DequantizeReport, 'tensors' | 'skipped' | 'bytes'>) {
    this.tensors = tensors;
    this.skipped = skipped;
    this.bytes = bytes;
  }

  table(): string {
    return textOf([
      `${counted(this.tensors.length, 'tensor')} now stored as float32, ${bytesLine(this.bytes)}`,
      ...section('before', grouped(this.tensors.map(({ name, from }) => ({ name, reason: from })))),
      ...section('left as they are', grouped(this.skipped)),
    ]);
  }

  toString(): string {
    return this.table();
  }
}

export const dequantizeReportOf = (
  contents: Pick<DequantizeReport, 'tensors' | 'skipped' | 'bytes'>,
): DequantizeReport => new MadeDequantizeReport(contents);

/** `1,000 -> 250 bytes (25.00 %)` */
export const bytesLine = ({ before, after }: FileBytes): string =>
  `${formatted(before)} -> ${formatted(after)} bytes (${percent(percentOf(after, before))})`;

/** How a report is printed. */
interface Printing extends ReportTableOptions {
  /** How warnings write the options that they suggest. */
  readonly words: Words;
}

/** A report as text. */
export function quantizeTable(report: QuantizeReport, printing: Printing): string {
  const { layers, skipped, others, notes, warnings } = report;
  const reasons = layers.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
  const biases = layers.flatMap(({ name, biasReason }) =>
    biasReason === undefined ? [] : [{ name, reason: biasReason }],
  );
  const changed = others.filter(({ form }) => form !== undefined);
  const left = others.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
  return textOf([
    totalsIn(report, printing).join(', '),
    ...layerLines(layers, printing),
    ...section('in another form than asked', grouped(reasons, 'layer')),
    ...section('without a new bias', grouped(biases, 'layer')),
    ...section('left as they are', grouped(skipped)),
    ...section(
      'other numbers',
      others.length === 0
        ? []
        : [`${counted(changed.length, 'tensor')} stored as ${changed[0]?.form ?? 'float16'}`, ...grouped(left)],
    ),
    ...section('notes', notes),
    ...(warnings.length > 0 ? [''] : []),
    ...warnings.map((warning) => `warning: ${quantizeSentence(warning, printing.words)}`),
  ]);
}

/** All layers together, and how large the files are. */
export function totalsIn({ layers, bytes }: QuantizeReport, { sizes }: Pick<Printing, 'sizes'> = {}): string[] {
  const { weights, zeros, clipped } = sumsOf(layers);
  return [
    counted(layers.length, 'layer'),
    counted(weights, 'weight'),
    counted(zeros, 'zero'),
    `${formatted(clipped)} clipped`,
    bytesLine(bytes),
    ...compressedInWords(sizes),
  ];
}

/** The layers that are listed, and the others together: by default those in another form than most weights. */
function layerLines(layers: readonly QuantizedLayer[], { words, layers: isListed, sizes }: Printing): string[] {
  if (isListed === false || layers.length === 0) return [];
  const usual = isListed ? undefined : usualForm(layers);
  const shown = layers.filter(({ form }) => form !== usual);
  const others = layers.filter(({ form }) => form === usual);
  if (shown.length === 0) return [`each layer is stored as ${usual}; ${words.option('layers', true)} lists them`];
  const isMeasured = layers.some(({ outputError }) => outputError !== undefined);
  const estimates = new Map(sizes?.layers?.map(({ name, estimate }) => [name, estimate]));
  const row = (start: readonly string[], members: readonly QuantizedLayer[], end: readonly string[]) => {
    const sums = sumsOf(members);
    const estimate = members.reduce((sum, { name }) => sum + (estimates.get(name) ?? 0), 0);
    const [error, ofOutputs, ...rest] = end;
    return [
      ...[...start, formatted(sums.weights), formatted(sums.zeros), formatted(sums.clipped), error!],
      ...(isMeasured ? [ofOutputs!] : []),
      ...[formatted(sums.bytesAfter), formatted(sums.bytesBefore)],
      ...(estimates.size === 0 ? [] : [formatted(estimate)]),
      ...rest,
    ];
  };
  const rows = [
    [
      ...['layer', 'kind', 'shape', 'form', 'weights', 'zeros', 'clipped', 'error'],
      ...(isMeasured ? ['error of outputs'] : []),
      ...['bytes', 'before'],
      ...(estimates.size === 0 ? [] : ['about, in brotli']),
      'bias',
    ],
    ...shown.map((layer) => {
      const { name, kind, shape, form, error, outputError, bias } = layer;
      const ofOutputs = outputError === undefined ? '' : percent(100 * outputError);
      return row([name, kind, shape.join(' x '), form], [layer], [percent(100 * error), ofOutputs, bias]);
    }),
    ...(others.length === 0
      ? []
      : [row([counted(others.length, 'other layer'), '', '', usual!], others, ['', '', ''])]),
  ];
  return ['', ...ruled(rows, { head: 1, body: shown.length, from: 4, to: rows[0]!.length - 1 })];
}

/** The form of most weights. */
function usualForm(layers: readonly QuantizedLayer[]): Form | undefined {
  const counts = new Map<Form, number>();
  for (const { form, weights } of layers) counts.set(form, (counts.get(form) ?? 0) + weights);
  return [...counts].sort(([, one], [, other]) => other - one)[0]?.[0];
}

function sumsOf(layers: readonly QuantizedLayer[]) {
  const sum = (key: 'weights' | 'zeros' | 'clipped' | 'bytesBefore' | 'bytesAfter') =>
    layers.reduce((total, layer) => total + layer[key], 0);
  return {
    ...{ weights: sum('weights'), zeros: sum('zeros'), clipped: sum('clipped') },
    ...{ bytesBefore: sum('bytesBefore'), bytesAfter: sum('bytesAfter') },
  };
}
