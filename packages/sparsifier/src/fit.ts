export { fit, type Fitted } from './fit/fit.js';
export type { JudgedBy } from './fit/judge.js';
export type { FitForm, FitSetting } from './fit/make.js';
export type {
  Evaluate,
  EvaluateOptions,
  FitData,
  FitMeans,
  FitOptions,
  FitProgress,
  FitSession,
} from './fit/options.js';
export { readRecipe } from './fit/recipe-files.js';
export type { FitRecipe, RecipeFile, RecipeInputs, RecipePruning, RecipeQuantization } from './fit/recipe.js';
export { repeat, type Repeated, type RepeatOptions } from './fit/repeat.js';
export type { FitOutcome, FitPoint, FitReport, RepeatReport } from './fit/report.js';
export type { FittedLayer } from './fit/steps.js';
export type { ByteSize, Encoding } from './fit/target.js';
