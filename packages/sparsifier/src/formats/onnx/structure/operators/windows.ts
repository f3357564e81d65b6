import { Misfit, type Site } from '../site.js';

/** The pads of a window at the beginnings and ends of the axes of space, and the sizes that come of it. */
export function windowed(
  site: Site,
  sizes: readonly number[],
  kernel: readonly number[],
): { readonly pads: readonly number[]; readonly sizes: readonly number[] } {
  const rank = sizes.length;
  const ones = Array<number>(rank).fill(1);
  const strides = site.integers('strides') ?? ones;
  const dilations = site.integers('dilations') ?? ones;
  const auto = site.text('auto_pad', 'NOTSET');
  const span = kernel.map((size, axis) => (size - 1) * dilations[axis]! + 1);
  if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
    const after = sizes.map((size, axis) => Math.ceil(size / strides[axis]!));
    const total = after.map((size, axis) => Math.max(0, (size - 1) * strides[axis]! + span[axis]! - sizes[axis]!));
    return { pads: [...total, ...total], sizes: after };
  }
  const pads =
    auto === 'VALID' ? Array<number>(2 * rank).fill(0) : (site.integers('pads') ?? Array<number>(2 * rank).fill(0));
  const round = site.integer('ceil_mode', 0) === 0 ? Math.floor : Math.ceil;
  const after = sizes.map((size, axis) => {
    const padded = size + pads[axis]! + pads[axis + rank]! - span[axis]!;
    let steps = round(padded / strides[axis]!) + 1;
    // A window that would begin in the padding at the end is left out.
    if (round === Math.ceil && (steps - 1) * strides[axis]! >= size + pads[axis]!) steps--;
    return steps;
  });
  return { pads, sizes: after };
}

/** Whether there is padding for some sizes of space: with `SAME` it depends on them. */
export const mayPad = (site: Site): boolean => site.varies && site.text('auto_pad', 'NOTSET').startsWith('SAME');

export const paddedSizes = ['auto_pad', 'dilations', 'kernel_shape', 'pads', 'strides'];

/** Sizes of space are whole and positive. */
export function checked(shape: readonly number[]): readonly number[] {
  if (shape.every((size) => Number.isInteger(size) && size >= 0)) return shape;
  throw new Misfit(`the sizes ${shape.join(', ')}`);
}
