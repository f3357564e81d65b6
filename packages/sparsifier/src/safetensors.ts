export { type LayerDescription, type LayerDescriptions } from './formats/safetensors/layers.js';
export {
  readSafetensors,
  type ReadSafetensorsOptions,
  type SafetensorsModel,
  type WriteSafetensorsOptions,
} from './formats/safetensors/model.js';
