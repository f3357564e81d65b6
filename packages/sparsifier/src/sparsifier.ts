import * as host from '#host';
import {
  recipeOf,
  type CriteriaName,
  type CustomCriterion,
  type Normalizer,
  type Recipe,
  type Reducer,
  type State,
} from './criteria.js';
import { load } from './engine/engine.js';
import { unitsOf, weightsOf } from './engine/table.js';
import { SparsifyError } from './errors.js';
import { checkGranularity, inWords, isPattern, unitsOfTensor, type Granularity, type Units } from './granularity.js';
import { rank, reapply, remove, restore, type Done, type Job, type Plan, type Progress } from './pipeline.js';
import {
  budgets,
  eachAlone,
  rankingsOf,
  shared,
  type Budget,
  type Context,
  type Groups,
  type Ranking,
} from './ranking.js';
import { maskFile, readMasks, unitMask, type UnitMask } from './masks.js';
import { reportOf, type Report } from './report.js';
import { decisionsOf, type Decision, type Rules } from './rules.js';
import { customScores, given, otherOf, snapshotOf, type LayerArrays, type Snapshot, type WeightsOf } from './state.js';
import {
  amountsOf,
  byName,
  checkAmount,
  fits,
  isAmount,
  limitOf,
  removedBy,
  type Amount,
  type Floors,
  type Sparsity,
} from './sparsity.js';
import type { Kind, Model, WeightTensor } from './tensor.js';

/** One value for all layers, or values by layer name or glob. */
export type PerLayer = number | Readonly<Record<string, number>>;

export interface SparsifierOptions extends Rules {
  /** Which part of the filters is removed. */
  readonly granularity: Granularity;
  /** Where units are compared. */
  readonly context: Context;
  /** What counts as useful. */
  readonly criteria: CriteriaName | CustomCriterion;
  /**
   * For the context `global`: names or globs of the layers of each group. A group is ranked and counted by itself; a
   * layer in none is, too.
   */
  readonly groups?: Groups;
  /**
   * For the context `global`: how the amount is shared out among layers, where not by one ranking of their scores.
   * `uniform`: the same share of each layer. `erk`: layers keep a share proportional to the sum of their dimensions
   * divided by their product, at most all (Evci et al. 2020). `lamp`: one ranking of the scores s^2 / sum of r^2 over the
   * layer's scores r >= s (Lee et al. 2021).
   */
  readonly budget?: Budget;
  /** For the criterion `random`: a whole number below 2^32; 0 by default. */
  readonly seed?: number;
  /** How the scores of a unit's weights become one; `mean` by default. */
  readonly reducer?: Reducer;
  /** How a layer's scores are brought to a scale that layers share; by default they are compared as they are. */
  readonly normalizer?: Normalizer;
  /** Whether a layer may lose all its units; otherwise the best one stays. */
  readonly allowEmpty?: boolean;
  /** The least number of units that a layer keeps. */
  readonly minKeep?: PerLayer;
  /** The largest percentage of units that a layer loses, 0 to 100. */
  readonly maxSparsity?: PerLayer;
  /** For criteria that compare with initial weights; by default the weights when the Sparsifier is made. */
  readonly initial?: WeightsOf;
  /** For the updating criteria; by default the weights when the Sparsifier is made, then those after the last call. */
  readonly previous?: WeightsOf;
  /** For `taylor`: the gradient of the loss for each weight. */
  readonly gradient?: LayerArrays;
  /** For `wanda`: the norm of the activations of each input channel. */
  readonly activations?: LayerArrays;
  /** Keeps the value of each removed weight, bias and batch normalisation entry, so that `restore()` can bring it back. */
  readonly restorable?: boolean;
}

export interface CallOptions {
  /** The number of units kept in each layer is raised to a multiple of this whole number. */
  readonly roundTo?: number | undefined;
  /** Ends the call with the signal's reason, as long as nothing is changed. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface WriteMasksOptions {
  /** Replace a file that exists. */
  readonly force?: boolean;
}

const optionNames: readonly (keyof SparsifierOptions)[] = [
  'granularity',
  'context',
  'criteria',
  'layerType',
  'include',
  'exclude',
  'groups',
  'budget',
  'seed',
  'reducer',
  'normalizer',
  'allowEmpty',
  'minKeep',
  'maxSparsity',
  'initial',
  'previous',
  'gradient',
  'activations',
  'restorable',
];
const callOptionNames: readonly (keyof CallOptions)[] = ['roundTo', 'signal', 'onProgress'];

/** What a call on the whole model does with one layer, and why. */
export interface Explanation {
  readonly name: string;
  /** Undefined for a tensor that cannot be pruned, as is all that depends on it. */
  readonly kind: Kind | undefined;
  /** In stored order. */
  readonly shape: readonly number[] | undefined;
  readonly takesPart: boolean;
  /** Which rule decided, and what the layer is ranked with. */
  readonly reason: string;
  readonly units: number | undefined;
  /** How many of its units are removed; undefined where no sparsity was given. */
  readonly removed: number | undefined;
}

/** What a call is asked to do: layers, how they are ranked together, and how much of each ranking goes. */
interface Request {
  readonly context: Context;
  readonly tensors: readonly WeightTensor[];
  readonly rankings: readonly Ranking[];
  /** One for each ranking; none where the granularity is a pattern. */
  readonly amounts: readonly Amount[];
  readonly budget?: Budget | undefined;
}

/** Calls on one model take turns. */
const turns = new WeakMap<Model, Promise<unknown>>();

/**
 * Makes a model sparse: fasterai's `Sparsifier`, on the model file itself.
 *
 * Scores every unit of the chosen layers, removes exactly as many of the least useful ones as asked, and remembers
 * which: units removed in one call stay removed in the next, unless that asks for fewer.
 */
export class Sparsifier {
  readonly model: Model;
  readonly #granularity: Granularity;
  readonly #context: Context;
  readonly #recipe: Recipe;
  readonly #options: SparsifierOptions;
  /** For each tensor of the model, as the floors. */
  readonly #decisions: readonly Decision[];
  readonly #floors: readonly Floors[];
  readonly #masks = new Map<WeightTensor, Uint8Array>();
  /** For restorable layers, what was removed: of the weights, and of each partner. */
  readonly #saved = new Map<WeightTensor, readonly Uint8Array[]>();
  /** What the criterion compares weights with; only what it asks for is kept. */
  #state: Map<WeightTensor, Snapshot> | undefined;

  /**
   * @throws SparsifyError `granularity`, `criteria`, `kind`, `sparsity` or `usage` for words that nothing has, `layer` for
   *   a name, glob or rule that matches nothing
   */
  constructor(model: Model, options: SparsifierOptions) {
    checkNames(options, optionNames);
    const { granularity, context, criteria, groups, budget, seed = 0, reducer = 'mean', normalizer } = options;
    this.model = model;
    this.#granularity = checkGranularity(granularity);
    if (context !== 'local' && context !== 'global') {
      throw new SparsifyError('usage', 'unknown context', { asked: context, allowed: ['local', 'global'] });
    }
    this.#context = context;
    checkGlobal(options, this.#granularity);
    this.#recipe = recipeOf(criteria, reducer, normalizer, budget === 'lamp');
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new SparsifyError('usage', 'a seed is a whole number from 0 to 4294967295', { asked: seed });
    }
    this.#options = options;
    this.#decisions = decisionsOf(options, model);
    this.#floors = floorsOf(options, model.tensors);
    if (groups) this.#rankings(this.#chosen());
    const needs = this.#needs();
    if (needs === undefined) return;
    const source = options[needs];
    if (source) this.#state = given(source, model.tensors, needs);
    else if (needs === 'initial' || needs === 'previous') this.#state = snapshotOf(model);
  }

  /** Takes the weights as they are now for the initial ones, as lottery tickets are rewound to a later step than 0. */
  rewindPoint(): void {
    if (this.#needs() === 'initial') this.#state = snapshotOf(this.model);
  }

  /**
   * Zeroes again what earlier calls removed, without scoring: what a training loop needs after each step.
   * @throws SparsifyError `layer` where nothing was removed yet
   */
  async apply(options: Omit<CallOptions, 'roundTo'> = {}): Promise<Report> {
    checkNames(
      options,
      callOptionNames.filter((name) => name !== 'roundTo'),
    );
    return this.#inTurn(async () => {
      this.#checkTouched();
      const tensors = [...this.#masksInOrder().keys()];
      const jobs = this.#jobs(tensors, this.#unitsOf(tensors));
      const engine = await load();
      const done = await reapply(engine, this.#plan(jobs, [], options));
      this.#keep(tensors, done);
      return this.#report(jobs, done, engine, []);
    });
  }

  /**
   * Brings back what was removed: each weight, bias and batch normalisation entry gets the value that it had when it was
   * removed. Masks are forgotten.
   * @throws SparsifyError `usage` unless the Sparsifier is `restorable`, `layer` where nothing was removed
   */
  async restore(options: Omit<CallOptions, 'roundTo'> = {}): Promise<Report> {
    checkNames(
      options,
      callOptionNames.filter((name) => name !== 'roundTo'),
    );
    if (!this.#options.restorable) {
      throw new SparsifyError('usage', 'removed values are not kept', {
        hint: 'Make the Sparsifier with { restorable: true }',
      });
    }
    return this.#inTurn(async () => {
      const tensors = this.model.tensors.filter((tensor) => this.#saved.get(tensor)?.some(({ length }) => length > 0));
      if (tensors.length === 0) throw new SparsifyError('layer', 'nothing was removed that could be brought back');
      const jobs = this.#jobs(tensors, this.#unitsOf(tensors));
      const engine = await load();
      const done = await restore(engine, this.#plan(jobs, [], options));
      this.#masks.clear();
      this.#saved.clear();
      return this.#report(jobs, done, engine, []);
    });
  }

  /**
   * The mask of one layer; all ones where nothing was removed.
   * @throws SparsifyError `layer` for an unknown name, `granularity` where the layer does not have it
   */
  mask(layer: string): UnitMask {
    const tensor = this.#tensor(layer);
    return unitMask(tensor, this.#granularity, this.#masks.get(tensor));
  }

  /** The masks of all layers that calls have touched, by name, in model order. */
  masks(): Map<string, UnitMask> {
    return new Map(
      [...this.#masksInOrder()].map(([tensor, bits]) => [tensor.name, unitMask(tensor, this.#granularity, bits)]),
    );
  }

  /**
   * Writes the masks of all layers that calls have touched to a file (in Node) or a stream, as safetensors: a tensor of
   * U8 for each layer by name, 1 for a unit that is kept; granularity, roles and version in the metadata.
   * @throws SparsifyError `layer` where nothing was removed yet, `file` where it cannot be written
   */
  async saveMasks(target: string | WritableStream<Uint8Array>, options: WriteMasksOptions = {}): Promise<void> {
    checkNames(options, ['force']);
    this.#checkTouched();
    const chunks = await maskFile(this.#masksInOrder(), this.#granularity);
    if (typeof target === 'string') await host.writeFiles([{ path: target, chunks: () => chunks }], options);
    else await host.writeStream(target, chunks);
  }

  /**
   * Takes masks that {@link saveMasks} wrote, in place of those that are known: the next call builds upon them, and
   * `apply()` zeroes what they remove. No weight is changed yet. What was removed before cannot be restored any more.
   * @param source a path or URL in Node; a URL, a Blob or bytes anywhere
   * @throws SparsifyError `file`, `format`, `granularity` or `layer` where the masks are not those of such a model; then
   *   the known masks stay
   */
  async loadMasks(source: string | URL | Blob | Uint8Array | ArrayBuffer): Promise<void> {
    await this.#inTurn(async () => {
      const masks = await readMasks(source, this.model, this.#granularity);
      this.#masks.clear();
      this.#saved.clear();
      for (const [tensor, bits] of masks) this.#masks.set(tensor, bits);
    });
  }

  /** Forgets masks, removed values and the arrays that the criterion compares weights with. */
  clear(): void {
    this.#masks.clear();
    this.#saved.clear();
    this.#state = undefined;
  }

  #masksInOrder(): Map<WeightTensor, Uint8Array> {
    const touched = this.model.tensors.filter((tensor) => this.#masks.has(tensor));
    return new Map(touched.map((tensor) => [tensor, this.#masks.get(tensor)!]));
  }

  #checkTouched(): void {
    if (this.#masks.size > 0) return;
    throw new SparsifyError('layer', 'no layer has a mask yet', { hint: 'Call sparsifyModel or sparsifyLayer first' });
  }

  #needs(): State | undefined {
    return typeof this.#recipe.needs === 'string' ? this.#recipe.needs : undefined;
  }

  /**
   * Removes `amount` of the units of one layer, ranked by itself in either context, whatever the rules say. A granularity
   * that is a pattern takes no amount.
   * @throws SparsifyError `layer` for an unknown name, `sparsity`, `granularity` or `weights`; then nothing is changed
   */
  async sparsifyLayer(layer: string, amount?: Amount, options: CallOptions = {}): Promise<Report> {
    const tensors = [this.#tensor(layer)];
    if (isPattern(this.#granularity)) this.#checkPattern(amount, options);
    else checkAmount(amount as Amount, layer);
    return this.#sparsify(
      { context: 'local', tensors, rankings: eachAlone(tensors), amounts: amount === undefined ? [] : [amount] },
      options,
    );
  }

  /**
   * Removes units of all layers that the rules name (`layerType`, `include`, `exclude`). In the local context `sparsity`
   * may be a list with one amount per layer or give amounts by layer name or glob, with groups by group; the layers that
   * it does not name are left alone. In the global context it is one amount, of all units of these layers together. A
   * granularity that is a pattern takes none.
   * @throws SparsifyError `kind` where the model has no such layer, `layer`, `sparsity`, `granularity` or `weights`;
   *   then nothing is changed
   */
  async sparsifyModel(sparsity?: Sparsity, options: CallOptions = {}): Promise<Report> {
    return this.#sparsify(this.#request(sparsity, options), options);
  }

  /**
   * Says for each layer which rule decides about it, and how many of its units {@link sparsifyModel} would remove with
   * the same arguments. Nothing is changed.
   * @param sparsity without it (and without a pattern) the layers are not ranked
   * @throws SparsifyError what `sparsifyModel` would
   */
  async explain(sparsity?: Sparsity, options: CallOptions = {}): Promise<Explanation[]> {
    const isRanked = sparsity !== undefined || isPattern(this.#granularity);
    checkCallOptions(options);
    const request = isRanked ? this.#request(sparsity, options) : undefined;
    const removed = request && (await this.#foreseen(request, options));
    const chosen = this.#chosen();
    const rankings = isPattern(this.#granularity) ? eachAlone(chosen) : this.#rankings(chosen);
    const layers = this.model.tensors.map((tensor, position): Explanation => {
      const { name, kind, shape } = tensor;
      const { takesPart, reason } = this.#decisions[position]!;
      const ranking = rankings.find(({ members }) => members.includes(chosen.indexOf(tensor)));
      const count = removed?.get(tensor);
      const isNamed = takesPart && (request === undefined || count !== undefined);
      const more = ranking && (isNamed ? this.#placeOf(ranking) : 'no key of the sparsity names it');
      return {
        name,
        kind,
        shape,
        takesPart: isNamed,
        reason: more ? `${reason}; ${more}` : reason,
        units: this.#countOf(tensor),
        removed: request && (count ?? 0),
      };
    });
    const skipped = this.model.skipped.map(({ name, reason }): Explanation => ({
      name,
      kind: undefined,
      shape: undefined,
      takesPart: false,
      reason,
      units: undefined,
      removed: undefined,
    }));
    return [...layers, ...skipped];
  }

  /** The same as {@link sparsifyModel}, by the name in fasterai's text. */
  pruneModel(sparsity?: Sparsity, options: CallOptions = {}): Promise<Report> {
    return this.sparsifyModel(sparsity, options);
  }

  #tensor(layer: string): WeightTensor {
    const tensor =
      this.model.tensors.find(({ name }) => name === layer) ??
      this.model.tensors.find(({ aliases }) => aliases.includes(layer));
    if (!tensor) {
      const skipped = this.model.skipped.find(({ name }) => name === layer);
      throw new SparsifyError(
        'layer',
        skipped ? `this tensor is not pruned: ${skipped.reason}` : 'no layer has this name',
        {
          asked: layer,
          allowed: this.model.tensors.map(({ name }) => name),
        },
      );
    }
    return tensor;
  }

  /** The layers that the rules name. */
  #chosen(): WeightTensor[] {
    return this.model.tensors.filter((_, position) => this.#decisions[position]!.takesPart);
  }

  #rankings(tensors: readonly WeightTensor[]): Ranking[] {
    const others = this.model.tensors.filter((tensor) => !tensors.includes(tensor)).map(({ name }) => name);
    return rankingsOf(tensors, this.#context, this.#options.groups, others);
  }

  /** What a layer is ranked with, in words. */
  #placeOf({ name, members }: Ranking): string {
    const { budget, groups } = this.#options;
    if (isPattern(this.#granularity)) return `${inWords(this.#granularity)} along its input channels`;
    if (this.#context === 'local' || (groups && !Object.hasOwn(groups, name))) return 'ranked by itself';
    const whole = groups ? `group ${name}` : name;
    return budget === 'uniform' || budget === 'erk'
      ? `its part of ${whole} is given by ${budget}`
      : `ranked with ${members.length - 1} others of ${whole}${budget ? ` by ${budget}` : ''}`;
  }

  /** How many units a layer has; undefined where it does not have the granularity. */
  #countOf(tensor: WeightTensor): number | undefined {
    try {
      return unitsOf(unitsOfTensor(tensor, this.#granularity).axes);
    } catch (error) {
      if (error instanceof SparsifyError && error.code === 'granularity') return undefined;
      throw error;
    }
  }

  /** @throws SparsifyError `sparsity` where a pattern is given an amount or a rounding */
  #checkPattern(amount: Sparsity | undefined, { roundTo }: CallOptions): void {
    if (amount === undefined && roundTo === undefined) return;
    throw new SparsifyError('sparsity', `the pattern ${inWords(this.#granularity)} says itself how much goes`, {
      asked: amount === undefined ? `roundTo ${roundTo}` : amount,
      hint: 'Call sparsifyModel() without an amount and without roundTo',
    });
  }

  #request(sparsity: Sparsity | undefined, options: CallOptions): Request {
    const tensors = this.#chosen();
    if (tensors.length === 0) {
      const found = [...new Set(this.model.tensors.map(({ kind }) => kind))];
      const { include, exclude, layerType = include ? 'all' : 'conv2d' } = this.#options;
      throw new SparsifyError('kind', 'the model has no layer of the asked kind', {
        asked: [layerType].flat().join(', ') + (exclude ? ', without those excluded' : ''),
        found: found.length > 0 ? `layers of kind ${found.join(', ')}` : 'no layer that can be pruned',
        ...(found.length > 0
          ? {
              hint: exclude
                ? 'explain() says which rule leaves out which layer'
                : `Set layerType to one of these, or to 'all'`,
            }
          : {}),
      });
    }
    if (isPattern(this.#granularity)) {
      this.#checkPattern(sparsity, options);
      return { context: 'local', tensors, rankings: eachAlone(tensors), amounts: [] };
    }
    const { groups, budget } = this.#options;
    if (this.#context === 'global' && (groups ? Array.isArray(sparsity) : !isAmount(sparsity as Sparsity))) {
      throw new SparsifyError('sparsity', 'the global context takes one amount for the whole network', {
        asked: sparsity,
        hint: groups
          ? 'With groups, amounts can also be given by the name of the group'
          : `Limit single layers with minKeep and maxSparsity, rank them in groups, or use the context 'local'`,
      });
    }
    const rankings = this.#rankings(tensors);
    const others = this.model.tensors.filter((tensor) => !tensors.includes(tensor)).map(({ name }) => name);
    const amounts = amountsOf(sparsity as Sparsity, rankings, others);
    const isChosen = (_: unknown, index: number) => amounts[index] !== undefined;
    const members = rankings.filter(isChosen).flatMap((ranking) => ranking.members);
    const places = [...members].sort((a, b) => a - b);
    return {
      context: this.#context,
      tensors: places.map((place) => tensors[place]!),
      rankings: rankings
        .filter(isChosen)
        .map((ranking) => ({ ...ranking, members: ranking.members.map((place) => places.indexOf(place)) })),
      amounts: amounts.filter((amount) => amount !== undefined),
      budget,
    };
  }

  async #sparsify(request: Request, options: CallOptions): Promise<Report> {
    const units = this.#checked(request, options);
    return this.#inTurn(async () => {
      const { plan, notes } = await this.#planned(request, units, options);
      const engine = await load();
      const done = await remove(engine, plan);
      this.#keep(request.tensors, done);
      for (const [index, tensor] of request.tensors.entries()) {
        if (this.#needs() === 'previous')
          this.#state?.set(tensor, { dtype: tensor.values.dtype, bytes: this.model.copy(tensor.values) });
        if (units[index]!.isChannel) notes.push(...tensor.notes.map((note) => `${tensor.name}: ${note}`));
      }
      return this.#report(plan.jobs, done, engine, notes);
    });
  }

  /** How many units of each layer a call would remove. */
  #foreseen(request: Request, options: CallOptions): Promise<Map<WeightTensor, number>> {
    const units = this.#checked(request, options);
    return this.#inTurn(async () => {
      const { plan } = await this.#planned(request, units, options);
      const removed = await rank(await load(), plan);
      return new Map(request.tensors.map((tensor, index) => [tensor, removed[index]!]));
    });
  }

  /** The units of a call's layers; what is wrong with its options is said here, before it waits for others. */
  #checked({ tensors }: Request, options: CallOptions): Units[] {
    checkCallOptions(options);
    return this.#unitsOf(tensors);
  }

  /** Waits for the calls on the same model that came before. */
  #inTurn<Result>(call: () => Promise<Result>): Promise<Result> {
    const before = turns.get(this.model);
    const turn = (async () => {
      await before?.catch(() => {});
      return call();
    })();
    turns.set(this.model, turn);
    return turn;
  }

  /** How many units go where, and what there is to say about it. */
  async #planned(
    { context, tensors, rankings, amounts, budget }: Request,
    units: readonly Units[],
    options: CallOptions,
  ): Promise<{ readonly plan: Plan; readonly notes: string[] }> {
    const counts = units.map(({ axes }) => unitsOf(axes));
    const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
    // Whole layers are units of the network: it keeps one of them, not each layer its one unit.
    const wholeLayers = this.#granularity === 'layer';
    if (wholeLayers && context === 'local') {
      throw new SparsifyError('granularity', `granularity 'layer' compares layers, which needs the context 'global'`, {
        asked: tensors.map(({ name }) => name).join(', '),
      });
    }
    const floors = tensors.map((tensor) => this.#floors[this.model.tensors.indexOf(tensor)]!);
    const limits = counts.map((count, index) => (wholeLayers ? count : limitOf(count, floors[index]!)));

    const notes = units.flatMap(({ axes, pattern }, index) =>
      pattern && pattern.rest > 0
        ? [
            `${tensors[index]!.name}: the last ${pattern.rest} of ${axes[pattern.along]!.size} input channels make no ` +
              `whole ${pattern.keep}:${pattern.of} pattern and stay`,
          ]
        : [],
    );
    /** How many units go of the layers that are selected from together. */
    const selections: { readonly members: readonly number[]; readonly remove: number }[] = [];
    const parts = rankings.flatMap(({ name, members }, index) => {
      const amount = amounts[index];
      if (amount === undefined) return [];
      const part = (name: string, members: readonly number[]) => ({ name, members, amount });
      // The same share of each layer is that of each layer by itself.
      const isEachAlone = budget === 'uniform' && typeof amount === 'number';
      return isEachAlone ? members.map((member) => part(tensors[member]!.name, [member])) : [part(name, members)];
    });
    for (const { name, members, amount } of parts) {
      const all = sum(members.map((member) => counts[member]!));
      const limit = sum(members.map((member) => limits[member]!)) - (wholeLayers && !this.#options.allowEmpty ? 1 : 0);
      const asked = removedBy(amount, all);
      if (!fits(amount, all)) notes.push(`${name}: ${JSON.stringify(amount)} is beyond its ${all} units`);
      if (asked > limit)
        notes.push(`${name}: ${asked} of ${all} units were to go; ${limit} do, since the floors keep ${all - limit}`);
      if (budget === 'uniform' || budget === 'erk') {
        const layers = members.map((member) => ({
          tensor: tensors[member]!,
          units: counts[member]!,
          limit: limits[member]!,
        }));
        const removes = shared(budget, amount, layers);
        selections.push(...members.map((member, place) => ({ members: [member], remove: removes[place]! })));
      } else {
        selections.push({ members, remove: Math.min(asked, limit) });
      }
    }
    for (const amount of new Set(amounts)) {
      if (typeof amount === 'number' && amount > 0 && amount < 1) {
        notes.push(
          `${amount} is ${amount} percent; write ${Number((amount * 100).toPrecision(12))} for the share ${amount}`,
        );
      }
    }

    const { needs } = this.#recipe;
    const others: Job['other'][] = [];
    for (const tensor of tensors) {
      if (typeof needs === 'function')
        others.push(await customScores(tensor, needs, this.model, budget === 'lamp' ? 0 : -Infinity));
      else others.push(needs && (await otherOf(tensor, needs, this.#state)));
    }
    const jobs = this.#jobs(tensors, units).map((job, index) => ({
      ...job,
      group: Math.max(
        0,
        selections.findIndex(({ members }) => members.includes(index)),
      ),
      limit: limits[index]!,
      other: others[index],
    }));
    return {
      plan: this.#plan(
        jobs,
        selections.map(({ remove }) => remove),
        options,
      ),
      notes,
    };
  }

  #plan(jobs: readonly Job[], removes: readonly number[], { roundTo, signal, onProgress }: CallOptions): Plan {
    const restorable = this.#options.restorable ?? false;
    return { model: this.model, jobs, removes, roundTo, restorable, signal, onProgress };
  }

  /** What layers go through, as far as it does not depend on the call. */
  #jobs(tensors: readonly WeightTensor[], units: readonly Units[]): Job[] {
    return tensors.map((tensor, index) => ({
      tensor,
      position: this.model.tensors.indexOf(tensor),
      units: units[index]!,
      recipe: this.#recipe,
      seed: this.#options.seed ?? 0,
      earlier: this.#masks.get(tensor),
      saved: this.#saved.get(tensor),
      other: undefined,
      group: 0,
      limit: 0,
    }));
  }

  /** Remembers what a call did. */
  #keep(tensors: readonly WeightTensor[], done: readonly Done[]): void {
    for (const [index, tensor] of tensors.entries()) {
      const { mask, saved } = done[index]!;
      this.#masks.set(tensor, mask);
      if (saved) this.#saved.set(tensor, saved);
    }
  }

  #report(jobs: readonly Job[], done: readonly Done[], engine: Report['engine'], notes: readonly string[]): Report {
    const layers = jobs.map(({ tensor: { name, kind, shape }, units: { axes } }, index) => {
      const { zeros, removed } = done[index]!;
      return {
        name,
        kind,
        shape,
        weights: weightsOf(axes),
        zeros,
        units: unitsOf(axes),
        kept: unitsOf(axes) - removed,
      };
    });
    return reportOf(layers, this.model.skipped, engine, notes);
  }

  /** All layers that do not have the granularity are named in one error. */
  #unitsOf(tensors: readonly WeightTensor[]): Units[] {
    const failures: SparsifyError[] = [];
    const units = tensors.flatMap((tensor) => {
      try {
        return [unitsOfTensor(tensor, this.#granularity)];
      } catch (error) {
        if (!(error instanceof SparsifyError)) throw error;
        failures.push(error);
        return [];
      }
    });
    const [first] = failures;
    if (!first) return units;
    if (failures.length === 1) throw first;
    throw new SparsifyError('granularity', `${failures.length} layers have no such granularity`, {
      asked: inWords(this.#granularity),
      found: failures.map(({ details }) => details.subject).join(', '),
      ...(first.details.allowed ? { allowed: first.details.allowed } : {}),
      hint: 'Choose another granularity, or set layerType to the kinds that have it',
    });
  }
}

/** A misspelt option would silently do nothing. */
function checkNames(options: object, names: readonly string[]): void {
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new SparsifyError('usage', 'unknown option', { asked: unknown.join(', '), allowed: names });
}

function checkCallOptions(options: CallOptions): void {
  checkNames(options, callOptionNames);
  const { roundTo, signal } = options;
  if (roundTo !== undefined && !(Number.isInteger(roundTo) && roundTo > 0)) {
    throw new SparsifyError('sparsity', 'roundTo is a whole number above 0', { asked: roundTo });
  }
  signal?.throwIfAborted();
}

/** Groups and budgets share an amount of the whole network; a pattern has none to share or to limit. */
function checkGlobal(options: SparsifierOptions, granularity: Granularity): void {
  const { context, groups, budget } = options;
  if (isPattern(granularity) && context === 'global') {
    throw new SparsifyError(
      'usage',
      `the pattern ${inWords(granularity)} compares the weights of each group by themselves`,
      {
        asked: `context 'global'`,
        hint: `Use the context 'local'`,
      },
    );
  }
  const floor = (['minKeep', 'maxSparsity'] as const).find((name) => options[name] !== undefined);
  if (isPattern(granularity) && floor) {
    throw new SparsifyError('usage', `the pattern ${inWords(granularity)} says itself how much goes`, {
      asked: floor,
      hint: 'Leave layers out with include or exclude',
    });
  }
  if (budget !== undefined && !budgets.includes(budget)) {
    throw new SparsifyError('usage', 'unknown budget', { asked: budget, allowed: budgets });
  }
  if (context === 'local' && (groups || budget)) {
    throw new SparsifyError('usage', `${groups ? 'groups' : 'a budget'} shares an amount among layers`, {
      asked: `context 'local'`,
      hint: `Use the context 'global'`,
    });
  }
  if (budget && granularity === 'layer') {
    throw new SparsifyError('usage', 'a budget shares an amount out among layers, which are whole units here', {
      asked: `budget ${budget} with granularity 'layer'`,
      hint: 'Leave the budget out, or choose another granularity',
    });
  }
  const lists: unknown[] = Object.values(groups ?? {});
  if (!lists.every((list) => Array.isArray(list) && list.every((glob) => typeof glob === 'string'))) {
    throw new SparsifyError('usage', 'a group is a list of names or globs', { asked: groups });
  }
}

function checkCount(count: number): void {
  if (Number.isInteger(count) && count >= 0) return;
  throw new SparsifyError('sparsity', 'a number of units to keep is a whole number', {
    subject: 'minKeep',
    asked: count,
  });
}

function checkShare(share: number): void {
  if (typeof share === 'number' && share >= 0 && share <= 100) return;
  throw new SparsifyError('sparsity', 'a percentage is a number from 0 to 100', {
    subject: 'maxSparsity',
    asked: share,
  });
}

/** The floors of each layer. */
function floorsOf(
  { allowEmpty = false, minKeep = 0, maxSparsity = 100 }: SparsifierOptions,
  tensors: readonly WeightTensor[],
): Floors[] {
  const perLayer = (value: PerLayer, otherwise: number, check: (value: number) => void): number[] => {
    const entries: [string, number][] = typeof value === 'number' ? [['*', value]] : Object.entries(value);
    for (const [, each] of entries) check(each);
    return typeof value === 'number'
      ? tensors.map(() => value)
      : byName(entries, tensors).map((each) => each ?? otherwise);
  };
  const keeps = perLayer(minKeep, 0, checkCount);
  const shares = perLayer(maxSparsity, 100, checkShare);
  return tensors.map((_, index) => ({ allowEmpty, minKeep: keeps[index]!, maxSparsity: shares[index]! }));
}
