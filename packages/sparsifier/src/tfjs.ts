export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readTfjs } from './formats/tfjs/format.js';
export { type ReadTfjsOptions } from './formats/tfjs/signature.js';
export {
  fromTfjs,
  type GraphModelLike,
  type LayersModelLike,
  type LiveModel,
  type TfLike,
} from './formats/tfjs/live.js';
