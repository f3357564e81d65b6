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
import { checkGranularity, unitsOfTensor, type GranularityName, type Spanning } from './granularity.js';
import { isKept, reapply, remove, type Done, type Job, type Progress } from './pipeline.js';
import { reportOf, type Report } from './report.js';
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
import { kinds, type Kind, type Model, type WeightTensor } from './tensor.js';

/** Where units are compared: in each layer by itself, or over the whole network. */
export type Context = 'local' | 'global';

/** One value for all layers, or values by layer name or glob. */
export type PerLayer = number | Readonly<Record<string, number>>;

export interface SparsifierOptions {
  /** Which part of the filters is removed. */
  readonly granularity: GranularityName | Spanning;
  /** Where units are compared. */
  readonly context: Context;
  /** What counts as useful. */
  readonly criteria: CriteriaName | CustomCriterion;
  /** Which kinds of layers {@link Sparsifier.sparsifyModel} takes; `conv2d` by default. */
  readonly layerType?: Kind | readonly Kind[] | 'all';
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
}

export interface CallOptions {
  /** The number of units kept in each layer is raised to a multiple of this whole number. */
  readonly roundTo?: number | undefined;
  /** Ends the call with the signal's reason, as long as nothing is changed. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

const optionNames: readonly (keyof SparsifierOptions)[] = [
  'granularity',
  'context',
  'criteria',
  'layerType',
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
];
const callOptionNames: readonly (keyof CallOptions)[] = ['roundTo', 'signal', 'onProgress'];

/** Which units of a layer are kept. */
export interface UnitMask {
  /** That of the weights, with 1 where an axis runs inside a unit. */
  readonly shape: readonly number[];
  /** 1 for a unit that is kept, 0 for one that is removed, in stored order. */
  readonly data: Uint8Array;
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
  readonly #granularity: GranularityName | Spanning;
  readonly #context: Context;
  readonly #recipe: Recipe;
  readonly #kinds: readonly Kind[];
  readonly #options: SparsifierOptions;
  /** For each tensor of the model. */
  readonly #floors: readonly Floors[];
  readonly #masks = new Map<WeightTensor, Uint8Array>();
  /** What the criterion compares weights with; only what it asks for is kept. */
  #state: Map<WeightTensor, Snapshot> | undefined;

  /** @throws SparsifyError `granularity`, `criteria`, `kind`, `sparsity` or `usage` for words that nothing has */
  constructor(model: Model, options: SparsifierOptions) {
    checkNames(options, optionNames);
    const { granularity, context, criteria, layerType = 'conv2d', seed = 0, reducer = 'mean', normalizer } = options;
    this.model = model;
    this.#granularity = checkGranularity(granularity);
    if (context !== 'local' && context !== 'global') {
      throw new SparsifyError('usage', 'unknown context', { asked: context, allowed: ['local', 'global'] });
    }
    this.#context = context;
    this.#recipe = recipeOf(criteria, reducer, normalizer);
    this.#kinds = kindsOf(layerType);
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new SparsifyError('usage', 'a seed is a whole number from 0 to 4294967295', { asked: seed });
    }
    this.#options = options;
    this.#floors = floorsOf(options, model.tensors);
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
      const tensors = this.model.tensors.filter((tensor) => this.#masks.has(tensor));
      if (tensors.length === 0) {
        throw new SparsifyError('layer', 'no layer has a mask yet', {
          hint: 'Call sparsifyModel or sparsifyLayer first',
        });
      }
      const units = this.#unitsOf(tensors);
      const jobs = tensors.map((tensor, index) =>
        this.#job(tensor, units[index]!, { group: 0, limit: 0, other: undefined }),
      );
      const plan = {
        model: this.model,
        jobs,
        removes: [],
        roundTo: undefined,
        signal: options.signal,
        onProgress: options.onProgress,
      };
      const engine = await load();
      return this.#report(jobs, await reapply(engine, plan), engine, []);
    });
  }

  /**
   * The mask of one layer; all ones where nothing was removed.
   * @throws SparsifyError `layer` for an unknown name, `granularity` where the layer does not have it
   */
  mask(layer: string): UnitMask {
    return this.#maskOf(this.#tensor(layer));
  }

  /** The masks of all layers that calls have touched, by name, in model order. */
  masks(): Map<string, UnitMask> {
    const touched = this.model.tensors.filter((tensor) => this.#masks.has(tensor));
    return new Map(touched.map((tensor) => [tensor.name, this.#maskOf(tensor)]));
  }

  /** Forgets masks and the arrays that the criterion compares weights with. */
  clear(): void {
    this.#masks.clear();
    this.#state = undefined;
  }

  #maskOf(tensor: WeightTensor): UnitMask {
    const { axes, shape } = unitsOfTensor(tensor, this.#granularity);
    const bits = this.#masks.get(tensor);
    return {
      shape,
      data: Uint8Array.from({ length: unitsOf(axes) }, (_, unit) => (!bits || isKept(bits, unit) ? 1 : 0)),
    };
  }

  #needs(): State | undefined {
    return typeof this.#recipe.needs === 'string' ? this.#recipe.needs : undefined;
  }

  /**
   * Removes `amount` of the units of one layer, ranked by itself in either context, whatever `layerType` says.
   * @throws SparsifyError `layer` for an unknown name, `sparsity`, `granularity` or `weights`; then nothing is changed
   */
  async sparsifyLayer(layer: string, amount: Amount, options: CallOptions = {}): Promise<Report> {
    checkAmount(amount, layer);
    return this.#sparsify([this.#tensor(layer)], [amount], 'local', options);
  }

  /**
   * Removes units of all layers of `layerType`. In the local context `sparsity` may be a list with one amount per layer
   * or give amounts by layer name or glob; the layers that it does not name are left alone. In the global context it is
   * one amount, of all units of these layers together.
   * @throws SparsifyError `kind` where the model has no such layer, `layer`, `sparsity`, `granularity` or `weights`;
   *   then nothing is changed
   */
  async sparsifyModel(sparsity: Sparsity, options: CallOptions = {}): Promise<Report> {
    const tensors = this.model.tensors.filter(({ kind }) => this.#kinds.includes(kind));
    if (tensors.length === 0) {
      const found = [...new Set(this.model.tensors.map(({ kind }) => kind))];
      throw new SparsifyError('kind', 'the model has no layer of the asked kind', {
        asked: this.#kinds.join(', '),
        found: found.length > 0 ? `layers of kind ${found.join(', ')}` : 'no layer that can be pruned',
        ...(found.length > 0 ? { hint: `Set layerType to one of these, or to 'all'` } : {}),
      });
    }
    if (this.#context === 'global') {
      if (!isAmount(sparsity)) {
        throw new SparsifyError('sparsity', 'the global context takes one amount for the whole network', {
          asked: sparsity,
          hint: `Limit single layers with minKeep and maxSparsity, or use the context 'local'`,
        });
      }
      checkAmount(sparsity);
      return this.#sparsify(tensors, [sparsity], 'global', options);
    }
    const others = this.model.tensors.filter((tensor) => !tensors.includes(tensor)).map(({ name }) => name);
    const amounts = amountsOf(sparsity, tensors, others);
    const chosen = tensors.filter((_, index) => amounts[index] !== undefined);
    return this.#sparsify(
      chosen,
      amounts.filter((amount) => amount !== undefined),
      'local',
      options,
    );
  }

  /** The same as {@link sparsifyModel}, by the name in fasterai's text. */
  pruneModel(sparsity: Sparsity, options: CallOptions = {}): Promise<Report> {
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

  async #sparsify(
    tensors: readonly WeightTensor[],
    amounts: readonly Amount[],
    context: Context,
    options: CallOptions,
  ): Promise<Report> {
    checkNames(options, callOptionNames);
    const { roundTo, signal } = options;
    if (roundTo !== undefined && !(Number.isInteger(roundTo) && roundTo > 0)) {
      throw new SparsifyError('sparsity', 'roundTo is a whole number above 0', { asked: roundTo });
    }
    signal?.throwIfAborted();
    const units = this.#unitsOf(tensors);
    return this.#inTurn(() => this.#remove(tensors, units, amounts, context, options));
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

  async #remove(
    tensors: readonly WeightTensor[],
    units: readonly Job['units'][],
    amounts: readonly Amount[],
    context: Context,
    { roundTo, signal, onProgress }: CallOptions,
  ): Promise<Report> {
    const counts = units.map(({ axes }) => unitsOf(axes));
    const floors = tensors.map((tensor) => this.#floors[this.model.tensors.indexOf(tensor)]!);
    const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
    // Whole layers are units of the network: it keeps one of them, not each layer its one unit.
    const wholeLayers = this.#granularity === 'layer';
    if (wholeLayers && context === 'local') {
      throw new SparsifyError('granularity', `granularity 'layer' compares layers, which needs the context 'global'`, {
        asked: tensors.map(({ name }) => name).join(', '),
      });
    }
    const limits = counts.map((count, index) => (wholeLayers ? count : limitOf(count, floors[index]!)));

    // One group for each layer, or one for all.
    const groups =
      context === 'local'
        ? tensors.map(({ name }, index) => ({ name, units: counts[index]!, limit: limits[index]! }))
        : [
            {
              name: 'the network',
              units: sum(counts),
              limit: wholeLayers && !this.#options.allowEmpty ? sum(limits) - 1 : sum(limits),
            },
          ];
    const notes: string[] = [];
    const removes = groups.map(({ name, units, limit }, index) => {
      const amount = amounts[index]!;
      const asked = removedBy(amount, units);
      if (!fits(amount, units)) notes.push(`${name}: ${JSON.stringify(amount)} is beyond its ${units} units`);
      if (asked > limit)
        notes.push(
          `${name}: ${asked} of ${units} units were to go; ${limit} do, since the floors keep ${units - limit}`,
        );
      return Math.min(asked, limit);
    });
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
      if (typeof needs === 'function') others.push(await customScores(tensor, needs, this.model));
      else others.push(needs && (await otherOf(tensor, needs, this.#state)));
    }
    const engine = await load();
    const jobs = tensors.map((tensor, index) =>
      this.#job(tensor, units[index]!, {
        group: context === 'local' ? index : 0,
        limit: limits[index]!,
        other: others[index],
      }),
    );
    const done = await remove(engine, { model: this.model, jobs, removes, roundTo, signal, onProgress });
    for (const [index, tensor] of tensors.entries()) {
      this.#masks.set(tensor, done[index]!.mask);
      if (needs === 'previous')
        this.#state?.set(tensor, { dtype: tensor.values.dtype, bytes: this.model.copy(tensor.values) });
      if (units[index]!.isChannel) notes.push(...tensor.notes.map((note) => `${tensor.name}: ${note}`));
    }
    return this.#report(jobs, done, engine, notes);
  }

  #job(tensor: WeightTensor, units: Job['units'], rest: Pick<Job, 'group' | 'limit' | 'other'>): Job {
    const earlier = this.#masks.get(tensor);
    const position = this.model.tensors.indexOf(tensor);
    return { tensor, position, units, recipe: this.#recipe, seed: this.#options.seed ?? 0, earlier, ...rest };
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
  #unitsOf(tensors: readonly WeightTensor[]): Job['units'][] {
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
      asked: this.#granularity,
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

function kindsOf(layerType: Kind | readonly Kind[] | 'all'): readonly Kind[] {
  if (layerType === 'all') return kinds;
  const list = typeof layerType === 'string' ? [layerType] : layerType;
  for (const kind of list) {
    if (!kinds.includes(kind))
      throw new SparsifyError('kind', 'unknown kind of layer', { asked: kind, allowed: [...kinds, 'all'] });
  }
  return list;
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
