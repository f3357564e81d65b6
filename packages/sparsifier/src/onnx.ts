export { type FileModel, type WriteModelOptions } from './formats/file-model.js';
export { readOnnx } from './formats/onnx/format.js';
export { type ReadOnnxOptions } from './formats/onnx/signature.js';
