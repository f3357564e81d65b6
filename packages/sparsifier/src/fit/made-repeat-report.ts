import { section } from '../pruning/table.js';
import { formatted } from '../pruning/text.js';
import { textOf } from '../printable.js';
import { channelLines, layerLines, warningLines } from './made-report.js';
import type { RepeatReport } from './report.js';

type Contents = Omit<RepeatReport, 'table' | 'toString'>;

/** A report whose own properties are plain data. */
class MadeRepeatReport implements RepeatReport {
  readonly recipe: RepeatReport['recipe'];
  readonly bytes: RepeatReport['bytes'];
  readonly layers: RepeatReport['layers'];
  readonly isSame: boolean;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];

  constructor({ recipe, bytes, layers, isSame, notes, warnings }: Contents) {
    this.recipe = recipe;
    this.bytes = bytes;
    this.layers = layers;
    this.isSame = isSame;
    this.notes = notes;
    this.warnings = warnings;
  }

  table(): string {
    return textOf([
      ...repeatedLines(this),
      ...section('layers', layerLines(this.layers)),
      ...section('channels removed', channelLines(this.layers)),
      ...section('notes', this.notes),
      ...warningLines(this.warnings),
    ]);
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return [`RepeatReport: ${repeatedLines(this).join('; ')}; table() shows the layers`, ...this.warnings].join('\n');
  }
}

export const repeatReportOf = (contents: Contents): RepeatReport => new MadeRepeatReport(contents);

/** What came out, in a few lines. */
export const repeatedLines = ({ bytes: { before, after }, isSame }: Contents): string[] => [
  `${formatted(before)} -> ${formatted(after)} bytes`,
  isSame
    ? 'the files are those that the recipe was made with'
    : 'the files are not those that the recipe was made with',
];
