export { gradientsOfTfjs, type Gradients, type GradientTf } from './analysis/calibration/gradients.js';
export type { Batches, Calibration } from './analysis/calibration/norms.js';
export { activationsOfOnnx, type OnnxTensorLike, type SessionLike } from './analysis/calibration/onnx.js';
export { activationsOfTfjs, type CalibrationTf } from './analysis/calibration/tfjs.js';
