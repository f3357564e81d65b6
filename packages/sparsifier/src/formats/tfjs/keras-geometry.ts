import type { Geometry } from '../../model/model.js';
import { causalPads, cutting, denseAlong, leavesOut, noPads, samePads, type Window } from './geometry.js';
import { isChannelsFirst, type Config, type Parameter } from './keras-types.js';

/**
 * How a weight of a Keras layer goes over its input. Undefined if it is not multiplied with a value that comes from
 * another layer, or a table is read, and where Keras and TensorFlow.js do not compute the same.
 * @param type the class name of the layer
 * @param shape that of the weight
 */
export function geometryOf(
  type: string,
  config: Config,
  { kind, names, roles }: Parameter,
  shape: readonly number[],
): Geometry | undefined {
  if (kind === 'embedding' || names.includes('recurrent_kernel')) return undefined;
  if (!kind.startsWith('conv')) return denseAlong(-1);
  const sizes = shape.filter((_, axis) => /^(depth|height|width)$/.test(roles[axis]!));
  const channelAxis = isChannelsFirst(config) ? -1 - sizes.length : -1;
  const ones = sizes.map(() => 1);
  // The steps of a separable convolution are those of its first kernel.
  const isFirst = !names.includes('pointwise_kernel');
  const strides = isFirst ? perAxis(config.strides ?? 1, sizes.length) : ones;
  const dilations = isFirst ? perAxis(config.dilation_rate ?? 1, sizes.length) : ones;
  if (strides === undefined || dilations === undefined) return undefined;
  const window = { sizes, strides, dilations };
  const { padding = 'valid' } = config;
  const isTransposed = kind.startsWith('convTranspose');
  // TensorFlow.js ignores these dilations.
  const isIgnored = isTransposed || type.startsWith('DepthwiseConv');
  if (isIgnored && dilations.some((dilation) => dilation !== 1)) return undefined;
  if (padding === 'same' && sizes.length === 3 && leavesOut(window)) return undefined;
  const rest = isTransposed
    ? cutFrom(window, padding, config.output_padding)
    : { pads: padsOf(window, padding), outputPadding: sizes.map(() => 0) };
  const { pads, outputPadding } = rest ?? {};
  return pads && outputPadding && { channelAxis, strides, dilations, pads, outputPadding };
}

function padsOf(window: Window, padding: unknown): Geometry['pads'] | undefined {
  if (padding === 'same') return samePads(window);
  if (padding === 'causal') return causalPads(window);
  return padding === 'valid' ? noPads(window) : undefined;
}

function cutFrom({ sizes, strides }: Window, padding: unknown, given: unknown): ReturnType<typeof cutting> | undefined {
  if (padding !== 'same' && padding !== 'valid') return undefined;
  const shorter = sizes.map((size, axis) => {
    const total = size - strides[axis]!;
    return padding === 'same' ? total : Math.min(0, total);
  });
  // TensorFlow.js ignores it.
  const more = perAxis(given, sizes.length);
  const isOther = more?.some((each, axis) => {
    const cut = padding === 'same' ? 2 * Math.floor(sizes[axis]! / 2) : 0;
    return cut - each !== shorter[axis];
  });
  return isOther ? undefined : cutting(shorter);
}

/** A number of a config for each axis; undefined if it has none. */
function perAxis(value: unknown, axes: number): number[] | undefined {
  const list: readonly unknown[] = Array.isArray(value) ? (value as unknown[]) : Array<unknown>(axes).fill(value);
  return list.length === axes && list.every(Number.isInteger) ? (list as number[]) : undefined;
}
