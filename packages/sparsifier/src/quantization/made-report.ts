import { grouped, ruled, section } from '../pruning/table.js';
import { counted, formatted, percent, percentOf } from '../pruning/text.js';
import { libraryWords, type Words } from '../pruning/warnings.js';
import type { DequantizeReport, FileBytes, LeftTensor, OtherTensor, QuantizedLayer, QuantizeReport } from './report.js';
import { quantizeSentence, warningsOf, type QuantizeWarning } from './warnings.js';

type Contents = Pick<QuantizeReport, 'layers' | 'skipped' | 'others' | 'bytes' | 'notes'>;

/** A report whose own properties are plain data; its methods are those of the class. */
class MadeQuantizeReport implements QuantizeReport {
  readonly layers: readonly QuantizedLayer[];
  readonly skipped: readonly LeftTensor[];
  readonly others: readonly OtherTensor[];
  readonly bytes: FileBytes;
  readonly notes: readonly string[];
  readonly warnings: readonly QuantizeWarning[];

  constructor({ layers, skipped, others, bytes, notes }: Contents) {
    this.layers = layers;
    this.skipped = skipped;
    this.others = others;
    this.bytes = bytes;
    this.notes = notes;
    this.warnings = warningsOf(layers);
  }

  table(): string {
    return quantizeTable(this, libraryWords);
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { layers, bytes, warnings } = this;
    return [
      `QuantizeReport: ${counted(layers.length, 'layer')} stored in another form, ${bytesLine(bytes)}; table() shows each layer`,
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
    const rows = this.tensors.map(({ name, from }) => [name, from, 'float32']);
    return [
      ...ruled([['tensor', 'before', 'after'], ...rows, [counted(rows.length, 'tensor')]], {
        head: 1,
        body: rows.length,
        from: 3,
      }),
      ...section('left as they are', grouped(this.skipped)),
      '',
      `bytes: ${bytesLine(this.bytes)}`,
    ].join('\n');
  }

  toString(): string {
    return this.table();
  }
}

export const dequantizeReportOf = (
  contents: Pick<DequantizeReport, 'tensors' | 'skipped' | 'bytes'>,
): DequantizeReport => new MadeDequantizeReport(contents);

/** `1,000 -> 250 (25.00 %)` */
const bytesLine = ({ before, after }: FileBytes): string =>
  `${formatted(before)} -> ${formatted(after)} (${percent(percentOf(after, before))})`;

/** A report as text. @param words how warnings write the options that they suggest */
export function quantizeTable(report: QuantizeReport, words: Words): string {
  const { layers, skipped, others, bytes, notes, warnings } = report;
  const sum = (key: 'weights' | 'zeros' | 'clipped' | 'bytesBefore' | 'bytesAfter') =>
    formatted(layers.reduce((total, layer) => total + layer[key], 0));
  const rows = [
    ['layer', 'kind', 'shape', 'form', 'weights', 'zeros', 'clipped', 'error', 'bytes', 'before', 'bias'],
    ...layers.map((layer) => [
      layer.name,
      layer.kind,
      layer.shape.join(' x '),
      layer.form,
      formatted(layer.weights),
      formatted(layer.zeros),
      formatted(layer.clipped),
      percent(100 * layer.error),
      formatted(layer.bytesAfter),
      formatted(layer.bytesBefore),
      layer.bias,
    ]),
    [
      counted(layers.length, 'layer'),
      ...['', '', ''],
      ...[sum('weights'), sum('zeros'), sum('clipped'), '', sum('bytesAfter'), sum('bytesBefore')],
    ],
  ];
  const reasons = layers.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
  const biases = layers.flatMap(({ name, biasReason }) =>
    biasReason === undefined ? [] : [{ name, reason: biasReason }],
  );
  const changed = others.filter(({ form }) => form !== undefined);
  const left = others.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
  return [
    ...ruled(rows, { head: 1, body: layers.length, from: 4, to: 10 }),
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
    '',
    `bytes: ${bytesLine(bytes)}`,
    ...(warnings.length > 0 ? [''] : []),
    ...warnings.map((warning) => `warning: ${quantizeSentence(warning, words)}`),
  ].join('\n');
}
