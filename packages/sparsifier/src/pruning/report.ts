import type { Kind, Model, Skipped } from '../model/model.js';

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
}

/** What a call did, or what a model holds. */
export interface Report {
  readonly layers: readonly LayerReport[];
  /** Tensors that are not pruned, and why. */
  readonly skipped: readonly Skipped[];
  /** How many numbers of two or more axes are in layers, in skipped tensors, and in the whole model. */
  readonly weights: { readonly layers: number; readonly skipped: number; readonly model: number };
  /** All layers together. */
  readonly total: Omit<LayerReport, 'name' | 'kind' | 'shape'>;
  readonly engine: { readonly threads: number; readonly why: string };
  /** Sentences about what was left unchanged. */
  readonly notes: readonly string[];
  /** What is likely to surprise, or to break the model. */
  readonly warnings: readonly Warning[];
}

/** Something that a call did beyond the request, did not do, or that is likely to break the model. */
export interface Warning {
  readonly code: WarningCode;
  /** The layer it is about; undefined for the whole model. */
  readonly layer?: string;
  /** The facts, for programs. */
  readonly details: Readonly<Record<string, unknown>>;
  /** The facts as a sentence, with the options of the library. */
  readonly message: string;
}

export type WarningCode =
  | 'layers-left-alone'
  | 'high-error'
  | 'channels-not-silent'
  | 'channels-uncoupled'
  | 'amount-changed'
  | 'already-zero'
  | 'nothing-removed';

type Counts = Pick<LayerReport, 'weights' | 'zeros' | 'removedWeights' | 'units' | 'removedUnits'>;

/** A report of these layers. */
export function reportOf(
  layers: readonly (Counts & Pick<LayerReport, 'name' | 'kind' | 'shape'>)[],
  { tensors, skipped, weights }: Pick<Model, 'tensors' | 'skipped' | 'weights'>,
  { threads, why }: Report['engine'],
  notes: readonly string[],
  warnings: readonly Warning[] = [],
): Report {
  const sum = (key: keyof Counts) => layers.reduce((total, layer) => total + layer[key], 0);
  return {
    layers: layers.map(({ name, kind, shape, ...counts }) => ({ name, kind, shape, ...completed(counts) })),
    skipped,
    weights: {
      layers: tensors.reduce((total, { values }) => total + values.length, 0),
      skipped: skipped.reduce((total, { weights }) => total + weights, 0),
      model: weights,
    },
    total: completed({
      weights: sum('weights'),
      zeros: sum('zeros'),
      removedWeights: sum('removedWeights'),
      units: sum('units'),
      removedUnits: sum('removedUnits'),
    }),
    engine: { threads, why },
    notes,
    warnings,
  };
}

const completed = ({ weights, zeros, removedWeights, units, removedUnits }: Counts): Report['total'] => ({
  weights,
  zeros,
  removedWeights,
  sparsity: weights === 0 ? 0 : (100 * zeros) / weights,
  units,
  removedUnits,
  keptUnits: units - removedUnits,
});
