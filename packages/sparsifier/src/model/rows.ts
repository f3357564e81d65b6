import type { InputRows, LayerGeometry, Three, WeightLayout } from '../engine/rows.js';
import { SparsifyError } from '../errors.js';
import { inputChannels, isTransposed } from './channels.js';
import type { Geometry, Role, WeightTensor } from './model.js';
import { productOf } from './numbers.js';

const spatialRoles = ['depth', 'height', 'width'] as const;

const three = (numberAt: (place: number) => number): Three => [numberAt(0), numberAt(1), numberAt(2)];

/** An axis of an array: its size, and how far apart neighbours are, in numbers. */
interface Axis {
  readonly size: number;
  readonly step: number;
}

const noAxis: Axis = { size: 1, step: 0 };

/** Adjacent axes of an array as one. */
const axisOf = (shape: readonly number[], axes: readonly number[]): Axis =>
  axes.length === 0
    ? noAxis
    : { size: productOf(axes.map((axis) => shape[axis]!)), step: productOf(shape.slice(axes.at(-1)! + 1)) };

/** The axis of a weight with this role. */
const weightAxis = ({ roles, shape }: WeightTensor, role: Role): Axis =>
  axisOf(shape, roles.includes(role) ? [roles.indexOf(role)] : []);

/**
 * Where the weights of a layer are stored. Outputs are in canonical order, group by group.
 * @returns undefined if they are not one matrix per group that rows of the input are multiplied with: embeddings, stacks
 *   of matrices, and weights that several nodes read in different ways
 */
export function layoutOf(tensor: WeightTensor): WeightLayout | undefined {
  const { kind, roles, groups, onlyWeight } = tensor;
  if (kind === 'embedding' || onlyWeight !== undefined) return undefined;
  const [out, multiplier, input] = [
    weightAxis(tensor, 'out'),
    weightAxis(tensor, 'multiplier'),
    weightAxis(tensor, 'in'),
  ];
  const [depth, height, width] = [
    weightAxis(tensor, 'depth'),
    weightAxis(tensor, 'height'),
    weightAxis(tensor, 'width'),
  ];
  const layout = (group: number, output: Axis, inputs: number): WeightLayout => ({
    sizes: [groups, output.size, inputs, depth.size, height.size, width.size],
    steps: [group, output.step, input.step, depth.step, height.step, width.step],
  });
  if (isTransposed(tensor)) {
    const inputs = input.size / groups;
    return layout(inputs * input.step, out, inputs);
  }
  if (roles.includes('multiplier')) {
    // Each channel of a depthwise kernel is a group. In a stack of matrices, `out` counts them.
    return out.size === groups ? layout(out.step, multiplier, input.size) : undefined;
  }
  const outputs = out.size / groups;
  return layout(outputs * out.step, { ...out, size: outputs }, input.size);
}

/** Where the weight of each column of a row is stored, from where its group and output begin, in numbers. */
export function columnPlaces({ sizes, steps }: WeightLayout): number[] {
  const places = (axis: number) => Array.from({ length: sizes[axis]! }, (_, index) => index * steps[axis]!);
  // From the input to the width: each axis follows every place of those before it.
  return [2, 3, 4, 5].map(places).reduce((outer, inner) => outer.flatMap((at) => inner.map((step) => at + step)));
}

/**
 * The rows of a layer's input: how each position of the output gathers the numbers that the weights are multiplied with.
 * @param shape that of the input; axes other than those of the channels and of space count samples
 * @throws SparsifyError `criteria` if it is not the shape of an input of the layer
 */
export function rowsOf(
  tensor: WeightTensor,
  geometry: Geometry,
  shape: readonly number[],
): { readonly geometry: LayerGeometry; readonly rows: Omit<InputRows, 'address'> } {
  const { groups } = tensor;
  const { strides, dilations } = geometry;
  const channels = inputChannels(tensor);
  const transposed = isTransposed(tensor);
  const { channel, samples, space } = axesIn(tensor, geometry, shape);
  /** The index of an axis of space among those that the geometry describes; negative if it is not one of them. */
  const indexOf = (place: number) => place - 3 + strides.length;
  const kernel = three((place) => weightAxis(tensor, spatialRoles[place]!).size);
  const extents = space.map(({ size }, place) =>
    indexOf(place) < 0
      ? { before: 0, positions: size }
      : extent(geometry, indexOf(place), size, kernel[place]!, transposed),
  );
  return {
    geometry: {
      groups,
      inputs: channels / groups,
      kernel,
      strides: three((place) => strides[indexOf(place)] ?? 1),
      pads: three((place) => extents[place]!.before),
      dilations: three((place) => dilations[indexOf(place)] ?? 1),
      transposed,
    },
    rows: {
      length: productOf(shape),
      samples: samples.size,
      space: three((place) => space[place]!.size),
      positions: three((place) => extents[place]!.positions),
      steps: [samples.step, channel.step, space[0].step, space[1].step, space[2].step],
    },
  };
}

/** The axes of an input. */
function axesIn(tensor: WeightTensor, { channelAxis, strides }: Geometry, shape: readonly number[]) {
  const channels = inputChannels(tensor);
  const rank = shape.length;
  // A product with a vector has no axis before its only one.
  const at = rank === 1 ? 0 : channelAxis < 0 ? rank + channelAxis : channelAxis;
  const others = [...shape.keys()].filter((axis) => axis !== at);
  const first = others.length - strides.length;
  const [rest, spatial] = [others.slice(0, Math.max(0, first)), others.slice(Math.max(0, first))];
  // Axes behind the channels count samples too, as an axis of space that the kernel does not have.
  const behind = rest.filter((axis) => axis > at);
  const space = [...(strides.length < 3 ? [behind] : []), ...spatial.map((axis) => [axis])];
  const isBetween = spatial.some((axis) => axis < at) && spatial.some((axis) => axis > at);
  if (shape[at] !== channels || first < 0 || isBetween || (strides.length === 3 && behind.length > 0)) {
    throw new SparsifyError('criteria', 'the input of the layer has another shape than its weights need', {
      subject: tensor.name,
      given: `${channels} channels on axis ${channelAxis}${strides.length > 0 ? ` and ${strides.length} spatial axes` : ''}`,
      found: `[${shape.join(', ')}]`,
    });
  }
  const [width = noAxis, height = noAxis, depth = noAxis] = space.map((axes) => axisOf(shape, axes)).reverse();
  return {
    channel: axisOf(shape, [at]),
    samples: axisOf(
      shape,
      rest.filter((axis) => axis < at),
    ),
    space: [depth, height, width] as const,
  };
}

/** The zeros before an axis of the input, and the positions of the output along it. */
function extent(
  { strides, dilations, pads, outputPadding, outputSizes }: Geometry,
  index: number,
  size: number,
  kernel: number,
  transposed: boolean,
): { readonly before: number; readonly positions: number } {
  const [stride, reach] = [strides[index]!, (kernel - 1) * dilations[index]! + 1];
  const whole = transposed ? (size - 1) * stride + reach + outputPadding[index]! : size;
  const half = (total: number) => Math.max(0, pads === 'sameUpper' ? Math.floor(total / 2) : Math.ceil(total / 2));
  const stated = outputSizes?.[index];
  if (typeof pads === 'string') {
    const positions = stated ?? (transposed ? size * stride : Math.ceil(size / stride));
    return { before: half(transposed ? whole - positions : (positions - 1) * stride + reach - size), positions };
  }
  const [before, after] = pads[index]!;
  const positions = transposed ? whole - before - after : Math.floor((size + before + after - reach) / stride) + 1;
  return { before, positions: stated ?? Math.max(0, positions) };
}
