import { SparsifyError } from '../errors.js';
import type { WeightTensor } from '../model/model.js';
import { layoutOf } from '../model/rows.js';
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
  const [groups, outputs, inputs, depth, height, width] = layout?.sizes ?? [0, 0, 0, 0, 0, 0];
  const columns = inputs * depth * height * width;
  if (!layout || mean.length !== groups * columns || moment.length !== mean.length * (isDiagonal ? 1 : columns)) {
    throw new SparsifyError('criteria', 'the statistics are those of a layer of another shape', {
      subject: tensor.name,
      given: `${mean.length} means and ${moment.length} moments`,
      found: `[${tensor.shape.join(', ')}]`,
    });
  }
  const [group, output, input, ...spatial] = layout.steps;
  const deviations = new Float32Array(tensor.values.length);
  for (let index = 0; index < mean.length; index++) {
    const square = moment[isDiagonal ? index : index * columns + (index % columns)]!;
    const deviation = Math.sqrt(Math.max(0, square - mean[index]! ** 2));
    const [column, place] = [index % columns, Math.floor(index / columns) * group];
    const [w, h, d] = [column, Math.floor(column / width), Math.floor(column / (width * height))];
    const first =
      place +
      Math.floor(column / (width * height * depth)) * input +
      (d % depth) * spatial[0]! +
      (h % height) * spatial[1]! +
      (w % width) * spatial[2]!;
    for (let each = 0; each < outputs; each++) deviations[first + each * output] = deviation;
  }
  return deviations;
}
