import { sumOf } from '../../../../model/numbers.js';
import type { Tensor } from '../../../../structure/network.js';
import { type Known, numbersOver, selected, spreadOf, stridesOf } from '../../../../structure/numbers.js';
import { type Operator, type Site, Unknown } from '../site.js';
import { coupled } from './broadcasting.js';
import { along } from './known.js';
import { knownMoved, knownOver } from './spreads.js';

const tensorsOf = (site: Site): Tensor[] => site.node.inputs.map((_, place) => site.input(place));

const concat: Operator = {
  channels: 'moved',
  attributes: ['axis'],
  inputs: Infinity,
  shape: (site) => {
    const tensors = tensorsOf(site);
    const [first] = tensors as [Tensor];
    const axis = site.axis(site.integer('axis', 0), first.shape.length);
    return [
      first.shape.map((size, place) => (place === axis ? sumOf(tensors.map(({ shape }) => shape[axis]!)) : size)),
    ];
  },
  list: (site) => {
    const lists = tensorsOf(site).map(({ list, shape }) => (shape.length === 1 ? list : undefined));
    if (!lists.every((list) => list !== undefined)) return undefined;
    return { numbers: lists.flatMap(({ numbers }) => numbers), isInteger: lists.every(({ isInteger }) => isInteger) };
  },
  couple: (site, [shape]) => {
    const tensors = tensorsOf(site);
    const axis = site.axis(site.integer('axis', 0), shape!.length);
    const others = coupled(
      site,
      tensors.map(without(axis)),
      shape!.filter((_, place) => place !== axis),
    );
    const joined = Int32Array.from(tensors.flatMap(({ axes }) => [...axes[axis]!]));
    return [[...others.slice(0, axis), joined, ...others.slice(axis)]];
  },
  constant: (site, [{ shape }]) => {
    const tensors = tensorsOf(site);
    const axis = site.axis(site.integer('axis', 0), shape.length);
    const places = [axis, ...tensors.flatMap(({ known }) => known?.axis ?? [])];
    for (const place of new Set(places)) {
      const known = tensors.map((tensor) => along(tensor, place)?.numbers);
      const numbers =
        place === axis
          ? Float64Array.from(
              tensors.flatMap(({ shape: own }, index) => [...(known[index] ?? Array<number>(own[axis]!).fill(NaN))]),
            )
          : Float64Array.from({ length: shape[place]! }, (_, index) => {
              const all = known.map((each) => each?.[index] ?? NaN);
              return all.every((number) => number === all[0]) ? all[0]! : NaN;
            });
      if (numbers.some((number) => !Number.isNaN(number))) return { axis: place, numbers };
    }
    return undefined;
  },
};

const without =
  (axis: number) =>
  ({ shape, axes }: Tensor): Tensor => ({
    shape: shape.filter((_, place) => place !== axis),
    axes: axes.filter((_, place) => place !== axis),
  });

/** A range of an axis. */
interface Range {
  readonly axis: number;
  readonly start: number;
  readonly count: number;
  readonly step: number;
}

const indicesIn = ({ start, count, step }: Range): number[] =>
  Array.from({ length: count }, (_, index) => start + index * step);

/** What is known of the part of a value that is within ranges of its axes. */
function knownIn(site: Site, { known, shape }: Tensor, ranges: readonly Range[], part: Tensor): Known | undefined {
  if (known === undefined) return undefined;
  let spread = spreadOf(known);
  for (const range of ranges) spread = selected(spread, shape, range.axis, indicesIn(range));
  return known.spread === undefined && spread.numbers === known.numbers ? known : knownOver(site, spread, part);
}

/** The part of a value that is within ranges of its axes. */
function cutOut({ axes, list, shape }: Tensor, ranges: readonly Range[]): Pick<Tensor, 'axes' | 'list'> {
  const cut = axes.map((axis, place) => {
    const range = ranges.find((each) => each.axis === place);
    return range === undefined ? axis : Int32Array.from(indicesIn(range), (index) => axis[index]!);
  });
  const strides = stridesOf(shape);
  const steps = shape.map((count, axis) => {
    const range = ranges.find((each) => each.axis === axis) ?? { count, start: 0, step: 1 };
    return { count: range.count, start: range.start * strides[axis]!, step: range.step * strides[axis]! };
  });
  return {
    axes: cut,
    list: list && { ...list, numbers: taken(list.numbers, steps) },
  };
}

/** Numbers of a list in the order of nested loops. */
export function taken(
  numbers: readonly number[],
  [first, ...rest]: readonly { readonly count: number; readonly start: number; readonly step: number }[],
  at = 0,
): number[] {
  if (first === undefined) return [numbers[at]!];
  return Array.from({ length: first.count }, (_, index) =>
    taken(numbers, rest, at + first.start + index * first.step),
  ).flat();
}

function rangesOf(site: Site): Range[] {
  const { shape } = site.input(0);
  const [starts, ends] = [site.listAt('starts', 1), site.listAt('ends', 2)];
  if (starts === undefined || ends === undefined) throw new Unknown('its limits are unknown');
  const axes = site.listAt('axes', 3) ?? [...starts.keys()];
  const steps = site.list(4) ?? starts.map(() => 1);
  return axes.map((given, place) => {
    const axis = site.axis(given, shape.length);
    const size = shape[axis]!;
    const step = steps[place]!;
    const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
    const clamp = (limit: number) => Math.min(most, Math.max(least, limit < 0 ? limit + size : limit));
    const [start, end] = [clamp(starts[place]!), clamp(ends[place]!)];
    return { axis, start, count: Math.max(0, Math.ceil((end - start) / step)), step };
  });
}

const slice: Operator = {
  channels: 'moved',
  attributes: ['axes', 'ends', 'starts'],
  leavesOut: true,
  inputs: 5,
  shape: (site) => {
    const shape = [...site.input(0).shape];
    for (const { axis, count } of rangesOf(site)) shape[axis] = count;
    return [shape];
  },
  list: (site) => cutOut(site.input(0), rangesOf(site)).list,
  couple: (site) => {
    const x = site.input(0);
    const ranges = rangesOf(site);
    for (const { axis, step } of ranges) if (step !== 1) site.block(x, [axis]);
    return [cutOut(x, ranges).axes];
  },
  constant: (site, [output]) => knownIn(site, site.input(0), rangesOf(site), output),
  rewrite: (site, _, cut) => {
    const { axes } = site.input(0);
    const [starts, ends] = [site.listAt('starts', 1)!, site.listAt('ends', 2)!];
    const ranges = rangesOf(site);
    const limit = (given: number, place: number) => {
      const { axis } = ranges[place]!;
      const ids = axes[axis]!;
      const [size, after] = [ids.length, cut.sizeOf(ids)];
      if (size === after) return given;
      if (given >= 0) return given > size ? given : cut.countBefore(ids, given);
      // What is before the end from the end may be all that stays.
      return given < -size ? given : cut.countBefore(ids, given + size) - after || after;
    };
    const wanted = [starts.map(limit), ends.map(limit)] as const;
    return site.node.inputs[1] === undefined
      ? { attributes: { starts: wanted[0], ends: wanted[1] } }
      : {
          lists: new Map([
            [1, wanted[0]],
            [2, wanted[1]],
          ]),
        };
  },
};

function splitRanges(site: Site): Range[] {
  const { shape } = site.input(0);
  const axis = site.axis(site.integer('axis', 0), shape.length);
  const parts = site.node.outputs.length;
  const stated = site.listAt('split', 1);
  const size = shape[axis]!;
  const part = Math.ceil(size / parts);
  const counts =
    stated ?? Array.from({ length: parts }, (_, place) => Math.max(0, Math.min(part, size - place * part)));
  let start = 0;
  return counts.map((count) => ({ axis, start: (start += count) - count, count, step: 1 }));
}

const split: Operator = {
  channels: 'moved',
  attributes: ['axis', 'num_outputs', 'split'],
  inputs: 2,
  shape: (site) => {
    const { shape } = site.input(0);
    return splitRanges(site).map(({ axis, count }) => shape.map((size, place) => (place === axis ? count : size)));
  },
  list: (site) => cutOut(site.input(0), splitRanges(site).slice(0, 1)).list,
  couple: (site) => splitRanges(site).map((range) => cutOut(site.input(0), [range]).axes),
  constant: (site, outputs) =>
    splitRanges(site).map((range, place) => knownIn(site, site.input(0), [range], outputs[place]!)),
  rewrite: (site, outputs, cut) => {
    const { axes } = site.input(0);
    const axis = site.axis(site.integer('axis', 0), axes.length);
    if (cut.sizeOf(axes[axis]!) === axes[axis]!.length) return {};
    const sizes = outputs.map((output) => cut.sizeOf(output.axes[axis]!));
    if (site.integers('split') !== undefined || site.opset < 13) return { attributes: { split: sizes } };
    return { attributes: { num_outputs: undefined }, lists: new Map([[1, sizes]]) };
  },
};

const gather: Operator = {
  channels: 'moved',
  attributes: ['axis'],
  inputs: 2,
  shape: (site) => {
    const [data, indices] = [site.input(0), site.input(1)];
    const axis = site.axis(site.integer('axis', 0), data.shape.length);
    return [[...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)]];
  },
  list: (site) => {
    const [data, indices] = [site.input(0), site.input(1)];
    if (data.shape.length !== 1 || data.list === undefined || indices.list === undefined) return undefined;
    const { numbers } = data.list;
    return {
      ...data.list,
      numbers: indices.list.numbers.map((index) => numbers[index < 0 ? index + numbers.length : index]!),
    };
  },
  couple: (site) => {
    const [data, indices] = [site.input(0), site.input(1)];
    const axis = site.axis(site.integer('axis', 0), data.shape.length);
    site.block(data, [axis]);
    site.block(indices);
    return [[...data.axes.slice(0, axis), ...indices.axes, ...data.axes.slice(axis + 1)]];
  },
  constant: (site, [output]) => {
    const [data, indices] = [site.input(0), site.input(1)];
    const { shape } = data;
    const axis = site.axis(site.integer('axis', 0), shape.length);
    const known = data.view && shape.length === 2 ? along(data, 1 - axis) : data.known;
    if (known === undefined) return undefined;
    const placeOf = (each: number) => (each < axis ? each : each + indices.shape.length - 1);
    const spread = spreadOf(known);
    const list = indices.list?.numbers.map((index) => (index < 0 ? index + shape[axis]! : index));
    if (!spread.axes.includes(axis) || indices.shape.length > 1 || list === undefined)
      return knownMoved(site, { known, shape }, (each) => (each === axis ? undefined : placeOf(each)), output);
    const some = shape.map((size, each) => (each === axis ? list.length : size));
    const left = spread.axes.filter((each) => each !== axis || indices.shape.length === 1);
    const numbers = numbersOver(selected(spread, shape, axis, list), some, left);
    return knownOver(site, { axes: left.map(placeOf), numbers }, output);
  },
};

export const parts: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Concat', concat],
  ['Slice', slice],
  ['Split', split],
  ['Gather', gather],
]);
