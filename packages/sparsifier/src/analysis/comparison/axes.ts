import { productOf } from '../../model/numbers.js';

/**
 * The positions of the numbers of a row-major array, in the order that they have once its axes are in another order.
 * @param order for each axis of the new order, which axis of `shape` it is
 */
export function positionsOf(shape: readonly number[], order: readonly number[]): Uint32Array {
  const axes = order.map((axis) => ({
    size: shape[axis]!,
    stride: productOf(shape.slice(axis + 1)),
    place: 0,
  }));
  const positions = new Uint32Array(productOf(shape));
  for (let index = 0, position = 0; index < positions.length; index++) {
    positions[index] = position;
    // The last axis moves on by one place; a full axis starts again, and the one before it moves on.
    for (let at = axes.length - 1; at >= 0; at--) {
      const axis = axes[at]!;
      position += axis.stride;
      if (++axis.place < axis.size) break;
      position -= axis.stride * axis.size;
      axis.place = 0;
    }
  }
  return positions;
}
