import { readLike, storageOf, type FileModel } from '../formats/file-model.js';
import { filesOf } from '../formats/sizes.js';
import { checkModel } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import { aSignal, optionsOf } from '../options/check.js';
import { dequantizeReportOf } from './made-report.js';
import { bytesOfAll } from './quantize.js';
import type { DequantizeReport } from './report.js';

/** The options of {@link dequantize}. */
export interface DequantizeOptions {
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A model whose numbers are floats of 32 bits. */
export interface Dequantized {
  /** A model of its own. */
  readonly model: FileModel;
  readonly report: DequantizeReport;
}

/**
 * Makes a model whose weights and other numbers are floats of 32 bits, with the values that they have in the model. Nodes
 * that only decode them are gone. Biases that `quantize` changed stay as they are.
 * @param model a model that was read from files, quantised by `quantize` or another tool; it is not changed
 * @throws SparsifyError `usage` for models that were not read from files; `memory`
 */
export async function dequantize(model: FileModel, options: DequantizeOptions = {}): Promise<Dequantized> {
  checkModel(model);
  const { signal } = optionsOf(options, { signal: aSignal });
  signal?.throwIfAborted();
  const { storage, current } = storageOf(model);
  const { before, files, changed, skipped } = await inTurn(model, async () => ({
    before: (await filesOf(model)).bytes,
    ...(await storage.dequantized(current)),
  }));
  signal?.throwIfAborted();
  const report = dequantizeReportOf({ tensors: changed, skipped, bytes: { before, after: bytesOfAll(files) } });
  return { model: await readLike(model, files), report };
}
