import { productOf } from '../../../../model/numbers.js';
import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import type { Operator, Site } from '../site.js';
import { together } from './broadcasting.js';
import { knownAlong } from './known.js';
import { knownOver, numbersAlong } from './spreads.js';

const expand: Operator = {
  channels: 'moved',
  attributes: [],
  inputs: 2,
  shape: (site) => [together([site.input(0).shape, site.list(1)!])],
  list: (site, shape) => {
    const { list } = site.input(0);
    if (list?.numbers.length !== 1) return undefined;
    return { ...list, numbers: Array<number>(productOf(shape)).fill(list.numbers[0]!) };
  },
  couple: (site, [shape]) => {
    const x = site.input(0);
    return [shape!.map((size, axis) => expandedAxis(site, x, axis, shape!.length, size))];
  },
  constant: (site, [output]) => {
    const x = site.input(0);
    const { shape } = output;
    const { known } = x;
    if (known?.spread !== undefined) {
      const axes = known.spread.axes.map((axis) => axis + shape.length - x.shape.length);
      return knownOver(site, { axes, numbers: numbersAlong(x, axes, shape) }, output);
    }
    // A single number has no axis of its own.
    const axis = (known?.axis ?? x.shape.length - 1) + shape.length - x.shape.length;
    const numbers = axis < 0 ? undefined : knownAlong(x, axis, shape);
    return numbers && { axis, numbers };
  },
  rewrite: (site, [output], cut) => {
    const rank = output!.axes.length;
    const list = site.list(1)!;
    const wanted = list.map((size, place) => {
      const axis = output!.axes[place - list.length + rank]!;
      return size === 1 ? 1 : cut.sizeOf(axis);
    });
    return { lists: new Map([[1, wanted]]) };
  },
};

/** An axis of an input, or a new one whose channels follow from what it meets. */
export function expandedAxis(site: Site, x: Tensor, axis: number, rank: number, size: number): Axis {
  const place = axis - rank + x.shape.length;
  return place >= 0 && x.shape[place] === size ? x.axes[place]! : site.coupling.axis(size);
}

const constantOfShape: Operator = {
  attributes: ['value'],
  inputs: 1,
  shape: (site) => [site.list(0)!],
  list: (site, shape) => ({
    numbers: Array<number>(productOf(shape)).fill(fillOf(site)),
    isInteger: isFilledWithIntegers(site),
  }),
  couple: (site, [shape]) => [
    shape!.map((size) => (size > 1 ? site.coupling.axis(size) : site.coupling.fixed(size, site.title))),
  ],
  constant: (site, [{ shape }]) => {
    const number = fillOf(site);
    if (shape.length === 0 || !Number.isFinite(number)) return undefined;
    return { axis: shape.length - 1, numbers: new Float64Array(shape.at(-1)!).fill(number) };
  },
  rewrite: (_, [output], cut) => ({ lists: new Map([[0, output!.axes.map((axis) => cut.sizeOf(axis))]]) }),
};

const fillOf = (site: Site): number => {
  if (!site.node.attributes.has('value')) return 0;
  return site.fill?.numbers[0] ?? NaN;
};

const isFilledWithIntegers = (site: Site): boolean => site.fill?.isInteger ?? false;

const shapeOperator: Operator = {
  channels: 'ignored',
  attributes: ['start', 'end'],
  leavesOut: true,
  inputs: 1,
  shape: (site) => [[shapeList(site).length]],
  list: (site) => ({ numbers: shapeList(site), isInteger: true }),
  couple: (site, [shape]) => [site.fixed(shape!)],
  constant: () => undefined,
};

const shapeList = (site: Site): readonly number[] => {
  const { shape } = site.input(0);
  const place = (name: string, otherwise: number) => {
    const given = site.integer(name, otherwise);
    return Math.max(0, given < 0 ? given + shape.length : given);
  };
  return shape.slice(place('start', 0), place('end', shape.length));
};

const size: Operator = {
  ...shapeOperator,
  attributes: [],
  shape: () => [[]],
  list: (site) => ({ numbers: [productOf(site.input(0).shape)], isInteger: true }),
};

const range: Operator = {
  attributes: [],
  inputs: 3,
  shape: (site) => {
    const [start, limit, delta] = [0, 1, 2].map((place) => site.list(place)![0]!);
    return [[Math.max(0, Math.ceil((limit! - start!) / delta!))]];
  },
  list: (site, [count]) => {
    const [start, , delta] = [0, 1, 2].map((place) => site.list(place)![0]!);
    return {
      numbers: Array.from({ length: count! }, (_, index) => start! + index * delta!),
      isInteger: site.input(0).list?.isInteger ?? false,
    };
  },
  couple: (site, [shape]) => [site.fixed(shape!)],
  constant: () => undefined,
};

export const sizes: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Expand', expand],
  ['ConstantOfShape', constantOfShape],
  ['Shape', shapeOperator],
  ['Size', size],
  ['Range', range],
]);
