import { calibrate as measure } from '../calibration/onnx.js';
import { readStatistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import { needsOf, type CriteriaName, type Normalizer, type Reducer } from '../options/criteria.js';
import type { InputShapes } from '../options/coupled.js';
import { defaults } from '../options/defaults.js';
import type { SparsifierOptions } from '../options/options.js';
import type { Context } from '../options/rankings.js';
import type { Report } from '../pruning/report.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { RepairReport } from '../repair/report.js';
import { measuringOptions, sessionDataOf } from './calibration.js';
import { readBatches } from './inputs.js';
import { parseLimit, parseSparsity, rulesOf } from './parse.js';
import { checkRepairing, type RepairingOptions } from './repairing.js';
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
  const { include, exclude, minKeep, maxSparsity, ...words } = rest;
  const amounts = parseSparsity(sparsity);
  const batches = calibrate === undefined ? undefined : await readBatches(calibrate);
  const data = batches && (await sessionDataOf(model, file, batches));
  const given: SparsifierOptions = {
    ...{ granularity: 'filter', coupled },
    ...words,
    ...rulesOf({ include, exclude }),
    ...(minKeep ? { minKeep: parseLimit(minKeep) } : {}),
    ...(maxSparsity ? { maxSparsity: parseLimit(maxSparsity) } : {}),
  };
  // Measuring may take long, so what is wrong with other options is told before, with a criterion that needs nothing.
  if (data) await new Sparsifier(model, { ...given, criteria: defaults.criteria }).explain(amounts, { roundTo });
  const measuring = measuringOptions({ holdOut, memory });
  const read = measured === undefined ? undefined : await readStatistics(measured);
  const statistics = data ? await measure(model, { ...data, ...measuring, onProgress }) : read;
  const sparsifier = new Sparsifier(model, statistics ? { ...given, statistics } : given);
  const report = await sparsifier.sparsifyModel(amounts, { roundTo, onProgress });
  const running = repairInputs === 'pruned' ? { ...data, ...measuring } : {};
  const repair = method && (await sparsifier.repair({ method, addBias, inputs: repairInputs, ...running, onProgress }));
  const offered = statistics !== undefined && repair === undefined ? [offer] : [];
  return { report: { ...report, notes: [...report.notes, ...offered] }, repair };
}
