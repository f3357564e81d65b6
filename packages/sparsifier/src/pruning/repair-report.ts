import { textOf } from '../printable.js';
import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { RepairedLayer, RepairReport } from '../repair/report.js';
import { grouped, ruled, section } from './table.js';
import { counted, formatted, percent } from './text.js';

type Contents = Pick<RepairReport, 'layers' | 'skipped' | 'notes' | 'bytes' | 'sizes'>;

/** A report whose own properties are plain data; its methods are those of the class. */
class MadeRepairReport implements RepairReport {
  readonly layers: readonly RepairedLayer[];
  readonly skipped: RepairReport['skipped'];
  readonly notes: readonly string[];
  readonly bytes: number | undefined;
  readonly #sizes: RepairReport['sizes'];

  constructor({ layers, skipped, notes, bytes, sizes }: Contents) {
    this.layers = layers;
    this.skipped = skipped;
    this.notes = notes;
    this.bytes = bytes;
    this.#sizes = sizes;
  }

  sizes(options?: SizesOptions): Promise<Sizes> {
    return this.#sizes(options);
  }

  table(): string {
    const error = (value: number | undefined) => (value === undefined ? '-' : percent(100 * value));
    const rows = [
      ['layer', 'kind', 'shape', 'rows', 'columns', 'error before', 'error after', 'bias', 'result'],
      ...this.layers.map((layer) => [
        layer.name,
        layer.kind,
        layer.shape.join(' x '),
        formatted(layer.rows),
        formatted(layer.columns),
        error(layer.masked),
        error(layer.repaired),
        layer.bias,
        layer.isRepaired ? 'repaired' : 'mask alone',
      ]),
    ];
    const repaired = this.layers.filter(({ isRepaired }) => isRepaired).length;
    const sums = [counted(this.layers.length, 'layer'), '', '', '', '', '', '', '', `${formatted(repaired)} repaired`];
    const reasons = this.layers.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
    return textOf([
      ...ruled([...rows, sums], { head: 1, body: this.layers.length, from: 3, to: 7 }),
      ...section('not repaired', grouped(this.skipped, 'layer')),
      ...section('repaired in part, or left with the mask alone', grouped(reasons, 'layer')),
      ...section('notes', this.notes),
    ]);
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const repaired = this.layers.filter(({ isRepaired }) => isRepaired).length;
    const rest = this.notes.length > 0 ? `, ${counted(this.notes.length, 'note')}` : '';
    return `RepairReport: ${repaired} of ${counted(this.layers.length, 'layer')} repaired${rest}; table() shows each layer`;
  }
}

export const repairReportOf = (contents: Contents): RepairReport => new MadeRepairReport(contents);
