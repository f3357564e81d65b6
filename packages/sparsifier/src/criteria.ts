import { SparsifyError } from './errors.js';

/** The names of criteria: what counts as useful. */
export type CriteriaName = 'largeFinal' | 'magnitude' | 'squaredFinal' | 'random';

/** How the scores of a unit's weights become one. */
export type Reducer = 'mean' | 'sum' | 'l2' | 'max';

/** How the scores of a layer are brought to a scale that layers share. */
export type Normalizer = 'sum' | 'mean' | 'max' | 'l2' | 'minmax' | 'standard';

/** A criterion in the kernels' numbers (crates/wasm/src/table.rs). */
export interface Recipe {
  readonly element: number;
  readonly reducer: number;
  readonly normalizer: number;
}

/** The kernels' score of one weight. */
const element = { magnitude: 1, square: 2, random: 255 } as const;

/** The score of one weight by each criterion; larger is more useful. A further criterion is a further row. */
const table: Readonly<Record<CriteriaName, number>> = {
  /** `|w|`: fasterai's large_final, the usual magnitude criterion (Han et al. 2015). */
  largeFinal: element.magnitude,
  magnitude: element.magnitude,
  /** `w * w`: fasterai's squared_final. */
  squaredFinal: element.square,
  /** One draw from [0, 1) per unit, the same for the same seed: Philox4x32-10 (Salmon et al. 2011). */
  random: element.random,
};

/** The criteria, as constants equal to their names. */
export const Criteria = {
  largeFinal: 'largeFinal',
  magnitude: 'magnitude',
  squaredFinal: 'squaredFinal',
  random: 'random',
} as const satisfies { readonly [Name in CriteriaName]: Name };

const reducers: Readonly<Record<Reducer, number>> = { mean: 0, sum: 1, l2: 2, max: 3 };
const normalizers: Readonly<Record<Normalizer, number>> = { sum: 1, mean: 2, max: 3, l2: 4, minmax: 5, standard: 6 };

/** fasterai's spelling of a name: `large_final` is `largeFinal`. */
export const withoutUnderscores = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** @throws SparsifyError `criteria` for an unknown criterion, `usage` for an unknown reducer or normaliser */
export function recipeOf(criteria: string, reducer: string, normalizer: string | undefined): Recipe {
  return {
    element: look(table, withoutUnderscores(criteria), 'criteria', 'criterion'),
    reducer: look(reducers, reducer, 'usage', 'reducer'),
    normalizer: normalizer === undefined ? 0 : look(normalizers, normalizer, 'usage', 'normalizer'),
  };
}

/** Whether scores can be computed from the weights wherever they are needed, without room for them. */
export const scoresOnTheFly = (recipe: Recipe): boolean => recipe.element !== element.random && recipe.normalizer === 0;

function look(list: Readonly<Record<string, number>>, name: string, code: 'criteria' | 'usage', what: string): number {
  if (typeof name === 'string' && Object.hasOwn(list, name)) return list[name]!;
  throw new SparsifyError(code, `unknown ${what}`, { asked: name, allowed: Object.keys(list) });
}
