import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { needsOf, type CriteriaName, type Normalizer, type Reducer } from '../options/criteria.js';
import type { InputShapes } from '../options/coupled.js';
import { defaults } from '../options/defaults.js';
import type { SparsifierOptions } from '../options/options.js';
import type { Context } from '../options/rankings.js';
import type { Report } from '../pruning/report.js';
import type { RepairReport } from '../repair/report.js';
import { sessionDataOf } from './calibration.js';
import { readBatches } from './inputs.js';
import { limitsOf, parseSparsity, rulesOf } from './parse.js';
import { checkRepairing, measuredSparsifier, repairAsAsked, type RepairingOptions } from './repairing.js';
import type { Spinner } from './spinner.js';

/** The options of the command line for choosing channels. */
export interface ChoosingOptions extends RepairingOptions {
  readonly sparsity?: string[];
  readonly context?: Context;
  readonly criteria?: CriteriaName;
  readonly reducer?: Reducer;
  readonly normalizer?: Normalizer;
  readonly seed?: number;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly minKeep?: string[];
  readonly maxSparsity?: string[];
}

/** What was chosen, and how what is left was repaired. */
export interface Choice {
  readonly report: Report;
  readonly repair: RepairReport | undefined;
}

const flags: Readonly<Record<keyof Omit<ChoosingOptions, 'sparsity'>, string>> = {
  context: '--context',
  criteria: '--criteria',
  reducer: '--reducer',
  normalizer: '--normalizer',
  seed: '--seed',
  include: '--include',
  exclude: '--exclude',
  minKeep: '--min-keep',
  maxSparsity: '--max-sparsity',
  calibrate: '--calibrate',
  statistics: '--statistics',
  holdOut: '--hold-out',
  memory: '--memory',
  repair: '--repair',
  repairInputs: '--repair-inputs',
  addBias: '--no-add-bias',
};

/** What else statistics can be used for. */
const offer =
  'the layers that read removed channels can make up for them: add --repair solve, or --repair bias for their means alone';

/** @throws SparsifyError `usage` for options that need others, or that contradict them */
export function checkChoosing(options: ChoosingOptions, isDryRun: boolean): void {
  const { sparsity, criteria = defaults.criteria, addBias = true } = options;
  const given = { ...options, addBias: addBias ? undefined : false };
  const [name] = Object.keys(flags).filter((each) => given[each as keyof ChoosingOptions] !== undefined);
  if (sparsity === undefined && name !== undefined) {
    throw new SparsifyError('usage', `${flags[name as keyof typeof flags]} is for choosing channels`, {
      hint: 'Add -s 50 to remove half of the channels of each group; without it, only channels that are dead already go',
    });
  }
  if (needsOf(criteria) === 'initial') {
    throw new SparsifyError('usage', `the criterion ${criteria} compares weights with initial ones`, {
      hint: 'Prune the model with sparsifier prune -g filter --coupled --initial <model>, and remove its channels then',
    });
  }
  checkRepairing(options, criteria, isDryRun);
}

/**
 * Makes channels of a model zero, group by group, and repairs the layers that read them.
 * @param file the path of the model
 * @param coupled how the network is followed
 */
export async function choose(
  model: FileModel,
  file: string,
  options: ChoosingOptions & { readonly sparsity: string[] },
  { roundTo, ...coupled }: { readonly roundTo: number; readonly inputShapes: InputShapes; readonly protect: string[] },
  { onProgress }: Spinner,
): Promise<Choice> {
  const {
    sparsity,
    calibrate,
    statistics: measured,
    holdOut,
    memory,
    repair: method,
    repairInputs,
    addBias,
    ...rest
  } = options;
  const repairing = { statistics: measured, holdOut, memory, repair: method, repairInputs, addBias };
  const { include, exclude, minKeep, maxSparsity, ...words } = rest;
  const amounts = parseSparsity(sparsity);
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  const data = batches && (await sessionDataOf(model, file, batches));
  const given: SparsifierOptions = {
    ...{ granularity: 'filter', coupled },
    ...words,
    ...rulesOf({ include, exclude }),
    ...limitsOf({ minKeep, maxSparsity }),
  };
  const call = { amounts, roundTo };
  const { sparsifier, statistics } = await measuredSparsifier(model, given, data, repairing, call, onProgress);
  const report = await sparsifier.sparsifyModel(amounts, { roundTo, onProgress });
  const repair = await repairAsAsked(sparsifier, repairing, data, onProgress);
  const offered = statistics !== undefined && repair === undefined ? [offer] : [];
  return { report: { ...report, notes: [...report.notes, ...offered] }, repair };
}
