import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import { Misfit, type Site } from '../site.js';

/** The shape of values that are broadcast together. */
export function together(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, axis) => {
    let size = 1;
    for (const shape of shapes) {
      const own = shape[axis - rank + shape.length] ?? 1;
      if (own === 1 || own === size) continue;
      if (size !== 1) throw new Misfit(`sizes ${size} and ${own} do not go together`);
      size = own;
    }
    return size;
  });
}

/** Couples the axes of values that are broadcast together. Axes of size 1 have no channels. */
export function coupled({ coupling, title }: Site, tensors: readonly Tensor[], shape: readonly number[]): Axis[] {
  return shape.map((size, axis) => {
    let found: Axis | undefined;
    for (const { shape: own, axes } of tensors) {
      const place = axis - shape.length + own.length;
      if (place < 0 || own[place] !== size) continue;
      if (found === undefined) found = axes[place]!;
      else if (size > 1) coupling.couple(found, axes[place]!);
    }
    return found ?? coupling.fixed(size, title);
  });
}
