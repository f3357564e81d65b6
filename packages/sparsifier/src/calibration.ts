export {
  recalibrateBatchNorm,
  type BatchNormReport,
  type RecalibratedNorm,
  type RunnableModel,
} from './calibration/batch-norm.js';
export type { Batches } from './calibration/batches.js';
export { gradientsOfTfjs, type Gradients, type GradientTf } from './calibration/gradients.js';
export type { LayerMoments, LayerStatistics } from './calibration/layer-statistics.js';
export type { CalibrateProgress, MeasureOptions } from './calibration/options.js';
export {
  calibrate,
  type CalibrateOptions,
  type OnnxTensorLike,
  type SessionData,
  type SessionFiles,
  type SessionLike,
} from './calibration/onnx.js';
export { readStatistics, Statistics, type WriteStatisticsOptions } from './calibration/statistics.js';
export { calibrateTfjs, type CalibrateTfjsOptions, type CalibrationTf } from './calibration/tfjs.js';
