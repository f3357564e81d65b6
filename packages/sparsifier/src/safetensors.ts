export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readSafetensors } from './formats/safetensors/format.js';
export { type ReadSafetensorsOptions } from './formats/safetensors/signature.js';
export { type LayerDescription, type LayerDescriptions } from './formats/safetensors/descriptions.js';
