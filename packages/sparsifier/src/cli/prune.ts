import { checkTargets } from '#host';
import { calibrate as measure } from '../calibration/onnx.js';
import { readStatistics } from '../calibration/statistics.js';
import { readModel } from '../formats/read-model.js';
import { defaults } from '../options/defaults.js';
import { needsOf, type CriteriaName } from '../options/criteria.js';
import { sourceFilesOf } from '../pruning/snapshots.js';
import { sparsifyFile } from '../streaming/sparsify-file.js';
import { isPattern, type Granularity } from '../options/granularity.js';
import { SparsifyError } from '../errors.js';
import type { SparsifierOptions } from '../options/options.js';
import type { Report } from '../pruning/report.js';
import type { RepairReport } from '../repair/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { tableOf } from '../pruning/table.js';
import { sentenceOf } from '../pruning/warnings.js';
import { measuringOptions, sessionDataOf } from './calibration.js';
import { readBatches, type InputOptions } from './inputs.js';
import { allSaid, commandWords, type Say } from './phrasing.js';
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { parseLimit, parseRankings, parseSparsity, ruleOf } from './parse.js';
import { checkRepairing, repairInFlags, type RepairingOptions } from './repairing.js';
import { startSpinner } from './spinner.js';
import { explanations } from './table.js';

/** The options of the command, without `--threads`. */
export interface PruneOptions
  extends
    ReadingOptions,
    InputOptions,
    RepairingOptions,
    Omit<
      SparsifierOptions,
      | 'granularity'
      | 'criteria'
      | 'minKeep'
      | 'maxSparsity'
      | 'initial'
      | 'include'
      | 'exclude'
      | 'rankTogether'
      | 'statistics'
    > {
  readonly criteria: CriteriaName;
  readonly granularity: Granularity;
  readonly json?: boolean;
  readonly sparsity?: string[];
  readonly roundTo?: number;
  readonly out?: string;
  readonly explain?: boolean;
  /** Another name of `explain`. */
  readonly dryRun?: boolean;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly rankTogether?: string[];
  readonly force?: boolean;
  readonly minKeep?: string[];
  readonly maxSparsity?: string[];
  readonly initial?: string;
  readonly loadMasks?: string;
  readonly saveMasks?: string;
  readonly verify?: boolean;
}

/**
 * The command `prune`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function prune(
  file: string,
  { verify = false, input, inputs, ...options }: PruneOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const { json, out = '', dryRun, explain = dryRun } = options;
  const verifying = [...(verify ? ['--verify'] : []), ...(input ? ['--input'] : []), ...(inputs ? ['--inputs'] : [])];
  if (verifying.length > 0 && (explain || !verify)) {
    throw new SparsifyError('usage', `${verifying[0]} is for comparing the sparse model with the input`, {
      hint: explain ? '--explain writes no model' : 'Add --verify',
    });
  }
  checkGiven(options);
  if (!verify) {
    const done = await pruned(file, options, engine, say);
    return done && tell(done, out, json);
  }
  const { compareFiles, inWords, unchanged } = await import('./compare.js');
  await engine;
  let done: Pruned | undefined;
  const { found, failure } = await compareFiles(
    file,
    async (model) => {
      done = await pruned(file, options, engine, say);
      const [main] = await model.outputs(out, unchanged(model));
      return main!.path;
    },
    readingOptions(options),
    { input, inputs },
  );
  tell(done!, out, json, { verify: found });
  if (!json) print(`\ncompared: a is ${file}, b is ${out}\n${inWords(found).join('\n')}`);
  if (failure) throw failure;
}

/** @throws SparsifyError `usage` if an option is missing */
function checkGiven(options: PruneOptions): void {
  const { sparsity, granularity, criteria, loadMasks, out, dryRun, explain = dryRun, initial } = options;
  const missing = [
    ...(sparsity === undefined && !isPattern(granularity) && !loadMasks ? ['-s, --sparsity <amount>'] : []),
    ...(out === undefined ? ['-o, --out <file>'] : []),
  ];
  if (missing.length > 0 && !explain) {
    throw new SparsifyError('usage', `${missing.join(' and ')} must be given`, {
      hint: '--explain needs neither: it only shows what would be pruned',
    });
  }
  if (needsOf(criteria) === 'initial' && initial === undefined) {
    throw new SparsifyError('usage', `the criterion ${criteria} compares the weights with initial ones`, {
      hint: 'Give the model before its training with --initial <model>',
    });
  }
  checkRepairing(options, criteria, explain);
}

/** What was done. */
interface Pruned {
  readonly report: Report;
  readonly repair: RepairReport | undefined;
}

/** Writes the sparse model and returns what was done; or only explains it. */
async function pruned(
  file: string,
  options: PruneOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<Pruned | undefined> {
  const { layer, json, sparsity, roundTo, out, dryRun, explain = dryRun, force, initial, ...rest } = options;
  const { minKeep, maxSparsity, include, exclude, rankTogether, loadMasks, saveMasks, keepScale, ...others } = rest;
  const { calibrate, statistics: measured, holdOut, memory, repair: method, repairInputs, addBias, ...words } = others;
  const asked = sparsity && parseSparsity(sparsity);
  // Whether the file exists can be checked at once. All input files are known only after the model is open.
  if (saveMasks !== undefined) await checkTargets([saveMasks], { force });
  const reading = readingOptions({ layer, keepScale });
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  await engine;
  const rules: SparsifierOptions = {
    ...words,
    ...(include ? { include: include.map(ruleOf) } : {}),
    ...(exclude ? { exclude: exclude.map(ruleOf) } : {}),
    ...(rankTogether ? { rankTogether: parseRankings(rankTogether) } : {}),
    ...(minKeep ? { minKeep: parseLimit(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parseLimit(maxSparsity) } : {}),
  };
  const spinner = startSpinner(json);
  const { onProgress } = spinner;
  try {
    if (!explain && out !== undefined && !loadMasks && !saveMasks && !calibrate && !measured) {
      const options = { ...rules, ...reading, initial, sparsity: asked, roundTo, onProgress, force };
      return { report: await sparsifyFile(file, out, options), repair: undefined };
    }
    // Masks, --explain and what is made of statistics need the whole model in memory.
    using model = await readModel(file, reading);
    using dense = initial === undefined ? undefined : await readModel(initial, reading);
    const compared = dense ? { ...rules, initial: dense } : rules;
    if (!explain && out !== undefined) {
      const inputs = [loadMasks, calibrate, measured].filter((path) => path !== undefined);
      await checkTargets([...(await model.outputs(out)).map(({ path }) => path), ...(saveMasks ? [saveMasks] : [])], {
        force,
        sourceFiles: [...sourceFilesOf(model, compared), ...inputs],
      });
    }
    const data = batches && (await sessionDataOf(model, file, batches));
    // Measuring may take long, so what is wrong with other options is told before, with a criterion that needs nothing.
    if (data) await new Sparsifier(model, { ...compared, criteria: defaults.criteria }).explain(asked, { roundTo });
    const read = measured === undefined ? undefined : await readStatistics(measured);
    const statistics = data
      ? await measure(model, { ...data, ...measuringOptions({ holdOut, memory }), onProgress })
      : read;
    const sparsifier = new Sparsifier(model, statistics ? { ...compared, statistics } : compared);
    if (loadMasks) await sparsifier.loadMasks(loadMasks);
    if (explain || out === undefined) {
      const explained = await sparsifier.explain(asked, { roundTo, onProgress });
      spinner.stop();
      print(json ? JSON.stringify(explained, null, 2) : explanations(explained));
      return undefined;
    }
    const report =
      asked === undefined && loadMasks
        ? await sparsifier.apply({ onProgress })
        : await sparsifier.sparsifyModel(asked, { roundTo, onProgress });
    const repair =
      method &&
      (await sparsifier.repair({
        method,
        addBias,
        inputs: repairInputs,
        ...(repairInputs === 'pruned' ? { ...data, ...measuringOptions({ holdOut, memory }) } : {}),
        onProgress,
      }));
    spinner.show('writing');
    await model.write(out, force ? { force } : {});
    if (saveMasks) await sparsifier.saveMasks(saveMasks, force ? { force } : {});
    if (statistics === undefined) return { report, repair: undefined };
    if (repair) return { report: withoutHighError(report, repair), repair: repairInFlags(repair, say) };
    const notes = [...report.notes, ...allSaid(statistics.notes, say), offer];
    return { report: { ...report, notes }, repair };
  } finally {
    spinner.stop();
  }
}

/** The warning about much that was removed is about the mask alone. A repair makes up for that, unless it changes nothing. */
function withoutHighError(report: Report, { layers }: RepairReport): Report {
  const warnings = report.warnings.filter(({ code }) => code !== 'high-error');
  if (warnings.length === report.warnings.length || layers.every(({ isRepaired }) => !isRepaired)) return report;
  return { ...report, warnings, notes: [...report.notes, repaired] };
}

const repaired =
  'so much was removed that the model depends on the repair below: compare the errors before and after, and measure the accuracy';

/** What else statistics can be used for. */
const offer = 'the weights that are kept can make up for those that were removed: add --repair solve';

/** @param more what JSON has besides the reports */
function tell({ report, repair }: Pruned, out: string, json = false, more: object = {}): void {
  if (!json) {
    const tables = [tableOf(report, { isCall: true, words: commandWords }), ...(repair ? [repair.table()] : [])];
    return print([...tables, `written: ${out}`].join('\n\n'));
  }
  const warnings = report.warnings.map((warning) => ({ ...warning, message: sentenceOf(warning, commandWords) }));
  print(JSON.stringify({ ...report, warnings, ...(repair && { repair }), out, ...more }, null, 2));
}
