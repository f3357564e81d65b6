import type { Seen } from '../engine/repair.js';
import type { WeightTensor } from '../model/model.js';
import type { Progress } from '../options/options.js';
import type { Batches, Probe } from './probe.js';

export interface MomentOptions {
  /** The share of the batches that is held out: those with the index i where floor((i + 1) * holdOut) > floor(i * holdOut). */
  readonly holdOut?: number | undefined;
  /** How many bytes the sums and inputs of the layers of a pass may take. */
  readonly memory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a layer sees in some of the batches. */
export interface LayerSeen extends Seen {
  readonly rows: number;
  /** The norm of each input channel in the pruned model. */
  readonly norm: Float32Array;
}

/** What is measured of a layer. */
export interface Measured {
  /** True where the moments are only those of each column with itself: `[groups, d]`, as all of them exceed `memory`. */
  readonly isDiagonal: boolean;
  readonly seen: LayerSeen;
  /** Undefined if no batch is held out. */
  readonly heldOut: LayerSeen | undefined;
}

/**
 * Measures the inputs of layers in passes over the batches, so that the sums of the layers of a pass fit into `memory`.
 * All layers must have uses in the probes.
 * @param pruned the model whose inputs are measured
 * @param dense another one: then its moments, and those of the inputs of both, are measured too
 */
export declare function measure<Batch>(
  layers: readonly WeightTensor[],
  batches: () => Batches<Batch>,
  probes: { readonly pruned: Probe<Batch>; readonly dense?: Probe<Batch> },
  options: MomentOptions,
): Promise<Map<WeightTensor, Measured>>;
