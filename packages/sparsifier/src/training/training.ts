import { SparsifyError } from '../errors.js';
import {
  fromTfjs,
  variableOf,
  type LayersModelLike,
  type LiveModel,
  type TensorLike,
  type TfLike,
  type VariableLike,
} from '../formats/tfjs/live.js';
import { defaults } from '../options/defaults.js';
import { checkGranularity, isPattern, type Granularity } from '../options/granularity.js';
import { unitsOfTensor } from '../options/units.js';
import { optionNames, type SparsifierOptions } from '../options/options.js';
import { checkNames } from '../options/spelling.js';
import { linePlot } from './plot.js';
import type { Report } from '../pruning/report.js';
import { scheduleOf, type Schedule, type ScheduleLike } from './schedule.js';
import type { UnitMask } from '../pruning/masks.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { WeightTensor } from '../model/model.js';

/** What is used of TensorFlow.js, with its layers. Its own functions take its own tensors only, which are not named here. */
export interface TrainingTf extends TfLike {
  readonly Callback: abstract new () => object;
  tidy(work: () => void): void;
  tensor(values: Float32Array | Uint8Array, shape: number[], dtype: 'float32' | 'bool'): TensorLike;
  broadcastTo(tensor: never, shape: never): TensorLike;
  zeros(shape: never): TensorLike;
  where(condition: never, chosen: never, other: never): TensorLike;
}

/** Percentages that the training ends with: of all layers, of each in model order, or by name or glob. */
export type TargetSparsity =
  number | readonly number[] | Readonly<Record<string, number>> | ReadonlyMap<string, number>;

export interface SparsifyCallbackOptions extends Omit<SparsifierOptions, 'restorable' | 'initial' | 'previous'> {
  /** What the schedule leads to; none for a granularity that is a pattern. */
  readonly sparsity?: TargetSparsity;
  /** How the sparsity grows; `oneShot` by default. */
  readonly schedule?: ScheduleLike;
  /** The number of units kept in each layer is raised to a multiple of this whole number. */
  readonly roundTo?: number;
  /**
   * Looks for a lottery ticket (Frankle and Carbin 2019): each time that more is removed, all weights go back to what they
   * were at the start of training, or of `rewindEpoch`.
   */
  readonly lottery?: boolean;
  /** The epoch, counted from 0, at whose start the weights to go back to are taken. */
  readonly rewindEpoch?: number;
  /** Takes all weights back once training is over; what is removed stays removed. */
  readonly resetEnd?: boolean;
  /** Keeps a ticket for each sparsity: the weights to go back to, without those that are removed then. */
  readonly saveTickets?: boolean;
  /** Sparsifies at every so many steps at most; 1 by default. */
  readonly every?: number;
  /** Steps of an epoch, where `model.fit` does not know them, and in loops of one's own. */
  readonly steps?: number;
  /** Epochs of a loop of one's own; 1 by default. */
  readonly epochs?: number;
}

/** A sparse network before its training. */
export interface Ticket {
  /** The percentage of units that are removed. */
  readonly sparsity: number;
  /** All weights of the model by their names, also those that have no mask. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** What came of an epoch: the sparsity at its end, and the loss and metrics that `model.fit` tells. */
export interface EpochRecord {
  readonly epoch: number;
  /** The percentage of units that are removed. */
  readonly sparsity: number;
  readonly [metric: string]: number;
}

/** A `tf.Callback` for `model.fit` and `model.fitDataset`, and three calls for loops of one's own. */
export interface SparsifyCallback {
  readonly schedule: Schedule;
  /** One record for each epoch, in order. */
  readonly history: readonly EpochRecord[];
  /** One for each sparsity, in order, where `saveTickets` is set. */
  readonly tickets: readonly Ticket[];
  /** What the last call on the model did. */
  readonly report: Report | undefined;
  /** The history as the text of an SVG image. */
  plot(): string;
  /** Before the first step. Not beside `model.fit`, which does this itself. */
  begin(model: LayersModelLike): Promise<void>;
  /** After each step of the optimizer. */
  step(): Promise<void>;
  /** After the last step. */
  end(): Promise<void>;
}

const ownNames: readonly string[] = [
  ...[
    'sparsity',
    'schedule',
    'roundTo',
    'lottery',
    'rewindEpoch',
    'resetEnd',
    'saveTickets',
    'every',
    'steps',
    'epochs',
  ],
  ...optionNames.filter((name) => !['restorable', 'initial', 'previous'].includes(name)),
];

/**
 * Makes a model sparse while it is trained: the counterpart of fasterai's SparsifyCallback.
 *
 * Before step k of n the share of `sparsity` is the schedule's at k/n, and after the last one that at 1, so that the
 * sparsity asked for is the one that training ends with. After each step of the optimizer what is removed becomes zero again,
 * on the backend itself.
 * @param tf TensorFlow.js with its layers, which the caller has
 * @throws SparsifyError `usage` or `sparsity` for unknown options or ones that contradict each other; before training
 *   what `new Sparsifier` and `sparsifyModel` throw
 */
export function sparsifyCallback<Tf extends TrainingTf>(
  tf: Tf,
  options: SparsifyCallbackOptions,
): SparsifyCallback & InstanceType<Tf['Callback']> {
  if (typeof tf?.Callback !== 'function') {
    throw new SparsifyError('usage', 'the first argument is TensorFlow.js with its layers', {
      found: `${typeof tf}${tf ? ' without Callback' : ''}`,
    });
  }
  checkNames(options, ownNames);
  const training = new Training(tf, options);
  let model: LayersModelLike | undefined;
  let params: FitParams = {};

  // TensorFlow.js wraps whatever is no instance of its own class in one that knows neither the model nor the steps.
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

const isList = (sparsity: TargetSparsity): sparsity is readonly number[] => Array.isArray(sparsity);
const entriesOf = (sparsity: Exclude<TargetSparsity, number | readonly number[]>): [string, number][] =>
  sparsity instanceof Map ? [...sparsity] : Object.entries(sparsity);

/** A schedule takes shares of percentages. */
function checkTarget(sparsity: TargetSparsity | undefined): void {
  const isTarget = sparsity !== null && (typeof sparsity === 'number' || typeof sparsity === 'object');
  const percentages = !isTarget
    ? [sparsity]
    : typeof sparsity === 'number'
      ? [sparsity]
      : isList(sparsity)
        ? sparsity
        : entriesOf(sparsity).map(([, percent]) => percent);
  const isAmount = isTarget && typeof sparsity === 'object' && ('keep' in sparsity || 'remove' in sparsity);
  const isPercentage = (percent: unknown) => typeof percent === 'number' && percent >= 0 && percent <= 100;
  if (!isAmount && percentages.every(isPercentage)) return;
  throw new SparsifyError('sparsity', 'training leads to percentages from 0 to 100', {
    asked: sparsity ?? 'nothing',
    allowed: ['a percentage', 'a list of percentages', 'percentages by name or glob'],
  });
}

/** What `model.fit` says of itself. */
interface FitParams {
  readonly epochs?: number;
  readonly initialEpoch?: number;
  readonly steps?: number | null;
  readonly samples?: number | null;
  readonly batchSize?: number | null;
}

type Logs = Readonly<Record<string, number | TensorLike>>;

/** Steps of an epoch, as far as they are known. */
function stepsOf({ steps, samples, batchSize }: FitParams): number | undefined {
  if (typeof steps === 'number' && Number.isFinite(steps)) return steps;
  return typeof samples === 'number' && typeof batchSize === 'number' ? Math.ceil(samples / batchSize) : undefined;
}

/** Weights of the model some of which become zero again after each step. */
interface Masked {
  readonly variable: VariableLike;
  /** True where a weight stays. */
  readonly mask: TensorLike;
  /** As many zeros: to repeat one of them would take longer than to choose. */
  readonly zeros: TensorLike;
}

class Training {
  readonly schedule: Schedule;
  readonly history: EpochRecord[] = [];
  readonly tickets: Ticket[] = [];
  report: Report | undefined;
  readonly #tf: TrainingTf;
  readonly #options: SparsifyCallbackOptions;
  readonly #sparsifierOptions: SparsifierOptions;
  readonly #granularity: Granularity;
  #live: LiveModel | undefined;
  #model: LayersModelLike | undefined;
  #sparsifier: Sparsifier | undefined;
  #steps = 0;
  #epochs = 0;
  #step = 0;
  #share = 0;
  #rewindsNow = false;
  #masked: Masked[] = [];
  /** The weights to go back to. */
  #initial: TensorLike[] = [];

  constructor(tf: TrainingTf, options: SparsifyCallbackOptions) {
    const { sparsity, schedule, roundTo: _, lottery, rewindEpoch, resetEnd, saveTickets, ...rest } = options;
    const { every = 1, steps, epochs, ...words } = rest;
    this.#tf = tf;
    this.#options = options;
    this.#sparsifierOptions = words;
    this.schedule = scheduleOf(schedule ?? 'oneShot');
    this.#granularity = checkGranularity(options.granularity ?? defaults.granularity);
    for (const [name, value] of Object.entries({ every, steps, epochs })) {
      if (value === undefined || (Number.isInteger(value) && value > 0)) continue;
      throw new SparsifyError('usage', `${name} is a whole number above 0`, { asked: value });
    }
    if (rewindEpoch !== undefined && (!Number.isInteger(rewindEpoch) || rewindEpoch < 0)) {
      throw new SparsifyError('usage', 'rewindEpoch is a whole number', { asked: rewindEpoch });
    }
    if (saveTickets && !lottery && !resetEnd) {
      throw new SparsifyError('usage', 'tickets are weights to go back to', {
        asked: 'saveTickets',
        hint: 'Set lottery or resetEnd, too',
      });
    }
    if (!isPattern(this.#granularity)) checkTarget(sparsity);
    else if (sparsity !== undefined) {
      throw new SparsifyError('sparsity', 'a pattern already fixes how much is removed', { asked: sparsity });
    }
  }

  async begin(model: LayersModelLike, steps: number | undefined, epochs: number): Promise<void> {
    this.#release();
    if (steps === undefined) {
      throw new SparsifyError('usage', 'the number of steps of an epoch is not known', {
        hint: 'Set steps: how many batches an epoch has',
      });
    }
    const { rewindEpoch = 0, lottery, resetEnd } = this.#options;
    if (rewindEpoch > this.schedule.start * epochs) {
      throw new SparsifyError('usage', 'weights are removed before the epoch that is gone back to', {
        asked: `rewindEpoch ${rewindEpoch}`,
        found: `the schedule ${this.schedule.scheduleName} begins at ${this.schedule.start} of ${epochs} epochs`,
        hint: 'Let the schedule begin later, or go back to an earlier epoch',
      });
    }
    this.#model = model;
    this.#live = fromTfjs(this.#tf, model);
    this.#sparsifier = new Sparsifier(this.#live, this.#sparsifierOptions);
    // What sparsifyModel would refuse is told before training.
    await this.#sparsifier.explain(this.#target(this.#shareAt(1)), { roundTo: this.#options.roundTo });
    [this.#steps, this.#epochs, this.#step, this.#share] = [steps, epochs, 0, 0];
    this.history.length = 0;
    this.tickets.length = 0;
    this.report = undefined;
    if ((lottery || resetEnd) && rewindEpoch === 0) this.#saveWeights();
  }

  isOver = (): boolean => this.#step >= this.#steps * this.#epochs;
  isEpochOver = (): boolean => this.#step % this.#steps === 0;

  /** Before a step: removes what the schedule says. */
  async before(): Promise<void> {
    const { rewindEpoch = 0, lottery, resetEnd, every = 1 } = this.#options;
    if (rewindEpoch > 0 && this.#step === rewindEpoch * this.#steps) {
      if (lottery || resetEnd) this.#saveWeights();
      this.#sparsifier!.rewindPoint();
    }
    if (this.#step % every !== 0) return;
    if (await this.#sparsifyAt(this.#step / (this.#steps * this.#epochs))) {
      this.#rewindsNow = lottery ?? false;
      if (this.#options.saveTickets) await this.#saveTicket();
    }
  }

  /** After a step of the optimizer: what is removed becomes zero again. */
  async after(): Promise<void> {
    this.#step++;
    if (this.#rewindsNow) this.#rewind();
    this.#rewindsNow = false;
    this.#applyMasks();
  }

  async closeEpoch(logs: Logs): Promise<void> {
    const record: Record<string, number> = { epoch: this.history.length, sparsity: this.#removed() };
    for (const [name, value] of Object.entries(logs)) {
      record[name] = typeof value === 'number' ? value : (await value.data())[0]!;
    }
    this.history.push(record as unknown as EpochRecord);
  }

  async end(): Promise<void> {
    try {
      const changed = await this.#sparsifyAt(1);
      const { saveTickets, resetEnd } = this.#options;
      if (saveTickets && changed) await this.#saveTicket();
      if (resetEnd) {
        this.#rewind();
        this.#applyMasks();
      }
    } finally {
      this.#release();
    }
  }

  plot(): string {
    const names = [...new Set(this.history.flatMap((record) => Object.keys(record)))].filter(
      (name) => name !== 'epoch',
    );
    const series = names.map((name) => ({
      name: name === 'sparsity' ? 'sparsity (share)' : name,
      points: this.history.flatMap((record): [number, number][] =>
        record[name] === undefined ? [] : [[record.epoch + 1, name === 'sparsity' ? record[name] / 100 : record[name]]],
      ),
    }));
    return linePlot({ title: 'training', xLabel: 'epoch', yLabel: 'value', series });
  }

  #removed(): number {
    const { units, kept } = this.report?.total ?? { units: 1, kept: 1 };
    return units === 0 ? 0 : (100 * (units - kept)) / units;
  }

  /** The sparsity at a share of the target. */
  #target(share: number): TargetSparsity | undefined {
    const { sparsity } = this.#options;
    if (sparsity === undefined) return undefined;
    if (typeof sparsity === 'number') return sparsity * share;
    if (isList(sparsity)) return sparsity.map((percent) => percent * share);
    return new Map(entriesOf(sparsity).map(([name, percent]) => [name, percent * share]));
  }

  #shareAt(progress: number): number {
    const share = this.schedule(progress);
    if (share >= 0 && share <= 1) return share;
    throw new SparsifyError('usage', 'a schedule gives a share from 0 to 1', {
      subject: this.schedule.scheduleName,
      asked: `progress ${progress}`,
      found: share,
    });
  }

  /** @returns whether anything changed */
  async #sparsifyAt(progress: number): Promise<boolean> {
    const share = this.#shareAt(progress);
    if (share === this.#share) return false;
    this.#share = share;
    const { roundTo } = this.#options;
    try {
      this.report = await this.#sparsifier!.sparsifyModel(this.#target(share), { roundTo });
    } catch (error) {
      // Training ends here, and nobody calls `end`.
      this.#release();
      throw error;
    }
    this.#makeMasks();
    return true;
  }

  #makeMasks(): void {
    this.#releaseMasks();
    for (const [name, mask] of this.#sparsifier!.masks()) {
      if (mask.data.every((unit) => unit === 1)) continue;
      const tensor = this.#live!.tensors.find((each) => each.name === name)!;
      this.#mask(tensor.values, this.#expanded(tensor, mask));
      if (!unitsOfTensor(tensor, this.#granularity).isChannel) continue;
      for (const { values } of tensor.partners) {
        this.#mask(values, this.#tf.tensor(mask.data, [mask.data.length], 'bool'));
      }
    }
  }

  #mask(values: WeightTensor['values'], mask: TensorLike): void {
    const variable = this.#live!.placeOf(values).tensor() as VariableLike;
    this.#masked.push({ variable, mask, zeros: this.#tf.zeros(mask.shape as never) });
  }

  /** A mask of all weights, from one of units. */
  #expanded(tensor: WeightTensor, { shape, data }: UnitMask): TensorLike {
    const whole = [...tensor.shape];
    if (shape.every((size, axis) => size === 1 || size === whole[axis])) {
      const units = this.#tf.tensor(data, [...shape], 'bool');
      const all = this.#tf.broadcastTo(units as never, whole as never);
      units.dispose();
      return all;
    }
    // In blocks, or with groups on an axis of the weights.
    const axes = [...unitsOfTensor(tensor, this.#granularity).axes].reverse();
    const all = new Uint8Array(whole.reduce((a, b) => a * b, 1));
    for (let weight = 0; weight < all.length; weight++) {
      let [rest, unit, stride] = [weight, 0, 1];
      for (const { size, block } of axes) {
        unit += Math.floor((rest % size) / block) * stride;
        stride *= Math.ceil(size / block);
        rest = Math.floor(rest / size);
      }
      all[weight] = data[unit]!;
    }
    return this.#tf.tensor(all, whole, 'bool');
  }

  #applyMasks(): void {
    if (this.#masked.length === 0) return;
    this.#tf.tidy(() => {
      for (const { variable, mask, zeros } of this.#masked) {
        variable.assign(this.#tf.where(mask as never, variable as never, zeros as never) as never);
      }
    });
  }

  #saveWeights(): void {
    for (const tensor of this.#initial) tensor.dispose();
    this.#initial = this.#model!.weights.map((weight) => variableOf(weight).clone());
  }

  #rewind(): void {
    for (const [index, weight] of this.#model!.weights.entries()) {
      variableOf(weight).assign(this.#initial[index]! as never);
    }
  }

  async #saveTicket(): Promise<void> {
    const masks = new Map(this.#masked.map(({ variable, mask }) => [variable, mask]));
    const weights = new Map<string, Float32Array>();
    for (const [index, weight] of this.#model!.weights.entries()) {
      const numbers = Float32Array.from(await this.#initial[index]!.data());
      const mask = await masks.get(variableOf(weight))?.data();
      if (mask) for (let place = 0; place < numbers.length; place++) if (!mask[place]) numbers[place] = 0;
      weights.set(weight.originalName, numbers);
    }
    this.tickets.push({ sparsity: this.#removed(), weights });
  }

  #releaseMasks(): void {
    for (const { mask, zeros } of this.#masked) {
      mask.dispose();
      zeros.dispose();
    }
    this.#masked = [];
  }

  #release(): void {
    this.#releaseMasks();
    for (const tensor of this.#initial) tensor.dispose();
    this.#initial = [];
    this.#sparsifier?.clear();
  }
}
