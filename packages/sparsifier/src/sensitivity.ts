export {
  sensitivity,
  type LayerSensitivity,
  type Sensitivity,
  type SensitivityOptions,
  type SensitivityPoint,
  type SensitivityProgress,
  type WholeModelOptions,
} from './analysis/sensitivity.js';
