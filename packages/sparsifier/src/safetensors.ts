export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readSafetensors, type ReadSafetensorsOptions } from './formats/safetensors/format.js';
export { type LayerDescription, type LayerDescriptions } from './formats/safetensors/layers.js';
