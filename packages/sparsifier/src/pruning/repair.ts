import { SparsifyError } from '../errors.js';
import type { InputStatistics } from '../options/options.js';
import type { MaskedLayer, Repairing } from '../repair/layer.js';
import { settingsOf, type RepairOptions, type Settings } from '../repair/options.js';
import { repairByStatistics } from '../repair/repair.js';
import type { RepairedLayer, RepairReport } from '../repair/report.js';
import { unitsRemoved } from './bits.js';
import { repairReportOf } from './repair-report.js';
import { counted, listed } from './text.js';

/**
 * Checks all that can be checked before a call waits for others.
 * @throws SparsifyError `usage`; the signal's reason if it is aborted
 */
export function checkRepair<Feeds>(statistics: InputStatistics | undefined, options: RepairOptions<Feeds>): Settings {
  const settings = settingsOf(options);
  if (statistics) return settings;
  throw new SparsifyError('usage', 'a repair needs statistics of the inputs of the layers', {
    hint: 'Make the Sparsifier with `{ statistics }`, from `calibrate` or `readStatistics`',
  });
}

/** @param notes what is known about the statistics */
export async function repair<Feeds>(
  repairing: Repairing,
  layers: readonly MaskedLayer[],
  statistics: InputStatistics,
  notes: readonly string[],
  options: RepairOptions<Feeds>,
): Promise<RepairReport> {
  const outcome = await repairByStatistics(repairing, layers, statistics, options);
  return repairReportOf({
    ...outcome,
    notes: [...notes, ...notesOn(outcome.layers), ...(await notesOnChannels(layers))],
  });
}

/** Sentences about what the errors of layers mean. */
function notesOn(layers: readonly RepairedLayer[]): string[] {
  const namesOf = (some: readonly RepairedLayer[]) => listed(some.map(({ name }) => name));
  const few = layers.filter(({ rows, columns }) => rows < columns);
  const same = layers.filter(({ heldOutRows }) => heldOutRows === 0);
  const kept = layers.filter(({ isRepaired }) => !isRepaired);
  return [
    ...(few.length > 0
      ? [`${counted(few.length, 'layer')} had fewer rows than columns; more inputs would help: ${namesOf(few)}`]
      : []),
    ...(same.length > 0
      ? [
          `no rows are held out for ${counted(same.length, 'layer')}: their errors are those on the rows that the ` +
            `solutions are made from: ${namesOf(same)}`,
        ]
      : []),
    ...(kept.length > 0
      ? [`${counted(kept.length, 'layer')} kept the mask alone, with dense weights and bias: ${namesOf(kept)}`]
      : []),
  ];
}

/** A sentence about layers that have lost whole output channels. */
async function notesOnChannels(layers: readonly MaskedLayer[]): Promise<string[]> {
  const names: string[] = [];
  for (const { tensor, units, mask } of layers)
    if (units.isChannels && (await unitsRemoved(mask)) > 0) names.push(tensor.name);
  if (names.length === 0) return [];
  return [
    `${counted(names.length, 'layer')} lost whole output channels. The layers that read them are repaired as if they ` +
      `were still there, unless \`inputs: 'pruned'\` is set: ${listed(names)}`,
  ];
}
