import { writeFiles, type OutputFile } from '#host';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { readModel } from '../formats/read-model.js';
import { sizesOf, type Sizes } from '../formats/sizes.js';
import { sourceFilesOf } from '../model/source-files.js';
import type { Report } from '../pruning/report.js';
import { tableOf } from '../pruning/table.js';
import { sentenceOf } from '../pruning/warnings.js';
import { planTable, removalTable } from '../removal/made-report.js';
import { checked, copyOf, planRemoval, withoutChannels } from '../removal/remove.js';
import type { RemovalPlan, RemovalReport } from '../removal/report.js';
import { referenceOf, type Reference } from '../removal/verify.js';
import { checkChoosing, choose, type Choice, type ChoosingOptions } from './choosing.js';
import { parseShapes } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { outMissing } from './parse.js';
import { allSaid, commandWords, type Say } from './phrasing.js';
import { checkPage, pageFiles, type PageOption, type Reported } from './page.js';
import { print, writtenTo } from './print.js';
import { repairInFlags } from './repairing.js';
import { packageOf, sessionsOf } from './runtime.js';
import { startSpinner, type Spinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface RemoveChannelsCommandOptions extends ChoosingOptions, PageOption {
  readonly out?: string;
  readonly roundTo?: number;
  readonly input?: string[];
  readonly protect?: string[];
  readonly flushSubnormals?: boolean;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
  /** Whether each group is listed. */
  readonly layers?: boolean;
  /** Whether the files are compressed to know their sizes. */
  readonly sizes?: boolean;
  /** Undefined if models are run where that is possible. */
  readonly verify?: boolean;
}

/** What is told of a call. */
interface Told {
  readonly choice: Choice | undefined;
  readonly report: RemovalReport;
  readonly sizes: Sizes | undefined;
  /** Why the new model was not compared with the input. */
  readonly notVerified: string | undefined;
}

/** What is told of a dry run. */
interface Planned {
  readonly plan: RemovalPlan;
  readonly choice: Choice | undefined;
}

/**
 * The command `remove-channels`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function removeChannels(
  file: string,
  { out, input = [], protect = [], roundTo = usualRounding, ...options }: RemoveChannelsCommandOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const {
    dryRun = false,
    force,
    json = false,
    layers,
    sizes,
    flushSubnormals,
    verify,
    report: page,
    ...choosing
  } = options;
  checkPage(options, !dryRun);
  checkChoosing(choosing, dryRun);
  if (out === undefined && !dryRun) throw outMissing('sparsifier remove-channels pruned.onnx -o small.onnx');
  const inputShapes = parseShapes(input);
  await engine;
  const spinner = startSpinner(json);
  const said = <Shown extends { readonly notes: readonly string[] }>(shown: Shown): Shown => ({
    ...shown,
    notes: allSaid(shown.notes, say),
  });
  const done = await work().finally(spinner.stop);
  const { choice } = done;
  const known = new Set('plan' in done ? done.plan.notes : done.report.notes);
  const tables = choice ? tablesOf(choice, known, layers, say) : [];
  const chosen = choice && {
    chosen: inData(choice),
    ...(choice.repair && { repair: repairInFlags(choice.repair, say) }),
  };
  if ('plan' in done) {
    const plan = said(done.plan);
    if (json) return print(JSON.stringify({ ...plan, ...chosen }, null, 2));
    return print([...tables, planTable(plan, { words: commandWords, layers })].join('\n\n'));
  }
  const { report, notVerified } = done;
  const compressed = done.sizes;
  if (json) {
    const told = {
      ...said(report),
      ...chosen,
      ...(compressed && { sizes: compressed }),
      notVerified,
      out,
      page,
    };
    return print(JSON.stringify(told, null, 2));
  }
  tables.push(removalTable(said(report), { words: commandWords, layers, sizes: compressed }));
  const last = [...(notVerified ? [`not verified: ${notVerified}`] : []), writtenTo(out!, page)];
  print([...tables, last.join('\n')].join('\n\n'));

  async function work(): Promise<Planned | Told> {
    const { onProgress } = spinner;
    using model = await readModel(file);
    const { sparsity, calibrate, statistics } = choosing;
    if (!dryRun) {
      const read = [calibrate, statistics];
      await checkOutputs(model, [...pathsOf(await model.outputs(out)), page], { force, read });
    }
    const following = { roundTo, inputShapes, protect };
    const choice = sparsity && (await choose(model, file, { ...choosing, sparsity }, following, spinner));
    const plan = await planRemoval(model, { ...following, onProgress });
    if (dryRun) return { plan, choice };
    const pages = async (report: RemovalReport, after: FileModel, now: Sizes | undefined): Promise<OutputFile[]> => {
      if (page === undefined) return [];
      // Choosing channels has changed the other one.
      using before = await readModel(file);
      const reports: Reported[] = [...(choice ? reportsIn(choice, say) : []), [said(report)]];
      const was = sizes ? await sizesOf(before, { onProgress }) : undefined;
      return await pageFiles(page, file, reports, { before, after, sizes: { before: was, after: now } });
    };
    const writing = { out: out!, force, sizes, layers, flushSubnormals, verify, pages };
    return { ...(await removed(file, model, plan, writing, spinner)), choice };
  }
}

/** How many channels stay in a group: a multiple of this. */
const usualRounding = 8;

/**
 * The tables about the channels that were chosen, and the repair. The groups are listed where what goes is.
 * @param known notes that are said there, too
 */
function tablesOf({ report, repair }: Choice, known: ReadonlySet<string>, layers = false, say: Say): string[] {
  const table = tableOf(
    {
      ...inData({ report, repair }),
      notes: allSaid(
        report.notes.filter((note) => !known.has(note)),
        say,
      ),
    },
    { isCall: true, words: commandWords, layers },
  );
  return [table, ...(repair ? [repairInFlags(repair, say).table()] : [])];
}

/** A report with sentences of the command line. The warning about the mask alone does not hold after a repair. */
function inData({ report, repair }: Choice): Report {
  const isRepaired = repair?.layers.some(({ isRepaired }) => isRepaired) === true;
  const warnings = report.warnings.filter(({ code }) => !isRepaired || code !== 'high-error');
  return {
    ...report,
    warnings: warnings.map((warning) => ({ ...warning, message: sentenceOf(warning, commandWords) })),
  };
}

/** What was done to the channels that were chosen. */
const reportsIn = (choice: Choice, say: Say): Reported[] => [
  [{ ...inData(choice), notes: allSaid(choice.report.notes, say) }],
  ...(choice.repair ? [[repairInFlags(choice.repair, say)] as const] : []),
];

/** Writes the model and returns what was done. */
async function removed(
  file: string,
  model: FileModel,
  plan: RemovalPlan,
  {
    out,
    verify,
    flushSubnormals,
    force = false,
    sizes: compress = false,
    layers,
    pages,
  }: Pick<RemoveChannelsCommandOptions, 'verify' | 'flushSubnormals' | 'force' | 'sizes' | 'layers'> & {
    readonly out: string;
    readonly pages: (report: RemovalReport, model: FileModel, sizes: Sizes | undefined) => Promise<OutputFile[]>;
  },
  spinner: Spinner,
): Promise<Omit<Told, 'choice'>> {
  const { onProgress } = spinner;
  if (verify !== false) spinner.show('running the model');
  const reference = verify === false ? 'it was not asked for' : await referenceIn(file, model, plan, verify);
  const isReference = typeof reference === 'object';
  const made = await withoutChannels(model, plan, flushSubnormals, { onProgress });
  const { model: small, report } = await checked(made, isReference ? reference : undefined, { onProgress });
  using written = small;
  const sizes = compress ? await report.sizes({ layers, onProgress }) : undefined;
  spinner.show('writing');
  const files = [...(await written.outputs(out)), ...(await pages(report, written, sizes))];
  await writeFiles(files, { force, sourceFiles: sourceFilesOf(written) });
  return { report, sizes, notVerified: isReference ? undefined : reference };
}

/**
 * What the model returns, or why it was not run.
 * @throws SparsifyError if it has to be run and cannot be
 */
async function referenceIn(
  file: string,
  model: FileModel,
  plan: RemovalPlan,
  isAsked: boolean | undefined,
): Promise<Reference | string> {
  const name = packageOf(model.format)!;
  const createSession = await sessionsOf(model.format, file);
  if (createSession === undefined) {
    const reason = `for that, run npm install ${name} in this folder`;
    if (!isAsked) return reason;
    throw new SparsifyError('usage', `--verify needs the package ${name}`, {
      hint: `Run npm install ${name} in this folder`,
    });
  }
  try {
    return await referenceOf(await copyOf(model), { createSession }, plan.followed);
  } catch (error) {
    // A model that needs special inputs is not run unless that is asked for.
    if (isAsked || !(error instanceof SparsifyError)) throw error;
    return error.message;
  }
}
