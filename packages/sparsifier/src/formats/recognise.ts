import type { ErrorDetails } from '../errors.js';
import type { MainFile } from './files.js';

const saveWeights = 'Save the weights as safetensors, or export the model to ONNX, and read that file';
const openArchive = 'Unpack it and read the model inside';

/** What to do about a SavedModel of TensorFlow: a folder, or the file `saved_model.pb` in it. */
export const convertSavedModel =
  'Convert its folder with tensorflowjs_converter --input_format=tf_saved_model, or with python -m tf2onnx.convert --saved-model, and read the result';

/**
 * The first bytes of files that are often given in place of a model, and what to do about them. Each character is a
 * byte.
 */
const beginnings: readonly (readonly [what: string, head: RegExp, hint: string])[] = [
  [
    'a safetensors file',
    /^.{4}\0{4}\{/s,
    'Read it with `readSafetensors`, or with `readModel`, which reads all formats',
  ],
  // `MetaGraphDef` in `SavedModel`, and `NodeDef` in `GraphDef`, where an ONNX model has texts and other fields.
  ['the saved_model.pb of a TensorFlow SavedModel', /^\x08\x01\x12[\x80-\xff]*[\0-\x7f]\x0a/, convertSavedModel],
  [
    'a frozen TensorFlow graph',
    /^\x0a[\x80-\xff]*[\0-\x7f]\x0a.[\w./^-]+\x12.[A-Z]\w+[\x1a\x22\x2a\x0a]/s,
    'Convert it with python -m tf2onnx.convert --graphdef, and read the result',
  ],
  [
    'an ONNX model',
    /^\x08[\x01-\x7f][\x12\x3a\x42]/,
    'Read it with `readOnnx`, or with `readModel`, which reads all formats',
  ],
  ['a zip archive, as PyTorch, Keras and NumPy (.npz) write them', /^PK\x03\x04/, saveWeights],
  ['an HDF5 file, as Keras writes them', /^\x89HDF\r\n/, saveWeights],
  ['a Python pickle, as PyTorch writes them', /^\x80[\x02-\x05]/, saveWeights],
  ['a NumPy array', /^\x93NUMPY/, saveWeights],
  ['a GGUF model', /^GGUF/, saveWeights],
  ['a TensorFlow Lite model', /^.{4}TFL3/s, 'Use the model that it was converted from'],
  ['an ONNX Runtime (.ort) model', /^.{4}ORTM/s, 'Use the .onnx file that it was converted from'],
  [
    'a Git LFS pointer, the text that stands for the file in a repository',
    /^version https:\/\/git-lfs/,
    'Download the file itself: with git lfs pull, or from the web page of the repository',
  ],
  [
    'HTML or XML, such as a web page or the error message of a server',
    /^(\xef\xbb\xbf)?\s*<[!?a-zA-Z]/,
    'Download the file itself, from the link that the web page has for it',
  ],
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
  if (jsonFailure !== undefined) return { found: jsonFailure, hint: 'Copy or download it again' };
  if (json !== undefined) {
    const keys = Array.isArray(json) ? 'a list' : `the keys ${Object.keys(json).slice(0, 8).join(', ') || 'none'}`;
    return {
      found: `JSON with ${keys}`,
      hint: 'A TensorFlow.js model.json has a weightsManifest, and a safetensors index has a weight_map. `readModel` reads both',
    };
  }
  const text = String.fromCharCode(...head);
  const known = beginnings.find(([, beginning]) => beginning.test(text));
  if (known) return { found: known[0], hint: known[2] };
  return /^[\s\x20-\x7e]+$/.test(text)
    ? { found: `text that begins with ${JSON.stringify(text.trim().slice(0, 40))}` }
    : {};
}
