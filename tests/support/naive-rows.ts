// The outputs of a layer from the rows of its input, one number at a time, as the kernels of a repair define rows.

import type { Geometry, WeightTensor } from 'sparsifier';
import { layoutOf, rowsOf } from './internal.js';

type Rows = ReturnType<typeof rowsOf>;
type Layout = NonNullable<ReturnType<typeof layoutOf>>;

/** All combinations of indices below these sizes, the last one fastest. */
function* indices(...sizes: readonly number[]): Generator<number[]> {
  const [size, ...rest] = sizes;
  if (size === undefined) yield [];
  for (let index = 0; index < (size ?? 0); index++) for (const others of indices(...rest)) yield [index, ...others];
}

const dot = (some: readonly number[], others: readonly number[]): number =>
  some.reduce((sum, number, index) => sum + number * others[index]!, 0);

/** The position of the input under a place of the kernel; undefined if there is none. */
function under({ geometry, rows }: Rows, axis: number, position: number, place: number): number | undefined {
  const [stride, pad] = [geometry.strides[axis]!, geometry.pads[axis]!];
  const reach = place * geometry.dilations[axis]!;
  const at = geometry.transposed ? (position + pad - reach) / stride : position * stride + reach - pad;
  return Number.isInteger(at) && at >= 0 && at < rows.space[axis]! ? at : undefined;
}

/** A row of a group. */
function row(plan: Rows, numbers: ArrayLike<number>, group: number, sample: number, position: readonly number[]) {
  const { inputs, kernel } = plan.geometry;
  const { steps, length } = plan.rows;
  return [...indices(inputs, ...kernel)].map(([channel, ...places]) => {
    const at = places.map((place, axis) => under(plan, axis, position[axis]!, place));
    if (!at.every((each) => each !== undefined)) return 0;
    const offset = dot([sample, group * inputs + channel!, ...at], steps);
    if (offset >= length) throw new Error('the steps lead beyond the input');
    return numbers[offset]!;
  });
}

/** A row of the weights, for one output of a group. */
const filter = ({ sizes, steps }: Layout, weights: ArrayLike<number>, group: number, output: number) =>
  [...indices(...sizes.slice(2))].map((places) => weights[dot([group, output, ...places], steps)]!);

/** The output of a layer, `[samples, depth, height, width, channels]` as one list. */
export function naiveOutput(
  tensor: WeightTensor,
  geometry: Geometry,
  weights: ArrayLike<number>,
  { shape, data }: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
): number[] {
  const plan = rowsOf(tensor, geometry, shape);
  const layout = layoutOf(tensor)!;
  const { groups } = plan.geometry;
  const outputs = layout.sizes[1];
  const filters = [...indices(groups, outputs)].map(([group, output]) => filter(layout, weights, group!, output!));
  return [...indices(plan.rows.samples, ...plan.rows.positions)].flatMap(([sample, ...position]) =>
    [...indices(groups)].flatMap(([group]) => {
      const inputs = row(plan, data, group!, sample!, position);
      return filters.slice(group! * outputs, (group! + 1) * outputs).map((each) => dot(each, inputs));
    }),
  );
}

/** The numbers of an array with one of its axes behind the others; negative axes count from the end. */
export function withAxisLast(
  { shape, data }: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
  axis: number,
): number[] {
  const at = axis < 0 ? axis + shape.length : axis;
  const inner = shape.slice(at + 1).reduce((product, size) => product * size, 1);
  const size = shape[at]!;
  const outer = data.length / inner / size;
  return [...indices(outer, inner, size)].map(([o, i, s]) => data[(o! * size + s!) * inner + i!]!);
}

/** How far two lists of numbers are apart, relative to the largest; infinite if they have different lengths. */
export function distance(some: readonly number[], others: readonly number[]): number {
  if (some.length !== others.length) return Infinity;
  const largest = Math.max(...others.map(Math.abs), 1e-9);
  return Math.max(...some.map((number, index) => Math.abs(number - others[index]!)), 0) / largest;
}
