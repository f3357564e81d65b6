export {
  Criteria,
  type CriteriaName,
  type CustomCriterion,
  type CustomLayer,
  type Normalizer,
  type Reducer,
} from './options/criteria.js';
export { loadEngine, type Block, type Engine, type LoadEngineOptions } from './engine/engine.js';
export { SparsifyError, type ErrorCode, type ErrorDetails } from './errors.js';
export {
  Granularity,
  type BlockSizes,
  type GranularityName,
  type Pattern,
  type Spanning,
  type UnitRole,
} from './options/granularity.js';
export { inspect } from './pruning/inspect.js';
export type { UnitMask } from './pruning/masks.js';
export type {
  CallOptions,
  InputMoments,
  InputStatistics,
  LayerArrays,
  LayerInputStatistics,
  Progress,
  SparsifierOptions,
  WeightsOf,
} from './options/options.js';
export type { Budget } from './options/budgets.js';
export type { Context, RankTogether } from './options/rankings.js';
export type { LayerReport, Report } from './pruning/report.js';
export type { Warning, WarningCode, WarningDetails } from './pruning/warnings.js';
export type { DecidingRule, PropertyRule, Rule, Rules } from './options/rules.js';
export type { RepairOptions, RepairProgress } from './repair/options.js';
export type { RepairedLayer, RepairReport } from './repair/report.js';
export type { Explanation } from './pruning/explain.js';
export { Sparsifier } from './pruning/sparsifier.js';
export type { WriteMasksOptions } from './pruning/mask-file.js';
export type { Amount, LimitOptions, PerLayer, Sparsity } from './options/amounts.js';
export type {
  Bias,
  DataType,
  Geometry,
  Kind,
  Leak,
  Model,
  Partner,
  Region,
  Role,
  Skipped,
  Values,
  WeightTensor,
} from './model/model.js';
