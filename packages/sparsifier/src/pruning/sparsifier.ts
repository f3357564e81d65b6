import * as host from '#host';
import { loadEngine } from '../engine/engine.js';
import { SparsifyError } from '../errors.js';
import type { ReadOptions } from '../formats/reading.js';
import { filesOfAny } from '../formats/sizes.js';
import { isPattern } from '../options/granularity.js';
import type { Units } from '../options/units.js';
import { DenseNumbers } from '../repair/dense.js';
import type { MaskedLayer } from '../repair/layer.js';
import { repairOptionsOf, type RepairOptions } from '../repair/options.js';
import type { RepairReport } from '../repair/report.js';
import type { ErrorPoint } from '../options/budgets.js';
import { rank, remove, removeKnown, restore } from './call.js';
import { Comparison } from './comparison.js';
import { CoupledChoice, type Chosen } from './coupled.js';
import { ErrorCurves } from './error-curves.js';
import { explanationsOf, type Explanation } from './explain.js';
import { unranked, type Done, type Job, type Plan, type Removed } from './job.js';
import { maskFile, readMasks, type WriteMasksOptions } from './mask-file.js';
import { callReport, removalReport, type Asked } from './call-report.js';
import { maskedLayersOf, unitMask, type UnitMask } from './masks.js';
import { aBoolean, optionsOf } from '../options/check.js';
import { Listener } from '../options/listener.js';
import { callOptionsOf, listeningShape, type CallOptions, type SparsifierOptions } from '../options/options.js';
import { layerNamed } from '../options/names.js';
import { leastScore, Planner, type Request, type Shares } from './plan.js';
import { eachAlone } from '../options/rankings.js';
import { checkRepair, repairForDense, repairForPruned } from './repair.js';
import type { Report } from './report.js';
import { restoreDense } from './restored.js';
import { checkAmount, type Amount, type Sparsity } from '../options/amounts.js';
import { sourceFilesIn } from './snapshots.js';
import { checkModel, type Model, type WeightTensor } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import { addSourceFiles, sourceFilesOf } from '../model/source-files.js';

/**
 * Makes a model sparse: fasterai's `Sparsifier`, on the model file itself.
 *
 * Scores every unit of the selected layers, removes exactly the requested number of the least useful ones, and
 * remembers which: units removed by one call stay removed in the next, unless that one removes fewer.
 */
export class Sparsifier {
  readonly model: Model;
  readonly #planner: Planner;
  /** Undefined unless channels are coupled. */
  readonly #choice: CoupledChoice | undefined;
  readonly #options: SparsifierOptions;
  readonly #masks = new Map<WeightTensor, Uint8Array>();
  /** For a restorable Sparsifier, the removed numbers of the weights and of each partner. */
  readonly #saved = new Map<WeightTensor, readonly Uint8Array[]>();
  /** With statistics, what a repair aims at and what is restored. */
  #dense: DenseNumbers | undefined;
  /** For the budget `error`. */
  readonly #curves = new ErrorCurves();
  /** What could not be checked about the statistics. */
  #unchecked: Promise<readonly string[]> | undefined;
  readonly #comparison: Comparison;

  /**
   * @throws SparsifyError `granularity`, `criteria`, `kind`, `sparsity` or `usage` for unknown or contradicting
   *   options, `layer` for a name, glob or rule that matches nothing
   */
  constructor(model: Model, options: SparsifierOptions = {}) {
    checkModel(model);
    this.model = model;
    this.#planner = new Planner(model, options);
    this.#options = this.#planner.given;
    addSourceFiles(model, sourceFilesIn(this.#options));
    const { statistics, coupled, restorable } = this.#options;
    if (statistics || (coupled && restorable)) this.#dense = new DenseNumbers(model);
    this.#comparison = new Comparison(model, this.#options, this.#planner.recipe.needs);
    if (!coupled) return;
    this.#choice = new CoupledChoice(model, this.#planner, {
      masks: this.#masks,
      otherOf: (tensor) => this.#comparison.of(tensor, leastScore(this.#options)),
    });
  }

  /** Uses the current weights as the initial ones, for lottery tickets that are rewound to a later step than 0. */
  rewindPoint(): void {
    this.#comparison.rewind();
  }

  /**
   * Zeroes again what earlier calls removed, without scoring: what a training loop needs after each step.
   * @throws SparsifyError `layer` if nothing has been removed yet
   */
  async apply(options: Omit<CallOptions, 'roundTo'> = {}): Promise<Report> {
    const given = optionsOf(options, listeningShape);
    return inTurn(this.model, async () => {
      const { plan, done } = await this.#remove(await this.#maskedLayers(), given);
      if (!this.#choice) this.#keep(plan, done);
      return this.#report(plan, done);
    });
  }

  /**
   * Restores what was removed: each weight, bias and batch normalisation entry gets the value that it had when it was
   * removed. What a later call with a lower amount no longer removed stays 0. With `statistics` or `coupled`, all numbers
   * of these layers get the values that they had when the Sparsifier was made. Masks are discarded.
   * @throws SparsifyError `usage` unless the Sparsifier is `restorable` or has `statistics`, `layer` if nothing has been
   *   removed
   */
  async restore(options: Omit<CallOptions, 'roundTo'> = {}): Promise<Report> {
    const given = optionsOf(options, listeningShape);
    if (!this.#options.restorable && !this.#options.statistics) {
      throw new SparsifyError('usage', 'removed values are not kept', {
        hint: 'Make the Sparsifier with `{ restorable: true }`',
      });
    }
    return inTurn(this.model, async () => {
      const dense = this.#dense;
      const layers = await this.#restorable();
      if (layers.length === 0) throw new SparsifyError('layer', 'nothing was removed that could be restored');
      const jobs = layers.map(({ tensor, units }) => this.#job(tensor, units, unranked));
      const engine = await loadEngine();
      const plan = this.#plan(jobs, [], given);
      const counts = dense ? await restoreDense(engine, plan, dense) : await restore(engine, plan);
      this.#masks.clear();
      this.#saved.clear();
      await plan.listener.settle();
      return callReport(this.model, { jobs, counts, engine, files: await filesOfAny(this.model) });
    });
  }

  /**
   * Changes the weights that masks keep, and biases, so that the outputs of each pruned layer are close to those of the
   * dense layer, by the `statistics` of its inputs. Removed weights stay 0. Layers are always repaired from the weights that
   * they had when the Sparsifier was made: a second repair gives the same numbers, and further units can be removed in
   * between. A layer that does not get better on rows that are held out keeps its mask alone, with dense weights and bias.
   * @throws SparsifyError `usage` without `statistics` and for contradicting options, `layer` if nothing has been removed yet,
   *   `criteria` for statistics of another model, `weights`; nothing is changed then
   */
  async repair<Feeds = never>(given: RepairOptions<Feeds> = {}): Promise<RepairReport> {
    const options = repairOptionsOf(given);
    const settings = checkRepair(this.model, this.#options.statistics, options);
    return inTurn(this.model, async () => {
      const notes = await this.#checkStatistics();
      const layers = await this.#maskedLayers();
      const repairing = { engine: await loadEngine(), model: this.model, dense: this.#dense!, settings };
      if (options.inputs !== 'pruned') {
        return repairForDense(repairing, layers, this.#options.statistics!, notes, options);
      }
      const { report, masks: made } = await repairForPruned(repairing, layers, this.#planner, notes, options);
      if (!this.#choice) for (const [tensor, mask] of made) this.#masks.set(tensor, mask);
      return report;
    });
  }

  /**
   * The mask of one layer; all ones if nothing was removed.
   * @throws SparsifyError `layer` for an unknown name, `granularity` if the layer does not have it
   */
  mask(layer: string): UnitMask {
    const tensor = layerNamed(this.model, layer);
    return unitMask(tensor, this.#planner.granularityOf(tensor), this.#masks.get(tensor));
  }

  /** The masks of all layers that calls have pruned, by name, in model order. */
  masks(): Map<string, UnitMask> {
    return new Map(
      [...this.#masksInOrder()].map(([tensor, bits]) => [
        tensor.name,
        unitMask(tensor, this.#planner.granularityOf(tensor), bits),
      ]),
    );
  }

  /**
   * Writes the masks of all layers that calls have pruned to a file (in Node) or a stream, as safetensors: a U8 tensor
   * for each layer by name, with 1 for a unit that is kept; granularity, roles and version are in the metadata.
   * @throws SparsifyError `layer` if nothing has been removed yet, `file` if it cannot be written, or if the model, one to
   *   compare with, statistics or masks were read from it
   */
  async saveMasks(
    target: string | WritableStream<Uint8Array<ArrayBuffer>>,
    options: WriteMasksOptions = {},
  ): Promise<void> {
    const { force } = optionsOf(options, { force: aBoolean });
    host.checkTarget(target);
    const chunks = await inTurn(this.model, () => {
      this.#checkTouched();
      return maskFile(this.#masksInOrder(), this.#planner);
    });
    if (typeof target !== 'string') return host.writeStream(target, chunks);
    const sourceFiles = sourceFilesOf(this.model);
    await host.writeFiles([{ path: target, chunks: () => chunks }], { force, sourceFiles });
  }

  /**
   * Replaces the masks with those that {@link saveMasks} wrote: the next call builds on them, and `apply()` zeroes what
   * they remove. No weight is changed yet. What was removed before can no longer be restored.
   * @param source a path or URL in Node; a URL, a Blob or bytes anywhere
   * @throws SparsifyError `file`, `format`, `granularity` or `layer` if the masks do not fit this model, `usage` for unknown
   *   options; the signal's reason if aborted. Then the masks stay as they were
   */
  async loadMasks(source: string | URL | Blob | Uint8Array | ArrayBuffer, options: ReadOptions = {}): Promise<void> {
    await inTurn(this.model, async () => {
      const { masks, path } = await readMasks(source, this.model, this.#planner, options);
      this.#masks.clear();
      this.#saved.clear();
      for (const [tensor, bits] of masks) this.#masks.set(tensor, bits);
      addSourceFiles(this.model, path === undefined ? [] : [path]);
    });
  }

  /**
   * Discards masks, removed values, the dense weights that a repair aims at, and the arrays that the criterion compares
   * weights with.
   */
  clear(): void {
    this.#masks.clear();
    this.#saved.clear();
    this.#dense?.release();
    this.#dense = undefined;
    this.#unchecked = undefined;
    this.#curves.forget();
    this.#comparison.forget();
  }

  /** Refuses statistics of another model, once. */
  async #checkStatistics(): Promise<readonly string[]> {
    const { statistics } = this.#options;
    if (!statistics) return [];
    this.#dense ??= new DenseNumbers(this.model);
    this.#unchecked ??= statistics.check(this.#dense.view);
    return this.#unchecked;
  }

  /** The layers that can be given back what they had. */
  async #restorable(): Promise<readonly Pick<Job, 'tensor' | 'units'>[]> {
    if (this.#masks.size === 0) return [];
    // A repair changes all layers that read channels.
    if (this.#choice) return this.#choice.layers();
    const isSaved = (tensor: WeightTensor) => this.#saved.get(tensor)?.some(({ length }) => length > 0);
    return maskedLayersOf(this.#masksInOrder(), this.#planner).filter(({ tensor }) => this.#dense ?? isSaved(tensor));
  }

  /**
   * The layers that have lost units, with what is left of them.
   * @throws SparsifyError `layer` if nothing has been removed yet
   */
  async #maskedLayers(): Promise<readonly MaskedLayer[]> {
    this.#checkTouched();
    return this.#choice ? this.#choice.cut(this.#masks) : maskedLayersOf(this.#masksInOrder(), this.#planner);
  }

  #masksInOrder(): Map<WeightTensor, Uint8Array> {
    const touched = this.model.tensors.filter((tensor) => this.#masks.has(tensor));
    return new Map(touched.map((tensor) => [tensor, this.#masks.get(tensor)!]));
  }

  #checkTouched(): void {
    if (this.#masks.size > 0) return;
    throw new SparsifyError('layer', 'no layer has a mask yet', {
      hint: 'Call `sparsifyModel` or `sparsifyLayer` first',
    });
  }

  /**
   * Removes `amount` of the units of one layer, ranked by itself in either context, even if the rules exclude it. An
   * N:M pattern takes no amount.
   * @throws SparsifyError `layer` for an unknown name, `sparsity`, `granularity` or `weights`; nothing is changed then
   */
  async sparsifyLayer(layer: string, amount?: Amount, given: CallOptions = {}): Promise<Report> {
    const options = callOptionsOf(given);
    const tensor = layerNamed(this.model, layer);
    if (isPattern(this.#planner.granularity)) this.#planner.checkPattern(amount, options);
    else checkAmount(amount as Amount, layer);
    if (this.#choice) return this.#sparsifyGroups(options, () => this.#choice!.ofLayer(tensor, amount!, options));
    const amounts = amount === undefined ? [] : [amount];
    return this.#sparsify({ context: 'local', tensors: [tensor], rankings: eachAlone([tensor]), amounts }, options);
  }

  /**
   * Removes units of all layers that the rules select (`layerType`, `include`, `exclude`). In the local context
   * `sparsity` may be a list with one amount per layer, or amounts by layer name or glob, or by
   * ranking with `rankTogether`; layers that it
   * does not name are not changed. In the global context it is one amount, of all units of these layers together. An
   * N:M pattern takes none.
   * @throws SparsifyError `kind` if the model has no such layer, `layer`, `sparsity`, `granularity` or `weights`;
   *   nothing is changed then
   */
  async sparsifyModel(sparsity?: Sparsity, given: CallOptions = {}): Promise<Report> {
    const options = callOptionsOf(given);
    if (this.#choice) return this.#sparsifyGroups(options, () => this.#choice!.ofModel(sparsity, options));
    return this.#sparsify(this.#planner.request(sparsity, options), options);
  }

  /**
   * Says for each layer whether it is pruned and which rule decides that, and how many of its units {@link
   * sparsifyModel} would remove with the same arguments. Nothing is changed.
   * @param sparsity without it (and without a pattern) the layers are not ranked
   * @throws SparsifyError what `sparsifyModel` would
   */
  async explain(sparsity?: Sparsity, given: CallOptions = {}): Promise<Explanation[]> {
    const options = callOptionsOf(given);
    const choice = this.#choice;
    if (choice) return inTurn(this.model, () => choice.explain(sparsity, options));
    if (sparsity === undefined && !isPattern(this.#planner.granularity))
      return explanationsOf(this.model, this.#planner, this.#options);
    const request = this.#planner.request(sparsity, options);
    const units = this.#planner.unitsOf(request.tensors);
    return inTurn(this.model, async () => {
      const { plan } = await this.#planned(request, units, options);
      const removed = await rank(await loadEngine(), plan);
      await plan.listener.settle();
      const removedOf = new Map(request.tensors.map((tensor, index) => [tensor, removed[index]!]));
      return explanationsOf(this.model, this.#planner, this.#options, removedOf);
    });
  }

  /** The same as {@link sparsifyModel}, by the name in fasterai's text. */
  pruneModel(sparsity?: Sparsity, options: CallOptions = {}): Promise<Report> {
    return this.sparsifyModel(sparsity, options);
  }

  async #sparsify(request: Request, options: CallOptions): Promise<Report> {
    const units = this.#planner.unitsOf(request.tensors);
    return inTurn(this.model, async () => {
      const { plan, shares } = await this.#planned(request, units, options);
      const done = await remove(await loadEngine(), plan);
      this.#keep(plan, done);
      this.#comparison.update(request.tensors);
      const { leftAlone = [] } = request;
      return this.#report(plan, done, { ...shares, leftAlone, roundTo: options.roundTo });
    });
  }

  /** Removes channels that are chosen group by group. */
  #sparsifyGroups(options: CallOptions, choose: () => Promise<Chosen>): Promise<Report> {
    return inTurn(this.model, async () => {
      await this.#checkStatistics();
      if (this.#options.restorable) this.#dense ??= new DenseNumbers(this.model);
      const chosen = await choose();
      const { layers } = chosen;
      const { plan, done } = await this.#remove(layers, options);
      for (const { tensor, makes, rows } of layers) if (makes) this.#masks.set(tensor, rows.mask);
      this.#comparison.update(layers.map(({ tensor }) => tensor));
      return this.#report(plan, done, { ...chosen, ranked: chosen.ranked(done), roundTo: options.roundTo });
    });
  }

  /** Removes what masks do. */
  async #remove(layers: readonly MaskedLayer[], options: CallOptions) {
    const jobs = layers.map(({ tensor, units, rows }) => this.#job(tensor, units, { ...unranked, rows }));
    const plan = this.#plan(jobs, [], options);
    return { plan, done: await removeKnown(await loadEngine(), plan, layers) };
  }

  async #report({ jobs, listener }: Plan, counts: readonly Removed[], asked?: Asked): Promise<Report> {
    await listener.settle();
    const call = { jobs, counts, engine: await loadEngine(), files: await filesOfAny(this.model) };
    return removalReport(this.model, this.#options, call, asked);
  }

  /** The plan of a call, and what it was made from. */
  async #planned(
    request: Request,
    units: readonly Units[],
    options: CallOptions,
  ): Promise<{ readonly plan: Plan; readonly shares: Shares }> {
    await this.#checkStatistics();
    const limits = this.#planner.limits(request, units);
    const jobs: Job[] = [];
    for (const [index, tensor] of request.tensors.entries()) {
      const other = await this.#comparison.of(tensor, leastScore(request));
      jobs.push(this.#job(tensor, units[index]!, { other, group: 0, limit: limits[index]! }));
    }
    const plan = this.#plan(jobs, [], options);
    const curves = request.budget === 'error' ? await this.#errorCurves(plan) : undefined;
    const shares = this.#planner.shares(request, units, curves);
    const groups = new Map(shares.selections.flatMap(({ members }, group) => members.map((member) => [member, group])));
    return {
      plan: {
        ...plan,
        // Where a pattern fixes how much is removed there are no selections.
        jobs: jobs.map((job, index) => ({ ...job, group: groups.get(index) ?? 0 })),
        removes: shares.selections.map(({ remove }) => remove),
      },
      shares,
    };
  }

  async #errorCurves(plan: Plan): Promise<ErrorPoint[][]> {
    const repairing = { engine: await loadEngine(), model: this.model, dense: this.#dense! };
    return this.#curves.of(repairing, plan, this.#options.statistics!, this.#planner.recipe.needs);
  }

  #plan(jobs: readonly Job[], removes: readonly number[], { roundTo, signal, onProgress }: CallOptions): Plan {
    // Where all numbers are kept, what is removed need not be.
    const restorable = (this.#options.restorable && this.#dense === undefined) ?? false;
    return { model: this.model, jobs, removes, roundTo, restorable, signal, listener: new Listener(onProgress) };
  }

  #job(tensor: WeightTensor, units: Units, ranking: Pick<Job, 'other' | 'group' | 'limit' | 'rows'>): Job {
    // What groups of channels lose is known without the masks of single layers.
    const [earlier, saved] = this.#choice ? [] : [this.#masks.get(tensor), this.#saved.get(tensor)];
    return this.#planner.job(tensor, units, { earlier, saved, ...ranking });
  }

  /** Remembers the masks of a call, and what it removed. */
  #keep({ jobs }: Plan, done: readonly Done[]): void {
    for (const [index, { tensor }] of jobs.entries()) {
      const { mask, saved } = done[index]!;
      this.#masks.set(tensor, mask);
      if (saved) this.#saved.set(tensor, saved);
    }
  }
}
