import type { Geometry } from '../../model/model.js';

/** How a convolution goes over its input, one number per spatial axis of its kernel. */
export interface Window {
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

/** Each row of a dense layer is a line along this axis of its input. */
export const denseAlong = (channelAxis: number): Geometry => ({
  channelAxis,
  strides: [],
  dilations: [],
  pads: [],
  outputPadding: [],
});

/** How far apart the first and the last number under a kernel are. */
const reachesOf = ({ sizes, dilations }: Window): number[] => sizes.map((size, axis) => (size - 1) * dilations[axis]!);

const halves = (total: number) => [Math.floor(total / 2), Math.ceil(total / 2)] as const;

/** Padding that TensorFlow calls SAME, in numbers where the size of the input does not matter. */
export function samePads(window: Window): Geometry['pads'] {
  const reaches = reachesOf(window);
  const isFixed = reaches.every((reach, axis) => reach === 0 || window.strides[axis] === 1);
  return isFixed ? reaches.map(halves) : 'sameUpper';
}

/** Padding of Keras that lets no output depend on what comes later. */
export const causalPads = (window: Window): Geometry['pads'] => reachesOf(window).map((reach) => [reach, 0]);

export const noPads = ({ sizes }: Window): Geometry['pads'] => sizes.map(() => [0, 0]);

/**
 * What a transposed convolution cuts from its output, or adds to it.
 * @param shorter how much shorter the output is than all that the kernels reach
 * @param before how much is cut at the beginning, by default half of it
 */
export const cutting = (
  shorter: readonly number[],
  before = shorter.map((total) => Math.floor(Math.max(0, total) / 2)),
): Pick<Geometry, 'pads' | 'outputPadding'> => ({
  pads: shorter.map((total, axis) => [before[axis]!, Math.max(0, total - before[axis]!)]),
  outputPadding: shorter.map((total, axis) => Math.max(0, before[axis]! - total)),
});

/**
 * Whether some numbers of the input are under no kernel. In three dimensions, TensorFlow.js then begins elsewhere than
 * TensorFlow does: it takes negative padding for SAME.
 */
export const leavesOut = (window: Window): boolean =>
  reachesOf(window).some((reach, axis) => reach + 1 < window.strides[axis]!);
