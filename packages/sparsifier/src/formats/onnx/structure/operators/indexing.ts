import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import { type Operator, type Site, Unknown } from '../site.js';
import { onlyZeros, zerosOf } from './known.js';
import { expandedAxis } from './sizes.js';

const orderOf = (site: Site): number => site.axis(site.integer('axis', -1), site.input(0).shape.length);

/** The numbers along axes, in places that depend on all of them; those along other axes do not meet. */
const scrambling = (
  axesOf: (site: Site) => readonly number[],
  { attributes, inputs, shapes }: Pick<Operator, 'attributes' | 'inputs'> & { readonly shapes?: Operator['shape'] },
): Operator => ({
  channels: 'moved',
  attributes,
  inputs,
  shape: (site) => shapes?.(site) ?? [site.input(0).shape],
  couple: (site, found) => {
    const x = site.input(0);
    const axes = axesOf(site);
    site.block(x, axes);
    for (const other of site.inputs.slice(1)) site.block(other);
    return found.map((shape) =>
      x.axes.map((axis, place) => (axes.includes(place) ? site.coupling.fixed(shape[place]!, site.title) : axis)),
    );
  },
  // What is the same along these axes is so in any order.
  constant: (site) => {
    const { known } = site.input(0);
    return known !== undefined && axesOf(site).includes(known.axis) ? undefined : known;
  },
});

/** A node of which only the sizes are known: all that it touches stays. */
const opaque = (
  attributes: readonly string[],
  inputs: number,
  shapeOf: (site: Site) => readonly number[],
): Operator => ({
  channels: 'end',
  attributes,
  inputs,
  shape: (site) => [shapeOf(site)],
  couple: (site, [shape]) => {
    for (const tensor of site.inputs) site.block(tensor);
    return [site.fixed(shape!)];
  },
  constant: () => undefined,
});

const cumSum: Operator = {
  ...scrambling((site) => site.list(1)!.map((axis) => site.axis(axis, site.input(0).shape.length)), {
    attributes: ['exclusive', 'reverse'],
    inputs: 2,
  }),
  constant: (site) => {
    const { known, shape } = site.input(0);
    const isSummed = known?.axis === site.axis(site.list(1)![0]!, shape.length);
    return known && !isSummed ? onlyZeros(known) : undefined;
  },
};

const trilu: Operator = {
  ...scrambling((site) => [-2, -1].map((axis) => site.axis(axis, site.input(0).shape.length)), {
    attributes: ['upper'],
    inputs: 2,
  }),
  constant: zerosOf,
};

const topK: Operator = {
  ...scrambling((site) => [orderOf(site)], {
    attributes: ['axis', 'k', 'largest', 'sorted'],
    inputs: 2,
    shapes: (site) => {
      const count = site.opset < 10 ? site.integer('k', 0) : site.list(1)![0]!;
      const shape = site.input(0).shape.map((size, axis) => (axis === orderOf(site) ? count : size));
      return [shape, shape];
    },
  }),
  channels: 'end',
};

const reverseSequence: Operator = scrambling((site) => [site.integer('batch_axis', 1), site.integer('time_axis', 0)], {
  attributes: ['batch_axis', 'time_axis'],
  inputs: 2,
});

/** Items with another one for an axis, or without it. */
const withAxis = <Item>(site: Site, items: readonly Item[], axis: number, other: Item): Item[] => {
  if (site.integer('keepdims', 1) === 0) return items.filter((_, place) => place !== axis);
  return items.map((item, place) => (place === axis ? other : item));
};

/** The places of the largest or smallest numbers. */
const argument: Operator = {
  channels: 'end',
  attributes: ['axis', 'keepdims', 'select_last_index'],
  inputs: 1,
  shape: (site) => {
    const { shape } = site.input(0);
    const axis = site.axis(site.integer('axis', 0), shape.length);
    return [withAxis(site, shape, axis, 1)];
  },
  couple: (site) => {
    const x = site.input(0);
    const axis = site.axis(site.integer('axis', 0), x.shape.length);
    site.block(x, [axis]);
    return [withAxis(site, x.axes, axis, site.coupling.fixed(1, site.title))];
  },
  constant: () => undefined,
};

const tile: Operator = {
  channels: 'moved',
  attributes: [],
  inputs: 2,
  shape: (site) => {
    if (site.opset < 6) throw new Unknown('it is of an early version');
    return [site.input(0).shape.map((size, axis) => size * site.list(1)![axis]!)];
  },
  list: (site) => {
    const { list, shape } = site.input(0);
    if (list === undefined || shape.length !== 1) return undefined;
    return { ...list, numbers: Array.from({ length: site.list(1)![0]! }, () => list.numbers).flat() };
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    const repeats = site.list(1)!;
    return [
      x.axes.map((axis, place): Axis => {
        if (x.shape[place] === 1) return expandedAxis(site, x, place, shape!.length, shape![place]!);
        return Int32Array.from({ length: shape![place]! }, (_, index) => axis[index % axis.length]!);
      }),
    ].map((axes) => (repeats.includes(0) ? site.fixed(shape!) : axes));
  },
  constant: (site, [{ shape }]) => {
    const { known } = site.input(0);
    const count = known?.numbers.length ?? 0;
    if (known === undefined || count === 0) return undefined;
    const numbers = Float64Array.from({ length: shape[known.axis]! }, (_, index) => known.numbers[index % count]!);
    return { axis: known.axis, numbers };
  },
  rewrite: (site, [output], cut) => {
    const { shape } = site.input(0);
    const wanted = site.list(1)!.map((times, axis) => (shape[axis] === 1 ? cut.sizeOf(output!.axes[axis]!) : times));
    return { lists: new Map([[1, wanted]]) };
  },
};

/** How many axes of the data the indices are for: the first ones. */
const depthOf = (site: Site): number => site.input(1).shape.at(-1)! + site.integer('batch_dims', 0);

const gatherND: Operator = {
  channels: 'moved',
  attributes: ['batch_dims'],
  inputs: 2,
  shape: (site) => [[...site.input(1).shape.slice(0, -1), ...site.input(0).shape.slice(depthOf(site))]],
  couple: (site) => {
    const [data, indices] = [site.input(0), site.input(1)];
    site.block(data, [...data.axes.keys()].slice(0, depthOf(site)));
    site.block(indices);
    return [[...site.fixed(indices.shape.slice(0, -1)), ...data.axes.slice(depthOf(site))]];
  },
  constant: () => undefined,
};

const scatterND: Operator = {
  channels: 'end',
  attributes: ['reduction'],
  inputs: 3,
  shape: (site) => [site.input(0).shape],
  couple: (site) => {
    const [data, indices, updates] = [site.input(0), site.input(1), site.input(2)] as [Tensor, Tensor, Tensor];
    const depth = depthOf(site);
    const rest = indices.shape.length - 1;
    site.block(data, [...data.axes.keys()].slice(0, depth));
    site.block(indices);
    site.block(updates, [...updates.axes.keys()].slice(0, rest));
    for (const [place, axis] of data.axes.slice(depth).entries())
      site.coupling.couple(axis, updates.axes[rest + place]!);
    return [data.axes];
  },
  constant: () => undefined,
};

const oneHot: Operator = opaque(['axis'], 3, (site) => {
  const { shape } = site.input(0);
  const axis = site.axis(site.integer('axis', -1), shape.length + 1);
  return [...shape.slice(0, axis), site.list(1)![0]!, ...shape.slice(axis)];
});

export const indexing: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Tile', tile],
  ['CumSum', cumSum],
  ['Trilu', trilu],
  ['TopK', topK],
  ['ReverseSequence', reverseSequence],
  ['ArgMax', argument],
  ['ArgMin', argument],
  ['GatherND', gatherND],
  ['ScatterND', scatterND],
  ['GatherElements', { ...opaque(['axis'], 2, (site) => site.input(1).shape), channels: 'moved' }],
  ['ScatterElements', opaque(['axis', 'reduction'], 3, (site) => site.input(0).shape)],
  ['OneHot', oneHot],
]);
