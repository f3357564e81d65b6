import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { columnPlaces, layoutOf } from '../model/rows.js';
import type { LayerInputStatistics } from '../options/options.js';

/**
 * The standard deviation of the input that each weight is multiplied with, in stored order: the root of `moment - mean^2`
 * of its column. Computed with 64 bits and rounded once; a negative variance, which rounding can leave, counts as 0.
 * @throws SparsifyError `criteria` for statistics of another shape
 */
export function deviationsOf(
  tensor: WeightTensor,
  { moment, mean, isDiagonal }: Pick<LayerInputStatistics, 'moment' | 'mean' | 'isDiagonal'>,
): Float32Array<ArrayBuffer> {
  const layout = layoutOf(tensor);
  const [groups, outputs] = layout?.sizes ?? [0, 0];
  const places = layout ? columnPlaces(layout) : [];
  const columns = places.length;
  if (!layout || mean.length !== groups * columns || moment.length !== mean.length * (isDiagonal ? 1 : columns)) {
    throw new SparsifyError('criteria', 'the statistics are those of a layer of another shape', {
      subject: tensor.name,
      given: `${mean.length} means and ${moment.length} moments`,
      found: `[${tensor.shape.join(', ')}]`,
    });
  }
  const [group, output] = layout.steps;
  const deviations = new Float32Array(tensor.values.length);
  for (let index = 0; index < mean.length; index++) {
    const square = moment[isDiagonal ? index : index * columns + (index % columns)]!;
    const deviation = Math.sqrt(Math.max(0, square - mean[index]! ** 2));
    const first = Math.floor(index / columns) * group + places[index % columns]!;
    for (let each = 0; each < outputs; each++) deviations[first + each * output] = deviation;
  }
  return deviations;
}
