import { checkTargets, writeFiles, type OutputFile } from '#host';
import { readModel } from '../formats/read-model.js';
import { filesOf, sizesOf, type Sizes } from '../formats/sizes.js';
import { needsOf, type CriteriaName } from '../options/criteria.js';
import { sparsifyFile } from '../streaming/sparsify-file.js';
import { isPattern, type Granularity } from '../options/granularity.js';
import { SparsifyError } from '../errors.js';
import type { SparsifierOptions } from '../options/options.js';
import type { Form } from '../model/forms.js';
import { sourceFilesOf } from '../model/source-files.js';
import { quantizeTable } from '../quantization/made-report.js';
import { planFor, quantize } from '../quantization/quantize.js';
import type { QuantizeReport } from '../quantization/report.js';
import type { Report } from '../pruning/report.js';
import type { RepairReport } from '../repair/report.js';
import type { Sparsifier } from '../pruning/sparsifier.js';
import { tableOf } from '../pruning/table.js';
import { sentenceOf, type Words } from '../pruning/warnings.js';
import { sessionDataOf, statisticsOf } from './calibration.js';
import { coupledOf, readBatches } from './inputs.js';
import { allSaid, commandWords, type Say } from './phrasing.js';
import { checkPage, pageFiles, type PageOption, type Reported } from './page.js';
import { print, writtenTo } from './print.js';
import { checkOutputs, given, pathsOf } from './outputs.js';
import { readingOptions, type ReadingOptions } from './reading.js';
import { limitsOf, parseRankings, parseSparsity, rulesOf } from './parse.js';
import {
  checkRepairing,
  measuredSparsifier,
  repairAsAsked,
  repairInFlags,
  type RepairingOptions,
} from './repairing.js';
import { quantizedInData, quantizedInFlags } from './quantizing.js';
import { startSpinner } from './spinner.js';
import { explanations } from './table.js';
import { checkVerifying, verified, type VerifyOptions } from './verifying.js';

/** The options of the command, without `--threads`. */
export interface PruneOptions
  extends
    ReadingOptions,
    VerifyOptions,
    RepairingOptions,
    PageOption,
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
      | 'coupled'
    > {
  readonly criteria: CriteriaName;
  readonly granularity: Granularity;
  readonly coupled?: boolean;
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
  /** True without the name of a form. */
  readonly quantize?: Form | true;
  /** Whether each layer is listed. */
  readonly layers?: boolean;
  /** Whether the files are compressed to know their sizes. */
  readonly sizes?: boolean;
}

/**
 * The command `prune`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function prune(
  file: string,
  { verify = false, input, inputs, ...given }: PruneOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const options = { ...given, coupled: coupledOf(given.coupled, input) };
  const { json, out = '', dryRun, explain = dryRun, layers = false, sizes = false, coupled } = options;
  if (explain && (layers || sizes)) {
    throw new SparsifyError('usage', `${layers ? '--layers' : '--sizes'} is for the report of what was pruned`, {
      hint: '--explain lists the layers, and writes no model',
    });
  }
  checkVerifying({ verify, input: coupled ? undefined : input, inputs }, !explain);
  checkPage(options, !explain);
  checkGiven(given);
  const work = () => pruned(file, { ...options, inputs }, engine, say);
  if (!verify) {
    const done = await work();
    return done && tell(done, out, options);
  }
  await engine;
  const reading = readingOptions(options);
  const { done, found, failure, text } = await verified(
    file,
    out,
    { reading, given: { input: coupled && inputs ? undefined : input, inputs }, force: options.force },
    work,
  );
  tell(done!, out, options, { verify: found });
  if (!json) print(text);
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
  if (options.quantize !== undefined && explain) {
    throw new SparsifyError('usage', '--quantize cannot be combined with --explain or --dry-run', {
      hint: 'These only show what would be pruned',
    });
  }
}

/** What was done. */
interface Pruned {
  readonly report: Report;
  readonly sizes: Sizes | undefined;
  readonly repair: RepairReport | undefined;
  readonly quantized?: QuantizeReport | undefined;
}

/** Writes the sparse model and returns what was done; or only explains it. */
async function pruned(
  file: string,
  { inputs, ...options }: Omit<PruneOptions, 'verify' | 'input' | 'coupled'> & Pick<SparsifierOptions, 'coupled'>,
  engine: Promise<unknown>,
  say: Say,
): Promise<Pruned | undefined> {
  const { layer, json, sparsity, roundTo, out, dryRun, explain = dryRun, force, initial, ...rest } = options;
  const { minKeep, maxSparsity, include, exclude, rankTogether, loadMasks, saveMasks, keepScale, ...others } = rest;
  const { calibrate, statistics: measured, holdOut, memory, repair: method, repairInputs, addBias, ...more } = others;
  const { quantize: form, layers, sizes: compress = false, report: page, ...words } = more;
  const asked = sparsity && parseSparsity(sparsity);
  // Whether the file exists can be checked at once. All input files are known only after the model is open.
  await checkTargets(given([saveMasks, page]), { force });
  const reading = readingOptions({ layer, keepScale });
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  await engine;
  const rules: SparsifierOptions = {
    ...words,
    ...rulesOf({ include, exclude }),
    ...(rankTogether ? { rankTogether: parseRankings(rankTogether) } : {}),
    ...limitsOf({ minKeep, maxSparsity }),
  };
  const spinner = startSpinner(json);
  const { onProgress } = spinner;
  try {
    if (
      !explain &&
      out !== undefined &&
      !loadMasks &&
      !saveMasks &&
      !calibrate &&
      !measured &&
      !form &&
      !page &&
      !rules.coupled
    ) {
      const options = { ...rules, ...reading, initial, sparsity: asked, roundTo, onProgress, force };
      const report = await sparsifyFile(file, out, options);
      return { report, sizes: compress ? await report.sizes({ layers, onProgress }) : undefined, repair: undefined };
    }
    // Masks, --explain, --quantize, --coupled, --report and what is made of statistics need the whole model in memory.
    using model = await readModel(file, reading);
    using original = page === undefined ? undefined : await readModel(file, reading);
    using dense = initial === undefined ? undefined : await readModel(initial, reading);
    const compared = dense ? { ...rules, initial: dense } : rules;
    if (!explain && out !== undefined) {
      await checkOutputs(model, [...pathsOf(await model.outputs(out)), saveMasks, page], {
        force,
        read: [...(dense?.sourceFiles ?? []), loadMasks, calibrate, measured, inputs],
      });
    }
    const data = batches && (await sessionDataOf(model, file, batches));
    const quantizing = form === undefined ? undefined : { weights: form === true ? undefined : form };
    if (quantizing) planFor(model, quantizing);
    const repairing = { statistics: measured, holdOut, memory, repair: method, repairInputs, addBias };
    const call = { amounts: asked, roundTo };
    const { sparsifier, statistics } = await measuredSparsifier(model, compared, data, repairing, call, onProgress);
    if (loadMasks) await sparsifier.loadMasks(loadMasks);
    if (explain || out === undefined) {
      const explained = await sparsifier.explain(asked, { roundTo, onProgress });
      spinner.stop();
      print(json ? JSON.stringify(explained, null, 2) : explanations(explained));
      return undefined;
    }
    const done =
      asked === undefined && loadMasks
        ? await sparsifier.apply({ onProgress })
        : await sparsifier.sparsifyModel(asked, { roundTo, onProgress });
    const repair = await repairAsAsked(sparsifier, repairing, data, onProgress);
    // Biases make up for what the inputs of the pruned model lose.
    const seen = quantizing && data ? await statisticsOf(model, data, { holdOut: 0, memory }, onProgress) : statistics;
    const stored = quantizing && (await quantize(model, { ...quantizing, statistics: seen, onProgress }));
    using small = stored?.model;
    const quantized = stored && quantizedInFlags(stored.report, say);
    // A repair may have added biases, and codes take fewer bytes.
    const now = await filesOf(small ?? model);
    const sizes = compress ? await now.sizes({ layers, onProgress }) : undefined;
    const notes = statistics && !repair ? [...allSaid(statistics.notes, say), offer] : [];
    const report = withRepair({ ...done, bytes: now.bytes, notes: [...done.notes, ...notes] }, repair);
    const told = { report, sizes, repair: repair && repairInFlags(repair, say), quantized };
    const before = original && compress ? await sizesOf(original, { onProgress }) : undefined;
    const shown = { before: original, after: small ?? model, sizes: { before, after: sizes } };
    spinner.show('writing');
    const files: OutputFile[] = [
      ...(await (small ?? model).outputs(out)),
      ...(await pageFiles(page, file, reportsIn(told), shown)),
    ];
    if (saveMasks !== undefined) {
      const chunks = await masksOf(sparsifier);
      files.push({ path: saveMasks, chunks: () => chunks });
    }
    // The model, its masks and its page belong together.
    await writeFiles(files, { force, sourceFiles: sourceFilesOf(small ?? model) });
    return told;
  } finally {
    spinner.stop();
  }
}

/** The bytes of a file with masks. */
async function masksOf(sparsifier: Sparsifier): Promise<readonly Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  await sparsifier.saveMasks(new WritableStream({ write: (chunk: Uint8Array) => void chunks.push(chunk) }));
  return chunks;
}

/** The warning about much that was removed is about the mask alone. A repair makes up for that, unless it changes nothing. */
function withRepair(report: Report, repair: RepairReport | undefined): Report {
  const warnings = report.warnings.filter(({ code }) => code !== 'high-error');
  const isRepaired = repair?.layers.some(({ isRepaired }) => isRepaired) === true;
  if (warnings.length === report.warnings.length || !isRepaired) return report;
  return { ...report, warnings, notes: [...report.notes, repaired] };
}

/** The reports of what was done, one after the other. */
const reportsIn = ({ report, repair, quantized }: Pruned): Reported[] => [
  [report],
  ...(repair ? [[repair] as const] : []),
  ...(quantized ? [[quantized, quantizeWords] as const] : []),
];

const repaired =
  'so much was removed that the model depends on the repair below: compare the errors before and after, and measure the accuracy';

/** What else statistics can be used for. */
const offer = 'the weights that are kept can make up for those that were removed: add --repair solve';

/** @param more what JSON has besides the reports */
function tell(
  { report, sizes, repair, quantized }: Pruned,
  out: string,
  { json, layers, report: page }: Pick<PruneOptions, 'json' | 'layers' | 'report'>,
  more: object = {},
): void {
  if (!json) {
    const table = tableOf(report, { isCall: true, words: commandWords, layers, sizes });
    const tables = [table, ...(repair ? [repair.table()] : [])];
    if (quantized) tables.push(quantizeTable(quantized, { words: quantizeWords, layers }));
    return print([...tables, writtenTo(out, page)].join('\n\n'));
  }
  const warnings = report.warnings.map((warning) => ({ ...warning, message: sentenceOf(warning, commandWords) }));
  print(
    JSON.stringify(
      {
        ...report,
        sizes,
        warnings,
        ...(repair && { repair }),
        ...(quantized && { quantized: quantizedInData(quantized, quantizeWords) }),
        out,
        page,
        ...more,
      },
      null,
      2,
    ),
  );
}

/** Here the form is the value of --quantize, and rules are those of pruning. */
const quantizeWords: Words = {
  ...commandWords,
  option: (name, value) => {
    if (name === 'weights') return `--quantize ${value}`;
    const option = commandWords.option(name, value);
    return name === 'layers' ? option : `sparsifier quantize ${option}`;
  },
};
