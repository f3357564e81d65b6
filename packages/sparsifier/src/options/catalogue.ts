import { kinds, type Kind } from '../model/model.js';
import { isOfReaders, needsOf, type CriteriaName, type State } from './criteria.js';
import { granularitiesOf, type GranularityName } from './granularity.js';

/** A criterion in words. */
export interface CriterionEntry {
  /**
   * The option that it reads beside the weights. `gradient`, `activations` and `statistics` must be given (`statistics`
   * also serve in place of `activations`); others have defaults.
   */
  readonly needs: State | 'seed' | undefined;
  /** What it keeps, in a sentence. */
  readonly sentence: string;
  /**
   * The score of a weight `w`. `w0` is its initial and `w1` its previous value, `g` the gradient of the loss, `a` the norm
   * of the activations of its input channel, `sd` the standard deviation of the input that it is multiplied with.
   */
  readonly formula: string;
  /** Who proposed it, and when; docs/criteria.md has the titles. */
  readonly source: string;
  /** Whether it scores channels instead of weights, which takes `granularity: 'filter'` and `coupled: true`. */
  readonly isForChannels: boolean;
}

const zhou = 'Zhou et al. 2019';

const texts = {
  largeFinal: {
    sentence: 'Keeps the weights of largest magnitude.',
    formula: '|w|',
    source: `Han et al. 2015; ${zhou}`,
  },
  magnitude: {
    sentence: 'Another name of largeFinal.',
    formula: '|w|',
    source: `Han et al. 2015; ${zhou}`,
  },
  squaredFinal: {
    sentence: 'Keeps the weights of largest square, so that in larger units the largest weights count most.',
    formula: 'w w',
    source: 'fasterai',
  },
  smallFinal: {
    sentence: 'Keeps the weights of smallest magnitude.',
    formula: '-|w|',
    source: zhou,
  },
  largeInit: {
    sentence: 'Keeps the weights whose initial magnitude was largest.',
    formula: '|w0|',
    source: zhou,
  },
  smallInit: {
    sentence: 'Keeps the weights whose initial magnitude was smallest.',
    formula: '-|w0|',
    source: zhou,
  },
  largeInitLargeFinal: {
    sentence: 'Keeps the weights whose magnitude was large initially and still is.',
    formula: 'min(|w|, |w0|)',
    source: zhou,
  },
  smallInitSmallFinal: {
    sentence: 'Keeps the weights whose magnitude was small initially and still is.',
    formula: '-max(|w|, |w0|)',
    source: zhou,
  },
  magnitudeIncrease: {
    sentence: 'Keeps the weights whose magnitude has grown most.',
    formula: '|w| - |w0|',
    source: zhou,
  },
  movement: {
    sentence: 'Keeps the weights that are farthest from their initial values.',
    formula: '|w - w0|',
    source: zhou,
  },
  movmag: {
    sentence: 'Keeps the weights that are large and far from their initial values.',
    formula: '|w (w - w0)|',
    source: 'Hubens et al. 2022',
  },
  updatingMagnitudeIncrease: {
    sentence: 'Keeps the weights whose magnitude has grown most since the last call.',
    formula: '|w| - |w1|',
    source: 'fasterai',
  },
  updatingMovement: {
    sentence: 'Keeps the weights that have moved farthest since the last call.',
    formula: '|w - w1|',
    source: 'fasterai',
  },
  updatingMovmag: {
    sentence: 'Keeps the weights that are large and have moved far since the last call.',
    formula: '|w (w - w1)|',
    source: 'fasterai',
  },
  wanda: {
    sentence: 'Keeps the weights of large magnitude whose input channels have large activations.',
    formula: '|w| a',
    source: 'Sun et al. 2023',
  },
  fluctuation: {
    sentence: 'Keeps the weights of large magnitude whose inputs vary much.',
    formula: '|w| sd',
    source: 'An et al. 2023',
  },
  flap: {
    sentence:
      'Keeps the channels that vary much and that the layers which read them give large weights; for coupled channels.',
    formula: 'sum of (w sd)^2 over the weights that read the channel',
    source: 'An et al. 2023',
  },
  taylor: {
    sentence: 'Keeps the weights whose removal is estimated to change the loss most.',
    formula: '(w g) (w g)',
    source: 'Molchanov et al. 2019',
  },
  random: {
    sentence: 'Keeps units at random, the same ones for the same seed.',
    formula: 'a number from 0 to 1',
    source: 'Salmon et al. 2011',
  },
} as const satisfies Readonly<Record<CriteriaName, Omit<CriterionEntry, 'needs' | 'isForChannels'>>>;

const byKey = <Key extends string, Value>(keys: readonly Key[], valueOf: (key: Key) => Value) =>
  Object.fromEntries(keys.map((key) => [key, valueOf(key)])) as Readonly<Record<Key, Value>>;

/** All criteria, by name. */
export const criteria: Readonly<Record<CriteriaName, CriterionEntry>> = byKey(
  Object.keys(texts) as CriteriaName[],
  (name) => ({ needs: needsOf(name), ...texts[name], isForChannels: isOfReaders(name) }),
);

/** The names of the granularities that each kind of layer has. */
export const granularities: Readonly<Record<Kind, readonly GranularityName[]>> = byKey(kinds, granularitiesOf);
