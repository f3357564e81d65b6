import { writeFiles } from '#host';
import { readStatistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import { repeatReportOf } from '../fit/made-repeat-report.js';
import { readRecipe } from '../fit/recipe-files.js';
import { repeat as repeatRecipe } from '../fit/repeat.js';
import { readModel } from '../formats/read-model.js';
import { sourceFilesOf } from '../model/source-files.js';
import { sessionDataOf } from './calibration.js';
import type { FitCommandOptions } from './fit.js';
import { readBatches } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { pageFiles } from './page.js';
import { outMissing } from './parse.js';
import { allSaid, commandWords, type Say } from './phrasing.js';
import { print, writtenTo } from './print.js';
import { readingOptions } from './reading.js';
import { startSpinner } from './spinner.js';

/** What a recipe does not decide. */
const ofRecipes: readonly string[] = ['recipe', 'statistics', 'calibrate', 'layer', 'out', 'report', 'force', 'json'];

/**
 * The command `fit` with a recipe.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function repeat(
  file: string,
  options: FitCommandOptions & { readonly recipe: string },
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const {
    recipe: path,
    statistics: measured,
    calibrate,
    layer,
    out,
    report: page,
    force = false,
    json = false,
  } = options;
  const other = Object.keys(options).find((name) => !ofRecipes.includes(name));
  if (other !== undefined) {
    throw new SparsifyError('usage', `${commandWords.option(other)} is for a search, and --recipe repeats one`, {
      hint: 'Leave out one of them',
    });
  }
  if (out === undefined) throw outMissing('sparsifier fit model.onnx --recipe recipe.json -o small.onnx');
  const recipe = await readRecipe(path);
  const statistics = measured === undefined ? undefined : await readStatistics(measured);
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  await engine;
  const spinner = startSpinner(json);
  try {
    using model = await readModel(file, readingOptions({ layer }));
    const outputs = [...pathsOf(await model.outputs(out)), page];
    await checkOutputs(model, outputs, { force, read: [path, measured, calibrate] });
    spinner.show('repeating');
    const data = batches && (await sessionDataOf(model, file, batches));
    const { model: made, report } = await repeatRecipe(model, recipe, { statistics, data });
    using small = made;
    spinner.show('writing');
    const said = repeatReportOf({
      ...report,
      notes: allSaid(report.notes, say),
      warnings: allSaid(report.warnings, say),
    });
    const pages = await pageFiles(page, file, [[said]], { before: model, after: small });
    await writeFiles([...(await small.outputs(out)), ...pages], { force, sourceFiles: sourceFilesOf(small) });
    spinner.stop();
    print(json ? JSON.stringify({ ...said, out, page }, null, 2) : `${said.table()}\n\n${writtenTo(out, page)}`);
  } finally {
    spinner.stop();
  }
}
