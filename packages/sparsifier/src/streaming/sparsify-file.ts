import { SparsifyError } from '../errors.js';
import { formats, type ReadModelOptions } from '../formats/all.js';
import { formatOf } from '../formats/format.js';
import { openModel, type OpenModel } from '../formats/open-model.js';
import type { ModelSource } from '../formats/sources.js';
import type { Sparsity } from '../options/amounts.js';
import {
  callOptionNames,
  optionNames,
  type CallOptions,
  type SparsifierOptions,
  type WeightsOf,
} from '../options/options.js';
import { checkNames } from '../options/spelling.js';
import type { Report } from '../pruning/report.js';
import { stream, type Output } from './stream.js';

/** What a Sparsifier, a call of `sparsifyModel`, and the reading and writing of a model take. */
export interface SparsifyFileOptions
  extends Omit<SparsifierOptions, 'restorable' | 'initial' | 'previous'>, CallOptions, ReadModelOptions {
  /** How much goes, as `sparsifyModel` takes it; a granularity that is a pattern takes none. */
  readonly sparsity?: Sparsity | undefined;
  /** For criteria that compare with initial weights. A model that is given by its path, URL or Blob is read layer by layer. */
  readonly initial?: WeightsOf | string | URL | Blob | undefined;
  /** For the updating criteria, likewise. */
  readonly previous?: WeightsOf | string | URL | Blob | undefined;
  /** Replace files that exist. The files that this model, and those to compare with, are read from are never replaced. */
  readonly force?: boolean | undefined;
}

/**
 * Makes a model sparse on its way from one file to another, with one layer in memory at a time: the same bits, and the
 * same report, as reading it, `sparsifyModel` and writing it. For models that are larger than memory.
 *
 * safetensors, the external data of ONNX and the weights of TensorFlow.js are streamed; an ONNX file itself, a model.json
 * and the weights of TensorFlow.js that lie beside strings are read as a whole. The context `global` reads a model most
 * often twice, `local` once. Memory holds the largest layer with its scratch, or of an ONNX file that of layers of four
 * million weights together, and in the context `global` up to 64 MiB of scores. A function as criterion is called once each
 * time that its layer is scored.
 *
 * Nothing is left behind by a call that fails or is aborted: files are written beside their targets and renamed when all
 * are whole, streams are aborted. Of streams that a function gives, those of files that are whole are closed already.
 * @param input a path or URL in Node; a URL, a Blob or bytes anywhere. What it holds decides of which format it is.
 * @param output a path, in Node: a file, or for several files a folder, as `write` takes it. A stream; or a function that
 *   gives one by the name of each file.
 * @throws SparsifyError `criteria` for one that compares weights with those of before, unless these are given; else what
 *   `readModel`, `sparsifyModel` and `write` throw
 */
export async function sparsifyFile(
  input: ModelSource,
  output: Output,
  options: SparsifyFileOptions = {},
): Promise<Report> {
  if (!isOutput(output)) {
    throw new SparsifyError('usage', 'an output is a path, a WritableStream, or a function that gives one by name', {
      given: typeof output,
    });
  }
  const opened: OpenModel[] = [];
  try {
    checkNames(options, names);
    const { sparsity, roundTo, signal, onProgress, force, ...rest } = options;
    const reading: ReadModelOptions = picked(rest, (name) => readingNames.includes(name));
    const words = picked(rest, (name) => !readingNames.includes(name)) as SparsifierOptions;
    const model = await openModel(input, (file) => formatOf(formats, file, reading), reading);
    opened.push(model);
    const compared: Partial<Record<'initial' | 'previous', WeightsOf>> = {};
    for (const name of ['initial', 'previous'] as const) {
      const source = options[name];
      if (!isFile(source)) continue;
      // Files that a function gives are those of the model itself.
      const own = picked(reading, (name) => typeof reading[name as keyof ReadModelOptions] !== 'function');
      const other = await openModel(source, (file) => formatOf(formats, file, {}), own);
      opened.push(other);
      compared[name] = other;
    }
    return await stream(model, output, { ...words, ...compared }, { sparsity, roundTo, signal, onProgress, force });
  } catch (error) {
    // Also where the stream was not begun yet.
    if (typeof output === 'object' && !output.locked) await output.abort(error).catch(() => {});
    throw error;
  } finally {
    for (const each of opened) await each.close();
  }
}

const isOutput = (output: Output): boolean =>
  typeof output === 'object'
    ? output !== null && 'getWriter' in output
    : ['string', 'function'].includes(typeof output);

const isFile = (source: SparsifyFileOptions['initial']): source is string | URL | Blob =>
  typeof source === 'string' || source instanceof URL || source instanceof Blob;

const picked = (options: object, isWanted: (name: string) => boolean): object =>
  Object.fromEntries(Object.entries(options).filter(([name]) => isWanted(name)));

const readingNames: readonly string[] = formats.flatMap((format) => format.options);
const names: readonly string[] = [
  ...optionNames.filter((name) => name !== 'restorable'),
  ...callOptionNames,
  ...readingNames,
  ...['sparsity', 'force'],
];
