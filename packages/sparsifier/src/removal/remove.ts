import { sessionModelOf, type SessionModel } from '../calibration/onnx.js';
import { attempt, SparsifyError } from '../errors.js';
import { changesOf, readLike, removalOf, type FileModel } from '../formats/file-model.js';
import { joinedFiles } from '../formats/joined.js';
import type { PlannedRemoval } from '../formats/removal.js';
import { bytesIn, sizesOf } from '../formats/sizes.js';
import { checkModel, typeOf } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import { Listener } from '../options/listener.js';
import { bytesOfAll } from '../quantization/quantize.js';
import { planOf, removalReportOf } from './made-report.js';
import {
  planOptionsOf,
  removeOptionsOf,
  type CheckedPlanOptions,
  type PlannedOptions,
  type PlanRemovalOptions,
  type RemoveChannelsOptions,
} from './options.js';
import type { RemovalPlan, RemovalReport } from './report.js';
import { referenceOf, verified, type Reference } from './verify.js';

/** A model without the channels that nothing needs. */
export interface WithoutChannels {
  /** A model of its own. */
  readonly model: FileModel;
  readonly report: RemovalReport;
}

type Listeners = CheckedPlanOptions['listeners'];

/**
 * Says which channels can go without a change of the outputs of a model: those that hold the same number for every input, or
 * that nothing uses. Operators that no rule follows keep all channels that they touch. The model is not changed.
 * @param model an ONNX or TensorFlow.js model that was read from files, usually one of which filters were pruned
 * @throws SparsifyError `usage` for wrong options, for models of other formats and those that were not read from files, and
 *   if the network can only be followed with `inputShapes`; `layer` if `protect` matches nothing; the signal's reason if it
 *   is aborted
 */
export async function planRemoval(model: FileModel, options: PlanRemovalOptions = {}): Promise<RemovalPlan> {
  checkModel(model);
  const { planned, listeners } = planOptionsOf(options);
  return inTurn(model, () => planNow(model, planned, listeners));
}

/** A plan of the model as it is now. */
async function planNow(model: FileModel, planned: PlannedOptions, listeners: Listeners): Promise<RemovalPlan> {
  const changes = changesOf(model);
  const made = await planWith(model, planned, listeners);
  const plan = planOf(made.facts, planned);
  known.set(plan, { model, made, changes });
  return plan;
}

/** How the plans that were made are carried out, so that this need not be found out again. */
const known = new WeakMap<
  RemovalPlan,
  { readonly model: FileModel; readonly made: PlannedRemoval; readonly changes: number }
>();

/**
 * Makes a model without channels that nothing needs. It computes what the model computes, but for the rounding of sums. What
 * such a channel holds is added to the biases of the layers that read it, or carried by a channel that stays.
 * @param model an ONNX or TensorFlow.js model that was read from files; it is not changed
 * @param plan what `planRemoval` returned; by default that without options. If weights changed since, make another one
 * @throws SparsifyError `usage` as {@link planRemoval} does, and if the plan is not that of the model as it is now; `format`
 *   if `verify` finds that the new model cannot be run, or computes something else; `memory`; what the session throws
 */
export async function removeChannels(
  model: FileModel,
  plan?: RemovalPlan,
  options: RemoveChannelsOptions = {},
): Promise<WithoutChannels> {
  checkModel(model);
  checkPlan(plan);
  const { verify, flushSubnormals, ...listeners } = removeOptionsOf(options);
  // Sessions are the caller's: they run on a copy, while other calls may change the model.
  const { small, copy } = await inTurn(model, async () => ({
    small: await withoutChannels(model, plan, flushSubnormals, listeners),
    copy: verify && (await copyOf(model)),
  }));
  const reference = verify && copy && (await referenceOf(copy, verify, small.followed));
  return checked(small, reference, listeners);
}

/** The files of a model as they are now. */
export const copyOf = async (model: FileModel): Promise<SessionModel> =>
  sessionModelOf(model.format, await joinedFiles(await model.outputs()));

/** A model without the channels of a plan that has not been run. */
interface NewModel {
  readonly model: FileModel;
  readonly followed: RemovalPlan['followed'];
  readonly contents: Omit<Parameters<typeof removalReportOf>[0], 'verification'>;
}

/** @param plan undefined for that with the default options */
export async function withoutChannels(
  model: FileModel,
  plan: RemovalPlan | undefined,
  flushSubnormals = false,
  listeners: Listeners = {},
): Promise<NewModel> {
  const { signal, onProgress } = listeners;
  const current = plan ?? (await planNow(model, planOptionsOf({}).planned, listeners));
  const { facts, rewritten } = await carriedOut(model, current, listeners);
  const { files, indexMap, changes } = await rewritten(flushSubnormals);
  signal?.throwIfAborted();
  const listener = new Listener(onProgress);
  listener.tell({ stage: 'write', done: 1, total: 1 });
  await listener.settle();
  const bytes = { before: bytesIn(await model.outputs()), after: bytesOfAll(files) };
  const small = await readLike(model, files);
  const sizes: RemovalReport['sizes'] = (options) => sizesOf(small, options);
  const contents = { ...facts, ...changes(), indexMap, bytes, sizes };
  return { model: small, followed: current.followed, contents };
}

/**
 * A new model with its report, once it returns what the old one does. Otherwise it is closed.
 * @param reference what the old one returns, if that is to be compared
 */
export async function checked(
  { model, contents }: NewModel,
  reference: Reference | undefined,
  { signal, onProgress }: Listeners,
): Promise<WithoutChannels> {
  try {
    const verification = reference && (await verified(await copyOf(model), reference));
    const listener = new Listener(onProgress);
    if (verification) listener.tell({ stage: 'verify', done: 1, total: 1 });
    await listener.settle();
    signal?.throwIfAborted();
    return { model, report: removalReportOf({ ...contents, verification }) };
  } catch (error) {
    model.close();
    throw error;
  }
}

/** @throws SparsifyError `usage` if other channels can go now than those of the plan */
async function carriedOut(model: FileModel, plan: RemovalPlan, listeners: Listeners): Promise<PlannedRemoval> {
  const before = known.get(plan);
  // Also for a closed model, which is an error.
  removalOf(model);
  if (before?.model === model && before.changes === changesOf(model)) return before.made;
  const made = await planWith(model, plan.options, listeners);
  const decided = ({ groups }: Pick<RemovalPlan, 'groups'>) =>
    JSON.stringify(groups.map(({ name, removed }) => [name, removed]));
  if (decided(made.facts) === decided(plan)) return made;
  throw new SparsifyError('usage', 'the plan is not that of the model as it is now', {
    hint: 'Make a new plan once all weights are as they should be',
  });
}

async function planWith(
  model: FileModel,
  { inputShapes, protect, roundTo }: PlannedOptions,
  { signal, onProgress }: Listeners,
): Promise<PlannedRemoval> {
  const { removal, current } = removalOf(model);
  const listener = new Listener(onProgress);
  const onLoaded = (done: number, total: number) => listener.tell({ stage: 'load', done, total });
  const made = await removal.plan({ inputShapes, protect, roundTo, signal, onLoaded }, current);
  await listener.settle();
  return made;
}

/** @throws SparsifyError `usage` for anything but a plan, such as its options */
function checkPlan(plan: unknown): void {
  if (plan === undefined) return;
  const isPlan = attempt('the plan', () => {
    const { groups, options } = (plan ?? {}) as Partial<RemovalPlan>;
    return Array.isArray(groups) && typeof options === 'object';
  });
  if (isPlan) return;
  throw new SparsifyError('usage', 'the second argument must be a plan', {
    found: typeOf(plan),
    hint: 'Make one with `await planRemoval(model, options)`, and give the options of `removeChannels` third',
  });
}
