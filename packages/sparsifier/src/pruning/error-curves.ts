import { maskBytes, unitsOf, weightsOf } from '../engine/record.js';
import { SparsifyError } from '../errors.js';
import { areEqual, sumOf } from '../model/numbers.js';
import type { ErrorPoint } from '../options/budgets.js';
import type { Recipe } from '../options/criteria.js';
import { Listener } from '../options/listener.js';
import type { InputStatistics } from '../options/options.js';
import { errorAfterRepair, type Repairing } from '../repair/layer.js';
import { settingsOf, type Settings } from '../repair/options.js';
import { knownFrom } from '../repair/repair.js';
import { masksOf } from './call.js';
import type { Job, Plan } from './job.js';

/** The shares of a layer's units with which its error is measured, in percent. The limit of the layer is the last. */
const levels = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95];

/** A few steps tell which layers lose most. */
const solving = { ...settingsOf({}), checks: [5] };
const correctingBias = { ...solving, checks: [0] };

/** The error curves of a model. Those of its dense layers are measured once. */
export class ErrorCurves {
  /** Those of dense layers, and the layers and limits that they are for. */
  #known: { readonly of: string; readonly points: ErrorPoint[][] } | undefined;

  /**
   * The errors of the layers of a plan: see {@link errorCurvesOf}.
   * @param needs what the criterion compares weights with
   */
  async of(
    repairing: Omit<Repairing, 'settings'>,
    plan: Plan,
    statistics: InputStatistics,
    needs: Recipe['needs'],
  ): Promise<ErrorPoint[][]> {
    const measured = () => errorCurvesOf(repairing, plan.jobs, statistics, plan);
    if (!(await areDense(repairing, plan.jobs, needs))) return measured();
    const of = JSON.stringify(plan.jobs.map(({ tensor, limit }) => [tensor.name, limit]));
    if (this.#known?.of !== of) this.#known = { of, points: await measured() };
    return this.#known.points;
  }

  forget(): void {
    this.#known = undefined;
  }
}

/** Whether scores are those of the dense layers: nothing has been removed, and the criterion compares with nothing else. */
async function areDense(
  { model, dense }: Pick<Repairing, 'model' | 'dense'>,
  jobs: readonly Job[],
  needs: Recipe['needs'],
): Promise<boolean> {
  if (needs !== undefined && needs !== 'statistics' && needs !== 'activations') return false;
  for (const { tensor, earlier } of jobs) {
    if (earlier !== undefined) return false;
    if (!(await areEqual(await model.copy(tensor.values), await dense.bytes(tensor.values)))) return false;
  }
  return true;
}

/**
 * The errors of layers that lose more and more of their units, each by itself, after a repair. Nothing is changed. An error
 * is divided by that of the layer without any weight and with the best bias. So layers whose outputs hardly vary, and which a
 * bias nearly replaces, are not taken for layers that tolerate everything.
 * @param jobs as a call makes them; each with the most units that its layer may lose
 * @throws SparsifyError `criteria` for layers whose error is not known; what a call and a repair throw
 */
async function errorCurvesOf(
  { engine, model, dense }: Omit<Repairing, 'settings'>,
  jobs: readonly Job[],
  statistics: InputStatistics,
  { signal, listener }: Pick<Plan, 'signal' | 'listener'>,
): Promise<ErrorPoint[][]> {
  const weights = jobs.map(({ units }) => weightsOf(units.axes));
  const curves: ErrorPoint[][] = [];
  let done = 0;
  for (const [index, job] of jobs.entries()) {
    const { tensor, units, limit } = job;
    const known = statistics.layers.get(tensor.name);
    if (!known) throw notKnown(tensor.name, 'there are no statistics of it');
    const errorWith = async (mask: Uint8Array, settings: Settings) => {
      const repairing = { engine, model, dense, settings };
      const error = await errorAfterRepair(repairing, { tensor, units, mask }, knownFrom(known));
      if (typeof error === 'string') throw notKnown(tensor.name, error);
      return error;
    };
    const count = unitsOf(units.axes);
    const whole = await errorWith(new Uint8Array(maskBytes(count)), correctingBias);
    const curve: ErrorPoint[] = [];
    for (const removed of countsUpTo(limit, count)) {
      signal?.throwIfAborted();
      const [mask] = await masksOf(engine, {
        ...{ model, jobs: [{ ...job, group: 0, limit: removed }], removes: [removed] },
        ...{ roundTo: undefined, restorable: false, signal, listener: new Listener() },
      });
      curve.push({ removed, error: whole > 0 ? (await errorWith(mask!, solving)) / whole : 0 });
    }
    curves.push(curve);
    listener.tell({ stage: 'measure', done: (done += weights[index]!), total: sumOf(weights) });
  }
  return curves;
}

/** Ascending numbers of units: the levels, and the most that may be removed. */
function countsUpTo(limit: number, units: number): number[] {
  const counts = levels.map((level) => Math.round((units * level) / 100)).filter((count) => count < limit);
  return [...new Set([...counts, limit])].filter((count) => count > 0);
}

const notKnown = (subject: string, found: string): SparsifyError =>
  new SparsifyError('criteria', 'the budget error needs the error of each layer', {
    subject,
    found,
    hint: 'Measure statistics of it, or `exclude` it and prune it by itself',
  });
