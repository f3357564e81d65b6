export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readTfjs, type ReadTfjsOptions } from './formats/tfjs/format.js';
export {
  fromTfjs,
  type GraphModelLike,
  type LayersModelLike,
  type LiveModel,
  type TfLike,
} from './formats/tfjs/live.js';
