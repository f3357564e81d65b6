import type { Statistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import type { Sparsity } from '../options/amounts.js';
import type { Budget } from '../options/budgets.js';
import type { CriteriaName } from '../options/criteria.js';
import { defaults } from '../options/defaults.js';
import type { SparsifierOptions } from '../options/options.js';
import { repairReportOf } from '../pruning/repair-report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { RepairOptions } from '../repair/options.js';
import type { RepairReport } from '../repair/report.js';
import {
  checkMeasuring,
  checkSource,
  measuringOptions,
  statisticsOf,
  type SessionData,
  type StatisticsOptions,
} from './calibration.js';
import { needsStatistics } from './parse.js';
import { allSaid, type Say } from './phrasing.js';
import type { Spinner } from './spinner.js';

/** The options of `prune` for statistics of inputs, and for what is made of them. */
export interface RepairingOptions extends StatisticsOptions {
  readonly repair?: NonNullable<RepairOptions['method']>;
  readonly repairInputs?: NonNullable<RepairOptions['inputs']>;
  /** False with `--no-add-bias`. */
  readonly addBias?: boolean;
}

/** @throws SparsifyError `usage` for options that need others, or that contradict them */
export function checkRepairing(
  options: RepairingOptions & { readonly budget?: Budget },
  criteria: CriteriaName,
  isExplained = false,
): void {
  const { calibrate, statistics, repair, repairInputs, addBias = true, budget } = options;
  const fail = (summary: string, hint: string) => {
    throw new SparsifyError('usage', summary, { hint });
  };
  const isMeasured = calibrate !== undefined || statistics !== undefined;
  const howToMeasure = 'Give inputs with --calibrate <file>, or statistics with --statistics <file>';
  checkSource(options);
  if (needsStatistics(criteria) && !isMeasured)
    fail(`the criterion ${criteria} needs statistics of the inputs of layers`, howToMeasure);
  if (budget === 'error' && !isMeasured)
    fail('the budget error measures the layers by statistics of their inputs', howToMeasure);
  if (repair !== undefined && !isMeasured) fail('--repair needs statistics of the inputs of layers', howToMeasure);
  if (repair !== undefined && isExplained)
    fail('--repair cannot be combined with --explain or --dry-run', 'These only show what would be pruned');
  const without = repairInputs === undefined ? '--no-add-bias' : '--repair-inputs';
  if (repair === undefined && (repairInputs !== undefined || !addBias))
    fail(`${without} is for models that are repaired`, 'Add --repair solve');
  checkMeasuring(options);
  if (repairInputs === 'pruned' && calibrate === undefined)
    fail('--repair-inputs pruned measures inputs again and again', 'Give them with --calibrate <file>');
}

/** What the model is pruned with. */
interface Measured {
  readonly sparsifier: Sparsifier;
  readonly statistics: Statistics | undefined;
}

/**
 * A Sparsifier with the statistics that were asked for. Measuring may take long, so what is wrong with other options is told
 * before, with a criterion and a budget that need nothing.
 * @param data if they are measured
 * @param call the amounts and the rounding of the call that follows
 */
export async function measuredSparsifier(
  model: FileModel,
  options: SparsifierOptions,
  data: SessionData | undefined,
  { statistics: file, holdOut, memory }: RepairingOptions,
  { amounts, roundTo }: { readonly amounts: Sparsity | undefined; readonly roundTo: number | undefined },
  onProgress: Spinner['onProgress'],
): Promise<Measured> {
  if (data) {
    const { criteria } = defaults;
    const budget = options.budget === 'error' ? { budget: 'uniform' as const } : {};
    await new Sparsifier(model, { ...options, criteria, ...budget }).explain(amounts, { roundTo });
  }
  const statistics = await statisticsOf(model, data, { statistics: file, holdOut, memory }, onProgress);
  return { sparsifier: new Sparsifier(model, statistics ? { ...options, statistics } : options), statistics };
}

/** The repair that was asked for; undefined if none was. */
export async function repairAsAsked(
  sparsifier: Sparsifier,
  { repair: method, repairInputs: inputs, addBias, holdOut, memory }: RepairingOptions,
  data: SessionData | undefined,
  onProgress: Spinner['onProgress'],
): Promise<RepairReport | undefined> {
  if (method === undefined) return undefined;
  const running = inputs === 'pruned' ? { ...data, ...measuringOptions({ holdOut, memory }) } : {};
  return sparsifier.repair({ method, addBias, inputs, ...running, onProgress });
}

/** A report whose sentences are those of the command line. */
export const repairInFlags = (report: RepairReport, say: Say): RepairReport =>
  repairReportOf({
    bytes: report.bytes,
    sizes: (options) => report.sizes(options),
    layers: report.layers.map((layer) =>
      layer.reason === undefined ? layer : { ...layer, reason: say(layer.reason) },
    ),
    skipped: report.skipped.map(({ name, reason }) => ({ name, reason: say(reason) })),
    notes: allSaid(report.notes, say),
  });
