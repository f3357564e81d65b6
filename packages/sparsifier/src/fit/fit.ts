import { defaultHoldOut, defaultMemory } from '../calibration/options.js';
import { fileDigestOf, type Statistics } from '../calibration/statistics.js';
import { readLike, type FileModel } from '../formats/file-model.js';
import { FileCompressor } from '../formats/sizes.js';
import { withClosed } from '../model/closing.js';
import { addSourceFiles, sourceFilesOf } from '../model/source-files.js';
import { Fitting } from './fitting.js';
import { fitReportOf } from './made-report.js';
import { meaningOf, notesOn } from './notes.js';
import { fitOptionsOf, type FitOptions } from './options.js';
import type { Made } from './make.js';
import { prepare, type Prepared } from './prepare.js';
import { recipeFilesOf } from './recipe-files.js';
import { needsOf, schemaPath, version, type FitRecipe } from './recipe.js';
import type { FitPoint, FitReport } from './report.js';

/** A model that fits. */
export interface Fitted {
  /** A model of its own. */
  readonly model: FileModel;
  /** Everything that was sized or judged; also in the report. */
  readonly curve: readonly FitPoint[];
  /** What was done, as plain JSON, so that `repeat` can do it again; also in the report. */
  readonly recipe: FitRecipe;
  /** What was measured with `data`; undefined if nothing was. The recipe is for these. */
  readonly statistics: Statistics | undefined;
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
      recipe: await recipeFor(prepared, best),
      notes: notesOn(prepared, best, { outcome, final }),
      warnings: best.warnings,
    });
    const { curve, recipe } = report;
    return { model: small, curve, recipe, statistics: prepared.measured, report };
  } catch (error) {
    small.close();
    throw error;
  }
}

/** What was done. */
async function recipeFor<Feeds>(
  { dense, statistics, measured, request: { data }, isSplit }: Prepared<Feeds>,
  { files, steps }: Made,
): Promise<FitRecipe> {
  const needs = needsOf(steps);
  const isRun = needs.data || (needs.statistics && measured !== undefined);
  const sha256 = needs.statistics ? await fileDigestOf(statistics!) : undefined;
  return {
    ...{ $schema: schemaPath, version: 1, sparsifier: version },
    model: await recipeFilesOf(dense.made.files),
    ...(needs.statistics && { statistics: { ...(sha256 && { sha256 }) } }),
    ...(isRun && {
      data: {
        isSplit,
        holdOut: data!.holdOut ?? defaultHoldOut,
        // JSON has no infinite numbers.
        memory: Math.min(data!.memory ?? defaultMemory, Number.MAX_SAFE_INTEGER),
      },
    }),
    ...steps,
    result: await recipeFilesOf(files),
  };
}
