export {
  fromTfjs,
  type GraphModelLike,
  type LayersModelLike,
  type LiveModel,
  type TfLike,
} from './formats/tfjs/live.js';
export { readTfjs, type ReadTfjsOptions, type TfjsModel, type WriteTfjsOptions } from './formats/tfjs/model.js';
