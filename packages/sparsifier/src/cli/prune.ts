import { checkTargets } from '#host';
import yoctoSpinner from 'yocto-spinner';
import { readModel } from '../formats/read-model.js';
import { needsOf, type CriteriaName } from '../options/criteria.js';
import { sourceFilesOf } from '../pruning/snapshots.js';
import { sparsifyFile } from '../streaming/sparsify-file.js';
import { isPattern, type Granularity } from '../options/granularity.js';
import { SparsifyError } from '../errors.js';
import type { Progress, SparsifierOptions } from '../options/options.js';
import type { Report } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import { tableOf } from '../pruning/table.js';
import { sentenceOf } from '../pruning/warnings.js';
import type { InputOptions } from './inputs.js';
import { commandWords } from './phrasing.js';
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { parseLimit, parseRankings, parseSparsity, ruleOf } from './parse.js';
import { explanations } from './table.js';

/** The options of the command, without `--threads`. */
export interface PruneOptions
  extends
    ReadingOptions,
    InputOptions,
    Omit<
      SparsifierOptions,
      'granularity' | 'criteria' | 'minKeep' | 'maxSparsity' | 'initial' | 'include' | 'exclude' | 'rankTogether'
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

/** The command `prune`. @param engine is still loading */
export async function prune(
  file: string,
  { verify = false, input, inputs, ...options }: PruneOptions,
  engine: Promise<unknown>,
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
    const report = await pruned(file, options, engine);
    return report && tell(report, out, json);
  }
  const { compareFiles, inWords, unchanged } = await import('./compare.js');
  await engine;
  let report: Report | undefined;
  const { found, failure } = await compareFiles(
    file,
    async (model) => {
      report = await pruned(file, options, engine);
      const [main] = await model.outputs(out, unchanged(model));
      return main!.path;
    },
    readingOptions(options),
    { input, inputs },
  );
  tell(report!, out, json, { verify: found });
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
}

/** Writes the sparse model and returns what was done; or only explains it. */
async function pruned(file: string, options: PruneOptions, engine: Promise<unknown>): Promise<Report | undefined> {
  const { layer, json, sparsity, roundTo, out, dryRun, explain = dryRun, force, initial, ...rest } = options;
  const { minKeep, maxSparsity, include, exclude, rankTogether, loadMasks, saveMasks, keepScale, ...words } = rest;
  const asked = sparsity && parseSparsity(sparsity);
  // Whether the file exists can be checked at once. All input files are known only after the model is open.
  if (saveMasks !== undefined) await checkTargets([saveMasks], { force });
  const reading = readingOptions({ layer, keepScale });
  await engine;
  const rules: SparsifierOptions = {
    ...words,
    ...(include ? { include: include.map(ruleOf) } : {}),
    ...(exclude ? { exclude: exclude.map(ruleOf) } : {}),
    ...(rankTogether ? { rankTogether: parseRankings(rankTogether) } : {}),
    ...(minKeep ? { minKeep: parseLimit(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parseLimit(maxSparsity) } : {}),
  };
  const spinner = !json && process.stderr.isTTY ? yoctoSpinner({ text: 'reading' }).start() : undefined;
  const onProgress = ({ stage, done, total }: Progress) => {
    if (spinner) spinner.text = `${stage} ${Math.round((100 * done) / total)} %`;
  };
  try {
    if (!explain && out !== undefined && !loadMasks && !saveMasks) {
      return await sparsifyFile(file, out, {
        ...rules,
        ...reading,
        initial,
        sparsity: asked,
        roundTo,
        onProgress,
        force,
      });
    }
    // Masks and --explain need the whole model in memory.
    using model = await readModel(file, reading);
    using dense = initial === undefined ? undefined : await readModel(initial, reading);
    const options = dense ? { ...rules, initial: dense } : rules;
    const sparsifier = new Sparsifier(model, options);
    if (loadMasks) await sparsifier.loadMasks(loadMasks);
    if (explain || out === undefined) {
      const explained = await sparsifier.explain(asked, { roundTo, onProgress });
      spinner?.stop();
      print(json ? JSON.stringify(explained, null, 2) : explanations(explained));
      return undefined;
    }
    await checkTargets([...(await model.outputs(out)).map(({ path }) => path), ...(saveMasks ? [saveMasks] : [])], {
      force,
      sourceFiles: [...sourceFilesOf(model, options), ...(loadMasks ? [loadMasks] : [])],
    });
    const report =
      asked === undefined && loadMasks
        ? await sparsifier.apply({ onProgress })
        : await sparsifier.sparsifyModel(asked, { roundTo, onProgress });
    if (spinner) spinner.text = 'writing';
    await model.write(out, force ? { force } : {});
    if (saveMasks) await sparsifier.saveMasks(saveMasks, force ? { force } : {});
    return report;
  } finally {
    spinner?.stop();
  }
}

/** @param more what JSON has besides the report */
function tell(report: Report, out: string, json = false, more: object = {}): void {
  if (!json) return print(`${tableOf(report, { isCall: true, words: commandWords })}\n\nwritten: ${out}`);
  const warnings = report.warnings.map((warning) => ({ ...warning, message: sentenceOf(warning, commandWords) }));
  print(JSON.stringify({ ...report, warnings, out, ...more }, null, 2));
}
