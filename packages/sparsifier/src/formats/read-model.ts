import { checkNames } from '../options/spelling.js';
import { formats, type ReadModelOptions } from './all.js';
import { readFileModel, type FileModel } from './file-model.js';
import { formatOf } from './format.js';
import type { ModelSource } from './sources.js';

/** Names of the options that formats take. */
const readOptionNames: readonly string[] = [...new Set(formats.flatMap(({ options }) => options))];

/**
 * Reads a model of any format: ONNX, safetensors or TensorFlow.js. What the file holds decides, not its name.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. A string in a page is a URL.
 * @throws SparsifyError `format` where the file is of none of the formats, `usage` for an option that its format does not
 *   take; else what the functions of the formats throw
 */
export async function readModel(source: ModelSource, options: ReadModelOptions = {}): Promise<FileModel> {
  checkNames(options, readOptionNames);
  return readFileModel(source, (file) => formatOf(formats, file, options), options);
}
