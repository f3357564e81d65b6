import { being, type Shape } from '../options/check.js';
import { listeningShape } from '../options/options.js';

/** How far a calibration has come. */
export interface CalibrateProgress {
  readonly stage: 'calibrate';
  /** The weights of the layers that are finished. In the first pass over the batches their number is not known yet. */
  readonly done: number;
  /** All weights of the layers that have inputs. */
  readonly total: number;
}

export interface MeasureOptions {
  /**
   * The share of the batches that is held out: repairs are checked on them, and computed from the others. From 0 up to,
   * but not including, 1; 0.25 by default. Batch i, counted from 0, is held out if
   * floor((i + 1) * holdOut) > floor(i * holdOut).
   */
  readonly holdOut?: number | undefined;
  /**
   * How many bytes the sums and inputs of layers may take in one pass over the batches; 2^30 by default. A layer of d
   * columns takes 8 d^2 for each group, twice that if batches are held out. If the sums of a single layer take more,
   * only the diagonal of its moments is measured.
   */
  readonly memory?: number | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CalibrateProgress) => void) | undefined;
}

/** The share of the batches. */
export const defaultHoldOut = 0.25;
/** In bytes. */
export const defaultMemory = 2 ** 30;

export const measureShape: Shape<MeasureOptions> = {
  holdOut: being(
    'a share, from 0 up to, but not including, 1',
    (value) => typeof value === 'number' && value >= 0 && value < 1,
  ),
  memory: being('a number of bytes', (value) => typeof value === 'number' && value > 0),
  ...listeningShape,
};
