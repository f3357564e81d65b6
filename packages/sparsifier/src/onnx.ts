export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readOnnx, type ReadOnnxOptions } from './formats/onnx/format.js';
