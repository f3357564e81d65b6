import { productOf } from '../../../../model/numbers.js';
import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import { type Known, numbersOver, spreadOf, stridesOf } from '../../../../structure/numbers.js';
import { Misfit, type Operator, type Site, Unknown } from '../site.js';
import { knownMoved, knownOver } from './spreads.js';

/** A group of axes that becomes another, with the same number of elements. */
interface Regroup {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** The smallest groups of axes that a change of shape is made of. */
function regroups(before: readonly number[], after: readonly number[]): Regroup[] {
  const groups: Regroup[] = [];
  // A single number, without axes before or after.
  if (before.length === 0 || after.length === 0) return groups;
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    const from: number[] = [];
    const to: number[] = [];
    let [left, right] = [1, 1];
    do {
      if (left <= right && i < before.length) [left, i] = [left * before[from[from.push(i) - 1]!]!, i + 1];
      else if (j < after.length) [right, j] = [right * after[to[to.push(j) - 1]!]!, j + 1];
      else throw new Misfit('its sizes do not fit');
    } while (left !== right || from.length === 0 || to.length === 0);
    // Axes of size 1 that follow belong to no group of their own.
    while (i < before.length && before[i] === 1) from.push(i++);
    while (j < after.length && after[j] === 1) to.push(j++);
    groups.push({ from, to });
    if (i >= before.length && j >= after.length) break;
    if (i >= before.length && after.slice(j).every((size) => size === 1)) break;
    if (j >= after.length && before.slice(i).every((size) => size === 1)) break;
  }
  return groups;
}

/** Follows channels through a change of shape. */
function reshapedAxes(site: Site, before: Tensor, after: readonly number[]): Axis[] {
  const { coupling, title } = site;
  const axes: Axis[] = after.map((size) => coupling.fixed(size, title));
  if (productOf(after) === 0) {
    site.block(before);
    return axes;
  }
  for (const { from, to } of regroups(before.shape, after)) {
    const flat = flattened(site, before, from);
    if (flat === undefined) continue;
    const long = to.filter((axis) => after[axis]! > 1);
    const sizes = long.map((axis) => after[axis]!);
    const parts = apart(site, flat, sizes);
    for (const [place, axis] of long.entries()) axes[axis] = parts[place] ?? axes[axis]!;
  }
  return axes;
}

/** The most cells of a grid. */
const mostCells = 1 << 18;

/** The channels of each element of some axes; undefined if they all stay. */
function flattened(site: Site, { shape, axes }: Tensor, from: readonly number[]): Axis | undefined {
  const { coupling, title } = site;
  const open = from.filter((axis) => coupling.isOpen(axes[axis]!));
  const count = productOf(open.map((axis) => shape[axis]!));
  if (open.length === 0) return undefined;
  if (productOf(from.map((axis) => shape[axis]!)) === 1 || (open.length > 1 && count > mostCells)) {
    for (const axis of open) coupling.block(axes[axis]!, title);
    return undefined;
  }
  let cells = axes[open[0]!]!;
  if (open.length > 1) {
    cells = coupling.axis(count);
    coupling.grid(
      cells,
      open.map((axis) => axes[axis]!),
    );
  }
  if (open.length === from.length) return cells;
  // Those along the other axes are the same.
  const strides = stridesOf(from.map((axis) => shape[axis]!));
  const flat = new Int32Array(productOf(from.map((axis) => shape[axis]!)));
  for (const index of flat.keys()) {
    let cell = 0;
    for (const axis of open) {
      const size = shape[axis]!;
      cell = cell * size + (Math.floor(index / strides[from.indexOf(axis)]!) % size);
    }
    flat[index] = cells[cell]!;
  }
  return flat;
}

/**
 * The axes of so many sizes that elements lie along, by place: one along which their channels are already the same, or
 * else the sides of a grid.
 */
function apart({ coupling, title }: Site, flat: Axis, sizes: readonly number[]): (Axis | undefined)[] {
  const strides = stridesOf(sizes);
  const indexIn = (place: number, index: number) => Math.floor(index / strides[place]!) % sizes[place]!;
  for (const place of sizes.keys()) {
    const ids = new Int32Array(sizes[place]!).fill(-1);
    const isSame = flat.every((id, index) => {
      const at = indexIn(place, index);
      if (ids[at]! < 0) ids[at] = id;
      return coupling.find(ids[at]!) === coupling.find(id);
    });
    if (isSame) return sizes.map((_, each) => (each === place ? ids : undefined));
  }
  const sides = sizes.map((size) => coupling.axis(size));
  if (flat.length <= mostCells) coupling.grid(flat, sides);
  else {
    // Only the last one keeps channels.
    for (const side of sides.slice(0, -1)) coupling.block(side, title);
    for (const [index, id] of flat.entries()) coupling.join(id, sides.at(-1)![indexIn(sizes.length - 1, index)]!);
  }
  return sides;
}

/** What is known after a change of shape. */
function reshapedKnown(site: Site, { known, shape }: Tensor, after: Tensor): Known | undefined {
  if (known === undefined || productOf(after.shape) === 0) return undefined;
  const spread = spreadOf(known);
  const long = (axes: readonly number[], sizes: readonly number[]) => axes.filter((axis) => sizes[axis]! > 1);
  const groups = regroups(shape, after.shape).filter(({ from }) => from.some((axis) => spread.axes.includes(axis)));
  const numbers = numbersOver(
    spread,
    shape,
    groups.flatMap(({ from }) => long(from, shape)),
  );
  return knownOver(site, { axes: groups.flatMap(({ to }) => long(to, after.shape)), numbers }, after);
}

/** The sizes that a Reshape asks for. */
function targetOf(site: Site): readonly number[] {
  const target = site.listAt('shape', 1);
  if (target === undefined) throw new Unknown('its shape is unknown');
  return target;
}

const reshape: Operator = {
  channels: 'reshaped',
  attributes: ['allowzero', 'shape'],
  leavesOut: true,
  inputs: 2,
  shape: (site) => {
    const { shape } = site.input(0);
    const copies = site.integer('allowzero', 0) === 0;
    const sizes = targetOf(site).map((size, axis) => (size === 0 && copies ? (shape[axis] ?? 0) : size));
    const rest = sizes.indexOf(-1);
    if (rest >= 0) sizes[rest] = productOf(shape) / productOf(sizes.filter((_, axis) => axis !== rest));
    if (productOf(sizes) !== productOf(shape) || !sizes.every(Number.isInteger))
      throw new Misfit('its sizes do not fit');
    return [sizes];
  },
  list: (site) => site.input(0).list,
  couple: (site, [shape]) => [reshapedAxes(site, site.input(0), shape!)],
  constant: (site, [output]) => reshapedKnown(site, site.input(0), output!),
  rewrite: (site, [output], cut) => {
    const target = targetOf(site);
    const before = site.input(0);
    const wanted = target.map((size, axis) => {
      const after = cut.sizeOf(output!.axes[axis]!);
      if (size === -1 || (size === 0 && before.axes[axis] && cut.sizeOf(before.axes[axis]) === after)) return size;
      return after;
    });
    return site.node.inputs[1] === undefined ? { attributes: { shape: wanted } } : { lists: new Map([[1, wanted]]) };
  },
};

const flatten: Operator = {
  channels: 'reshaped',
  attributes: ['axis'],
  leavesOut: true,
  inputs: 1,
  shape: (site) => {
    const { shape } = site.input(0);
    const given = site.integer('axis', 1);
    const axis = given < 0 ? given + shape.length : given;
    return [[productOf(shape.slice(0, axis)), productOf(shape.slice(axis))]];
  },
  couple: (site, [shape]) => [reshapedAxes(site, site.input(0), shape!)],
  constant: (site, [output]) => reshapedKnown(site, site.input(0), output!),
};

const unsqueezedAxes = (site: Site): Set<number> => {
  const given = site.listAt('axes', 1) ?? [];
  const rank = site.input(0).shape.length + given.length;
  return listedAxes(site, given, rank);
};

/** The axes of a list. Before opset 11 they do not count from the end, and runtimes that take such lists differ. */
function listedAxes(site: Site, given: readonly number[], rank: number): Set<number> {
  if (site.opset < 11 && given.some((axis) => axis < 0)) throw new Unknown('its axes are negative');
  return new Set(given.map((axis) => site.axis(axis, rank)));
}

const unsqueeze: Operator = {
  channels: 'reshaped',
  attributes: ['axes'],
  inputs: 2,
  shape: (site) => [inserted(site.input(0).shape, unsqueezedAxes(site), () => 1)],
  list: (site) => site.input(0).list,
  couple: (site) => [inserted(site.input(0).axes, unsqueezedAxes(site), () => site.coupling.fixed(1, site.title))],
  constant: (site, [output]) => {
    const x = site.input(0);
    const places = inserted([...x.shape.keys()], unsqueezedAxes(site), () => -1);
    return knownMoved(site, x, (axis) => places.indexOf(axis), output);
  },
};

function inserted<Item>(items: readonly Item[], places: ReadonlySet<number>, make: () => Item): Item[] {
  const rest = items.values();
  return Array.from({ length: items.length + places.size }, (_, place) =>
    places.has(place) ? make() : (rest.next().value as Item),
  );
}

const squeezedAxes = (site: Site): Set<number> => {
  const { shape } = site.input(0);
  const given = site.listAt('axes', 1);
  if (given !== undefined) return listedAxes(site, given, shape.length);
  return new Set(shape.flatMap((size, axis) => (size === 1 ? [axis] : [])));
};

const squeeze: Operator = {
  channels: 'reshaped',
  attributes: ['axes'],
  inputs: 2,
  shape: (site) => [site.input(0).shape.filter((_, axis) => !squeezedAxes(site).has(axis))],
  list: (site) => site.input(0).list,
  couple: (site) => {
    const { axes } = site.input(0);
    const gone = squeezedAxes(site);
    // Without a list of axes, one with a single channel left would vanish.
    if (site.listAt('axes', 1) === undefined) site.block(site.input(0));
    return [axes.filter((_, axis) => !gone.has(axis))];
  },
  constant: (site, [output]) => {
    const x = site.input(0);
    const gone = squeezedAxes(site);
    const left = [...x.shape.keys()].filter((axis) => !gone.has(axis));
    return knownMoved(site, x, (axis) => (gone.has(axis) ? undefined : left.indexOf(axis)), output);
  },
};

export const reshaping: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Reshape', reshape],
  ['Flatten', flatten],
  ['Unsqueeze', unsqueeze],
  ['Squeeze', squeeze],
]);
