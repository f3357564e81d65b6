import { element, normalizers as codes, reducers } from '../engine/codes.js';
import { SparsifyError } from '../errors.js';
import type { Kind, Role } from '../model/model.js';
import { unknownValue, withoutUnderscores } from './spelling.js';

/** The names of criteria: what makes a weight useful. */
export type CriteriaName = keyof typeof table;

/** A layer as a criterion of the caller's own receives it: a copy. */
export interface CustomLayer {
  readonly name: string;
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  readonly shape: readonly number[];
  /** Row-major; 16-bit numbers are widened. */
  readonly weights: Float32Array;
  /**
   * With `statistics` of the layer, the standard deviation of the input that each weight is multiplied with: what the
   * criterion `fluctuation` multiplies `|w|` with.
   */
  readonly deviations?: Float32Array;
}

/** A criterion of the caller's own: returns a score for each weight, in stored order. Larger is more useful, NaN is an error. */
export type CustomCriterion = (layer: CustomLayer) => Float32Array;

/** The option with the numbers that a criterion compares weights with. */
export type State = 'initial' | 'previous' | 'gradient' | 'activations' | 'statistics';

/** How the scores of a unit's weights are combined into one. */
export type Reducer = keyof typeof reducers;

/** How the scores of a layer are scaled, so that those of different layers can be compared. */
export type Normalizer = keyof typeof normalizers;

/** A criterion in the kernels' numbers. */
export interface Recipe {
  readonly element: number;
  readonly reducer: number;
  readonly normalizer: number;
  /** What the weights are compared with. */
  readonly needs: State | CustomCriterion | undefined;
}

interface Row {
  readonly element: number;
  readonly needs?: State;
  /** Whether channels are scored by the layers that read them. */
  readonly isOfReaders?: true;
}

/** Elements that the budget `lamp` cannot use: their scores may be negative, or are random. */
const withoutLamp: readonly number[] = [
  element.negativeMagnitude,
  element.negativeOtherMagnitude,
  element.negativeLargerMagnitude,
  element.magnitudeIncrease,
  element.random,
];

/**
 * The score of one weight `w` by each criterion; larger is more useful. `w0` is its initial, `w1` its previous value.
 * The names are fasterai's. A new criterion is a new row, and its entry in catalogue.ts.
 */
const table = {
  /** `|w|`: the usual magnitude criterion (Han et al. 2015). */
  largeFinal: { element: element.magnitude },
  /** `|w|`: another name of `largeFinal`. */
  magnitude: { element: element.magnitude },
  /** `w * w` */
  squaredFinal: { element: element.square },
  /** `-|w|` */
  smallFinal: { element: element.negativeMagnitude },
  /** `|w0|` (this and the following as in Zhou et al. 2019, "Deconstructing lottery tickets") */
  largeInit: { element: element.otherMagnitude, needs: 'initial' },
  /** `-|w0|` */
  smallInit: { element: element.negativeOtherMagnitude, needs: 'initial' },
  /** `min(|w|, |w0|)` */
  largeInitLargeFinal: { element: element.smallerMagnitude, needs: 'initial' },
  /** `-max(|w|, |w0|)` */
  smallInitSmallFinal: { element: element.negativeLargerMagnitude, needs: 'initial' },
  /** `|w| - |w0|` */
  magnitudeIncrease: { element: element.magnitudeIncrease, needs: 'initial' },
  /** `|w - w0|`: a distance, not the signed score of the movement pruning paper. */
  movement: { element: element.distance, needs: 'initial' },
  /** `|w * (w - w0)|`, by fasterai's name. */
  movmag: { element: element.weightedDistance, needs: 'initial' },
  /** `|w| - |w1|` */
  updatingMagnitudeIncrease: { element: element.magnitudeIncrease, needs: 'previous' },
  /** `|w - w1|` */
  updatingMovement: { element: element.distance, needs: 'previous' },
  /** `|w * (w - w1)|` */
  updatingMovmag: { element: element.weightedDistance, needs: 'previous' },
  /** `|w| * a`, `a` being the norm of the input channel's activations (Sun et al. 2023). */
  wanda: { element: element.scaledMagnitude, needs: 'activations' },
  /** `|w| * sd`, `sd` being the standard deviation of the input of the weight (An et al. 2023, there of channels). */
  fluctuation: { element: element.scaledMagnitude, needs: 'statistics' },
  /**
   * The sum of `(|w| * sd)^2` over all weights that a channel is multiplied with, in all layers that read it: the
   * fluctuation of what it adds to their outputs (An et al. 2023, FLAP).
   */
  flap: { element: element.scaledMagnitude, needs: 'statistics', isOfReaders: true },
  /** `(w * g) * (w * g)`, `g` being the gradient of the loss (Molchanov et al. 2019). */
  taylor: { element: element.squaredProduct, needs: 'gradient' },
  /** One random number from [0, 1) per unit, the same for the same seed: Philox4x32-10 (Salmon et al. 2011). */
  random: { element: element.random },
} as const satisfies Readonly<Record<string, Row>>;

const names = Object.keys(table) as CriteriaName[];

/** The criteria, as constants equal to their names. */
export const Criteria = Object.fromEntries(names.map((name) => [name, name])) as {
  readonly [Name in CriteriaName]: Name;
};

/** `lamp` is the kernels' normalizer for the budget of that name. */
const { lamp, ...normalizers } = codes;

export const reducerNames = Object.keys(reducers) as readonly Reducer[];
export const normalizerNames = Object.keys(normalizers) as readonly Normalizer[];

/** Whether a criterion scores channels by the layers that read them. */
export function isOfReaders(criteria: unknown): boolean {
  const name = typeof criteria === 'string' ? withoutUnderscores(criteria) : '';
  const row: Row | undefined = Object.hasOwn(table, name) ? table[name as CriteriaName] : undefined;
  return row?.isOfReaders === true;
}

/** The option that a criterion needs beside the weights. */
export const needsOf = (name: CriteriaName): State | 'seed' | undefined => {
  const row: Row = table[name];
  return row.element === element.random ? 'seed' : row.needs;
};

/**
 * @param isLamp whether the budget is `lamp`, which scales scores itself
 * @throws SparsifyError `criteria` for an unknown criterion, or one that `lamp` cannot use; `usage` for an unknown reducer
 *   or normalizer, or a normalizer together with `lamp`
 */
export function recipeOf(
  criteria: string | CustomCriterion,
  reducer: string,
  normalizer: string | undefined,
  isLamp = false,
): Recipe {
  const row: Row | undefined =
    typeof criteria === 'function'
      ? { element: element.other }
      : look(table, typeof criteria === 'string' ? withoutUnderscores(criteria) : criteria, 'criteria', 'criterion');
  if (isLamp && withoutLamp.includes(row.element)) {
    throw new SparsifyError('criteria', 'the budget lamp squares scores, so they must not be negative', {
      given: criteria,
      hint: "Use a criterion such as `criteria: 'largeFinal'`",
    });
  }
  if (isLamp && normalizer !== undefined) {
    throw new SparsifyError('usage', 'the budget lamp already scales scores', {
      given: `normalizer ${normalizer}`,
      hint: 'Leave out `normalizer`',
    });
  }
  const own = normalizer === undefined ? 0 : look(normalizers, normalizer, 'usage', 'normalizer');
  return {
    element: row.element,
    reducer: look(reducers, reducer, 'usage', 'reducer'),
    normalizer: isLamp ? lamp : own,
    needs: typeof criteria === 'function' ? criteria : row.needs,
  };
}

/**
 * Whether the scores of units that are single weights can be computed from the weights wherever they are needed, so that
 * they need no memory. The `l2` of one score is its magnitude, not the score.
 */
export const scoresOnTheFly = ({ element: score, reducer, normalizer }: Recipe): boolean =>
  score !== element.random && reducer !== reducers.l2 && normalizer === 0;

/**
 * Whether the score of a unit is infinite or not a number where one of its weights is.
 * @param isWeight whether units are single weights
 */
export const showsInfinity = (recipe: Recipe, isWeight: boolean): boolean =>
  (recipe.element === element.magnitude || recipe.element === element.square) &&
  recipe.normalizer === 0 &&
  (recipe.reducer !== reducers.max || (isWeight && scoresOnTheFly(recipe)));

function look<Value>(
  list: Readonly<Record<string, Value>>,
  name: string,
  code: 'criteria' | 'usage',
  what: string,
): Value {
  if (typeof name === 'string' && Object.hasOwn(list, name)) return list[name]!;
  throw unknownValue(code, what, name, Object.keys(list), { topic: code === 'criteria' ? 'criteria' : 'option' });
}
