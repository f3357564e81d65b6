import { productOf } from '../../../../model/numbers.js';
import { eachPlace, knownBetween } from '../../../../structure/numbers.js';
import { Weights } from '../../../../structure/weights.js';
import { Misfit, type Operator, type Site, Unknown } from '../site.js';
import { foldsInto, withBias } from './biases.js';
import { along } from './known.js';
import { checked, mayPad, windowed, paddedSizes } from './windows.js';

interface Convolution {
  readonly groups: number;
  readonly isDepthwise: boolean;
  readonly isPadded: boolean;
  readonly weights: Weights | undefined;
}

function convolution(site: Site): Convolution {
  const [x, w] = [site.input(0), site.input(1)];
  const groups = site.integer('group', 1);
  const { pads } = windowed(site, x.shape.slice(2), w.shape.slice(2));
  const weights =
    w.view && new Weights({ view: w.view, from: 1, to: 0, outputs: w.axes[0]!, groups, isOwn: site.isOwn(1) });
  const isPadded = pads.some((pad) => pad !== 0) || mayPad(site);
  return { groups, isDepthwise: groups > 1 && w.shape[1] === 1, isPadded, weights };
}

export const filtersEach: Operator['filtersEach'] = ({ attributes }, weight) =>
  (attributes.get('group')?.integer ?? 1) > 1 && weight?.[1] === 1;

const conv: Operator = {
  channels: 'end',
  attributes: [...paddedSizes, 'group'],
  leavesOut: true,
  inputs: 3,
  filtersEach,
  shape: (site) => {
    const [x, w] = [site.input(0), site.input(1)];
    if (x.shape.length !== w.shape.length || x.shape[1] !== w.shape[1]! * site.integer('group', 1))
      throw new Misfit('its weight does not fit');
    return [checked([x.shape[0]!, w.shape[0]!, ...windowed(site, x.shape.slice(2), w.shape.slice(2)).sizes])];
  },
  couple: (site, [shape]) => {
    const { coupling } = site;
    const [x, w, b] = [site.input(0), site.input(1), site.inputs[2]];
    const { groups, isDepthwise, isPadded, weights } = convolution(site);
    const spatial = [...shape!.keys()].slice(2);
    site.block(x, spatial);
    site.block(w, spatial);
    const outputs = w.axes[0]!;
    if (b !== undefined) coupling.couple(outputs, b.axes[0]!);
    const channels = x.axes[1]!;
    const perGroup = outputs.length / groups;
    if (isDepthwise) {
      site.block(w, [1]);
      for (const [index, id] of outputs.entries()) coupling.join(id, channels[Math.floor(index / perGroup)]!);
    } else {
      if (groups === 1) coupling.couple(channels, w.axes[1]!);
      else {
        const all = coupling.axis(groups);
        coupling.grid(channels, [all, w.axes[1]!]);
        coupling.grid(outputs, [all, coupling.axis(perGroup)]);
      }
      site.flow.readers.push({
        title: site.title,
        axis: channels,
        known: along(x, 1),
        weights,
        folds: !isPadded && foldsInto(b, [outputs.length]),
        operator: site,
      });
    }
    return [[x.axes[0]!, outputs, ...site.fixed(shape!.slice(2))]];
  },
  constant: (site, [{ shape }]) => {
    const [x, b] = [site.input(0), site.inputs[2]];
    const { isPadded, weights } = convolution(site);
    if (weights === undefined) return undefined;
    const known = along(x, 1)?.numbers;
    const numbers = weights.knownAfter(known, !isPadded);
    // Which windows meet the padding depends on the sizes.
    if (!isPadded || known === undefined || site.varies) return withBias(1, numbers, b);
    const [least, most] = [numbers, numbers.slice()];
    const windows = partsOfWindows(site, shape);
    if (workOf(weights.view.shape.slice(2), windows) <= mostSums) {
      const isConstant = weights.constantOutputs(known);
      for (let index = 0; index < numbers.length; index++) {
        if (Number.isNaN(numbers[index]) && isConstant[index] === 1)
          [least[index], most[index]] = paddedRange(weights, known, index, windows);
      }
    }
    const [from, to] = [withBias(1, least, b), withBias(1, most, b)];
    return from && to && knownBetween(1, from.numbers, to.numbers);
  },
  rewrite: (site, _, cut) => {
    const { groups, isDepthwise } = convolution(site);
    if (groups === 1) return {};
    const channels = cut.sizeOf(site.input(0).axes[1]!);
    return { attributes: { group: isDepthwise ? channels : channels / cut.sizeOf(site.input(1).axes[1]!) } };
  },
};

/** A range of the taps of a kernel along an axis. */
type Part = readonly [from: number, to: number];

/** The parts of the window of a convolution that are not in the padding, along each axis of space. */
function partsOfWindows(site: Site, shape: readonly number[]): readonly (readonly Part[])[] {
  const sizes = site.input(0).shape.slice(2);
  const kernel = site.input(1).shape.slice(2);
  const pads = beginnings(site, sizes, kernel);
  return kernel.map((length, axis) => {
    const [stride, dilation] = [site.integers('strides')?.[axis] ?? 1, site.integers('dilations')?.[axis] ?? 1];
    const parts = new Map<number, Part>();
    /** Adds the part at a place; whether it is all of the window. */
    const add = (place: number): boolean => {
      const start = place * stride - pads[axis]!;
      const from = Math.max(0, Math.ceil(-start / dilation));
      const to = Math.max(from, Math.min(length, Math.ceil((sizes[axis]! - start) / dilation)));
      parts.set(from * (length + 1) + to, [from, to]);
      return from === 0 && to === length;
    };
    // Between the first and the last window that is not in the padding, all are such.
    let [first, last] = [0, shape[axis + 2]! - 1];
    while (first <= last && !add(first)) first++;
    while (first < last && !add(last)) last--;
    return [...parts.values()];
  });
}

/** The pads at the beginning of each axis of space. */
function beginnings(site: Site, sizes: readonly number[], kernel: readonly number[]): readonly number[] {
  const { pads } = windowed(site, sizes, kernel);
  const auto = site.text('auto_pad', 'NOTSET');
  // There all pads are given, of which the beginning has half.
  if (auto === 'SAME_UPPER') return sizes.map((_, axis) => Math.floor(pads[axis]! / 2));
  return auto === 'SAME_LOWER' ? sizes.map((_, axis) => Math.ceil(pads[axis]! / 2)) : pads.slice(0, sizes.length);
}

/** The least and the largest that a padded convolution makes of constants, which are known where they have weights. */
function paddedRange(
  weights: Weights,
  known: Float64Array,
  output: number,
  windows: readonly (readonly Part[])[],
): readonly [least: number, most: number] {
  const kernel = weights.view.shape.slice(2);
  const first = weights.firstInput(output);
  const taps = new Float64Array(weights.places);
  for (let input = first; input < first + weights.inputsPerGroup; input++) {
    const number = known[input]!;
    if (number !== 0 && !Number.isNaN(number))
      for (const tap of taps.keys()) taps[tap]! += number * weights.at(input, output, tap);
  }
  let [least, most] = [Infinity, -Infinity];
  /** Adds up the taps of each combination of parts, an axis at a time. */
  const visit = (sums: Float64Array, axis: number) => {
    const parts = windows[axis];
    if (parts === undefined) {
      [least, most] = [Math.min(least, sums[0]!), Math.max(most, sums[0]!)];
      return;
    }
    const inner = sums.length / kernel[axis]!;
    for (const [from, to] of parts) {
      const part = new Float64Array(inner);
      for (let at = from * inner; at < to * inner; at++) part[at % inner]! += sums[at]!;
      visit(part, axis + 1);
    }
  };
  visit(taps, 0);
  return [least, most];
}

/** The most numbers that are added up for the parts of a window. */
const mostSums = 2 ** 18;

/** How many numbers are added up for all combinations of parts. */
function workOf(kernel: readonly number[], windows: readonly (readonly Part[])[]): number {
  let [work, combinations] = [0, 1];
  for (const [axis, parts] of windows.entries()) {
    combinations *= parts.length;
    work += combinations * productOf(kernel.slice(axis));
  }
  return work;
}

const convTranspose: Operator = {
  channels: 'end',
  attributes: [...paddedSizes, 'group', 'output_padding', 'output_shape'],
  inputs: 3,
  shape: (site) => {
    const [x, w] = [site.input(0), site.input(1)];
    const groups = site.integer('group', 1);
    if (x.shape[1] !== w.shape[0]) throw new Misfit('its weight does not fit');
    const sizes = x.shape.slice(2);
    const stated = site.integers('output_shape');
    const ones = sizes.map(() => 1);
    const strides = site.integers('strides') ?? ones;
    const dilations = site.integers('dilations') ?? ones;
    const extra = site.integers('output_padding') ?? sizes.map(() => 0);
    const auto = site.text('auto_pad', 'NOTSET');
    const pads = site.integers('pads') ?? sizes.flatMap(() => [0, 0]);
    const after = sizes.map((size, axis) => {
      const whole = strides[axis]! * (size - 1) + extra[axis]! + (w.shape[axis + 2]! - 1) * dilations[axis]! + 1;
      if (!auto.startsWith('SAME')) return auto === 'VALID' ? whole : whole - pads[axis]! - pads[axis + sizes.length]!;
      // Runtimes differ from the specification where windows leave gaps.
      if (whole < size * strides[axis]!) throw new Unknown('its padding is less than nothing');
      return size * strides[axis]!;
    });
    return [checked([x.shape[0]!, w.shape[1]! * groups, ...(stated?.slice(-sizes.length) ?? after)])];
  },
  couple: (site, [shape]) => {
    const { coupling } = site;
    const [x, w, b] = [site.input(0), site.input(1), site.inputs[2]];
    const groups = site.integer('group', 1);
    const spatial = [...shape!.keys()].slice(2);
    site.block(x, spatial);
    site.block(w, spatial);
    const channels = x.axes[1]!;
    const perGroup = channels.length / groups;
    coupling.couple(channels, w.axes[0]!);
    const outputsPerGroup = w.shape[1]!;
    const outputs = new Int32Array(shape![1]!);
    const isDepthwise = groups > 1 && perGroup === 1;
    if (isDepthwise) site.block(w, [1]);
    else for (const [index, id] of channels.entries()) coupling.join(id, channels[index % perGroup]!);
    for (const index of outputs.keys()) {
      outputs[index] = isDepthwise
        ? channels[Math.floor(index / outputsPerGroup)]!
        : w.axes[1]![index % outputsPerGroup]!;
    }
    if (b !== undefined) coupling.couple(outputs, b.axes[0]!);
    if (isDepthwise) return [[x.axes[0]!, outputs, ...site.fixed(shape!.slice(2))]];
    const weights =
      groups === 1 && w.view
        ? new Weights({ view: w.view, from: 0, to: 1, outputs: w.axes[1]!, groups: 1, isOwn: site.isOwn(1) })
        : undefined;
    // At its borders, and where strides leave gaps, fewer weights meet a constant.
    site.flow.readers.push({
      title: site.title,
      axis: channels,
      known: along(x, 1),
      weights,
      folds: false,
      operator: site,
    });
    return [[x.axes[0]!, outputs, ...site.fixed(shape!.slice(2))]];
  },
  constant: (site, [{ shape }]) => {
    const [x, w, b] = [site.input(0), site.input(1), site.inputs[2]];
    if (w.view === undefined) return undefined;
    const groups = site.integer('group', 1);
    const known = along(x, 1)?.numbers;
    if (groups === 1) {
      const weights = new Weights({ view: w.view, from: 0, to: 1, outputs: w.axes[1]!, groups: 1, isOwn: true });
      return withBias(1, weights.knownAfter(known, false), b);
    }
    const [inputsPerGroup, outputsPerGroup] = [w.shape[0]! / groups, w.shape[1]!];
    const { stored } = w.view;
    const numbers = new Float64Array(shape[1]!);
    for (const output of numbers.keys()) {
      const first = Math.floor(output / outputsPerGroup) * inputsPerGroup;
      for (let input = first; input < first + inputsPerGroup; input++) {
        const at = new Map([
          [0, input],
          [1, output % outputsPerGroup],
        ]);
        if (known?.[input] !== 0 && eachPlace(w.view, at, (place) => !stored.isZero(place))) numbers[output] = NaN;
      }
    }
    return withBias(1, numbers, b);
  },
  rewrite: (site, _, cut) => {
    const [x, groups] = [site.input(0), site.integer('group', 1)];
    return groups > 1 && x.shape[1] === groups ? { attributes: { group: cut.sizeOf(x.axes[1]!) } } : {};
  },
};

export const convolutions: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Conv', conv],
  ['ConvTranspose', convTranspose],
]);
