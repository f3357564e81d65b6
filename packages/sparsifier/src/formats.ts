export { type ReadModelOptions } from './formats/all.js';
export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readModel } from './formats/read-model.js';
export { type ReadLimits, type ReadOptions } from './formats/reading.js';
export {
  sizesOf,
  type ByteCounts,
  type LayerSizes,
  type Sizes,
  type SizesOptions,
  type SizesProgress,
} from './formats/sizes.js';
export { type Bytes, type GiveFile, type ModelSource } from './formats/sources.js';
