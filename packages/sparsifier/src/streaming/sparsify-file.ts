import { attempt, SparsifyError } from '../errors.js';
import { formats, readShape, type ReadModelOptions } from '../formats/all.js';
import { formatOf } from '../formats/format.js';
import { openModel, type OpenModel } from '../formats/open-model.js';
import { trusted } from '../formats/reading.js';
import type { ModelSource } from '../formats/sources.js';
import type { Sparsity } from '../options/amounts.js';
import { aBoolean, asGiven, optionsOf, picked, without, type Shape } from '../options/check.js';
import {
  callShape,
  sparsifierShape,
  type CallOptions,
  type SparsifierOptions,
  type WeightsOf,
} from '../options/options.js';
import type { Report } from '../pruning/report.js';
import { stream, type Output } from './stream.js';

/** The options of a Sparsifier, of `sparsifyModel`, and of reading and writing a model. */
export interface SparsifyFileOptions
  extends Omit<SparsifierOptions, 'restorable' | 'initial' | 'previous'>, CallOptions, ReadModelOptions {
  /** How much to remove, as for `sparsifyModel`. Must be omitted if the granularity is a pattern. */
  readonly sparsity?: Sparsity | undefined;
  /**
   * Initial weights for criteria that compare with them. A model given by its path, URL or Blob is read layer by layer.
   */
  readonly initial?: WeightsOf | string | URL | Blob | undefined;
  /** Previous weights for the updating criteria, in the same forms as `initial`. */
  readonly previous?: WeightsOf | string | URL | Blob | undefined;
  /**
   * Overwrite existing files. The files that the model, `initial`, `previous` and `statistics` are read from are never
   * overwritten.
   */
  readonly force?: boolean | undefined;
}

/**
 * Prunes a model while it is copied from one file to another, with one layer in memory at a time. For models that are
 * larger than memory. The bits and the report are the same as when the model is read, pruned with `sparsifyModel` and
 * written. safetensors files, external data of ONNX models and weights of TensorFlow.js models are streamed. The ONNX
 * file itself, a model.json, and groups of TensorFlow.js weights that contain strings are held in memory. In the
 * context `local` a model is read once, in `global` usually twice. Besides held files, memory holds the largest layer
 * with its scratch memory (in an ONNX file, layers of four million weights are pruned together), and in the context
 * `global` up to 64 MiB of scores. A criterion that is a function is called each time its layer is scored. A call that
 * fails or is aborted leaves no files behind: files get their names when all are complete. Streams are aborted; those of
 * files that are already complete have been closed by then.
 * @param input a path or URL in Node; a URL, a Blob or bytes anywhere. The format is recognised by the content.
 * @param output in Node, the path of a file, or of a folder for models of several files, as for `write`. Anywhere, a
 *   stream, or a function that returns a stream for the name of each file.
 * @throws SparsifyError `criteria` if the criterion needs initial or previous weights that are not given; otherwise as
 *   `readModel`, `sparsifyModel` and `write` do
 */
export async function sparsifyFile(
  input: ModelSource,
  output: Output,
  given: SparsifyFileOptions = {},
): Promise<Report> {
  if (!attempt('the output', () => isOutput(output))) {
    throw new SparsifyError('usage', 'the output must be a path, a WritableStream, or a function that returns one', {
      given: typeof output,
    });
  }
  const opened: OpenModel[] = [];
  try {
    const options = optionsOf(given, fileShape);
    const { sparsity, roundTo, onProgress, force, ...rest } = options;
    if (rest.coupled) {
      throw new SparsifyError('usage', 'channels are coupled over the whole network, which is not in memory here', {
        given: '`coupled`',
        hint: 'Read the model with `readModel`, and make a Sparsifier of it',
      });
    }
    const reading: ReadModelOptions = picked(rest, (name) => name in readShape);
    const words = picked(rest, (name) => !(name in readShape)) as SparsifierOptions;
    const model = await openModel(input, (file) => formatOf(formats, file, reading), reading);
    opened.push(model);
    // Functions return the files of the model itself, not of another one.
    const own = picked(reading, (name) => typeof reading[name] !== 'function');
    const reopen =
      typeof output === 'string'
        ? (path: string) => openModel(path, (file) => formatOf(formats, file, own), { ...own, ...trusted })
        : undefined;
    const compared: Partial<Record<'initial' | 'previous', WeightsOf>> = {};
    for (const name of ['initial', 'previous'] as const) {
      const source = options[name];
      if (!attempt(`\`${name}\``, () => isFile(source))) continue;
      const other = await openModel(source as string | URL | Blob, (file) => formatOf(formats, file, {}), own);
      opened.push(other);
      compared[name] = other;
    }
    return await stream(
      model,
      output,
      { ...words, ...compared },
      { sparsity, roundTo, signal: options.signal, onProgress, force, reopen },
    );
  } catch (error) {
    // Even if nothing was written to the stream yet.
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

const isFile = (source: SparsifyFileOptions['initial']): boolean =>
  typeof source === 'string' || source instanceof URL || source instanceof Blob;

const fileShape: Shape<SparsifyFileOptions> = {
  ...without(sparsifierShape, 'restorable'),
  ...callShape,
  ...readShape,
  initial: asGiven,
  previous: asGiven,
  sparsity: asGiven,
  force: aBoolean,
};
