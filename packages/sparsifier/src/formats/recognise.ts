/** How files of models begin, and of what is often found in their place; characters are bytes. */
const beginnings = {
  'a safetensors file': /^.{8}\{"/s,
  'an ONNX model': /^\x08[\x01-\x7f][\x12\x3a\x42]/,
  'a zip archive, as PyTorch, Keras and NumPy (.npz) write them': /^PK\x03\x04/,
  'an HDF5 file, as Keras writes them': /^\x89HDF\r\n/,
  'a Python pickle, as PyTorch writes them': /^\x80[\x02-\x05]/,
  'a NumPy array': /^\x93NUMPY/,
  'a GGUF model': /^GGUF/,
  'a TensorFlow Lite model': /^.{4}TFL3/s,
  'an ONNX Runtime (.ort) model': /^.{4}ORTM/s,
  'a Git LFS pointer in place of the file': /^version https:\/\/git-lfs/,
  JSON: /^\{/,
  'HTML or XML': /^</,
  'a gzip archive': /^\x1f\x8b/,
} as const;

/** What a file is, where its first 64 bytes tell. */
export function recognise(bytes: Uint8Array): keyof typeof beginnings | undefined {
  const head = String.fromCharCode(...bytes.subarray(0, 64));
  const names = Object.keys(beginnings) as (keyof typeof beginnings)[];
  return names.find((name) => beginnings[name].test(head));
}
