import { unitsOf, weightsOf } from '../engine/record.js';
import type { SizedFiles } from '../formats/sizes.js';
import type { Model } from '../model/model.js';
import type { SparsifierOptions } from '../options/options.js';
import { findingsOf, type Facts } from './findings.js';
import type { Counts, Job, Removed } from './job.js';
import { reportOf } from './made-report.js';
import type { GroupReport, Report } from './report.js';
import { warningOf, type Warning } from './warnings.js';

/** What was asked of a call. */
export interface Asked extends Partial<Pick<Facts, 'requested' | 'ranked' | 'leftAlone' | 'roundTo'>> {
  readonly notes?: readonly string[];
  /** Where groups of channels were pruned in place of layers. */
  readonly groups?: readonly GroupReport[];
}

/** A call that changed layers. */
export interface FinishedCall<Count extends Counts> {
  readonly jobs: readonly Pick<Job, 'tensor' | 'units' | 'rows'>[];
  /** What it left in each of them. */
  readonly counts: readonly Count[];
  readonly engine: Report['engine'];
  readonly files: SizedFiles | undefined;
}

type ReportedModel = Pick<Model, 'tensors' | 'skipped' | 'weights'>;

/** The report of a call that removed units. @param asked what was asked of it; nothing where masks were known already */
export function removalReport(
  model: ReportedModel,
  options: SparsifierOptions,
  call: FinishedCall<Removed>,
  { requested = [], leftAlone = [], notes = [], groups, ...asked }: Asked = {},
): Report {
  const findings = findingsOf({
    ...asked,
    ...{ model, requested, leftAlone },
    layers: call.jobs.map((job, index) => ({ ...job, outcome: call.counts[index]! })),
    limits: (['minKeep', 'maxSparsity'] as const).filter((name) => options[name] !== undefined),
  });
  return callReport(model, call, { notes, warnings: findings.map(warningOf), groups });
}

/** The report of a call. */
export function callReport(
  model: ReportedModel,
  { jobs, counts, engine, files }: FinishedCall<Counts & Partial<Removed>>,
  {
    notes = [],
    warnings = [],
    groups,
  }: Pick<Asked, 'notes' | 'groups'> & { readonly warnings?: readonly Warning[] } = {},
): Report {
  const layers = jobs.map(({ tensor: { name, kind, shape }, units, rows }, index) => {
    const { axes } = (rows ?? { units }).units;
    const { zeros, removedUnits, removedWeights, squares } = counts[index]!;
    return {
      ...{ name, kind, shape, weights: weightsOf(axes), zeros, removedWeights, units: unitsOf(axes), removedUnits },
      ...(squares ? { squares } : {}),
    };
  });
  return reportOf({ layers, groups, model, files, engine, notes, warnings, isCall: true });
}
