export {
  activationsOfOnnx,
  activationsOfTfjs,
  gradientsOfTfjs,
  type Batches,
  type Calibration,
  type CalibrationTf,
  type Gradients,
  type GradientTf,
  type OnnxTensorLike,
  type SessionLike,
} from './analysis/calibration.js';
