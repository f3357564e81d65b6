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
import { print } from './print.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { parseLimit, parseRankings, parseSparsity, ruleOf } from './parse.js';
import { commandWords, explanations } from './table.js';

/** The options of the command, without `--threads`. */
export interface PruneOptions
  extends
    ReadingOptions,
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
}

/** The command `prune`. @param engine is still loading */
export async function prune(file: string, options: PruneOptions, engine: Promise<unknown>): Promise<void> {
  const { layer, json, sparsity, roundTo, out, dryRun, explain = dryRun, force, initial, ...rest } = options;
  const { minKeep, maxSparsity, include, exclude, rankTogether, loadMasks, saveMasks, keepScale, ...words } = rest;
  const asked = sparsity && parseSparsity(sparsity);
  const missing = [
    ...(asked === undefined && !isPattern(words.granularity) && !loadMasks ? ['-s, --sparsity <amount>'] : []),
    ...(out === undefined ? ['-o, --out <file>'] : []),
  ];
  if (missing.length > 0 && !explain) {
    throw new SparsifyError('usage', `${missing.join(' and ')} must be given`, {
      hint: '--explain needs neither: it only shows what would be pruned',
    });
  }
  if (needsOf(words.criteria) === 'initial' && initial === undefined) {
    throw new SparsifyError('usage', `the criterion ${words.criteria} compares the weights with initial ones`, {
      hint: 'Give the model before its training with --initial <model>',
    });
  }
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
      const report = await sparsifyFile(file, out, {
        ...rules,
        ...reading,
        initial,
        sparsity: asked,
        roundTo,
        onProgress,
        force,
      });
      spinner?.stop();
      return tell(report, out, json);
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
      return print(json ? JSON.stringify(explained, null, 2) : explanations(explained));
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
    spinner?.stop();
    tell(report, out, json);
  } finally {
    spinner?.stop();
  }
}

function tell(report: Report, out: string, json = false): void {
  if (!json) return print(`${tableOf(report, { isCall: true, words: commandWords })}\n\nwritten: ${out}`);
  const warnings = report.warnings.map((warning) => ({ ...warning, message: sentenceOf(warning, commandWords) }));
  print(JSON.stringify({ ...report, warnings, out }, null, 2));
}
