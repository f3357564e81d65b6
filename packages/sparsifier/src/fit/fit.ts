import { readLike, type FileModel } from '../formats/file-model.js';
import { FileCompressor } from '../formats/sizes.js';
import { withClosed } from '../model/closing.js';
import { addSourceFiles, sourceFilesOf } from '../model/source-files.js';
import { Fitting } from './fitting.js';
import { fitReportOf } from './made-report.js';
import { meaningOf, notesOn } from './notes.js';
import { fitOptionsOf, type FitOptions } from './options.js';
import { prepare, type Prepared } from './prepare.js';
import type { FitPoint, FitReport } from './report.js';

/** A model that fits. */
export interface Fitted {
  /** A model of its own. */
  readonly model: FileModel;
  /** Everything that was sized or judged; also in the report. */
  readonly curve: readonly FitPoint[];
  readonly report: FitReport;
}

/**
 * Finds the best model that is no larger than a target, or the smallest that is hardly worse: forms of the weights and shares
 * of zeros in each layer are tried, with repairs, on a copy. The given model is not changed. The files of the result are never
 * above the target. The same model, options and data give the same bytes.
 * @param model a model that was read from files
 * @throws SparsifyError `usage` for wrong options; `sparsity` if no setting meets the target, or if the best one that does is
 *   worse than `maxDrop` allows; `criteria` if `evaluate` returns no finite number, or statistics are those of another model;
 *   otherwise what `calibrate`, `Sparsifier` and `quantize` throw; what functions of the caller throw; the signal's reason if
 *   aborted
 */
export async function fit<Feeds = never>(model: FileModel, options: FitOptions<Feeds>): Promise<Fitted> {
  const request = fitOptionsOf(model, options);
  if (request.statistics) addSourceFiles(model, sourceFilesOf(request.statistics));
  const files = await model.toFiles();
  return withClosed(await readLike(model, files), (copy) =>
    withClosed(new FileCompressor(), async (compressor) =>
      withClosed(await prepare(copy, files, request, compressor), (prepared) => fitted(model, prepared)),
    ),
  );
}

/** @param model that was given; what is prepared is a copy */
async function fitted<Feeds>(model: FileModel, prepared: Prepared<Feeds>): Promise<Fitted> {
  const { target, encoding, maxDrop } = prepared.request;
  const fitting = new Fitting(prepared);
  const best = await (target === undefined ? fitting.toDrop(maxDrop!) : fitting.toTarget(target));
  const outcome = fitting.outcomeOf(best.outcome);
  const final = await fitting.final(best);
  const after = await fitting.sizesOf(best);
  const small = await readLike(model, best.files);
  try {
    const { dense, judge, skippedForms, work } = prepared;
    await work.end('check');
    const report = fitReportOf({
      ...{ target, encoding, maxDrop },
      sizes: { before: dense.sizes, after },
      chosen: best.setting,
      layers: best.layers,
      outcome: { ...outcome, by: judge.by, higherIsBetter: judge.higherIsBetter, meaning: meaningOf(prepared) },
      final,
      curve: fitting.curve,
      skippedForms,
      notes: notesOn(prepared, best, { outcome, final }),
      warnings: best.warnings,
    });
    return { model: small, curve: report.curve, report };
  } catch (error) {
    small.close();
    throw error;
  }
}
