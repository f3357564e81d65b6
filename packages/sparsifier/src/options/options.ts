import { SparsifyError } from '../errors.js';
import { typeOf, type Model } from '../model/model.js';
import { limitsShape, type LimitOptions } from './amounts.js';
import { budgets, type Budget } from './budgets.js';
import { someCoupled, type CoupledOptions } from './coupled.js';
import {
  isOfReaders,
  needsOf,
  type CriteriaName,
  type CustomCriterion,
  type Normalizer,
  type Reducer,
} from './criteria.js';
import { defaults } from './defaults.js';
import { checkGranularity, inWords, isPattern, type Granularity, type Pattern } from './granularity.js';
import { aBoolean, aCount, aFunction, asGiven, aSignal, being, oneOf, optionsOf, type Shape } from './check.js';
import { contexts, someRankings, type Context, type RankTogether } from './rankings.js';
import { rulesShape, type Rules } from './rules.js';
import { withoutUnderscores } from './spelling.js';

/** Arrays by layer name or glob, in stored order: one number for each weight, or for each input channel. */
export type LayerArrays = Readonly<Record<string, Float32Array>> | ReadonlyMap<string, Float32Array>;

/** What is used of a model that another is compared with. */
export type ComparedModel = Pick<Model, 'tensors' | 'copy' | 'sourceFiles'>;

/** A model with the same layers, or arrays by layer name. */
export type WeightsOf = ComparedModel | LayerArrays;

/** What is used of statistics of the inputs of layers, which `calibrate` measures and `readStatistics` reads. */
export interface InputStatistics {
  /** By the name of the layer. */
  readonly layers: ReadonlyMap<string, LayerInputStatistics>;
  /** The paths of files that they depend on, which calls with them do not write to. */
  readonly sourceFiles?: readonly string[];
  /**
   * @returns sentences about what could not be checked
   * @throws SparsifyError if they are those of another model, or of layers of another shape
   */
  check(model: Pick<Model, 'tensors' | 'copy'>): Promise<readonly string[]>;
}

/** The rows of one layer, with one number for each column of a row. */
export interface InputMoments {
  /** How many rows were seen. */
  readonly rows: number;
  /**
   * The means of the products of two columns, `[groups, columns, columns]`; only of each column with itself,
   * `[groups, columns]`, where the others are not known.
   */
  readonly moment: Float32Array;
  /** The means of the columns, `[groups, columns]`. */
  readonly mean: Float32Array;
}

export interface LayerInputStatistics extends InputMoments {
  readonly groups: number;
  /** How many weights each output has: input channels of a group x size of the kernel. */
  readonly columns: number;
  /** Whether `moment` has only the products of each column with itself. */
  readonly isDiagonal: boolean;
  /** The norm of each input channel, for `wanda`, if it is known. */
  readonly norm: Float32Array | undefined;
  /** Rows that are only used to compare results. */
  readonly heldOut: InputMoments | undefined;
  /** That of the weights, which tells statistics of another model. */
  readonly sha256: string | undefined;
}

/** The options of a Sparsifier. All have defaults, but for arrays that some criteria need. */
export interface SparsifierOptions extends Rules, LimitOptions {
  /** Which weights are removed together: a unit. `weight` by default, so that each weight is one. */
  readonly granularity?: Granularity;
  /**
   * Whether whole channels of the network are removed, which `removeChannels` then takes out; for the granularity `filter`.
   * Channels that can only go together, such as those that a residual block adds up, are a group, named after the first
   * layer that makes them. Groups are scored, ranked, counted and rounded in place of layers, and what follows a channel goes
   * with it: the kernels of depthwise convolutions, biases, batch normalisation. `layerType` is `all` by default, and a
   * group is pruned only if the rules select all layers that make its channels. For models whose network can be followed:
   * ONNX and TensorFlow.js models that were read from files. Options say how it is followed.
   */
  readonly coupled?: boolean | CoupledOptions;
  /** Where units are compared: within each layer (`local`, the default) or over the whole network (`global`). */
  readonly context?: Context;
  /** What makes a weight useful; `largeFinal`, its magnitude, by default. */
  readonly criteria?: CriteriaName | CustomCriterion;
  /**
   * For the context `global`: rankings by name, each with the names or globs of its layers. The layers of a ranking are
   * compared with each other only and share one amount. A layer that is in no ranking is ranked by itself.
   */
  readonly rankTogether?: RankTogether;
  /**
   * For the context `global`: a rule for how much each layer loses, in place of one ranking of all scores. `uniform`: the
   * same share of each layer. `erk`: layers keep a share proportional to the sum of their dimensions divided by their
   * product, at most all (Evci et al. 2020). `lamp`: one ranking of the scores s^2 / sum of r^2 over the layer's scores
   * r >= s (Lee et al. 2021). `error`: the sum of the layers' errors after a repair is least, by `statistics`.
   */
  readonly budget?: Budget;
  /** For the criterion `random`: a whole number from 0 to 2^32 - 1; 0 by default. */
  readonly seed?: number;
  /** How the scores of a unit's weights are combined into one; `mean` by default. */
  readonly reducer?: Reducer;
  /** How the scores of a layer are scaled to be comparable with those of others; by default they are not. */
  readonly normalizer?: Normalizer;
  /** For criteria that compare with initial weights; by default the weights when the Sparsifier is made. */
  readonly initial?: WeightsOf;
  /** For the updating criteria; by default the weights when the Sparsifier is made, then those after the last call. */
  readonly previous?: WeightsOf;
  /** For `taylor`: the gradient of the loss for each weight. */
  readonly gradient?: LayerArrays;
  /** For `wanda`: the norm of the activations of each input channel. `statistics` have them, too. */
  readonly activations?: LayerArrays;
  /**
   * Statistics of the inputs of the layers, for `fluctuation`, `flap`, `wanda` and `repair()`. With them the Sparsifier keeps all
   * weights and biases as they are when it is made, until `clear()`: `repair()` aims at them, and `restore()` brings them
   * back.
   */
  readonly statistics?: InputStatistics;
  /** Keeps each removed weight, bias and batch normalisation entry, so that `restore()` can bring it back; not by default. */
  readonly restorable?: boolean;
}

/** How far a call has come. */
export interface Progress {
  /** `measure` is the first one with the budget `error`. */
  readonly stage: 'measure' | 'load' | 'inspect' | 'score' | 'mask' | 'apply' | 'store';
  /** Weights that the stage has finished. */
  readonly done: number;
  /** All weights of the call. */
  readonly total: number;
}

/** The options of one call. */
export interface CallOptions {
  /** The number of units kept in each layer is raised to a multiple of this whole number. */
  readonly roundTo?: number | undefined;
  /** Ends the call with the signal's reason, unless the model is being changed already. */
  readonly signal?: AbortSignal | undefined;
  /**
   * If it throws, the call is rejected with the same error. Where the model is being changed already, that happens after
   * the change. A promise that it returns is not awaited; if it is rejected while the call runs, the call is, too.
   */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The names and types of the options; what they mean together is checked when a model is planned. */
export const sparsifierShape: Shape<SparsifierOptions> = {
  granularity: (value) => checkGranularity(value as Granularity),
  coupled: someCoupled,
  context: oneOf('context', contexts),
  criteria: asGiven,
  ...rulesShape,
  rankTogether: someRankings,
  budget: oneOf('budget', budgets),
  seed: being(
    'a whole number from 0 to 4294967295',
    (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32,
  ),
  reducer: asGiven,
  normalizer: asGiven,
  ...limitsShape,
  initial: asGiven,
  previous: asGiven,
  gradient: asGiven,
  activations: asGiven,
  statistics: someStatistics,
  restorable: aBoolean,
};

/** The options of calls that take time. */
export const listeningShape = { signal: aSignal, onProgress: aFunction } as const;

export const callShape: Shape<CallOptions> = { roundTo: aCount('sparsity'), ...listeningShape };

/** @throws SparsifyError as {@link optionsOf}, `sparsity` for a wrong `roundTo`; the signal's reason if it is aborted */
export function callOptionsOf(given: CallOptions): CallOptions {
  const options = optionsOf(given, callShape);
  options.signal?.throwIfAborted();
  return options;
}

/** @throws SparsifyError `usage` for what are no statistics, such as a promise of them */
export function someStatistics(value: unknown): InputStatistics {
  const { layers, check } = (value ?? {}) as Partial<InputStatistics>;
  if (typeof layers?.get === 'function' && typeof check === 'function') return value as InputStatistics;
  throw new SparsifyError('usage', '`statistics` are what `calibrate` measures or `readStatistics` reads', {
    found: value instanceof Promise ? 'a promise' : typeOf(value),
    hint: 'Await them first: `statistics: await calibrate(...)`',
  });
}

/** The options of a Sparsifier with their defaults; that of `layerType` depends on `include`. */
export type ResolvedOptions = SparsifierOptions &
  Required<Pick<SparsifierOptions, Exclude<keyof typeof defaults, 'layerType'>>>;

/**
 * Fills in the defaults, and checks what can be checked without a model and without the criterion.
 * @param options checked by {@link sparsifierShape}
 * @throws SparsifyError `usage` for options that contradict each other
 */
export function resolveOptions(options: SparsifierOptions): ResolvedOptions {
  const { layerType: _, ...always } = defaults;
  const forAll = options.coupled ? { layerType: 'all' as const } : {};
  const resolved: ResolvedOptions = { ...always, ...forAll, ...options };
  const { granularity } = resolved;
  checkCoupled(resolved);
  if (resolved.activations && resolved.statistics) {
    throw new SparsifyError('usage', 'statistics contain the norms of activations', {
      given: '`activations` and `statistics`',
      hint: 'Leave out `activations`',
    });
  }
  if (isPattern(granularity)) checkWithPattern(options, granularity);
  checkRankings(resolved);
  return resolved;
}

/** A sentence for each option that was given and that changes nothing beside the others. */
export function withoutEffect(given: SparsifierOptions): string[] {
  const { context, criteria, reducer } = { ...defaults, ...given };
  const needs = typeof criteria === 'string' ? needsOf(withoutUnderscores(criteria) as CriteriaName) : undefined;
  const named = typeof criteria === 'string' ? `the criterion ${criteria}` : 'a criterion of your own';
  const unused = (['seed', 'initial', 'previous', 'gradient', 'activations'] as const)
    .filter((name) => given[name] !== undefined && name !== needs)
    .map((name) => `${name} has no effect: ${named} does not use it`);
  const isScored = needs !== 'seed';
  const isReduced = isScored && !isOfReaders(criteria);
  return [
    ...unused,
    ...(!isReduced && reducer !== defaults.reducer ? [`reducer has no effect: ${named} scores whole units`] : []),
    ...(given.normalizer === undefined || (isScored && context === 'global')
      ? []
      : [
          isScored
            ? 'normalizer has no effect in the context local: the order of the scores within a layer stays the same'
            : `normalizer has no effect: ${named} has no scale`,
        ]),
  ];
}

/** A pattern compares weights of one layer, and leaves nothing to limit. */
function checkWithPattern(options: SparsifierOptions, pattern: Pattern): void {
  if (options.context === 'global') {
    throw new SparsifyError('usage', `a ${inWords(pattern)} pattern only compares neighbouring weights`, {
      given: "`context: 'global'`",
      hint: "Use `context: 'local'`",
    });
  }
  const limit = (['minKeep', 'maxSparsity'] as const).find((name) => options[name] !== undefined);
  if (limit) {
    throw new SparsifyError('usage', `a ${inWords(pattern)} pattern already fixes how much is removed`, {
      given: `\`${limit}\``,
      hint: 'Leave layers out with `include` or `exclude`',
    });
  }
}

/** Whole channels are filters, and some criteria and budgets are about them, or about anything else. */
function checkCoupled({ coupled, granularity, criteria, budget }: ResolvedOptions): void {
  if (!coupled) {
    if (!isOfReaders(criteria)) return;
    throw new SparsifyError(
      'usage',
      `the criterion ${inText(criteria)} is about channels and all layers that read them`,
      {
        given: `\`criteria: '${inText(criteria)}'\` without \`coupled\``,
        hint: "Use `granularity: 'filter'` and `coupled: true`; for single weights, `criteria: 'fluctuation'`",
      },
    );
  }
  if (granularity !== 'filter') {
    throw new SparsifyError('usage', '`coupled` removes whole channels, which are filters', {
      given: `\`coupled\` with the granularity ${inWords(granularity)}`,
      hint: "Use `granularity: 'filter'`",
    });
  }
  if (budget !== 'erk' && budget !== 'error') return;
  const about = { erk: 'the shape', error: 'the error' }[budget];
  throw new SparsifyError('usage', `the budget ${budget} follows from ${about} of a layer, and a group has several`, {
    given: `\`budget: '${budget}'\` with \`coupled\``,
    allowed: ['uniform', 'lamp'],
  });
}

const inText = (criteria: SparsifierOptions['criteria']): string =>
  typeof criteria === 'string' ? criteria : 'of your own';

/** Only the global context ranks layers together. */
function checkRankings({ granularity, context, rankTogether, budget, statistics }: ResolvedOptions): void {
  if (context === 'local' && (rankTogether || budget)) {
    const option = rankTogether ? 'rankTogether' : 'budget';
    throw new SparsifyError('usage', `the option \`${option}\` is for layers that are ranked together`, {
      given: `\`${option}\` with \`context: 'local'\``,
      hint: "Use `context: 'global'`",
    });
  }
  if (budget && granularity === 'layer') {
    throw new SparsifyError('usage', 'a budget says how much each layer loses, but here whole layers are removed', {
      given: `\`budget: '${budget}'\` with \`granularity: 'layer'\``,
      hint: 'Leave out `budget`, or choose another `granularity`',
    });
  }
  if (budget === 'error' && statistics === undefined) {
    throw new SparsifyError('usage', 'the budget error measures the layers by statistics of their inputs', {
      hint: 'Pass `statistics`, from `calibrate` or `readStatistics`',
    });
  }
}
