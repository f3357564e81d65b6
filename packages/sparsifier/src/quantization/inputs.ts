import { digestOf, listed, measuredOf } from '../calibration/statistics.js';
import type { Model } from '../model/model.js';
import type { InputMoments, InputStatistics, LayerInputStatistics } from '../options/options.js';
import { checkKnown } from '../repair/layer.js';
import { knownFrom } from '../repair/repair.js';

/** What a layer's inputs are like: one number for each column of the inputs of all groups. */
export interface Inputs {
  readonly mean: Float64Array;
  /** The means of the squares. */
  readonly moment: Float64Array;
}

/**
 * Checks that statistics are those of a model, whose weights may have changed since they were measured.
 * @returns notes on what differs
 * @throws SparsifyError `criteria` if a layer has another shape, no layer has statistics, or they are not finite
 */
export async function checkInputs(
  statistics: InputStatistics,
  model: Pick<Model, 'tensors' | 'copy'>,
): Promise<string[]> {
  const { found, notes } = measuredOf(statistics, model.tensors);
  const changed: string[] = [];
  for (const { name, values } of found) {
    const layer = statistics.layers.get(name)!;
    await checkKnown(name, layer.groups, layer.columns, knownFrom(layer));
    const digest = layer.sha256 && (await digestOf(await model.copy(values)));
    if (digest !== undefined && digest !== layer.sha256) changed.push(name);
  }
  return [
    ...notes,
    ...(changed.length === 0
      ? []
      : [`the statistics were measured with other weights, such as those before pruning: ${listed(changed)}`]),
  ];
}

/** All rows of the inputs of a layer, those that are held out, too. */
export function inputsOf(layer: LayerInputStatistics): Inputs {
  const { columns, isDiagonal, heldOut } = layer;
  const seen: readonly InputMoments[] = heldOut && heldOut.rows > 0 ? [layer, heldOut] : [layer];
  const rows = seen.reduce((sum, each) => sum + each.rows, 0);
  /** The place of the square of a column among the moments. */
  const placeOf = (index: number) => (isDiagonal ? index : index * columns + (index % columns));
  const mean = (numberAt: (moments: InputMoments, index: number) => number) =>
    Float64Array.from(layer.mean, (_, index) =>
      seen.reduce((sum, each) => sum + (each.rows / rows) * numberAt(each, index), 0),
    );
  return {
    mean: mean((moments, index) => moments.mean[index]!),
    moment: mean(({ moment }, index) => moment[placeOf(index)]!),
  };
}

/** Means and moments have 32 bits, so the variance of an input that never changes may be this part of its moment. */
const noise = 2 ** -20;

/** How much the error of a weight counts: the square of its input, without its mean where a bias makes up for that. */
export const importanceOf = ({ mean, moment }: Inputs, hasBias: boolean): Float64Array =>
  hasBias
    ? moment.map((square, index) => {
        const variance = square - mean[index]! * mean[index]!;
        return variance > noise * square ? variance : 0;
      })
    : moment;
