import { SparsifyError } from '../errors.js';
import { readOnnx } from '../formats/onnx/model.js';
import { isSafetensorsName, isTfjsName, openModel } from '../formats/open.js';
import type { LayerDescriptions } from '../formats/safetensors/layers.js';
import { readSafetensors } from '../formats/safetensors/model.js';
import { StreamedModel } from '../streaming/model.js';
import { readTfjs } from '../formats/tfjs/model.js';
import { parseLayers } from './parse.js';

/** What is said of files that are read. */
export interface ReadingOptions {
  readonly layer?: string[] | undefined;
  readonly keepScale?: boolean | undefined;
}

/** What reads each of these files by its name. */
export function readerOf(files: readonly string[], { layer, keepScale }: ReadingOptions) {
  if (layer && !files.some(isSafetensorsName)) {
    throw new SparsifyError('usage', '--layer is for safetensors files', {
      subject: files[0]!,
      hint: 'The graph of an ONNX model says what its tensors are; --exclude leaves layers out',
    });
  }
  if (keepScale && !files.some(isTfjsName)) {
    throw new SparsifyError('usage', '--keep-scale is for TensorFlow.js models', { subject: files[0]! });
  }
  const layers = layer ? parseLayers(layer) : {};
  const read = (file: string) => {
    if (isTfjsName(file)) return readTfjs(file, keepScale ? { keepScale } : {});
    return isSafetensorsName(file) ? readSafetensors(file, { layers }) : readOnnx(file);
  };
  return { read, layers };
}

/** A model to compare with: its layers are read one by one where they can be. */
export async function denseModel(file: string, layers: LayerDescriptions) {
  if (isTfjsName(file)) {
    const model = await readTfjs(file);
    return { model, close: async () => model.close() };
  }
  const open = await openModel(file, { layers });
  return { model: new StreamedModel(open), close: () => open.close() };
}

/** Fails where a name says that the output is of another format than the input. */
export function checkOutput(file: string, out: string): void {
  const formatOf = (name: string) =>
    isSafetensorsName(name) ? 'safetensors' : isTfjsName(name) ? 'TensorFlow.js' : /\.onnx$/i.test(name) ? 'ONNX' : '';
  // A name that tells nothing may be a folder, or any file of ONNX.
  const formats = [formatOf(file) || 'ONNX', formatOf(out)];
  if (formats[1] === '' || formats[0] === formats[1]) return;
  throw new SparsifyError('usage', 'the output is of the same format as the input', {
    asked: out,
    found: file,
    hint: 'Models are not converted: choose a name of that format',
  });
}

export const print = (text: string): void => void process.stdout.write(`${text}\n`);
