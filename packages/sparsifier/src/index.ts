export {
  Criteria,
  type CriteriaName,
  type CustomCriterion,
  type CustomLayer,
  type Normalizer,
  type Reducer,
} from './criteria.js';
export { load, type Block, type Engine, type LoadOptions } from './engine/engine.js';
export { SparsifyError, type ErrorCode, type ErrorDetails } from './errors.js';
export {
  Granularity,
  type GranularityName,
  type Pattern,
  type Spanning,
  type Tiles,
  type UnitRole,
} from './granularity.js';
export { inspect } from './inspect.js';
export type { UnitMask } from './masks.js';
export type { Progress } from './pipeline.js';
export type { CallOptions, PerLayer, SparsifierOptions } from './planning.js';
export type { Budget, Context, Groups } from './ranking.js';
export type { LayerReport, Report } from './report.js';
export type { Rule, Rules } from './rules.js';
export { Sparsifier, type Explanation, type WriteMasksOptions } from './sparsifier.js';
export type { LayerArrays, WeightsOf } from './state.js';
export type { Amount, Sparsity } from './sparsity.js';
export type { DataType, Kind, Model, Partner, Region, Role, Skipped, Values, WeightTensor } from './tensor.js';
