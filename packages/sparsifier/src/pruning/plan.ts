import {
  recipeOf,
  type CriteriaName,
  type CustomCriterion,
  type Normalizer,
  type Recipe,
  type Reducer,
} from '../options/criteria.js';
import { unitsOf, weightsOf } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { checkGranularity, inWords, isPattern, unitsOfTensor, type Granularity, type Units } from '../options/granularity.js';
import type { Done, Job, Progress } from './call.js';
import {
  budgets,
  eachAlone,
  rankingsOf,
  shared,
  type Budget,
  type Context,
  type Groups,
  type Ranking,
} from '../options/rankings.js';
import { reportOf, type Report } from './report.js';
import { decisionsOf, type Decision, type Rules } from '../options/rules.js';
import {
  amountsOf,
  byName,
  fits,
  isAmount,
  limitOf,
  removedBy,
  type Amount,
  type Floors,
  type Sparsity,
} from '../options/amounts.js';
import type { LayerArrays, WeightsOf } from './snapshots.js';
import type { Model, WeightTensor } from '../model/model.js';

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

export const optionNames: readonly (keyof SparsifierOptions)[] = [
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
export const callOptionNames: readonly (keyof CallOptions)[] = ['roundTo', 'signal', 'onProgress'];

/** What a call is asked to do: layers, how they are ranked together, and how much of each ranking goes. */
export interface Request {
  readonly context: Context;
  readonly tensors: readonly WeightTensor[];
  readonly rankings: readonly Ranking[];
  /** One for each ranking; none where the granularity is a pattern. */
  readonly amounts: readonly Amount[];
  readonly budget?: Budget | undefined;
}

/** The least score that a budget can use. */
export const leastScore = ({ budget }: Request): number => (budget === 'lamp' ? 0 : -Infinity);

/** How many units go where, as far as arithmetic says. */
export interface Shares {
  /** The most units that each layer of the request may lose. */
  readonly limits: readonly number[];
  /** Layers that are selected from together, by their places in the request, and how many units go of them. */
  readonly selections: readonly { readonly members: readonly number[]; readonly remove: number }[];
  /** What there is to say about it. */
  readonly notes: readonly string[];
}

/** What the options of a Sparsifier say of a model's layers, before any of their numbers is looked at. */
export class Planner {
  readonly granularity: Granularity;
  readonly context: Context;
  readonly recipe: Recipe;
  /** For each tensor of the model, as the floors. */
  readonly decisions: readonly Decision[];
  readonly #floors: readonly Floors[];
  readonly #model: Model;
  readonly #options: SparsifierOptions;

  /**
   * @throws SparsifyError `granularity`, `criteria`, `kind`, `sparsity` or `usage` for words that nothing has, `layer` for
   *   a name, glob or rule that matches nothing
   */
  constructor(model: Model, options: SparsifierOptions) {
    const { granularity, context, criteria, groups, budget, seed = 0, reducer = 'mean', normalizer } = options;
    this.#model = model;
    this.granularity = checkGranularity(granularity);
    if (context !== 'local' && context !== 'global') {
      throw new SparsifyError('usage', 'unknown context', { asked: context, allowed: ['local', 'global'] });
    }
    this.context = context;
    checkGlobal(options, this.granularity);
    this.recipe = recipeOf(criteria, reducer, normalizer, budget === 'lamp');
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new SparsifyError('usage', 'a seed is a whole number from 0 to 4294967295', { asked: seed });
    }
    this.#options = options;
    this.decisions = decisionsOf(options, model);
    this.#floors = floorsOf(options, model.tensors);
    if (groups) this.rankings(this.chosen());
  }

  /** The layers that the rules name. */
  chosen(): WeightTensor[] {
    return this.#model.tensors.filter((_, position) => this.decisions[position]!.takesPart);
  }

  rankings(tensors: readonly WeightTensor[]): Ranking[] {
    const others = this.#model.tensors.filter((tensor) => !tensors.includes(tensor)).map(({ name }) => name);
    return rankingsOf(tensors, this.context, this.#options.groups, others);
  }

  /** @throws SparsifyError `sparsity` where a pattern is given an amount or a rounding */
  checkPattern(amount: Sparsity | undefined, { roundTo }: CallOptions): void {
    if (amount === undefined && roundTo === undefined) return;
    throw new SparsifyError('sparsity', `the pattern ${inWords(this.granularity)} says itself how much goes`, {
      asked: amount === undefined ? `roundTo ${roundTo}` : amount,
      hint: 'Call sparsifyModel() without an amount and without roundTo',
    });
  }

  request(sparsity: Sparsity | undefined, options: CallOptions): Request {
    const tensors = this.chosen();
    if (tensors.length === 0) {
      const found = [...new Set(this.#model.tensors.map(({ kind }) => kind))];
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
    if (isPattern(this.granularity)) {
      this.checkPattern(sparsity, options);
      return { context: 'local', tensors, rankings: eachAlone(tensors), amounts: [] };
    }
    const { groups, budget } = this.#options;
    if (this.context === 'global' && (groups ? Array.isArray(sparsity) : !isAmount(sparsity as Sparsity))) {
      throw new SparsifyError('sparsity', 'the global context takes one amount for the whole network', {
        asked: sparsity,
        hint: groups
          ? 'With groups, amounts can also be given by the name of the group'
          : `Limit single layers with minKeep and maxSparsity, rank them in groups, or use the context 'local'`,
      });
    }
    const rankings = this.rankings(tensors);
    const others = this.#model.tensors.filter((tensor) => !tensors.includes(tensor)).map(({ name }) => name);
    const amounts = amountsOf(sparsity as Sparsity, rankings, others);
    const isChosen = (_: unknown, index: number) => amounts[index] !== undefined;
    const members = rankings.filter(isChosen).flatMap((ranking) => ranking.members);
    const places = [...members].sort((a, b) => a - b);
    return {
      context: this.context,
      tensors: places.map((place) => tensors[place]!),
      rankings: rankings
        .filter(isChosen)
        .map((ranking) => ({ ...ranking, members: ranking.members.map((place) => places.indexOf(place)) })),
      amounts: amounts.filter((amount) => amount !== undefined),
      budget,
    };
  }

  /** How many units go of which layers together. */
  shares({ context, tensors, rankings, amounts, budget }: Request, units: readonly Units[]): Shares {
    const counts = units.map(({ axes }) => unitsOf(axes));
    const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
    // Whole layers are units of the network: it keeps one of them, not each layer its one unit.
    const wholeLayers = this.granularity === 'layer';
    if (wholeLayers && context === 'local') {
      throw new SparsifyError('granularity', `granularity 'layer' compares layers, which needs the context 'global'`, {
        asked: tensors.map(({ name }) => name).join(', '),
      });
    }
    const floors = tensors.map((tensor) => this.#floors[this.#model.tensors.indexOf(tensor)]!);
    const limits = counts.map((count, index) => (wholeLayers ? count : limitOf(count, floors[index]!)));

    const notes = units.flatMap(({ axes, pattern }, index) =>
      pattern && pattern.rest > 0
        ? [
            `${tensors[index]!.name}: the last ${pattern.rest} of ${axes[pattern.along]!.size} input channels make no ` +
              `whole ${pattern.keep}:${pattern.of} pattern and stay`,
          ]
        : [],
    );
    const selections: Shares['selections'][number][] = [];
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

    for (const [index, { name, notes: own, storage }] of tensors.entries()) {
      if (storage) notes.push(`${name}: ${storage}`);
      if (units[index]!.isChannel) notes.push(...own.map((note) => `${name}: ${note}`));
    }
    return { limits, selections, notes };
  }

  /** What a layer goes through, as far as it does not depend on calls. */
  job(tensor: WeightTensor, units: Units): Job {
    return {
      tensor,
      position: this.#model.tensors.indexOf(tensor),
      units,
      recipe: this.recipe,
      seed: this.#options.seed ?? 0,
      earlier: undefined,
      saved: undefined,
      other: undefined,
      group: 0,
      limit: 0,
    };
  }

  report(
    jobs: readonly Job[],
    done: readonly Pick<Done, 'zeros' | 'removed' | 'removedWeights'>[],
    engine: Report['engine'],
    notes: readonly string[],
  ): Report {
    const layers = jobs.map(({ tensor: { name, kind, shape }, units: { axes } }, index) => {
      const { zeros, removed, removedWeights } = done[index]!;
      return {
        name,
        kind,
        shape,
        weights: weightsOf(axes),
        zeros,
        removed: removedWeights,
        units: unitsOf(axes),
        kept: unitsOf(axes) - removed,
      };
    });
    return reportOf(layers, this.#model.skipped, engine, notes);
  }

  /** All layers that do not have the granularity are named in one error. */
  unitsOf(tensors: readonly WeightTensor[]): Units[] {
    const failures: SparsifyError[] = [];
    const units = tensors.flatMap((tensor) => {
      try {
        return [unitsOfTensor(tensor, this.granularity)];
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
      asked: inWords(this.granularity),
      found: failures.map(({ details }) => details.subject).join(', '),
      ...(first.details.allowed ? { allowed: first.details.allowed } : {}),
      hint: 'Choose another granularity, or set layerType to the kinds that have it',
    });
  }
}

/** A misspelt option would silently do nothing. */
export function checkNames(options: object, names: readonly string[]): void {
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new SparsifyError('usage', 'unknown option', { asked: unknown.join(', '), allowed: names });
}

export function checkCallOptions(options: CallOptions): void {
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
