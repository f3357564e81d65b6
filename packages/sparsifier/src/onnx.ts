export { readOnnx, type OnnxModel, type ReadOnnxOptions, type WriteOnnxOptions } from './formats/onnx/model.js';
