import { optionsOf } from '../options/check.js';
import { formats, readShape, type ReadModelOptions } from './all.js';
import { readFileModel, type FileModel } from './file-model.js';
import { formatOf } from './format.js';
import type { ModelSource } from './sources.js';

/**
 * Reads a model of any format: ONNX, safetensors or TensorFlow.js. The format is recognised by the content of the file,
 * not by its name.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL.
 * @throws SparsifyError `format` if the file has none of the formats, `usage` for an option that its format does not
 *   take; otherwise as `readOnnx`, `readSafetensors` and `readTfjs` do
 */
export async function readModel(source: ModelSource, options: ReadModelOptions = {}): Promise<FileModel> {
  const asked = optionsOf(options, readShape);
  return readFileModel(source, (file) => formatOf(formats, file, asked), asked);
}
