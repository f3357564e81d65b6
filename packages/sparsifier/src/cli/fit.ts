import { writeFiles } from '#host';
import { readStatistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import { fit as search } from '../fit/fit.js';
import { fitReportOf } from '../fit/made-report.js';
import type { FitMeans } from '../fit/options.js';
import type { FitReport } from '../fit/report.js';
import type { Encoding } from '../fit/target.js';
import { readModel } from '../formats/read-model.js';
import type { OutputFile } from '../host/host.js';
import type { Kind } from '../model/model.js';
import { sourceFilesOf } from '../model/source-files.js';
import { checkMeasuring, checkSource, measuringOptions, sessionDataOf, type StatisticsOptions } from './calibration.js';
import { readEvaluate } from './evaluating.js';
import { parseShapes, readBatches } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { outMissing, rulesOf } from './parse.js';
import { pageFiles, type PageOption } from './page.js';
import { allSaid, remainingInWords, type Say } from './phrasing.js';
import { print, writtenTo } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { startSpinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface FitCommandOptions extends Pick<ReadingOptions, 'layer'>, StatisticsOptions, PageOption {
  readonly to?: string;
  readonly encoding?: Encoding;
  readonly maxDrop?: number;
  readonly evaluate?: string;
  readonly allow?: FitMeans[];
  readonly input?: string[];
  readonly layerType?: Kind[] | 'all';
  readonly include?: string[];
  readonly exclude?: string[];
  readonly saveRecipe?: string;
  readonly saveStatistics?: string;
  /** In place of a search. */
  readonly recipe?: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

const example = 'sparsifier fit model.onnx --to 3MB --calibrate inputs.npz -o small.onnx';

/**
 * The command `fit`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function fit(file: string, options: FitCommandOptions, engine: Promise<unknown>, say: Say): Promise<void> {
  const {
    to,
    encoding,
    maxDrop,
    allow,
    input,
    layerType,
    include,
    exclude,
    layer,
    out,
    force = false,
    json = false,
  } = options;
  const { calibrate, statistics: measured, evaluate, saveRecipe, saveStatistics, report: page } = options;
  if (out === undefined) throw outMissing(example);
  if (to === undefined && maxDrop === undefined) {
    throw new SparsifyError('usage', '--to <size> or --max-drop <drop> must be given', { hint: `Such as: ${example}` });
  }
  checkSource(options);
  checkMeasuring(options);
  if (saveStatistics !== undefined && calibrate === undefined) {
    throw new SparsifyError('usage', '--save-statistics writes what --calibrate measures', {
      hint: 'Give --calibrate <file>, or leave it out',
    });
  }
  const judging = evaluate === undefined ? {} : await readEvaluate(evaluate);
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  const statistics = measured === undefined ? undefined : await readStatistics(measured);
  await engine;
  const spinner = startSpinner(json);
  try {
    using model = await readModel(file, readingOptions({ layer }));
    const outputs = [...pathsOf(await model.outputs(out)), saveRecipe, saveStatistics, page];
    await checkOutputs(model, outputs, { force, read: [calibrate, measured, evaluate] });
    const data = batches && { ...(await sessionDataOf(model, file, batches)), ...measuringOptions(options) };
    const {
      model: fitted,
      recipe,
      statistics: made,
      report,
    } = await search(model, {
      ...{ target: to, encoding, maxDrop, allow, statistics, data },
      inputShapes: input && parseShapes(input),
      ...judging,
      rules: { ...(layerType ? { layerType } : {}), ...rulesOf({ include, exclude }) },
      onProgress: ({ stage, done, total, remaining }) =>
        spinner.show(
          `${stage}, ${Math.round((100 * done) / total)} %${remaining === undefined ? '' : remainingInWords(remaining)}`,
        ),
    });
    using small = fitted;
    spinner.show('writing');
    const said = inFlags(report, say);
    const files: OutputFile[] = [
      ...(await small.outputs(out)),
      ...(await pageFiles(page, file, [[said]], { before: model, after: small })),
    ];
    const add = (path: string | undefined, bytes: Uint8Array) => path && files.push({ path, chunks: () => [bytes] });
    add(saveRecipe, new TextEncoder().encode(`${JSON.stringify(recipe, null, 2)}\n`));
    if (saveStatistics !== undefined) add(saveStatistics, await made!.bytes());
    // They belong together.
    await writeFiles(files, { force, sourceFiles: sourceFilesOf(small) });
    spinner.stop();
    const written = writtenTo(out, saveRecipe, saveStatistics, page);
    print(json ? JSON.stringify({ ...said, out, page }, null, 2) : `${said.table()}\n\n${written}`);
  } finally {
    spinner.stop();
  }
}

/** A report whose sentences are those of the command line. */
const inFlags = (report: FitReport, say: Say): FitReport =>
  fitReportOf({
    ...report,
    outcome: { ...report.outcome, meaning: say(report.outcome.meaning) },
    skippedForms: report.skippedForms.map(({ form, reason }) => ({ form, reason: say(reason) })),
    notes: allSaid(report.notes, say),
    warnings: allSaid(report.warnings, say),
  });
