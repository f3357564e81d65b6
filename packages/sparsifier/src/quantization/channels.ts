import type { WeightTensor } from '../model/model.js';
import { leastNormal } from '../model/numbers.js';
import { eachRun, placesIn } from './matrix.js';

/** What storing the weights of a layer in a form does to its output channels. */
interface ChannelLoss {
  readonly channels: number;
  /** How many have weights other than 0, which all are 0 afterwards. */
  readonly lostChannels: number;
  /** The expected relative error of the outputs, if the inputs are known. */
  readonly outputError?: number;
}

/**
 * Compares the output channels of a layer before and after its weights were stored in a form.
 * @param before the weights in stored order, and what they are `after`
 * @param importance how much the error of a weight counts, one number for each column of the inputs of all groups
 */
export async function channelLossOf(
  tensor: WeightTensor,
  before: Float32Array,
  after: Float32Array,
  importance: Float64Array | undefined,
): Promise<ChannelLoss> {
  const matrix = placesIn(tensor);
  const { rows, starts, places, firstInputs } = matrix;
  const [had, has] = [new Uint8Array(rows), new Uint8Array(rows)];
  let [difference, whole] = [0, 0];
  await eachRun(matrix, (row, from, to) => {
    const [start, input] = [starts[row]!, firstInputs[row]!];
    for (let column = from; column < to; column++) {
      const place = start + places[column]!;
      const [weight, value] = [before[place]!, after[place]!];
      if (Math.abs(weight) >= leastNormal) had[row] = 1;
      if (value !== 0) has[row] = 1;
      if (importance === undefined) continue;
      difference += importance[input + column]! * (weight - value) * (weight - value);
      whole += importance[input + column]! * weight * weight;
    }
  });
  const lostChannels = had.reduce((sum, each, row) => sum + Number(each === 1 && has[row] === 0), 0);
  if (importance === undefined) return { channels: rows, lostChannels };
  // Inputs that never change leave no error: the bias makes up for it.
  return { channels: rows, lostChannels, outputError: whole > 0 ? Math.sqrt(difference / whole) : 0 };
}
