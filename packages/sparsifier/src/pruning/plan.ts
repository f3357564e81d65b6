import { isOfReaders, recipeOf, type CustomCriterion, type Recipe } from '../options/criteria.js';
import { unitsOf } from '../engine/record.js';
import { attempt, SparsifyError } from '../errors.js';
import { inWords, isPattern, type Granularity } from '../options/granularity.js';
import { unitsOfTensor, type Units } from '../options/units.js';
import { optionsOf } from '../options/check.js';
import {
  resolveOptions,
  sparsifierShape,
  withoutEffect,
  type CallOptions,
  type ResolvedOptions,
  type SparsifierOptions,
} from '../options/options.js';
import { sumOf } from '../model/numbers.js';
import type { Requested } from './findings.js';
import { channelGranularity } from './groups.js';
import type { Job } from './job.js';
import { removalsByBudget, removalsByError, type Budget, type ErrorPoint } from '../options/budgets.js';
import { eachAlone, rankingsOf, type Context, type Ranking } from '../options/rankings.js';
import type { LeftOut } from '../options/names.js';
import { listed } from './text.js';
import { decisionsOf, typesOf, type DecidingRule, type Decision } from '../options/rules.js';
import {
  amountsOf,
  isAmount,
  limitOf,
  limitsOf,
  unitsToRemove,
  type Amount,
  type Limits,
  type Sparsity,
} from '../options/amounts.js';
import type { Model, WeightTensor } from '../model/model.js';

/** What is used of a model that is planned for. */
type PlannedModel = Pick<Model, 'tensors' | 'skipped' | 'weights'>;

/** What a call prunes: which layers, which of them are ranked together, and how much is removed from each ranking. */
export interface Request {
  readonly context: Context;
  readonly tensors: readonly WeightTensor[];
  readonly rankings: readonly Ranking[];
  /** One for each ranking; none where the granularity is a pattern. */
  readonly amounts: readonly Amount[];
  readonly budget?: Budget | undefined;
  /** Layers of other kinds, which a call on the whole model leaves alone. */
  readonly leftAlone?: readonly WeightTensor[];
}

/** How many layers an error names. */
const namedAtMost = 20;

/** The least score that a budget can use. */
export const leastScore = ({ budget }: Pick<Request, 'budget'>): number => (budget === 'lamp' ? 0 : -Infinity);

/** What prunes a layer that a rule leaves out, where the reason does not say it. */
const remedies: Readonly<Partial<Record<DecidingRule['name'], string>>> = {
  layerType: '. `layerType` names the kinds',
  fixed: '. `include` takes it by its exact name',
};

/** How many units are removed from which layers, as far as that is known without their scores. */
export interface Shares {
  /** The most units that each layer of the request may lose. */
  readonly limits: readonly number[];
  /** Layers that are ranked together, by their places in the request, and how many units they lose. */
  readonly selections: readonly { readonly members: readonly number[]; readonly remove: number }[];
  /** The same in numbers, as it was asked. */
  readonly requested: readonly Requested[];
  /** Sentences for the report. */
  readonly notes: readonly string[];
}

/** What the options of a Sparsifier mean for the layers of a model, before any weight is read. */
export class Planner {
  readonly granularity: Granularity;
  readonly context: Context;
  /** The options as they were given, without defaults. */
  readonly given: SparsifierOptions;
  readonly recipe: Recipe;
  /** For each tensor of the model, as the limits. */
  readonly decisions: readonly Decision[];
  readonly #limits: readonly Limits[];
  /** Layers of the model that none of these are. */
  readonly #others: readonly LeftOut[];
  /** The place of each tensor in the model. */
  readonly #positions: ReadonlyMap<WeightTensor, number>;
  readonly #model: PlannedModel;
  readonly #options: ResolvedOptions;

  /**
   * @throws SparsifyError `granularity`, `criteria`, `kind`, `sparsity` or `usage` for unknown or contradicting
   *   options, `layer` for a name, glob or rule that matches nothing
   * @param others layers that are none of the model's, for errors about names
   */
  constructor(model: PlannedModel, options: SparsifierOptions, others: readonly LeftOut[] = []) {
    const given = optionsOf(options, sparsifierShape);
    const resolved = resolveOptions(given);
    const { granularity, context, criteria, rankTogether, budget, reducer, normalizer } = resolved;
    this.#model = model;
    this.#others = others;
    this.granularity = granularity;
    this.context = context;
    this.recipe = recipeOf(criteria, reducer, normalizer, budget === 'lamp');
    this.#options = resolved;
    this.given = given;
    this.decisions = decisionsOf(resolved, model);
    this.#limits = limitsOf(resolved, model.tensors);
    this.#positions = new Map(model.tensors.map((tensor, position) => [tensor, position]));
    if (rankTogether && !resolved.coupled) this.rankings(this.chosen());
  }

  /** The layers that the rules select. */
  chosen(): WeightTensor[] {
    return this.#model.tensors.filter((_, position) => this.decisions[position]!.selected);
  }

  /** The same options for groups of channels, as if they were layers. @param criteria gives their scores */
  forGroups(groups: PlannedModel, criteria: CustomCriterion, others: readonly LeftOut[]): Planner {
    const { context, rankTogether, budget, allowEmpty, minKeep, maxSparsity } = this.given;
    const isScaled = this.isOfReaders && context === 'global' && budget === undefined;
    const normalizer = this.given.normalizer ?? (isScaled ? 'standard' : undefined);
    const limits = { allowEmpty, minKeep, maxSparsity };
    const given = {
      granularity: 'filter',
      layerType: 'all',
      criteria,
      context,
      rankTogether,
      budget,
      normalizer,
      ...limits,
    };
    return new Planner(groups, given as SparsifierOptions, others);
  }

  /** Whether the criterion scores channels by the layers that read them. */
  get isOfReaders(): boolean {
    return isOfReaders(this.#options.criteria);
  }

  /** Which weights of a layer are a unit: a channel of its outputs, where these are coupled. */
  readonly granularityOf = (tensor: WeightTensor): Granularity =>
    this.#options.coupled ? channelGranularity(tensor) : this.granularity;

  /** The layers that the rules leave out. */
  #leftOut(): LeftOut[] {
    const own = this.#model.tensors.flatMap(({ name, aliases }, position) => {
      const { selected, rule, reason } = this.decisions[position]!;
      return selected ? [] : [{ name, aliases, reason: reason + (remedies[rule.name] ?? '') }];
    });
    return [...own, ...this.#others];
  }

  /** Whether the model has layers of the requested kinds, of which other rules leave none. */
  #isLeftOutByOtherRules(): boolean {
    return this.decisions.some(({ rule }) => rule.name !== 'layerType');
  }

  rankings(tensors: readonly WeightTensor[]): Ranking[] {
    return rankingsOf(tensors, this.context, this.#options.rankTogether, this.#leftOut());
  }

  /** @throws SparsifyError `sparsity` if a pattern is given an amount or a rounding */
  checkPattern(amount: Sparsity | undefined, { roundTo }: CallOptions): void {
    if (amount === undefined && roundTo === undefined) return;
    throw new SparsifyError('sparsity', `a ${inWords(this.granularity)} pattern already fixes how much is removed`, {
      given: amount === undefined ? `\`roundTo: ${roundTo}\`` : amount,
      hint: 'Leave out the amount and `roundTo`',
    });
  }

  /** What a call asks for. @param options checked by {@link callOptionsOf} */
  request(sparsity: Sparsity | undefined, options: CallOptions): Request {
    return attempt('the sparsity', () => this.#request(sparsity, options));
  }

  #request(sparsity: Sparsity | undefined, options: CallOptions): Request {
    const tensors = this.chosen();
    if (tensors.length === 0) {
      const found = [...new Set(this.#model.tensors.map(({ kind }) => kind))];
      const { exclude } = this.#options;
      const isEmptied = this.#isLeftOutByOtherRules();
      const summary = isEmptied ? 'the rules leave no layer to prune' : 'the model has no layer of the requested kind';
      throw new SparsifyError('kind', summary, {
        given: typesOf(this.#options).join(', ') + (exclude ? ', without those excluded' : ''),
        found: found.length > 0 ? `layers of kind ${found.join(', ')}` : noneIn(this.#model),
        ...(found.length > 0
          ? {
              hint: isEmptied
                ? '`explain()` says which rule leaves out which layer'
                : "Set `layerType` to one of these, or use `layerType: 'all'`",
            }
          : {}),
      });
    }
    const leftAlone = this.#model.tensors.filter(
      ({ fixed }, position) =>
        fixed === undefined &&
        this.decisions[position]!.rule.name === 'layerType' &&
        !this.decisions[position]!.selected,
    );
    if (isPattern(this.granularity)) {
      this.checkPattern(sparsity, options);
      return { context: 'local', tensors, rankings: eachAlone(tensors), amounts: [], leftAlone };
    }
    const { rankTogether, budget } = this.#options;
    if (this.context === 'global' && (rankTogether ? Array.isArray(sparsity) : !isAmount(sparsity as Sparsity))) {
      throw new SparsifyError('sparsity', 'the global context takes one amount for the whole network', {
        given: sparsity,
        hint: rankTogether
          ? 'With `rankTogether`, amounts can also be given by the name of the ranking'
          : "Limit single layers with `minKeep` and `maxSparsity`, rank some apart with `rankTogether`, or use `context: 'local'`",
      });
    }
    const rankings = this.rankings(tensors);
    const amounts = amountsOf(sparsity as Sparsity, rankings, this.#leftOut());
    const isChosen = (_: unknown, index: number) => amounts[index] !== undefined;
    const members = rankings.filter(isChosen).flatMap((ranking) => ranking.members);
    const places = [...members].sort((a, b) => a - b);
    const order = new Map(places.map((place, index) => [place, index]));
    return {
      context: this.context,
      tensors: places.map((place) => tensors[place]!),
      rankings: rankings
        .filter(isChosen)
        .map((ranking) => ({ ...ranking, members: ranking.members.map((place) => order.get(place)!) })),
      amounts: amounts.filter((amount) => amount !== undefined),
      budget,
      leftAlone,
    };
  }

  /** The most units that each layer of a request may lose. */
  limits({ tensors }: Request, units: readonly Units[]): number[] {
    const own = tensors.map((tensor) => this.#limits[this.#positions.get(tensor)!]!);
    const counts = units.map(({ axes }) => unitsOf(axes));
    // A layer that is a unit of the network may lose its only one.
    return counts.map((count, index) => (this.granularity === 'layer' ? count : limitOf(count, own[index]!)));
  }

  /**
   * Says how many units are removed from which layers, and which layers are ranked together.
   * @param curves for the budget `error`: the errors of each layer
   */
  shares(
    request: Request,
    units: readonly Units[],
    curves: readonly (readonly ErrorPoint[])[] | undefined = undefined,
  ): Shares {
    const { context, tensors, rankings, amounts, budget } = request;
    const counts = units.map(({ axes }) => unitsOf(axes));
    // Whole layers are units of the network, which keeps one of them.
    const wholeLayers = this.granularity === 'layer';
    if (wholeLayers && context === 'local') {
      throw new SparsifyError(
        'granularity',
        "`granularity: 'layer'` compares layers, which needs `context: 'global'`",
        {
          given: listed(
            tensors.map(({ name }) => name),
            namedAtMost,
          ),
        },
      );
    }
    const limits = this.limits(request, units);

    const notes = withoutEffect(this.given);
    for (const [index, { axes, pattern }] of units.entries()) {
      if (!pattern || pattern.rest === 0) continue;
      notes.push(
        `${tensors[index]!.name}: the last ${pattern.rest} of ${axes[pattern.along]!.size} input channels do not ` +
          `fill a ${pattern.keep}:${pattern.of} pattern and are kept`,
      );
    }
    const selections: Shares['selections'][number][] = [];
    const requested: Requested[] = [];
    if (isPattern(this.granularity)) {
      for (const { name, members } of rankings)
        requested.push({ name, members, units: sumOf(members.map((member) => counts[member]!)) });
    }
    const parts = rankings.flatMap(({ name, members }, index) => {
      const amount = amounts[index];
      if (amount === undefined) return [];
      const part = (name: string, members: readonly number[]) => ({ name, members, amount });
      // The same share of each layer is that of each layer by itself.
      const isEachAlone = budget === 'uniform' && typeof amount === 'number';
      return isEachAlone ? members.map((member) => part(tensors[member]!.name, [member])) : [part(name, members)];
    });
    for (const { name, members, amount } of parts) {
      const all = sumOf(members.map((member) => counts[member]!));
      const limit =
        sumOf(members.map((member) => limits[member]!)) - (wholeLayers && !this.#options.allowEmpty ? 1 : 0);
      const asked = unitsToRemove(amount, all);
      requested.push({ name, members, units: all, amount, asked, limit });
      if (budget !== undefined && budget !== 'lamp') {
        const layers = members.map((member) => ({
          tensor: tensors[member]!,
          units: counts[member]!,
          limit: limits[member]!,
          curve: curves?.[member] ?? [],
        }));
        const removes = budget === 'error' ? removalsByError(amount, layers) : removalsByBudget(budget, amount, layers);
        for (const [place, member] of members.entries())
          selections.push({ members: [member], remove: removes[place]! });
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
      if (units[index]!.isChannel) for (const note of own) notes.push(`${name}: ${note}`);
    }
    return { limits, selections, requested, notes };
  }

  /** @param rest what the options do not say: what earlier calls left, and how this one ranks the layer */
  job(
    tensor: WeightTensor,
    units: Units,
    rest: Pick<Job, 'earlier' | 'saved' | 'other' | 'group' | 'limit' | 'rows'>,
  ): Job {
    const position = this.#positions.get(tensor)!;
    return { tensor, position, units, recipe: this.recipe, seed: this.#options.seed, ...rest };
  }

  /** @throws SparsifyError `granularity` that names all layers which do not have it */
  unitsOf(tensors: readonly WeightTensor[]): Units[] {
    const failures: SparsifyError[] = [];
    const units = tensors.flatMap((tensor) => {
      try {
        return [unitsOfTensor(tensor, this.granularityOf(tensor))];
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
      given: inWords(this.granularity),
      found: listed(
        failures.map(({ details }) => details.subject!),
        namedAtMost,
      ),
      ...(first.details.allowed ? { allowed: first.details.allowed } : {}),
      hint: 'Choose another `granularity`, or set `layerType` to the kinds that have it',
    });
  }
}

/** That a model has no layers, and why its largest tensor is none. */
function noneIn({ skipped }: Pick<Model, 'skipped'>): string {
  const none = 'no layer that can be pruned';
  if (skipped.length === 0) return none;
  const { name, reason } = skipped.reduce((one, other) => (other.weights > one.weights ? other : one));
  return `${none}; ${name}: ${reason}`;
}
