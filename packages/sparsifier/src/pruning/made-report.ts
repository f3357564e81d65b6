import type { Squares } from '../engine/record.js';
import type { Model } from '../model/model.js';
import { sizesIn, type SizedFiles, type Sizes, type SizesOptions } from '../formats/sizes.js';
import { optionsOf } from '../options/check.js';
import { sumOf } from '../model/numbers.js';
import { tableShape, type GroupReport, type LayerReport, type Report, type ReportTableOptions } from './report.js';
import { tableOf } from './table.js';
import { counted, formatted, percent, percentOf } from './text.js';
import { errorOf } from './findings.js';
import { libraryWords, type Warning } from './warnings.js';

type Counts = Pick<LayerReport, 'weights' | 'zeros' | 'removedWeights' | 'units' | 'removedUnits'> & {
  /** Of a call that removed units. */
  readonly squares?: Pick<Squares, 'kept' | 'removed'>;
};

/** What a report is made from. */
interface Contents {
  readonly layers: readonly (Counts & Pick<LayerReport, 'name' | 'kind' | 'shape' | 'fixed'>)[];
  readonly groups?: Report['groups'] | undefined;
  readonly model: Pick<Model, 'tensors' | 'skipped' | 'weights'>;
  /** Those of the model; undefined if it was not read from files. */
  readonly files: SizedFiles | undefined;
  readonly engine: Report['engine'];
  readonly notes: readonly string[];
  readonly warnings: readonly Warning[];
  /** Whether it tells of a call, which has units and removes some of them, or only of what the model holds. */
  readonly isCall: boolean;
}

/** A report whose own properties are plain data; its methods are those of the class. */
class MadeReport implements Report {
  readonly layers: readonly LayerReport[];
  declare readonly groups?: NonNullable<Report['groups']>;
  readonly skipped: Report['skipped'];
  readonly weights: Report['weights'];
  readonly total: Report['total'];
  readonly bytes: number | undefined;
  readonly engine: Report['engine'];
  readonly notes: readonly string[];
  readonly warnings: readonly Warning[];
  readonly #isCall: boolean;
  readonly #files: SizedFiles | undefined;

  constructor({ layers, groups, model, files, engine, notes, warnings, isCall }: Contents) {
    const sum = (key: Exclude<keyof Counts, 'squares'>) => layers.reduce((total, layer) => total + layer[key], 0);
    const squares = (key: 'kept' | 'removed') => layers.reduce((total, layer) => total + layer.squares![key], 0);
    const hasSquares = layers.length > 0 && layers.every((layer) => layer.squares);
    this.layers = layers.map(({ name, kind, shape, fixed, ...counts }) => ({
      name,
      kind,
      shape,
      ...completed(counts),
      ...(fixed === undefined ? {} : { fixed }),
    }));
    if (groups) this.groups = groups;
    this.skipped = model.skipped;
    this.weights = {
      layers: model.tensors.reduce((total, { values }) => total + values.length, 0),
      skipped: model.skipped.reduce((total, { weights }) => total + weights, 0),
      model: model.weights,
    };
    this.total = completed({
      weights: sum('weights'),
      zeros: sum('zeros'),
      removedWeights: sum('removedWeights'),
      ...(groups ? channelsIn(groups) : { units: sum('units'), removedUnits: sum('removedUnits') }),
      ...(hasSquares ? { squares: { kept: squares('kept'), removed: squares('removed') } } : {}),
    });
    this.bytes = files?.bytes;
    this.engine = { threads: engine.threads, why: engine.why };
    this.notes = notes;
    this.warnings = warnings;
    this.#isCall = isCall;
    this.#files = files;
  }

  sizes(options?: SizesOptions): Promise<Sizes> {
    return sizesIn(this.#files, options);
  }

  table(options: ReportTableOptions = {}): string {
    const given = optionsOf(options, tableShape);
    return tableOf(this, { isCall: this.#isCall, words: libraryWords, ...given });
  }

  toString(): string {
    return this.table();
  }

  /** What `console.log` prints in Node: the sum and the warnings. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const { layers, total, notes, warnings } = this;
    const zeros = `${formatted(total.zeros)} of ${counted(total.weights, 'weight')} are zero (${percent(total.sparsity)})`;
    const rest = notes.length > 0 ? `, ${counted(notes.length, 'note')}` : '';
    return [
      `Report: ${counted(layers.length, 'layer')}, ${zeros}${rest}; table({ layers: true }) shows each layer`,
      ...warnings.map(({ message }) => `warning: ${message}`),
    ].join('\n');
  }
}

/** The channels of the groups that were pruned. */
function channelsIn(groups: readonly GroupReport[]): Pick<Counts, 'units' | 'removedUnits'> {
  const pruned = groups.filter(({ heldBack }) => heldBack === undefined);
  const sum = (key: 'units' | 'removedUnits') => sumOf(pruned.map((group) => group[key]));
  return { units: sum('units'), removedUnits: sum('removedUnits') };
}

export const reportOf = (contents: Contents): Report => new MadeReport(contents);

function completed({ weights, zeros, removedWeights, units, removedUnits, squares }: Counts): Report['total'] {
  const error = squares && errorOf(squares);
  return {
    weights,
    zeros,
    removedWeights,
    sparsity: percentOf(zeros, weights),
    units,
    removedUnits,
    keptUnits: units - removedUnits,
    ...(error === undefined ? {} : { error }),
  };
}
