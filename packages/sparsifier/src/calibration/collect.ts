import { columnsOf } from '../engine/rows.js';
import type { Model, Skipped, WeightTensor } from '../model/model.js';
import { rowSizes } from '../model/channels.js';
import { sourceFilesOf } from '../model/source-files.js';
import type { Batches } from './batches.js';
import type { LayerStatistics } from './layer-statistics.js';
import { measure, type Measured } from './measure.js';
import type { MeasureOptions } from './options.js';
import type { Probe } from './probe.js';
import { digestOf, listed, Statistics } from './statistics.js';

/** The layers of a model whose inputs are measured. */
interface MeasurableLayers {
  /** The digest of the weights of each. */
  readonly digests: ReadonlyMap<WeightTensor, string | undefined>;
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  /** The files that the model was read from. */
  readonly sourceFiles: readonly string[];
}

/** The layers whose inputs a probe gives, with their weights as they are now. */
export async function measurableLayers(
  model: Pick<Model, 'tensors' | 'copy' | 'sourceFiles'>,
  probe: Probe<never>,
): Promise<MeasurableLayers> {
  const digests = new Map<WeightTensor, string | undefined>();
  const skipped: Pick<Skipped, 'name' | 'reason'>[] = [];
  for (const tensor of model.tensors) {
    const uses = probe.usesOf(tensor);
    if (typeof uses === 'string') skipped.push({ name: tensor.name, reason: uses });
    else if (uses.length === 0) skipped.push({ name: tensor.name, reason: 'the model does not use it' });
    else digests.set(tensor, await digestOf(await model.copy(tensor.values)));
  }
  return { digests, skipped, sourceFiles: sourceFilesOf(model) };
}

/** Statistics of layers of a model. */
export async function collect<Batch>(
  { digests, skipped, sourceFiles }: MeasurableLayers,
  probe: Probe<Batch>,
  batches: () => Batches<Batch>,
  options: MeasureOptions,
): Promise<Statistics> {
  const measured = await measure([...digests.keys()], batches, { pruned: probe }, options);
  const layers = new Map<string, LayerStatistics>();
  for (const [tensor, each] of measured) layers.set(tensor.name, statisticsOf(tensor, each, digests.get(tensor)));
  return new Statistics(layers, skipped, notesOn(layers, options), sourceFiles);
}

function statisticsOf(
  tensor: WeightTensor,
  { isDiagonal, seen, heldOut }: Measured,
  sha256: string | undefined,
): LayerStatistics {
  const sizes = rowSizes(tensor);
  const flat = ({ rows, pruned: { moment, mean }, norm }: Measured['seen']) => ({ rows, moment, mean, norm });
  return {
    groups: sizes.groups,
    columns: columnsOf(sizes),
    isDiagonal,
    ...flat(seen),
    heldOut: heldOut && flat(heldOut),
    sha256,
  };
}

function notesOn(layers: ReadonlyMap<string, LayerStatistics>, { holdOut }: MeasureOptions): string[] {
  const large = [...layers].flatMap(([name, { isDiagonal }]) => (isDiagonal ? [name] : []));
  const isHeldOut = [...layers.values()].some(({ heldOut }) => heldOut);
  return [
    ...(holdOut === 0 || isHeldOut || layers.size === 0
      ? []
      : ['no batch was held out: that takes more batches, or a larger `holdOut`']),
    ...(large.length === 0
      ? []
      : [`only the bias can be repaired where the moments exceed \`memory\`: ${listed(large)}`]),
  ];
}
