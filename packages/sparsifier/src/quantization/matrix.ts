import { inSlices, stepsAtATime } from '../host/slices.js';
import { isTransposed } from '../model/channels.js';
import { roles as canonicalOrder, type WeightTensor } from '../model/model.js';
import { productOf } from '../model/numbers.js';

/** Where the entries of a matrix of weights are: a row for each place on the axes that count output channels. */
export interface MatrixPlaces {
  /** The places on the axes `out` and `multiplier`, in stored order. */
  readonly rows: number;
  /** The places on the other axes, in canonical order. */
  readonly columns: number;
  /** Where each row begins in the stored tensor, and how far from there each column is. */
  readonly starts: readonly number[];
  readonly places: readonly number[];
  /**
   * The column of the layer's inputs that the first weight of each row is multiplied with, of those of all groups; the
   * others follow. A transposed convolution has the inputs of all groups in each row.
   */
  readonly firstInputs: readonly number[];
}

/** The weights of a layer as a matrix. */
export interface WeightMatrix extends MatrixPlaces {
  /** Row by row. So sums over a row do not depend on how the tensor is stored. */
  readonly weights: Float32Array<ArrayBuffer>;
}

/** @param stored the weights of the tensor in stored order */
export async function matrixOf(tensor: WeightTensor, stored: Float32Array): Promise<WeightMatrix> {
  const matrix = placesIn(tensor);
  const { columns, starts, places } = matrix;
  const weights = new Float32Array(stored.length);
  await eachRun(matrix, (row, from, to) => {
    const [start, first] = [starts[row]!, row * columns];
    for (let column = from; column < to; column++) weights[first + column] = stored[start + places[column]!]!;
  });
  return { ...matrix, weights };
}

export function placesIn(tensor: WeightTensor): MatrixPlaces {
  const { roles, shape, groups } = tensor;
  const axes = [...roles.keys()];
  const isChannel = (axis: number) => roles[axis] === 'out' || roles[axis] === 'multiplier';
  const byRole = (a: number, b: number) => canonicalOrder.indexOf(roles[a]!) - canonicalOrder.indexOf(roles[b]!);
  const starts = offsets(shape, axes.filter(isChannel));
  const places = offsets(shape, axes.filter((axis) => !isChannel(axis)).sort(byRole));
  const [rows, columns] = [starts.length, places.length];
  const out = roles.indexOf('out');
  const [outputs, step] = [shape[out]!, productOf(shape.slice(out + 1))];
  const groupOf = (start: number) => Math.floor((Math.floor(start / step) % outputs) / (outputs / groups));
  const firstInputs = starts.map((start) => (isTransposed(tensor) ? 0 : groupOf(start) * columns));
  return { rows, columns, starts, places, firstInputs };
}

/** The offsets of all places on some axes of a tensor. The last axis varies fastest. */
const offsets = (shape: readonly number[], axes: readonly number[]): number[] =>
  axes
    .map((axis) => {
      const step = productOf(shape.slice(axis + 1));
      return Array.from({ length: shape[axis]! }, (_, place) => place * step);
    })
    .reduce((outer, inner) => outer.flatMap((at) => inner.map((step) => at + step)), [0]);

/**
 * Visits all entries of a matrix in order, slice by slice: runs of columns of one row, which end where a block does.
 * @param block how many columns a block has; by default a row is one
 */
export async function eachRun(
  { rows, columns }: Pick<MatrixPlaces, 'rows' | 'columns'>,
  visit: (row: number, from: number, to: number, block: number) => void,
  block = columns,
): Promise<void> {
  const blocks = Math.ceil(columns / block);
  const visitAll = (begin: number, end: number) => {
    for (let at = begin; at < end;) {
      const row = Math.floor(at / columns);
      const from = at - row * columns;
      const index = Math.floor(from / block);
      const to = Math.min((index + 1) * block, columns, from + end - at);
      visit(row, from, to, row * blocks + index);
      at += to - from;
    }
  };
  await inSlices(rows * columns, visitAll, stepsAtATime);
}

/** One number for each entry of a matrix, copied to where the tensor has it. */
export async function inStoredOrder<Numbers extends Int8Array | Float32Array>(
  matrix: WeightMatrix,
  numbers: Numbers,
  target: Numbers,
): Promise<Numbers> {
  const { columns, starts, places } = matrix;
  await eachRun(matrix, (row, from, to) => {
    const [start, first] = [starts[row]!, row * columns];
    for (let column = from; column < to; column++) target[start + places[column]!] = numbers[first + column]!;
  });
  return target;
}
