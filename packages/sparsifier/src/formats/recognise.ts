import type { ErrorDetails } from '../errors.js';
import type { MainFile } from './files.js';

const saveWeights = 'Save the weights as safetensors, or export the model to ONNX, and read that file';
const openArchive = 'Unpack it and read the model inside';

/** How files begin that are found where a model should be; characters are bytes. And what to do then. */
const beginnings: readonly (readonly [what: string, head: RegExp, hint: string])[] = [
  ['a safetensors file', /^.{4}\0{4}\{/s, 'Read it with readSafetensors, or with readModel, which knows all formats'],
  [
    'an ONNX model',
    /^\x08[\x01-\x7f][\x12\x3a\x42]/,
    'Read it with readOnnx, or with readModel, which knows all formats',
  ],
  ['a zip archive, as PyTorch, Keras and NumPy (.npz) write them', /^PK\x03\x04/, saveWeights],
  ['an HDF5 file, as Keras writes them', /^\x89HDF\r\n/, saveWeights],
  ['a Python pickle, as PyTorch writes them', /^\x80[\x02-\x05]/, saveWeights],
  ['a NumPy array', /^\x93NUMPY/, saveWeights],
  ['a GGUF model', /^GGUF/, saveWeights],
  ['a TensorFlow Lite model', /^.{4}TFL3/s, 'Give the model that it was converted from'],
  ['an ONNX Runtime (.ort) model', /^.{4}ORTM/s, 'Give the .onnx file that it was converted from'],
  ['a Git LFS pointer in place of the file', /^version https:\/\/git-lfs/, 'Fetch the file with git lfs pull'],
  ['HTML or XML', /^\s*</, 'The address leads to a page: give that of the file itself'],
  ['a gzip archive', /^\x1f\x8b/, openArchive],
];

/** Ends of names that are known to be those of models. */
export const modelEndings: readonly string[] = [
  ...['.onnx', '.safetensors', '.json', '.ort', '.tflite', '.pt', '.pth', '.h5', '.hdf5', '.keras', '.gguf', '.npz'],
];

/** What a file is that is not of the expected format, where its beginning or its JSON tells, and what to do then. */
export function recognise({ head, json, jsonFailure }: MainFile): Pick<ErrorDetails, 'found' | 'hint'> {
  if (jsonFailure !== undefined)
    return { found: `text that is not JSON: ${jsonFailure}`, hint: 'Copy or download it again' };
  if (json !== undefined) {
    const keys = Array.isArray(json) ? 'a list' : `the keys ${Object.keys(json).slice(0, 8).join(', ') || 'none'}`;
    return {
      found: `JSON with ${keys}`,
      hint: 'A TensorFlow.js model.json has a weightsManifest, an index of safetensors a weight_map. readModel knows both',
    };
  }
  const text = String.fromCharCode(...head);
  const known = beginnings.find(([, beginning]) => beginning.test(text));
  return known ? { found: known[0], hint: known[2] } : {};
}
