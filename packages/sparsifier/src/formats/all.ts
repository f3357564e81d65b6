import type { Shape } from '../options/check.js';
import type { Format, Signature } from './format.js';
import { signature as onnx, type ReadOnnxOptions } from './onnx/signature.js';
import { signature as safetensors, type ReadSafetensorsOptions } from './safetensors/signature.js';
import { signature as tfjs, type ReadTfjsOptions } from './tfjs/signature.js';

/** The options of all formats. */
export interface ReadModelOptions extends ReadOnnxOptions, ReadSafetensorsOptions, ReadTfjsOptions {}

/** All formats. A file is read by the first one that matches it. */
export const formats: readonly Format<ReadModelOptions>[] = [
  loaded(safetensors, async () => (await import('./safetensors/format.js')).safetensors),
  loaded(tfjs, async () => (await import('./tfjs/format.js')).tfjs),
  loaded(onnx, async () => (await import('./onnx/format.js')).onnx),
];

/** Checks the options of all formats. */
export const readShape = Object.assign({}, ...formats.map(({ options }) => options)) as Shape<ReadModelOptions>;

/** A format whose modules are loaded once a file has it. */
function loaded<Options>(signature: Signature<Options>, load: () => Promise<Format<Options>>): Format<Options> {
  return { ...signature, open: async (files, options) => (await load()).open(files, options) };
}
