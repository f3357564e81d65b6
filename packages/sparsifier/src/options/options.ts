import { SparsifyError } from '../errors.js';
import type { Model } from '../model/model.js';
import type { LimitOptions } from './amounts.js';
import { budgets, type Budget } from './budgets.js';
import type { CriteriaName, CustomCriterion, Normalizer, Reducer } from './criteria.js';
import { inWords, isPattern, type Granularity } from './granularity.js';
import type { Context, Groups } from './rankings.js';
import type { Rules } from './rules.js';

/** Arrays by layer name or glob, in stored order: one number for each weight, or for each input channel. */
export type LayerArrays = Readonly<Record<string, Float32Array>> | ReadonlyMap<string, Float32Array>;

/** What is used of a model that another is compared with. */
export type ComparedModel = Pick<Model, 'tensors' | 'copy' | 'sourceFiles'>;

/** A model with the same layers, or arrays by layer name. */
export type WeightsOf = ComparedModel | LayerArrays;

export interface SparsifierOptions extends Rules, LimitOptions {
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

/** How far a call has come. */
export interface Progress {
  readonly stage: 'load' | 'inspect' | 'score' | 'mask' | 'apply' | 'store';
  /** Weights that the stage is through with. */
  readonly done: number;
  /** Weights in all. */
  readonly total: number;
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
export function checkGlobal(options: SparsifierOptions, granularity: Granularity): void {
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
