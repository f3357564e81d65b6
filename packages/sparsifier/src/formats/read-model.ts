import { checkNames } from '../options/spelling.js';
import { formats, type ReadModelOptions } from './all.js';
import { readFileModel, type FileModel } from './file-model.js';
import { formatOf } from './format.js';
import { readOptionNames } from './reading.js';
import type { ModelSource } from './sources.js';

/** The names of all options. */
const names: readonly string[] = [...new Set([...formats.flatMap(({ options }) => options), ...readOptionNames])];

/**
 * Reads a model of any format: ONNX, safetensors or TensorFlow.js. The format is recognised by the content of the file,
 * not by its name.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL.
 * @throws SparsifyError `format` if the file has none of the formats, `usage` for an option that its format does not
 *   take; otherwise as `readOnnx`, `readSafetensors` and `readTfjs` do
 */
export async function readModel(source: ModelSource, options: ReadModelOptions = {}): Promise<FileModel> {
  checkNames(options, names);
  return readFileModel(source, (file) => formatOf(formats, file, options), options);
}
