import { attempt, SparsifyError } from '../errors.js';
import { fromTfjs, variableOf, weightNames, type LayersModelLike, type TensorLike } from '../formats/tfjs/live.js';
import { inTurn } from '../model/turns.js';
import { isObject } from '../model/json.js';
import { isPattern, type Granularity } from '../options/granularity.js';
import { defaults } from '../options/defaults.js';
import { aBoolean, aCount, asGiven, being, isListOf, picked, without, type Shape } from '../options/check.js';
import { sparsifierShape, type SparsifierOptions } from '../options/options.js';
import type { Report } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { BackendMasks, type MaskingTf } from './backend-masks.js';
import { scheduleOf, type Schedule, type ScheduleLike } from './schedule.js';

/** The percentages at the end of training: one for all layers, one for each in model order, or by name or glob. */
export type TargetSparsity =
  number | readonly number[] | Readonly<Record<string, number>> | ReadonlyMap<string, number>;

export interface SparsifyCallbackOptions extends Omit<SparsifierOptions, 'restorable' | 'initial' | 'previous'> {
  /** The sparsity at the end of training; none for an N:M pattern. */
  readonly sparsity?: TargetSparsity;
  /** How the sparsity grows; `oneShot` by default. */
  readonly schedule?: ScheduleLike;
  /** The number of units kept in each layer is raised to a multiple of this whole number. */
  readonly roundTo?: number;
  /**
   * Looks for a lottery ticket (Frankle and Carbin 2019): each time more is removed, all weights are rewound to their
   * values at the start of training, or of `rewindEpoch`.
   */
  readonly lottery?: boolean;
  /** The epoch, counted from 0, whose initial weights are rewound to. */
  readonly rewindEpoch?: number;
  /** Rewinds all weights once training is over; what is removed stays removed. */
  readonly resetEnd?: boolean;
  /** Keeps a ticket for each sparsity: the weights that are rewound to, with the removed ones zeroed. */
  readonly saveTickets?: boolean;
  /** Sparsifies only at multiples of this number of steps; 1 by default. */
  readonly every?: number;
  /** Steps per epoch, where `model.fit` does not know them, and for custom loops. */
  readonly steps?: number;
  /** Epochs of a custom loop; 1 by default. */
  readonly epochs?: number;
}

/** A sparse network before its training. */
export interface Ticket {
  /** The percentage of units that are removed. */
  readonly sparsity: number;
  /** All weights of the model by their names, also those that have no mask. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** The result of an epoch: the sparsity at its end, and the loss and metrics of `model.fit`. */
export interface EpochRecord {
  readonly epoch: number;
  /** The percentage of units that are removed. */
  readonly sparsity: number;
  readonly [metric: string]: number;
}

export type Logs = Readonly<Record<string, number | TensorLike>>;

const isList = (sparsity: TargetSparsity): sparsity is readonly number[] => Array.isArray(sparsity);
const entriesOf = (sparsity: Exclude<TargetSparsity, number | readonly number[]>): [string, number][] =>
  sparsity instanceof Map ? [...sparsity] : Object.entries(sparsity);

export const callbackShape: Shape<SparsifyCallbackOptions> = {
  ...without(sparsifierShape, 'restorable', 'initial', 'previous'),
  sparsity: asGiven,
  schedule: asGiven,
  roundTo: aCount('sparsity'),
  lottery: aBoolean,
  rewindEpoch: being('a whole number', (value) => Number.isInteger(value) && (value as number) >= 0),
  resetEnd: aBoolean,
  saveTickets: aBoolean,
  every: aCount(),
  steps: aCount(),
  epochs: aCount(),
};

/** Amounts as counts are refused: a schedule multiplies percentages. */
function checkTarget(sparsity: TargetSparsity | undefined): void {
  const isPercentage = (percent: unknown) => typeof percent === 'number' && percent >= 0 && percent <= 100;
  const isTarget =
    isPercentage(sparsity) ||
    isListOf(sparsity, isPercentage) ||
    (isObject(sparsity) &&
      !('keep' in sparsity || 'remove' in sparsity) &&
      entriesOf(sparsity as Exclude<TargetSparsity, number | readonly number[]>).every(([, each]) =>
        isPercentage(each),
      ));
  if (isTarget) return;
  throw new SparsifyError('sparsity', 'the sparsity at the end of training must be given in percent, from 0 to 100', {
    given: sparsity ?? 'nothing',
    allowed: ['a percentage', 'a list of percentages', 'percentages by name or glob'],
  });
}

/**
 * Training as a machine of four steps: {@link begin}, {@link before} and {@link after} each step of the optimizer,
 * {@link end}.
 */
export class Training {
  readonly schedule: Schedule;
  readonly history: EpochRecord[] = [];
  readonly tickets: Ticket[] = [];
  report: Report | undefined;
  readonly #tf: MaskingTf;
  readonly #options: SparsifyCallbackOptions;
  readonly #sparsifierOptions: SparsifierOptions;
  readonly #granularity: Granularity;
  #model: LayersModelLike | undefined;
  #sparsifier: Sparsifier | undefined;
  #masks: BackendMasks | undefined;
  #steps = 0;
  #epochs = 0;
  #step = 0;
  #share = 0;
  #rewindsNow = false;
  /** The weights to rewind to. */
  #initial: TensorLike[] = [];

  /** @param options checked by {@link callbackShape} */
  constructor(tf: MaskingTf, options: SparsifyCallbackOptions) {
    const { sparsity, schedule, lottery, resetEnd, saveTickets } = options;
    this.#tf = tf;
    this.#options = options;
    this.#sparsifierOptions = picked(options, (name) => name in sparsifierShape);
    this.schedule = scheduleOf(schedule ?? 'oneShot');
    this.#granularity = options.granularity ?? defaults.granularity;
    if (saveTickets && !lottery && !resetEnd) {
      throw new SparsifyError('usage', 'there are no tickets without weights to rewind to', {
        given: 'saveTickets',
        hint: 'Also set lottery or resetEnd',
      });
    }
    if (!isPattern(this.#granularity)) attempt('the sparsity', () => checkTarget(sparsity));
    else if (sparsity !== undefined) {
      throw new SparsifyError('sparsity', 'an N:M pattern already fixes how much is removed', { given: sparsity });
    }
  }

  async begin(model: LayersModelLike, steps: number | undefined, epochs: number): Promise<void> {
    this.#release();
    if (steps === undefined) {
      throw new SparsifyError('usage', 'the number of steps per epoch is unknown', {
        hint: 'Set steps: how many batches an epoch has',
      });
    }
    const { rewindEpoch = 0, lottery, resetEnd } = this.#options;
    if (rewindEpoch > this.schedule.start * epochs) {
      throw new SparsifyError('usage', 'weights are removed before the epoch to rewind to', {
        given: `rewindEpoch ${rewindEpoch}`,
        found: `the schedule ${this.schedule.scheduleName} begins at ${this.schedule.start} of ${epochs} epochs`,
        hint: 'Let the schedule begin later, or rewind to an earlier epoch',
      });
    }
    this.#model = model;
    const live = fromTfjs(this.#tf, model);
    this.#sparsifier = new Sparsifier(live, this.#sparsifierOptions);
    this.#masks = new BackendMasks(this.#tf, live, this.#granularity);
    // What sparsifyModel would refuse is refused before training.
    await this.#sparsifier.explain(this.#target(this.#shareAt(1)), { roundTo: this.#options.roundTo });
    [this.#steps, this.#epochs, this.#step, this.#share] = [steps, epochs, 0, 0];
    this.history.length = 0;
    this.tickets.length = 0;
    this.report = undefined;
    if ((lottery || resetEnd) && rewindEpoch === 0) this.#saveWeights();
  }

  isOver = (): boolean => this.#step >= this.#steps * this.#epochs;
  isEpochOver = (): boolean => this.#step % this.#steps === 0;

  /** Before a step: removes as much as the schedule says. */
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

  /** After a step of the optimizer: removed weights become zero again. */
  async after(): Promise<void> {
    this.#step++;
    await inTurn(this.#model!, async () => {
      if (this.#rewindsNow) this.#rewind();
      this.#rewindsNow = false;
      this.#masks!.apply();
    });
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
      if (!resetEnd) return;
      await inTurn(this.#model!, async () => {
        this.#rewind();
        this.#masks!.apply();
      });
    } finally {
      this.#release();
    }
  }

  async plot(): Promise<string> {
    const names = [...new Set(this.history.flatMap((record) => Object.keys(record)))].filter(
      (name) => name !== 'epoch',
    );
    const series = names.map((name) => ({
      name: name === 'sparsity' ? 'sparsity (share)' : name,
      points: this.history.flatMap((record): [number, number][] =>
        record[name] === undefined ? [] : [[record.epoch + 1, name === 'sparsity' ? record[name] / 100 : record[name]]],
      ),
    }));
    const { linePlot } = await import('./plot.js');
    return linePlot({ title: 'training', xLabel: 'epoch', yLabel: 'value', series });
  }

  #removed(): number {
    const { units, removedUnits } = this.report?.total ?? { units: 0, removedUnits: 0 };
    return units === 0 ? 0 : (100 * removedUnits) / units;
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
    if (typeof share === 'number' && share >= 0 && share <= 1) return share;
    throw new SparsifyError('usage', 'a schedule must return a share from 0 to 1', {
      subject: this.schedule.scheduleName,
      given: `progress ${progress}`,
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
      // Training stops here without a call of `end`.
      this.#release();
      throw error;
    }
    this.#masks!.take(this.#sparsifier!.masks());
    return true;
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
    const names = weightNames(this.#model!);
    const weights = new Map<string, Float32Array>();
    for (const [index, weight] of this.#model!.weights.entries()) {
      const numbers = Float32Array.from(await this.#initial[index]!.data());
      const mask = await this.#masks!.of(variableOf(weight))?.data();
      if (mask) for (let place = 0; place < numbers.length; place++) if (!mask[place]) numbers[place] = 0;
      weights.set(names.get(weight)!, numbers);
    }
    this.tickets.push({ sparsity: this.#removed(), weights });
  }

  #release(): void {
    this.#masks?.release();
    for (const tensor of this.#initial) tensor.dispose();
    this.#initial = [];
    this.#sparsifier?.clear();
  }
}
