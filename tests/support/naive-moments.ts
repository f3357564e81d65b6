// Moments, means and norms of the inputs of layers, number by number, from the attributes of a layer.

export interface NumberArray {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** How a convolution is written in a file. Defaults are those of ONNX. */
export interface Attributes {
  readonly groups?: number;
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  /** Those at the beginning of each axis, then those at the end. */
  readonly pads?: readonly number[];
  readonly isTransposed?: boolean;
}

/** All combinations of indices below these sizes, the last one fastest. */
function indices(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>(
    (all, size) => all.flatMap((each) => Array.from({ length: size }, (_, index) => [...each, index])),
    [[]],
  );
}

/** The number at these indices; 0 outside of the array. */
function at({ shape, data }: NumberArray, place: readonly number[]): number {
  if (!place.every((index, axis) => Number.isInteger(index) && index >= 0 && index < shape[axis]!)) return 0;
  return data[place.reduce((sum, index, axis) => sum * shape[axis]! + index, 0)]!;
}

/** The rows of each group, for an input of `[samples, channels, ...space]`. */
export function rowsOfConvolution(input: NumberArray, kernel: readonly number[], attributes: Attributes): number[][][] {
  const ones = kernel.map(() => 1);
  const { groups = 1, strides = ones, dilations = ones, isTransposed = false } = attributes;
  const { pads = [...kernel, ...kernel].fill(0) } = attributes;
  const [samples, channels, ...space] = input.shape as [number, number, ...number[]];
  const positions = space.map((size, axis) => {
    const reach = (kernel[axis]! - 1) * dilations[axis]! + 1;
    const pad = pads[axis]! + pads[kernel.length + axis]!;
    return isTransposed
      ? (size - 1) * strides[axis]! + reach - pad
      : Math.floor((size + pad - reach) / strides[axis]!) + 1;
  });
  const each = channels / groups;
  return Array.from({ length: groups }, (_, group) =>
    indices([samples, ...positions]).map(([sample, ...position]) =>
      indices([each, ...kernel]).map(([channel, ...place]) => {
        const under = place.map((tap, axis) =>
          isTransposed
            ? (position[axis]! + pads[axis]! - tap * dilations[axis]!) / strides[axis]!
            : position[axis]! * strides[axis]! + tap * dilations[axis]! - pads[axis]!,
        );
        return at(input, [sample!, group * each + channel!, ...under]);
      }),
    ),
  );
}

/** The rows of a product with an array, whose last axis counts channels. */
export const rowsOfProduct = ({ shape, data }: NumberArray): number[][][] => {
  const columns = shape.at(-1)!;
  return [
    Array.from({ length: data.length / columns }, (_, row) =>
      Array.from(data)
        .slice(row * columns)
        .slice(0, columns),
    ),
  ];
};

/** The mean of the products of all columns, of each group. */
export const momentOf = (groups: readonly (readonly (readonly number[])[])[]): number[] =>
  groups.flatMap((rows) =>
    rows[0]!.flatMap((_, i) =>
      rows[0]!.map((__, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0) / rows.length),
    ),
  );

export const meanOf = (groups: readonly (readonly (readonly number[])[])[]): number[] =>
  groups.flatMap((rows) => rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length));

/** The norms of the channels along an axis, of all inputs: sums of squares in the order of the numbers. */
export function normOf(inputs: readonly NumberArray[], axis: number): Float32Array {
  const sums: number[] = Array(inputs[0]!.shape.at(axis)!).fill(0);
  for (const { shape, data } of inputs) {
    const inner = shape
      .slice(axis < 0 ? shape.length + axis + 1 : axis + 1)
      .reduce((product, size) => product * size, 1);
    for (let index = 0; index < data.length; index++)
      sums[Math.floor(index / inner) % sums.length]! += data[index]! ** 2;
  }
  return Float32Array.from(sums, Math.sqrt);
}

/** How far numbers are from those that are expected, as a share of the largest of these. */
export function apart(numbers: ArrayLike<number>, expected: readonly number[]): number {
  if (numbers.length !== expected.length) return Infinity;
  const largest = expected.reduce((most, number) => Math.max(most, Math.abs(number)), 1e-30);
  return expected.reduce((most, number, index) => Math.max(most, Math.abs(numbers[index]! - number)), 0) / largest;
}
