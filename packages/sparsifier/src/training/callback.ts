import { attempt, SparsifyError } from '../errors.js';
import type { LayersModelLike } from '../formats/tfjs/live.js';
import { optionsOf } from '../options/check.js';
import type { Report } from '../pruning/report.js';
import type { MaskingTf } from './backend-masks.js';
import type { Schedule } from './schedule.js';
import {
  callbackShape,
  Training,
  type EpochRecord,
  type Logs,
  type SparsifyCallbackOptions,
  type Ticket,
} from './training.js';

/** What is used of TensorFlow.js, with its layers. */
export interface TrainingTf extends MaskingTf {
  readonly Callback: abstract new () => object;
}

/** A `tf.Callback` for `model.fit` and `model.fitDataset`, with three methods for custom training loops. */
export interface SparsifyCallback {
  readonly schedule: Schedule;
  /** One record for each epoch, in order. */
  readonly history: readonly EpochRecord[];
  /** One for each sparsity, in order, where `saveTickets` is set. */
  readonly tickets: readonly Ticket[];
  /** The report of the last call on the model. */
  readonly report: Report | undefined;
  /** The history as the text of an SVG image. */
  plot(): Promise<string>;
  /** To be called before the first step of a custom loop; `model.fit` does it itself. */
  begin(model: LayersModelLike): Promise<void>;
  /** To be called after each step of the optimizer. */
  step(): Promise<void>;
  /** To be called after the last step. */
  end(): Promise<void>;
}

/**
 * Makes a model sparse while it is trained: the counterpart of fasterai's SparsifyCallback.
 *
 * Before step k of n, the share of `sparsity` is the schedule's at k/n, and after the last step its share at 1, so that
 * training ends with the requested sparsity. After each step of the optimizer, removed weights become zero again, on
 * the backend itself.
 * @param tf TensorFlow.js with its layers
 * @throws SparsifyError `usage` or `sparsity` for unknown or contradictory options; before training, what
 *   `new Sparsifier` and `sparsifyModel` throw
 */
export function sparsifyCallback<Tf extends TrainingTf>(
  tf: Tf,
  given: SparsifyCallbackOptions,
): SparsifyCallback & InstanceType<Tf['Callback']> {
  const hasLayers = attempt('TensorFlow.js', () => typeof tf?.Callback === 'function');
  if (!hasLayers) {
    throw new SparsifyError('usage', 'the first argument must be TensorFlow.js with its layers', {
      found: `${typeof tf}${tf ? ' without Callback' : ''}`,
    });
  }
  const options = optionsOf(given, callbackShape);
  const training = new Training(tf, options);
  let model: LayersModelLike | undefined;
  let params: FitParams = {};

  // TensorFlow.js wraps an object of any other class in a callback that knows neither the model nor the steps.
  class Callback extends (tf as TrainingTf).Callback implements SparsifyCallback {
    readonly schedule = training.schedule;
    get history() {
      return training.history;
    }
    get tickets() {
      return training.tickets;
    }
    get report() {
      return training.report;
    }
    plot() {
      return training.plot();
    }
    async begin(own: LayersModelLike) {
      await training.begin(own, options.steps, options.epochs ?? 1);
      await training.before();
    }
    async step() {
      await training.after();
      if (training.isEpochOver()) await training.closeEpoch({});
      if (!training.isOver()) await training.before();
    }
    async end() {
      await training.end();
    }
    setModel(given: LayersModelLike) {
      model = given;
    }
    setParams(given: FitParams) {
      params = given;
    }
    async onTrainBegin() {
      const { epochs = 1, initialEpoch = 0 } = params;
      await training.begin(model!, options.steps ?? stepsOf(params), epochs - initialEpoch);
    }
    async onBatchBegin() {
      await training.before();
    }
    async onBatchEnd() {
      await training.after();
    }
    async onEpochEnd(_epoch: number, logs: Logs = {}) {
      await training.closeEpoch(logs);
    }
    async onTrainEnd() {
      await training.end();
    }
  }
  return new Callback() as unknown as SparsifyCallback & InstanceType<Tf['Callback']>;
}

/** What `model.fit` tells a callback. */
interface FitParams {
  readonly epochs?: number;
  readonly initialEpoch?: number;
  readonly steps?: number | null;
  readonly samples?: number | null;
  readonly batchSize?: number | null;
}

/** The number of steps per epoch, if it is known. */
function stepsOf({ steps, samples, batchSize }: FitParams): number | undefined {
  if (typeof steps === 'number' && Number.isFinite(steps)) return steps;
  return typeof samples === 'number' && typeof batchSize === 'number' ? Math.ceil(samples / batchSize) : undefined;
}
