export { gradientsOfTfjs, type Gradients, type GradientTf } from './calibration/gradients.js';
export type { Batches, Calibration } from './calibration/norms.js';
export { activationsOfOnnx, type OnnxTensorLike, type SessionLike } from './calibration/onnx.js';
export { activationsOfTfjs, type CalibrationTf } from './calibration/tfjs.js';
