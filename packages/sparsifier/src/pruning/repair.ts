import type { Measured } from '../calibration/measure.js';
import type { SessionData } from '../calibration/onnx.js';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { filesOfAny, sizesIn } from '../formats/sizes.js';
import type { Model, WeightTensor } from '../model/model.js';
import { asked, askedFor } from '../model/turns.js';
import { Listener } from '../options/listener.js';
import type { InputStatistics } from '../options/options.js';
import type { MaskedLayer, Repairing } from '../repair/layer.js';
import { settingsOf, type RepairOptions, type Settings } from '../repair/options.js';
import { repairByStatistics } from '../repair/repair.js';
import type { RepairedLayer, RepairReport } from '../repair/report.js';
import { unitsRemoved } from './bits.js';
import { remove } from './call.js';
import { deviationsOf } from './fluctuation.js';
import type { Planner } from './plan.js';
import type { Other } from './job.js';
import { repairReportOf } from './repair-report.js';
import { customScores } from './snapshots.js';
import { counted, listed } from './text.js';

/**
 * Checks all that can be checked before a call waits for others.
 * @throws SparsifyError `usage`; the signal's reason if it is aborted
 */
export function checkRepair<Feeds>(
  model: Model,
  statistics: InputStatistics | undefined,
  options: RepairOptions<Feeds>,
): Settings {
  const settings = settingsOf(options);
  if (!statistics) {
    throw new SparsifyError('usage', 'a repair needs statistics of the inputs of the layers', {
      hint: 'Make the Sparsifier with `{ statistics }`, from `calibrate` or `readStatistics`',
    });
  }
  if (options.inputs === 'pruned' && (model as Partial<FileModel>).format !== 'ONNX') {
    throw new SparsifyError(
      'usage',
      "`inputs: 'pruned'` runs the model, which is possible for ONNX models from files",
      {
        hint: 'Read the model with `readModel` or `readOnnx`, or leave out `inputs`',
      },
    );
  }
  return settings;
}

/** Repairs layers for the inputs of the dense model. @param notes what is known about the statistics */
export async function repairForDense(
  repairing: Repairing,
  layers: readonly MaskedLayer[],
  statistics: InputStatistics,
  notes: readonly string[],
  options: Pick<RepairOptions, 'signal' | 'onProgress'>,
): Promise<RepairReport> {
  const { layers: repaired, skipped } = await repairByStatistics(repairing, layers, statistics, options);
  const all = [...notes, ...notesOn(repaired), ...(await notesOnChannels(layers))];
  return repairReportOf({ layers: repaired, skipped, notes: all, ...(await filesIn(repairing)) });
}

/**
 * Repairs layers for the inputs of the model as it is repaired so far. By the criterion `fluctuation`, and by criteria of
 * the caller's own, each of them gets a new mask by these inputs first.
 * @returns the masks of the layers that were repaired, too
 */
export async function repairForPruned<Feeds>(
  repairing: Repairing,
  layers: readonly MaskedLayer[],
  planner: Planner,
  notes: readonly string[],
  options: RepairOptions<Feeds>,
): Promise<{ readonly report: RepairReport; readonly masks: ReadonlyMap<WeightTensor, Uint8Array> }> {
  const { createSession, batches, holdOut, memory, signal, onProgress } = options;
  const walking = {
    ...repairing,
    model: repairing.model as FileModel,
    select: dependsOnInputs(planner) ? selection(repairing, planner, signal) : undefined,
  };
  // Apart, so that whoever prunes other models need not load what reads ONNX.
  const { repairAlong } = await import('../repair/walk.js');
  const { outcome, masks } = await repairAlong(walking, layers, {
    ...{ createSession: sessionsIn(walking.model, createSession!), batches: askedFor(walking.model, batches!) },
    ...{ holdOut, memory, signal, onProgress },
  });
  const { layers: repaired, skipped } = outcome;
  const all = [...notes, ...notesOn(repaired)];
  const report = repairReportOf({ layers: repaired, skipped, notes: all, ...(await filesIn(repairing)) });
  return { report, masks };
}

/** Sessions of the caller, which the repair of a model waits for. */
const sessionsIn =
  <Feeds>(model: Model, createSession: SessionData<Feeds>['createSession']): SessionData<Feeds>['createSession'] =>
  async (...words) => {
    const session = await asked(model, () => createSession(...words));
    if (typeof (session as Partial<typeof session> | undefined)?.run !== 'function') return session;
    const run = (...given: Parameters<typeof session.run>) => asked(model, () => session.run(...given));
    return { run, release: async () => session.release?.() };
  };

/** The bytes of the repaired model, and how to compress them. */
async function filesIn({ model }: Pick<Repairing, 'model'>): Promise<Pick<RepairReport, 'bytes' | 'sizes'>> {
  const files = await filesOfAny(model);
  return { bytes: files?.bytes, sizes: (options) => sizesIn(files, options) };
}

/** Whether scores of single layers depend on statistics, or may do so. Channels are chosen for all layers that have them. */
const dependsOnInputs = ({ recipe: { needs }, given: { coupled } }: Planner): boolean =>
  !coupled && (needs === 'statistics' || typeof needs === 'function');

/** Selects as many units of a layer as its mask removes, by the inputs that were measured. */
function selection(
  { engine, model }: Repairing,
  planner: Planner,
  signal: AbortSignal | undefined,
): (layer: MaskedLayer, measured: Measured) => Promise<Uint8Array> {
  return async ({ tensor, units, mask }, { seen, isDiagonal }) => {
    const removes = await unitsRemoved(mask);
    const { needs } = planner.recipe;
    const inputs = { ...seen.pruned, isDiagonal };
    const other =
      typeof needs === 'function'
        ? await customScores(tensor, needs, model, { least: -Infinity, seen: inputs })
        : otherFrom(deviationsOf(tensor, inputs));
    const ranking = { earlier: undefined, saved: undefined, other, group: 0, limit: removes };
    const [done] = await remove(engine, {
      model,
      jobs: [planner.job(tensor, units, ranking)],
      removes: units.pattern ? [] : [removes],
      ...{ roundTo: undefined, restorable: false, signal, listener: new Listener() },
    });
    return done!.mask;
  };
}

const otherFrom = (numbers: Float32Array<ArrayBuffer>): Other => ({
  dtype: 'float32',
  bytes: new Uint8Array(numbers.buffer),
  length: numbers.length,
  steps: [],
});

/** Sentences about what the errors of layers mean. */
function notesOn(layers: readonly RepairedLayer[]): string[] {
  const namesOf = (some: readonly RepairedLayer[]) => listed(some.map(({ name }) => name));
  const few = layers.filter(({ rows, columns }) => rows < columns);
  const same = layers.filter(({ heldOutRows }) => heldOutRows === 0);
  return [
    ...(few.length > 0
      ? [`${counted(few.length, 'layer')} had fewer rows than columns; more inputs would help: ${namesOf(few)}`]
      : []),
    ...(same.length > 0
      ? [
          `no rows are held out for ${counted(same.length, 'layer')}, so their errors are those on the rows that they ` +
            `were solved for, and too low; more batches, or a larger \`holdOut\`, hold some out: ${namesOf(same)}`,
        ]
      : []),
  ];
}

/** A sentence about layers that have lost whole output channels. */
async function notesOnChannels(layers: readonly MaskedLayer[]): Promise<string[]> {
  const names: string[] = [];
  for (const { tensor, units, mask, rows } of layers)
    if (units.isChannels && rows === undefined && (await unitsRemoved(mask)) > 0) names.push(tensor.name);
  if (names.length === 0) return [];
  return [
    `${counted(names.length, 'layer')} lost whole output channels: ${listed(names)}. The layers that read them were repaired ` +
      `as if these channels were still there; \`inputs: 'pruned'\` makes up for them, too`,
  ];
}
