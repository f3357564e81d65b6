export {
  sensitivity,
  type LayerSensitivity,
  type Sensitivity,
  type SensitivityOptions,
  type SensitivityPoint,
  type SensitivityProgress,
} from './analysis/sensitivity.js';
