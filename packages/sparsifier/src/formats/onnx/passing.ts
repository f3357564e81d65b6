import type { Leak } from '../../model/model.js';
import { keeping, rankUnknown, leaking, unknown, type Location, type Pass, type Rule, type Track } from './channels.js';
import {
  broadcast,
  concatenating,
  gathered,
  padding,
  pooling,
  reducing,
  reshaped,
  resized,
  scattered,
  slicing,
  splitting,
  transposed,
} from './moving.js';
import type { Node } from './graph.js';
import { extremesOf, numbersOf, unknownSize, type Size } from './shapes.js';

/** A parameter decides whether f(0) = 0; undefined if the file does not say. */
const deciding =
  (keeps: (node: Node) => boolean | undefined): Rule =>
  (node) => {
    const isKept = keeps(node);
    return isKept === undefined ? () => undefined : (isKept ? keeping : leaking)(node);
  };

/** The channels stay what they are, and are somewhere else. */
const moving =
  (move: (node: Node) => (at: Location) => Location): Rule =>
  (node) => {
    const moved = move(node);
    return ({ input, track }) => (input === 0 ? [{ ...track, at: moved(track.at) }] : undefined);
  };

/** Nothing of the numbers themselves is passed on. */
const ignoring: Rule = () => () => [];

/** Operators that pass channels on. All others are where channels end: convolutions, products, and unknown ones. */
export const passing: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...[
    ...[
      'Identity',
      'Cast',
      'Dropout',
      'Relu',
      'LeakyRelu',
      'PRelu',
      'Elu',
      'Selu',
      'Celu',
      'ThresholdedRelu',
      'Shrink',
    ],
    ...[
      'HardSwish',
      'Mish',
      'Gelu',
      'Swish',
      'Softsign',
      'Tanh',
      'Erf',
      'Sqrt',
      'Abs',
      'Neg',
      'Floor',
      'Ceil',
      'Round',
    ],
    ...['Sign', 'Sin', 'Tan', 'Asin', 'Atan', 'Sinh', 'Asinh', 'Atanh', 'LRN', 'LpNormalization', 'RMSNormalization'],
    ...['SimplifiedLayerNormalization', 'QuantizeLinear', 'DequantizeLinear', 'com.microsoft.Gelu'],
    ...['com.microsoft.QuickGelu'],
  ].map((op): [string, Rule] => [op, keeping]),
  ...['Sigmoid', 'Softplus', 'Exp', 'Cos', 'Cosh', 'Acos', 'Softmax', 'LogSoftmax', 'Log', 'Reciprocal'].map(
    (op): [string, Rule] => [op, leaking],
  ),
  ['HardSigmoid', deciding(({ attributes }) => (attributes.get('beta')?.float ?? 0.5) <= 0)],
  ['Clip', deciding((node) => reachesZero(bound(node, 'min', 1), bound(node, 'max', 2)))],
  ['Max', deciding((node) => reachesZero(constantBound(node), -Infinity))],
  ['Min', deciding((node) => reachesZero(-Infinity, constantBound(node)))],
  ['Pow', deciding(({ inputs }) => (isPositive(numbersOf(inputs[1])) ? true : undefined))],
  ...['MaxPool', 'AveragePool', 'LpPool', 'GlobalMaxPool', 'GlobalAveragePool', 'GlobalLpPool'].map(
    (op): [string, Rule] => [op, pooling],
  ),
  ...['Mean', 'Max', 'Min', 'Sum', 'SumSquare', 'L1', 'L2', 'Prod'].map((op): [string, Rule] => [
    `Reduce${op}`,
    reducing,
  ]),
  ['Pad', padding],
  ['Resize', moving(resized)],
  ['Upsample', moving(resized)],
  ['Transpose', moving(transposed)],
  ...['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'].map((op): [string, Rule] => [op, moving(reshaped)]),
  ['Expand', moving(() => broadcast)],
  ['Gather', moving(gathered)],
  ...['Tile', 'DepthToSpace', 'SpaceToDepth', 'GatherElements', 'GatherND', 'CumSum', 'Trilu'].map(
    (op): [string, Rule] => [op, moving(scattered)],
  ),
  ['Concat', concatenating],
  ['Split', splitting],
  ['Slice', slicing],
  ...['Mul', 'Div'].map((op): [string, Rule] => [op, multiplying]),
  ...['Add', 'Sub', 'Sum', 'Mean'].map((op): [string, Rule] => [op, adding]),
  ...['com.microsoft.BiasGelu', 'com.microsoft.FastGelu'].map((op): [string, Rule] => [op, adding]),
  ['com.microsoft.BiasAdd', merging(1, [0])],
  ['com.microsoft.SkipLayerNormalization', merging(4, [0, 1])],
  ['com.microsoft.SkipSimplifiedLayerNormalization', merging(3, [0, 1])],
  ['com.microsoft.MultiHeadAttention', merging(3, [0, 1, 2], partOfThree)],
  ['BatchNormalization', normalising({ scale: 1, shift: 2, axis: 1, isFixed: true })],
  ['InstanceNormalization', normalising({ scale: 1, shift: 2, axis: 1, isFixed: false })],
  ['GroupNormalization', normalising({ scale: 1, shift: 2, axis: 1, isFixed: true })],
  ['LayerNormalization', normalising({ scale: 1, shift: 2, axis: undefined, isFixed: true })],
  ...['Shape', 'Size'].map((op): [string, Rule] => [op, ignoring]),
]);

/** A limit of a Clip, in an attribute or an input. */
function bound({ attributes, inputs }: Node, name: 'min' | 'max', input: number): number | undefined {
  const absent = name === 'min' ? -Infinity : Infinity;
  if (inputs[input] !== undefined) return numbersOf(inputs[input])?.[0];
  return attributes.get(name)?.float ?? absent;
}

function reachesZero(least: number | undefined, most: number | undefined): boolean | undefined {
  return least === undefined || most === undefined ? undefined : least <= 0 && most >= 0;
}

const isPositive = (list: readonly number[] | undefined): boolean => list !== undefined && extremesOf(list).least > 0;

/** The other operand of a Max or Min of two, if it is one known number. */
function constantBound({ inputs }: Node): number | undefined {
  const numbers =
    inputs.length === 2 ? inputs.map((value) => numbersOf(value)).filter((each) => each !== undefined) : [];
  return numbers.length === 1 && numbers[0]!.length === 1 ? numbers[0]![0] : undefined;
}

/**
 * 0 times anything is 0. A constant with one number per channel is removed too where it is what makes the channel 0. A
 * product of a channel that is not 0 with something else belongs to another layer.
 */
function multiplying(node: Node): Pass {
  return ({ input, track, claims, twin }) => {
    const other = 1 - input;
    const factor = node.inputs[other];
    if (node.op === 'Div' && input === 1) return undefined;
    const at = broadcast(track.at);
    const same = twin(other);
    if (same !== undefined) return [{ ...track, at, leaks: same.leaks.length === 0 ? [] : track.leaks }];
    if (factor?.isConstant) {
      const isNeeded = track.leaks.length > 0;
      // A divisor cannot make a channel 0.
      const isZero =
        node.op === 'Mul' && claims.take(track, { part: 'gamma', node, input: other, isNeeded }) === undefined;
      return [{ ...track, at, leaks: isZero ? [] : track.leaks }];
    }
    return track.leaks.length === 0 ? [{ ...track, at }] : undefined;
  };
}

/** The most terms of a sum that are compared with each other. */
const mostTerms = 64;

/** Constants with one number per channel are biases. The sum with another value is not the channel of this layer. */
function adding(node: Node): Pass {
  const { inputs } = node;
  if (inputs.length > mostTerms) return () => undefined;
  return ({ input, track, claims, twin }) => {
    const others = [...inputs.keys()].filter((other) => other !== input && inputs[other] !== undefined);
    if (!others.every((other) => twin(other) !== undefined || inputs[other]!.isConstant)) return undefined;
    let { leaks } = track;
    for (const other of others) {
      const leak = twin(other)?.leaks ?? claims.take(track, { part: 'bias', node, input: other, isNeeded: true });
      if (leaks.length === 0 && leak !== undefined) leaks = [leak].flat();
    }
    return [{ ...track, at: broadcast(track.at), leaks }];
  };
}

/**
 * Operators that add a bias of their own to the channels, and then combine them with other values.
 * @param bias the input that is the bias
 * @param data the inputs that it is added to
 * @param entries where the channels of an input are in the bias
 */
function merging(
  bias: number,
  data: readonly number[],
  entries: (track: Track, input: number, size: Size) => Track = (track) => track,
): Rule {
  return (node) =>
    ({ input, track, claims }) => {
      const [size = unknownSize()] = node.inputs[bias]?.shape ?? [];
      if (!data.includes(input)) return undefined;
      const candidate = { part: 'bias', node, input: bias, isNeeded: true } as const;
      const leak = claims.take(entries(track, input, size), candidate);
      return { ends: track.leaks.length > 0 || leak === undefined ? track : { ...track, leaks: [leak] } };
    };
}

/** The bias of query, key and value, one after another. Those of query and key have one size. */
function partOfThree(track: Track, input: number, size: Size): Track {
  const { place } = track.at;
  if (place?.axis !== 1 || typeof place.size !== 'number' || typeof size !== 'number') {
    return { ...track, at: unknown(track.at.reason ?? 'the size of query, key and value is unknown') };
  }
  const start = [0, place.size, size - place.size][input]!;
  return { ...track, at: { place: { ...place, size, offset: place.offset + start } } };
}

interface Norm {
  /** The inputs that have one number per channel. */
  readonly scale: number;
  readonly shift: number;
  /** The axis of the channels, from the front; undefined if scale and shift align with the last axes. */
  readonly axis: number | undefined;
  /** Whether a channel that is 0 is not 0 when it is normalised, before scale and shift. */
  readonly isFixed: boolean;
}

/** Normalisations: with scale and shift 0 a channel is 0, whatever it was. */
function normalising({ scale, shift, axis, isFixed }: Norm): Rule {
  return (node) =>
    ({ input, track, claims }) => {
      if (input !== 0) return undefined;
      const rank = node.inputs[0]?.rank;
      const onAxis = axis === undefined ? track : along(track, axis, rank);
      const take = (place: number, part: 'gamma' | 'beta'): Leak[] => {
        const leak = claims.take(onAxis, { part, node, input: place, isNeeded: true });
        return leak === undefined ? [] : [leak];
      };
      const isScaled = isFixed || track.leaks.length > 0 || onAxis.at.place === undefined;
      const gamma = take(scale, 'gamma');
      const beta = take(shift, 'beta');
      return [{ ...track, leaks: [...(isScaled ? gamma : []), ...beta] }];
    };
}

/** Scale and shift of the second axis: those of other channels are none of this track's. */
function along(track: Track, axis: number, rank: number | undefined): Track {
  const { place } = track.at;
  if (place === undefined) return track;
  if (rank === undefined) return { ...track, at: unknown(rankUnknown) };
  if (rank - place.axis !== axis)
    return {
      ...track,
      at: unknown(`its entries are along axis ${axis}, and the channels are on axis ${rank - place.axis}`),
    };
  // A list aligns with the axis of the channels, whatever follows.
  return { ...track, at: { place: { ...place, axis: 1 } } };
}
