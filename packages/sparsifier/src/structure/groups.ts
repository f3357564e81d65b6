import type { Axis, Coupling } from './coupling.js';
import { groupsOf } from './channels.js';

/**
 * The channels that may go, whatever the numbers are, in groups of those that lie on the same axes, in the order of the
 * network. Of an axis that lies along several others, such as one of heads times widths, only those along the last one that
 * can go do: each head loses the same places, and each group of a convolution the same channels.
 * @param axes all axes of values
 */
export function openGroups(coupling: Coupling, axes: Iterable<Axis>): (readonly number[])[] {
  for (let cells = coupling.cells(); cells.length > 0; cells = coupling.cells()) {
    for (const { sides } of cells) {
      const open = sides.filter((side) => coupling.obstacleOf(side) === undefined);
      for (const side of open.slice(0, -1))
        coupling.block(Int32Array.of(side), 'heads and groups of convolutions stay');
    }
  }
  const open = Array.from(new Set([...axes, ...coupling.axesOfGrids]), (axis) => coupling.open(axis));
  return groupsOf(coupling, open).map(({ channels }) => channels);
}

/** The channel of each index of an axis, -1 for one that has to stay. */
export const channelsAlong = (coupling: Coupling, axis: Axis): Int32Array =>
  axis.map((id) => (coupling.obstacleOf(id) === undefined ? coupling.find(id) : -1));
