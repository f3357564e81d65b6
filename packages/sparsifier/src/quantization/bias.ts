import { SparsifyError } from '../errors.js';
import type { Bias, Model, WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { columnPlaces, layoutOf } from '../model/rows.js';
import { eachRun } from './matrix.js';

/**
 * What the outputs of a layer lose on average, one number for each output channel in canonical order: the differences of
 * its weights times the means of its inputs, added up in 64 bits in canonical order.
 * @param before the weights in stored order, and what they are `after`
 * @param mean the means of the columns of the inputs, group by group
 */
export async function lostOutputs(
  tensor: WeightTensor,
  before: Float32Array,
  after: Float32Array,
  mean: Float64Array,
): Promise<Float64Array> {
  const layout = layoutOf(tensor)!;
  const [groups, outputs, ...inner] = layout.sizes;
  const [groupStep, outputStep] = layout.steps;
  const [rows, columns] = [groups * outputs, productOf(inner)];
  const places = columnPlaces(layout);
  const lost = new Float64Array(rows);
  await eachRun({ rows, columns }, (row, from, to) => {
    const group = Math.floor(row / outputs);
    const [start, input] = [group * groupStep + (row - group * outputs) * outputStep, group * columns];
    let sum = lost[row]!;
    for (let column = from; column < to; column++) {
      const place = start + places[column]!;
      sum += (before[place]! - after[place]!) * mean[input + column]!;
    }
    lost[row] = sum;
  });
  if (lost.every(Number.isFinite)) return lost;
  throw new SparsifyError('criteria', 'the inputs of the layer are too large to correct its bias', {
    subject: tensor.name,
    hint: 'Check the statistics, or `exclude` this layer',
  });
}

/** The bias of a layer, its own or one that it is given; or why it cannot have one. */
export async function biasOf(
  model: Model,
  tensor: WeightTensor,
): Promise<{ readonly bias: Bias; readonly origin: 'own' | 'added' } | string> {
  if (layoutOf(tensor) === undefined) return 'its weights are not a matrix for each group of inputs';
  if (tensor.bias) return { bias: tensor.bias, origin: 'own' };
  const added = await model.addBias!(tensor);
  return typeof added === 'string' ? added : { bias: added, origin: 'added' };
}
