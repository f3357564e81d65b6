import type { Sizes, SizesOptions } from '../formats/sizes.js';
import type { Kind, Skipped } from '../model/model.js';
import { aBoolean, being, isListOf, type Shape } from '../options/check.js';
import { isObject } from '../model/json.js';
import type { Warning } from './warnings.js';

/** What one layer holds, and what masks remove of it. */
export interface LayerReport {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  /** How many weights the layer has. */
  readonly weights: number;
  /** How many of them are zero, of either sign. */
  readonly zeros: number;
  /**
   * How many weights belong to removed units. All of them are zero, except where quantised numbers have no code for
   * zero.
   */
  readonly removedWeights: number;
  /** Zero weights in percent: 100 x zeros / weights. */
  readonly sparsity: number;
  /** How many units the layer has in the chosen granularity. */
  readonly units: number;
  /** How many of them masks remove. */
  readonly removedUnits: number;
  /** How many of them are kept: units - removedUnits. */
  readonly keptUnits: number;
  /**
   * How much the call changed the weights, from 0 to 1: the norm of the weights that it made zero, divided by the norm
   * of all weights as they were before the call, ||W - W'|| / ||W||. Of quantised weights, as they are before storing
   * rounds them. It is 0 if all removed weights were zero already. Squares are summed up eight at a time in
   * 32 bits, and their sums in 64 bits, in a fixed order: the error has the same bits everywhere, and is exact to about
   * 5e-7. Undefined for reports of `inspect` and `restore`, and if a square is not finite in 32 bits (weights above
   * 1.8e19); weights below 1e-23 count as 0.
   */
  readonly error?: number;
  /** Why this is a table of fixed numbers, which rules leave out. Undefined for learned weights. */
  readonly fixed?: string;
}

/** What a call with `coupled` did with channels that can only go together. */
export interface GroupReport {
  /** That of the first layer that makes them. */
  readonly name: string;
  /** All layers that make them, in model order. */
  readonly layers: readonly string[];
  /** How many channels the group has. */
  readonly units: number;
  readonly removedUnits: number;
  readonly keptUnits: number;
  /** Why the call did not prune it: the layer that the rules leave out, or what else. */
  readonly heldBack?: string;
}

/** What the text of a report contains. */
export interface ReportTableOptions {
  /**
   * Whether there is a line for each layer. By default there is one in reports of `inspect`; reports of calls have one
   * for each layer that lost another share than most.
   */
  readonly layers?: boolean | undefined;
  /** What {@link Report.sizes} returned. */
  readonly sizes?: Sizes | undefined;
}

export const tableShape: Shape<ReportTableOptions> = {
  layers: aBoolean,
  sizes: being('what `sizes()` returns', (value) => isSizes(value)),
};

function isSizes(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { raw, gzip, brotli, layers = [] } = value;
  const isLayer = (layer: unknown) =>
    isObject(layer) && [layer.raw, layer.estimate].every((bytes) => typeof bytes === 'number');
  return [raw, gzip, brotli].every((bytes) => typeof bytes === 'number') && isListOf(layers, isLayer);
}

/** What a call did, or what a model holds. */
export interface Report {
  /** With `coupled`, the layers that make, pass on or read channels of the groups that were pruned. */
  readonly layers: readonly LayerReport[];
  /** Only with `coupled`: all groups of channels, in model order of their names. The units of `total` are their channels. */
  readonly groups?: readonly GroupReport[];
  /** Tensors that are not pruned, and why. */
  readonly skipped: readonly Skipped[];
  /** How many numbers of two or more axes are in layers, in skipped tensors, and in the whole model. */
  readonly weights: { readonly layers: number; readonly skipped: number; readonly model: number };
  /** All layers together. */
  readonly total: Omit<LayerReport, 'name' | 'kind' | 'shape' | 'fixed'>;
  /** How many bytes the files of the model have together; undefined for models that were not read from files. */
  readonly bytes: number | undefined;
  readonly engine: { readonly threads: number; readonly why: string };
  /** Sentences about what was left unchanged. */
  readonly notes: readonly string[];
  /** What is likely to surprise, or to break the model. At most one for each code. */
  readonly warnings: readonly Warning[];
  /**
   * How large the files are once they are compressed: those of the model as it is now, or those that `sparsifyFile`
   * wrote to a path, which are read again.
   * @throws SparsifyError as `sizesOf` does, and `usage` if the files were written to streams
   */
  sizes(options?: SizesOptions): Promise<Sizes>;
  /** The report as text, as the command line prints it: a line of totals, layers, what was not pruned, the warnings. */
  table(options?: ReportTableOptions): string;
  /** The same as {@link table}. */
  toString(): string;
}
