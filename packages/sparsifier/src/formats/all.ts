import type { Shape } from '../options/check.js';
import type { Format } from './format.js';
import { onnx, type ReadOnnxOptions } from './onnx/format.js';
import { safetensors, type ReadSafetensorsOptions } from './safetensors/format.js';
import { tfjs, type ReadTfjsOptions } from './tfjs/format.js';

/** The options of all formats. */
export interface ReadModelOptions extends ReadOnnxOptions, ReadSafetensorsOptions, ReadTfjsOptions {}

/** All formats. A file is read by the first one that matches it. */
export const formats: readonly Format<ReadModelOptions>[] = [safetensors, tfjs, onnx];

/** Checks the options of all formats. */
export const readShape = Object.assign({}, ...formats.map(({ options }) => options)) as Shape<ReadModelOptions>;
