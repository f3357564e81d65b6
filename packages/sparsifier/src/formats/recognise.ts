import type { ErrorDetails } from '../errors.js';
import type { MainFile } from './files.js';

const saveWeights = 'Save the weights as safetensors, or export the model to ONNX, and read that file';
const openArchive = 'Unpack it and read the model inside';

/**
 * The first bytes of files that are often given in place of a model, and what to do about them. Each character is a
 * byte.
 */
const beginnings: readonly (readonly [what: string, head: RegExp, hint: string])[] = [
  ['a safetensors file', /^.{4}\0{4}\{/s, 'Read it with readSafetensors, or with readModel, which reads all formats'],
  [
    'an ONNX model',
    /^\x08[\x01-\x7f][\x12\x3a\x42]/,
    'Read it with readOnnx, or with readModel, which reads all formats',
  ],
  ['a zip archive, as PyTorch, Keras and NumPy (.npz) write them', /^PK\x03\x04/, saveWeights],
  ['an HDF5 file, as Keras writes them', /^\x89HDF\r\n/, saveWeights],
  ['a Python pickle, as PyTorch writes them', /^\x80[\x02-\x05]/, saveWeights],
  ['a NumPy array', /^\x93NUMPY/, saveWeights],
  ['a GGUF model', /^GGUF/, saveWeights],
  ['a TensorFlow Lite model', /^.{4}TFL3/s, 'Use the model that it was converted from'],
  ['an ONNX Runtime (.ort) model', /^.{4}ORTM/s, 'Use the .onnx file that it was converted from'],
  ['a Git LFS pointer in place of the file', /^version https:\/\/git-lfs/, 'Fetch the file with git lfs pull'],
  ['HTML or XML', /^\s*</, 'The URL is that of a web page. Use the URL of the file itself'],
  ['a gzip archive', /^\x1f\x8b/, openArchive],
];

/** Endings of the names of model files. */
export const modelEndings: readonly string[] = [
  ...['.onnx', '.safetensors', '.json', '.ort', '.tflite', '.pt', '.pth', '.h5', '.hdf5', '.keras', '.gguf', '.npz'],
];

/**
 * What a file that does not have the expected format is, judging by its first bytes or its JSON, and what to do about
 * it.
 */
export function recognise({ head, json, jsonFailure }: MainFile): Pick<ErrorDetails, 'found' | 'hint'> {
  if (jsonFailure !== undefined)
    return { found: `text that is not JSON: ${jsonFailure}`, hint: 'Copy or download it again' };
  if (json !== undefined) {
    const keys = Array.isArray(json) ? 'a list' : `the keys ${Object.keys(json).slice(0, 8).join(', ') || 'none'}`;
    return {
      found: `JSON with ${keys}`,
      hint: 'A TensorFlow.js model.json has a weightsManifest, and a safetensors index has a weight_map. readModel reads both',
    };
  }
  const text = String.fromCharCode(...head);
  const known = beginnings.find(([, beginning]) => beginning.test(text));
  return known ? { found: known[0], hint: known[2] } : {};
}
