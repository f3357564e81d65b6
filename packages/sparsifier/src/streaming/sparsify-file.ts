import * as host from '#host';
import { SparsifyError } from '../errors.js';
import type { GiveFile, ModelSource } from '../formats/sources.js';
import { isTfjs, openModel } from '../formats/open.js';
import type { LayerDescriptions } from '../formats/safetensors/layers.js';
import type { OpenModel } from './model.js';
import { readTfjs, type TfjsModel } from '../formats/tfjs/model.js';
import type { TargetOptions } from '../host/host.js';
import { callOptionNames, checkNames, optionNames, type CallOptions, type SparsifierOptions } from '../options/options.js';
import type { Report } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { Sparsity } from '../options/amounts.js';
import { sourceFilesOf } from '../pruning/snapshots.js';
import { stream, type Output } from './stream.js';

export type { GiveStream, Output } from './stream.js';

/** What a Sparsifier, a call of `sparsifyModel`, and the reading and writing of a model take. */
export interface SparsifyFileOptions extends Omit<SparsifierOptions, 'restorable'>, CallOptions {
  /** How much goes, as `sparsifyModel` takes it; a granularity that is a pattern takes none. */
  readonly sparsity?: Sparsity | undefined;
  /** For safetensors: what tensors are, where their names and shapes do not say so. */
  readonly layers?: LayerDescriptions | undefined;
  /** Gives a shard of safetensors or of a TensorFlow.js model by its name, in place of a file beside the index or model.json. */
  readonly shards?: GiveFile | undefined;
  /** For ONNX: gives an external data file by its location in the model, in place of a file beside the model. */
  readonly external?: GiveFile | undefined;
  /** For TensorFlow.js: leaves the scale of quantised weights as it is. */
  readonly keepScale?: boolean | undefined;
  /** Replace files that exist. The files that the model, or one to compare with, is read from are never replaced. */
  readonly force?: boolean | undefined;
}

/**
 * Makes a model sparse on its way from one file to another, with one layer in memory at a time: the same bits, and the
 * same report, as reading it, `sparsifyModel` and writing it. For models that are larger than memory.
 *
 * safetensors (one file, or an index with its shards) and the external data of ONNX pass by. The context `global`
 * reads a model most often twice, `local` once; an ONNX file itself and a TensorFlow.js model are read as a whole.
 * Memory holds the largest layer with its scratch, or of an ONNX file that of layers of four million weights together,
 * and in the context `global` up to 64 MiB of scores. A function as criterion is called once each time that its layer is
 * scored.
 *
 * Nothing is left behind by a call that fails or is aborted: files are written beside their targets and renamed when all
 * are whole, streams are aborted. Of streams that a function gives, those of files that are whole are closed already.
 * @param input a path or URL in Node; a URL, a Blob or bytes anywhere. A path or URL is a safetensors file by its name,
 *   others by their first bytes.
 * @param output a path, in Node: a file, or for several files a folder, as `write` takes it. A stream; or a function that
 *   gives one by the name of each file.
 * @throws SparsifyError `criteria` for one that compares weights with those of before, unless these are given; else what
 *   reading, `sparsifyModel` and writing throw
 */
export async function sparsifyFile(input: ModelSource, output: Output, options: SparsifyFileOptions): Promise<Report> {
  if (!isOutput(output)) {
    throw new SparsifyError('usage', 'an output is a path, a WritableStream, or a function that gives one by name', {
      asked: typeof output,
    });
  }
  const { sparsity, roundTo, signal, onProgress, layers, shards, external, keepScale, force, ...words } = options;
  let open: OpenModel | undefined;
  try {
    checkNames(options, names);
    if (await isTfjs(input)) {
      using model = await readTfjs(input, { ...(shards && { shards }), ...(keepScale && { keepScale }) });
      const targetOptions = { force, sourceFiles: sourceFilesOf(model, words) };
      if (typeof output === 'string') {
        await host.checkTargets(
          (await model.outputs(output)).map(({ path }) => path),
          targetOptions,
        );
      }
      const report = await new Sparsifier(model, words).sparsifyModel(sparsity, { roundTo, signal, onProgress });
      await put(model, output, targetOptions);
      return report;
    }
    open = await openModel(input, { layers, shards, external });
    return await stream(open, output, words, { sparsity, roundTo, signal, onProgress, force });
  } catch (error) {
    // Also where the stream was not begun yet.
    if (typeof output === 'object' && !output.locked) await output.abort(error).catch(() => {});
    throw error;
  } finally {
    await open?.close();
  }
}

/** Writes a model that is in memory to paths or streams. */
async function put(model: TfjsModel, output: Output, options: TargetOptions): Promise<void> {
  if (typeof output === 'string') return host.writeFiles(await model.outputs(output), options);
  if (typeof output !== 'function') {
    throw new SparsifyError('usage', 'a TensorFlow.js model has several files, which one stream cannot hold', {
      hint: 'Give a function that makes a stream for each name',
    });
  }
  const files = new Map([['model.json', await model.bytes()], ...(await model.files())]);
  for (const [name, bytes] of files) await host.writeStream(await output(name), [bytes]);
}

const isOutput = (output: Output): boolean =>
  typeof output === 'object'
    ? output !== null && 'getWriter' in output
    : ['string', 'function'].includes(typeof output);

const names: readonly string[] = [
  ...optionNames.filter((name) => name !== 'restorable'),
  ...callOptionNames,
  ...['sparsity', 'layers', 'shards', 'external', 'keepScale', 'force'],
];
