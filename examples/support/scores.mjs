// Criteria as functions, for what their names do not say: scores from other statistics than those of a repair, and weights of
// each output that are ranked by themselves.
import { Statistics } from 'sparsifier/calibration';

/** The scores of the criterion `fluctuation`, by the statistics that the Sparsifier has, or that a repair measures. */
export const fluctuation = ({ weights, deviations }) =>
  weights.map((weight, index) => Math.abs(weight) * deviations[index]);

/** The scores of the criterion of this name. @param statistics as `calibrate` measures them */
export const scoresOf = (criteria, statistics) => (layer) => {
  const { columns, groups, ...seen } = statistics.layers.get(layer.name);
  const factors = factorsOf[criteria](seen, columns);
  const rows = rowsIn(layer);
  const scores = new Float32Array(layer.weights.length);
  for (const [output, row] of rows.entries()) {
    const first = columns * Math.floor((output * groups) / rows.length);
    for (const [column, index] of row.entries())
      scores[index] = Math.abs(layer.weights[index]) * factors[first + column];
  }
  return scores;
};

/** What a weight is multiplied with, for each column of the inputs of each group. */
const factorsOf = {
  magnitude: ({ mean }) => mean.map(() => 1),
  wanda: ({ norm, mean }) => mean.map((_, index) => norm[Math.floor((index * norm.length) / mean.length)]),
  fluctuation: ({ moment, mean }, columns) =>
    mean.map((each, index) => Math.sqrt(Math.max(0, moment[index * columns + (index % columns)] - each ** 2))),
};

/** A criterion that ranks the weights of each output by themselves: scores are ranks. */
export const byRow = (scoresOf) => (layer) => {
  const scores = scoresOf(layer);
  const ranks = new Float32Array(scores.length);
  for (const row of rowsIn(layer)) {
    row.sort((a, b) => scores[a] - scores[b]);
    for (const [rank, index] of row.entries()) ranks[index] = rank;
  }
  return ranks;
};

/** For each output, where its weights are stored, in the order of a kernel's weights: in, depth, height, width. */
function rowsIn({ roles, shape }) {
  const placesOf = (role) => {
    const axis = roles.indexOf(role);
    const step = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
    return Array.from({ length: shape[axis] ?? 1 }, (_, place) => place * step);
  };
  const columns = ['in', 'depth', 'height', 'width']
    .map(placesOf)
    .reduce((outer, inner) => outer.flatMap((first) => inner.map((second) => first + second)));
  return placesOf('out').map((first) => columns.map((place) => first + place));
}

/**
 * Statistics whose means are 0. The centred moments of a repair are then the raw ones, and it leaves biases as they are.
 * @param statistics as `calibrate` measures them
 */
export function withoutMeans({ layers }) {
  const zeroed = (seen) => seen && { ...seen, mean: seen.mean.map(() => 0) };
  return new Statistics(
    new Map([...layers].map(([name, layer]) => [name, { ...zeroed(layer), heldOut: zeroed(layer.heldOut) }])),
  );
}
