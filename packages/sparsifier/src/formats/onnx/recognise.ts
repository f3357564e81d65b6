/** How files that are not ONNX models begin: a name, and the text that stands at a position. */
const beginnings: readonly (readonly [name: string, position: number, text: string])[] = [
  ['a zip archive, as PyTorch and Keras write them', 0, 'PK\x03\x04'],
  ['an HDF5 file, as Keras writes them', 0, '\x89HDF\r\n'],
  ['a Python pickle, as PyTorch writes them', 0, '\x80\x02'],
  ['a GGUF model', 0, 'GGUF'],
  ['a TensorFlow Lite model', 4, 'TFL3'],
  ['an ONNX Runtime (.ort) model', 4, 'ORTM'],
  ['a safetensors file', 8, '{"'],
  ['a Git LFS pointer in place of the file', 0, 'version https://git-lfs'],
  ['JSON', 0, '{'],
  ['HTML or XML', 0, '<'],
  ['a gzip archive', 0, '\x1f\x8b'],
];

/** What a file that could not be read as an ONNX model is, where its first bytes tell. */
export function recognise(bytes: Uint8Array): string | undefined {
  const head = String.fromCharCode(...bytes.subarray(0, 64));
  return beginnings.find(([, position, text]) => head.startsWith(text, position))?.[0];
}
