import type { Kind, Skipped } from '../model/model.js';

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
  /** All layers together. */
  readonly total: Omit<LayerReport, 'name' | 'kind' | 'shape'>;
  readonly engine: { readonly threads: number; readonly why: string };
  /** Sentences about what was limited, rounded or left unchanged. */
  readonly notes: readonly string[];
}

type Counts = Pick<LayerReport, 'weights' | 'zeros' | 'removedWeights' | 'units' | 'removedUnits'>;

/** A report of these layers. */
export function reportOf(
  layers: readonly (Counts & Pick<LayerReport, 'name' | 'kind' | 'shape'>)[],
  skipped: readonly Skipped[],
  { threads, why }: Report['engine'],
  notes: readonly string[],
): Report {
  const sum = (key: keyof Counts) => layers.reduce((total, layer) => total + layer[key], 0);
  return {
    layers: layers.map(({ name, kind, shape, ...counts }) => ({ name, kind, shape, ...completed(counts) })),
    skipped,
    total: completed({
      weights: sum('weights'),
      zeros: sum('zeros'),
      removedWeights: sum('removedWeights'),
      units: sum('units'),
      removedUnits: sum('removedUnits'),
    }),
    engine: { threads, why },
    notes,
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
