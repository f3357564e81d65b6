export {
  compare,
  type ComparedSizes,
  type ComparedSizesOptions,
  type Comparison,
  type CompareOptions,
} from './analysis/comparison/compare.js';
export type { Difference, Pair } from './analysis/comparison/difference.js';
export type { InputMetadata, Inputs, SessionTensor } from './analysis/comparison/inputs.js';
export type { CompareSession, CreateSession, OutputDifference } from './analysis/comparison/outputs.js';
export { sessionsOfTfjs, type CompareTf } from './analysis/comparison/tfjs.js';
export type { LayerDifference } from './analysis/comparison/weights.js';
export type { SessionFiles } from './calibration/onnx.js';
