import { inSlices } from '../host/slices.js';
import type { Model } from '../model/model.js';
import { firstNotFinite, widened } from '../model/numbers.js';
import { columnPlaces, layoutOf } from '../model/rows.js';
import type { InputStatistics } from '../options/options.js';
import { notFinite } from './call.js';
import { deviationsOf } from './fluctuation.js';
import type { CoupledLayer } from './groups.js';

/**
 * The scores of channels by the criterion `flap`: for each layer that reads a channel, the sum of `(w * sd)^2` over the
 * weights that it multiplies the channel with, `sd` being the standard deviation of the input at the place of the weight.
 * That is how much what the channel adds to the outputs varies, if inputs do not depend on each other (An et al. 2023,
 * equation 5, with a variance for each place of a kernel). Sums run in float64, over outputs in order, then over places.
 * @returns by channel; those that no layer with statistics reads have none
 */
export async function flapScores(
  model: Pick<Model, 'copy'>,
  layers: Iterable<CoupledLayer>,
  statistics: InputStatistics,
): Promise<Map<number, number>> {
  const scores = new Map<number, number>();
  for (const { tensor, reads } of layers) {
    const known = statistics.layers.get(tensor.name);
    const layout = layoutOf(tensor);
    if (reads.length === 0 || known === undefined || layout === undefined) continue;
    const weights = widened(await model.copy(tensor.values), tensor.values.dtype);
    const wrong = await firstNotFinite(weights);
    if (wrong !== undefined) throw notFinite(tensor, wrong);
    const deviations = deviationsOf(tensor, known);
    const [groups, outputs, inputs] = layout.sizes;
    const [group, output] = layout.steps;
    const places = columnPlaces(layout);
    const sums = new Float64Array(groups * inputs);
    const taps = places.length / inputs;
    await inSlices(
      groups * places.length,
      (from, to) => {
        for (let column = from; column < to; column++) {
          const first = Math.floor(column / places.length) * group + places[column % places.length]!;
          let squares = 0;
          for (let each = 0, at = first; each < outputs; each++, at += output) squares += weights[at]! ** 2;
          sums[Math.floor(column / taps)]! += squares * deviations[first]! ** 2;
        }
      },
      Math.ceil(columnsAtATime / outputs),
    );
    for (const [input, sum] of sums.entries()) {
      // A weight that is read twice counts once for each channel.
      for (const channel of new Set(reads.map((read) => read[input]!)))
        scores.set(channel, (scores.get(channel) ?? 0) + sum);
    }
  }
  return scores;
}

/** Whether a layer with statistics reads one of these channels. */
export function isReadWith(
  channels: readonly number[],
  layers: Iterable<CoupledLayer>,
  { layers: known }: InputStatistics,
): boolean {
  const wanted = new Set(channels);
  for (const { tensor, reads } of layers) {
    if (!known.has(tensor.name) || layoutOf(tensor) === undefined) continue;
    if (reads.some((read) => read.some((channel) => wanted.has(channel)))) return true;
  }
  return false;
}

/** How many weights are added up without a pause. */
const columnsAtATime = 1 << 20;
