import type { SessionLike } from '../calibration/onnx.js';

/** How a layer is repaired: its kept weights and its bias, or its bias alone. */
export const methods = ['solve', 'bias'] as const;

/** The options of `Sparsifier.repair`. */
export interface RepairOptions<Feeds = never> {
  /**
   * `solve` (the default) solves for the kept weights and the bias of each layer, so that its outputs are close to those
   * of the dense layer; `bias` changes biases alone.
   */
  readonly method?: (typeof methods)[number] | undefined;
  /** The most steps that `solve` takes, a whole number; 10 by default. */
  readonly steps?: number | undefined;
  /**
   * What is added to the diagonal of the covariances of the inputs, as a share of its mean, which keeps weights small that
   * the statistics say little about; 0.01 by default.
   */
  readonly ridge?: number | undefined;
  /** Whether layers without a bias may be given one, where the format can do that; they may by default. */
  readonly addBias?: boolean | undefined;
  /**
   * The inputs that layers are repaired for: those of the dense model (`dense`, the default), which the statistics of the
   * Sparsifier describe; or those of the model as repaired so far (`pruned`), which are measured layer by layer, from the
   * front to the back. That needs `createSession` and `batches`, and an ONNX model.
   */
  readonly inputs?: 'dense' | 'pruned' | undefined;
  /** For `inputs: 'pruned'`: as for `calibrate`. */
  readonly createSession?: ((bytes: Uint8Array<ArrayBuffer>) => Promise<SessionLike<Feeds>>) | undefined;
  readonly batches?: (() => Iterable<Feeds> | AsyncIterable<Feeds>) | undefined;
  /** For `inputs: 'pruned'`: the share of the batches that results are compared on; 0.25 by default. */
  readonly holdOut?: number | undefined;
  /** Ends the call with the signal's reason; the model is then as it was before. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RepairProgress) => void) | undefined;
}

/** How far a repair has come. */
export interface RepairProgress {
  readonly stage: 'repair';
  /** The weights of the layers that are finished. */
  readonly done: number;
  /** All weights of the layers that have a mask. */
  readonly total: number;
}
