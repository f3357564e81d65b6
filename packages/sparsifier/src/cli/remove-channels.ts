import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { readModel } from '../formats/read-model.js';
import type { Sizes } from '../formats/sizes.js';
import { planTable, removalTable } from '../removal/made-report.js';
import { checked, copyOf, planRemoval, withoutChannels } from '../removal/remove.js';
import type { RemovalPlan, RemovalReport } from '../removal/report.js';
import { referenceOf, type Reference } from '../removal/verify.js';
import { parseShapes } from './inputs.js';
import { checkOutputs, pathsOf } from './outputs.js';
import { outMissing } from './parse.js';
import { allSaid, commandWords, type Say } from './phrasing.js';
import { print, writtenTo } from './print.js';
import { sessionsOfOnnx } from './runtime.js';
import { startSpinner, type Spinner } from './spinner.js';

/** The options of the command, without `--threads`. */
export interface RemoveChannelsCommandOptions {
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
  readonly report: RemovalReport;
  readonly sizes: Sizes | undefined;
  /** Why the new model was not compared with the input. */
  readonly notVerified: string | undefined;
}

/**
 * The command `remove-channels`.
 * @param engine is still loading
 * @param say for the messages of the library
 */
export async function removeChannels(
  file: string,
  { out, input = [], protect, roundTo, ...options }: RemoveChannelsCommandOptions,
  engine: Promise<unknown>,
  say: Say,
): Promise<void> {
  const { dryRun = false, json = false, layers } = options;
  if (out === undefined && !dryRun) throw outMissing('sparsifier remove-channels pruned.onnx -o small.onnx');
  const inputShapes = parseShapes(input);
  await engine;
  const spinner = startSpinner(json);
  const done = await work().finally(spinner.stop);
  const said = <Shown extends { readonly notes: readonly string[] }>(shown: Shown): Shown => ({
    ...shown,
    notes: allSaid(shown.notes, say),
  });
  if ('report' in done) {
    const { report, sizes, notVerified } = done;
    const table = () => removalTable(said(report), { words: commandWords, layers, sizes });
    if (json) return print(JSON.stringify({ ...said(report), ...(sizes && { sizes }), notVerified, out }, null, 2));
    return print([table(), '', ...(notVerified ? [`not verified: ${notVerified}`] : []), writtenTo(out!)].join('\n'));
  }
  print(json ? JSON.stringify(said(done), null, 2) : planTable(said(done), { words: commandWords, layers }));

  async function work(): Promise<RemovalPlan | Told> {
    const { onProgress } = spinner;
    using model = await readModel(file);
    const { force } = options;
    if (!dryRun) await checkOutputs(model, pathsOf(await model.outputs(out)), { force, read: [] });
    const plan = await planRemoval(model, { inputShapes, protect, roundTo, onProgress });
    return dryRun ? plan : await removed(file, model, plan, { ...options, out: out! }, spinner);
  }
}

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
  }: RemoveChannelsCommandOptions & { out: string },
  spinner: Spinner,
): Promise<Told> {
  const { onProgress } = spinner;
  if (verify !== false) spinner.show('running the model');
  const reference = verify === false ? 'it was not asked for' : await referenceIn(file, model, plan, verify);
  const isReference = typeof reference === 'object';
  const made = await withoutChannels(model, plan, flushSubnormals, { onProgress });
  const { model: small, report } = await checked(made, isReference ? reference : undefined, { onProgress });
  using written = small;
  spinner.show('writing');
  await written.write(out, { force });
  const sizes = compress ? await report.sizes({ layers, onProgress }) : undefined;
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
  const createSession = sessionsOfOnnx(file);
  if (createSession === undefined) {
    const reason = 'for that, run npm install onnxruntime-node in this folder';
    if (!isAsked) return reason;
    throw new SparsifyError('usage', '--verify needs the package onnxruntime-node', {
      hint: 'Run npm install onnxruntime-node in this folder',
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
