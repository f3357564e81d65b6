import { productOf } from '../../../../model/numbers.js';
import type { Tensor } from '../../../../structure/network.js';
import { knownBetween } from '../../../../structure/numbers.js';
import { Misfit, type Operator, type Site, Unknown } from '../site.js';
import { along, asKnown, knownAlong, zerosOf } from './known.js';

/** Scale and shift of each channel. */
const scaled = (axis: number | undefined, beside: readonly number[] = []): Operator['parameters'] => {
  const parts = [
    ...[{ input: 1, part: 'gamma' } as const, { input: 2, part: 'beta' } as const],
    ...beside.map((input) => ({ input, part: 'beside' }) as const),
  ].map((part) => (axis === undefined ? part : { ...part, axis }));
  return (_, input) => (input === 0 ? parts : []);
};

/** Couples a list with the second axis of what it belongs to. */
function coupleList(site: Site, place: number): void {
  const [axis, list] = [site.input(0).axes[1], site.input(place).axes[0]];
  if (axis === undefined || axis.length !== list?.length) throw new Misfit(`input ${place} does not fit`);
  site.coupling.couple(axis, list);
}

const batchNormalization: Operator = {
  parameters: scaled(1, [3]),
  attributes: ['epsilon', 'momentum', 'spatial', 'training_mode'],
  inputs: 5,
  shape: (site) => {
    if (site.integer('training_mode', 0) !== 0 || site.integer('spatial', 1) !== 1)
      throw new Unknown('it computes its statistics');
    return [site.input(0).shape];
  },
  couple: (site) => {
    const x = site.input(0);
    for (const place of [1, 2, 3, 4]) coupleList(site, place);
    return [x.axes];
  },
  constant: (site) => {
    const x = site.input(0);
    const [scale, bias, mean, variance] = [1, 2, 3, 4].map((place) => along(site.input(place), 0)?.numbers);
    if (!scale || !bias) return undefined;
    const known = along(x, 1)?.numbers;
    const epsilon = site.float('epsilon', 1e-5);
    const normalized = (numbers: Float64Array | undefined) =>
      scale.map((scale, index) => {
        const factor = scale / Math.sqrt((variance?.[index] ?? NaN) + epsilon);
        if (factor === 0) return bias[index]!;
        return ((numbers?.[index] ?? NaN) - (mean?.[index] ?? NaN)) * factor + bias[index]!;
      });
    const ranges = x.known?.axis === 1 ? x.known.ranges : undefined;
    const [one, other] = [normalized(ranges?.least ?? known), normalized(ranges?.most ?? known)];
    const least = one.map((number, index) => Math.min(number, other[index]!));
    return knownBetween(
      1,
      least,
      one.map((number, index) => Math.max(number, other[index]!)),
    );
  },
};

/** The mean of so many equal numbers, a multiple of 4, added up as runtimes do: in 32 bits, with two sums of 4 numbers each. */
function meanOfEqual(number: number, count: number): number {
  let lane = 0;
  for (let index = 0; index < count >> 3; index++) lane = Math.fround(lane + number);
  const sum = Math.fround(2 * lane + (count % 8 === 0 ? 0 : number));
  return Math.fround((4 * sum) / count);
}

const instanceNormalization: Operator = {
  parameters: scaled(1),
  attributes: ['epsilon'],
  inputs: 3,
  shape: (site) => [site.input(0).shape],
  couple: (site) => {
    const x = site.input(0);
    for (const place of [1, 2]) coupleList(site, place);
    site.block(x, [...x.axes.keys()].slice(2));
    return [x.axes];
  },
  constant: (site) => {
    const [scale, bias] = [1, 2].map((place) => along(site.input(place), 0)?.numbers);
    if (!scale || !bias) return undefined;
    const known = along(site.input(0), 1)?.numbers;
    const epsilon = Math.fround(site.float('epsilon', 1e-5));
    const count = productOf(site.input(0).shape.slice(2));
    // Other counts are added up in an order that depends on where a channel lies in memory.
    const isInOrder = !site.varies && (count === 1 || count % 4 === 0);
    const numbers = bias.map((shift, index) => {
      if (scale[index] === 0) return shift;
      // A channel with one number is its own mean, but for rounding errors, which are then multiplied by 1 / sqrt(epsilon).
      const number = Math.fround(known?.[index] ?? NaN);
      if (!isInOrder) return Math.abs(number * scale[index]!) <= Math.abs(shift) * Math.sqrt(epsilon) ? shift : NaN;
      const mean = count === 1 ? number : meanOfEqual(number, count);
      const variance = Math.fround((number - mean) ** 2);
      const inverse = Math.fround(1 / Math.fround(Math.sqrt(Math.fround(variance + epsilon))));
      const factor = Math.fround(inverse * scale[index]!);
      return Math.fround(Math.fround(number * factor) + Math.fround(shift - Math.fround(mean * factor)));
    });
    return asKnown(1, numbers);
  },
};

/** An operator whose numbers depend on all those along some axes. */
const mixing = (
  axesOf: (site: Site, rank: number) => Iterable<number>,
  attributes: readonly string[],
  inputs = 1,
): Operator => ({
  attributes,
  inputs,
  shape: (site) => site.node.outputs.map(() => site.input(0).shape).slice(0, 1),
  couple: (site) => {
    const x = site.input(0);
    site.block(x, axesOf(site, x.shape.length));
    for (const other of site.inputs.slice(1)) site.block(other);
    return [x.axes];
  },
  constant: () => undefined,
});

const fromAxis = (otherwise: number) => (site: Site, rank: number) => {
  const first = site.axis(site.integer('axis', otherwise), rank);
  return Array.from({ length: rank - first }, (_, place) => first + place);
};

const softmaxAxes = (site: Site, rank: number) =>
  site.opset < 13 ? fromAxis(1)(site, rank) : [site.axis(site.integer('axis', -1), rank)];

const lastAxis = (site: Site, rank: number) => [site.axis(site.integer('axis', -1), rank)];

/** Where the scale is 0, whatever the number is, what is added is left. */
const shifts =
  (channels: number): Operator['constant'] =>
  (site) => {
    const [x, scale, shift] = [site.input(0), site.input(1), site.inputs[2]];
    const axis = site.axis(channels, x.shape.length);
    const across = (tensor: Tensor) => (channels < 0 ? knownAlong(tensor, axis, x.shape) : along(tensor, 0)?.numbers);
    const factors = across(scale);
    const added = shift && across(shift);
    // One number may stand for a group of channels.
    if (factors === undefined || factors.length !== x.shape[axis]) return undefined;
    return asKnown(
      axis,
      factors.map((factor, index) => (factor !== 0 ? NaN : shift === undefined ? 0 : (added?.[index] ?? NaN))),
    );
  };

export const norms: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['BatchNormalization', batchNormalization],
  ['InstanceNormalization', instanceNormalization],
  ['Softmax', mixing(softmaxAxes, ['axis'])],
  ['LogSoftmax', mixing(softmaxAxes, ['axis'])],
  [
    'LayerNormalization',
    {
      ...mixing(fromAxis(-1), ['axis', 'epsilon', 'stash_type'], 3),
      constant: shifts(-1),
      parameters: scaled(undefined),
    },
  ],
  [
    'GroupNormalization',
    {
      ...mixing(
        (_, rank) => Array.from({ length: rank - 1 }, (_each, axis) => axis + 1),
        ['epsilon', 'num_groups', 'stash_type'],
        3,
      ),
      constant: shifts(1),
      parameters: scaled(1),
    },
  ],
  ['Hardmax', mixing(softmaxAxes, ['axis'])],
  [
    'MeanVarianceNormalization',
    mixing((site, rank) => (site.integers('axes') ?? [0, 2, 3]).map((axis) => site.axis(axis, rank)), ['axes']),
  ],
  ['LRN', { ...mixing(() => [1], ['alpha', 'beta', 'bias', 'size']), constant: zerosOf }],
  ['LpNormalization', { ...mixing(lastAxis, ['axis', 'p']), constant: zerosOf }],
  ['RMSNormalization', { ...mixing(fromAxis(-1), ['axis', 'epsilon', 'stash_type'], 2), constant: zerosOf }],
  [
    'SimplifiedLayerNormalization',
    { ...mixing(fromAxis(-1), ['axis', 'epsilon', 'stash_type'], 2), constant: zerosOf },
  ],
]);
