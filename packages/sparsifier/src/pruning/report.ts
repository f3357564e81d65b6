import type { Kind, Skipped } from '../model/model.js';

/** What stands in one layer. */
export interface LayerReport {
  readonly name: string;
  readonly kind: Kind;
  /** In stored order. */
  readonly shape: readonly number[];
  readonly weights: number;
  /** Zeros of either sign. */
  readonly zeros: number;
  /**
   * How many weights are removed: those of the units that masks remove. All of them are zero, except where quantised numbers
   * have no code for it.
   */
  readonly removed: number;
  /** 100 x zeros / weights. */
  readonly sparsity: number;
  /** How many units the granularity counts. */
  readonly units: number;
  /** How many of them are kept. */
  readonly kept: number;
}

/** What a call did, or what a model holds. */
export interface Report {
  readonly layers: readonly LayerReport[];
  /** Tensors that are not pruned, and why. */
  readonly skipped: readonly Skipped[];
  readonly total: Pick<LayerReport, 'weights' | 'zeros' | 'removed' | 'sparsity' | 'units' | 'kept'>;
  readonly engine: { readonly threads: number; readonly why: string };
  /** Sentences about what was clamped, rounded or left alone. */
  readonly notes: readonly string[];
}

export const percentage = (part: number, whole: number): number => (whole === 0 ? 0 : (100 * part) / whole);

/** A report of these layers. */
export function reportOf(
  layers: readonly Omit<LayerReport, 'sparsity'>[],
  skipped: readonly Skipped[],
  { threads, why }: Report['engine'],
  notes: readonly string[],
): Report {
  const sum = (key: 'weights' | 'zeros' | 'removed' | 'units' | 'kept') =>
    layers.reduce((total, layer) => total + layer[key], 0);
  const [weights, zeros] = [sum('weights'), sum('zeros')];
  return {
    layers: layers.map(({ name, kind, shape, weights, zeros, removed, units, kept }) => ({
      name,
      kind,
      shape,
      weights,
      zeros,
      removed,
      sparsity: percentage(zeros, weights),
      units,
      kept,
    })),
    skipped,
    total: {
      weights,
      zeros,
      removed: sum('removed'),
      sparsity: percentage(zeros, weights),
      units: sum('units'),
      kept: sum('kept'),
    },
    engine: { threads, why },
    notes,
  };
}
