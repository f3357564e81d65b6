import { somewhere, type Channels, type Inputs, type Step } from './flow.js';
import type { Call } from './keras-layers.js';
import { identities, numberOf, type Config } from './keras-types.js';

/** What a concatenation along the last axis joins. */
export interface Join {
  /** Where the numbers of each input begin. */
  readonly starts: ReadonlyMap<Call, number>;
  readonly total: number;
}

/** Activations that give 0 for 0. */
const keepZero: ReadonlySet<string> = new Set([
  ...['linear', 'relu', 'relu6', 'elu', 'selu', 'tanh', 'softsign', 'swish', 'silu', 'gelu', 'gelu_new', 'mish'],
  ...['leaky_relu', 'hard_silu', 'hard_swish', 'hard_tanh', 'celu'],
]);
/** Activations that make another number of 0. */
const raiseZero: ReadonlySet<string> = new Set([
  ...['sigmoid', 'hardSigmoid', 'hard_sigmoid', 'softplus', 'softmax', 'logSoftmax', 'log_softmax', 'exponential'],
]);

/** Layers that change each channel by itself and give 0 for 0. */
const keeping = /^((Zero|Reflection)Padding|UpSampling|Cropping|(Max|Average)Pooling)\dD$|^(LeakyReLU|PReLU|ELU)$/;
/** They subtract a mean that is not 0 for removed channels. */
const otherNorms = /^(Layer|Group|Instance|Unit|Spectral)?Normalization$/;
const sums: ReadonlySet<string> = new Set(['Add', 'Subtract', 'Average', 'Maximum', 'Minimum']);

/** What an activation makes of channels that are zero; undefined if it is not known. */
export function activate(call: Call, activation: unknown, { channels, isNonzero, leaks }: Step): Step | undefined {
  const name = activation ?? 'linear';
  if (typeof name !== 'string') return undefined;
  if (keepZero.has(name)) return { channels, isNonzero, ...(leaks && { leaks }) };
  return raiseZero.has(name)
    ? raised(call, `its activation ${name}`, { channels, isNonzero, leaks: leaks ?? [] })
    : undefined;
}

function raised({ layer }: Call, what: string, { channels, isNonzero, leaks }: Step): Step {
  if (isNonzero) return { channels, isNonzero, ...(leaks && { leaks }) };
  return {
    channels,
    isNonzero: true,
    leaks: [{ name: layer.title.join('/'), reason: `${what} makes another number of 0` }],
  };
}

/**
 * What a layer without weights makes of channels that it reads.
 * @param joins what concatenations join, if that is known
 * @returns undefined if the channels end in it
 */
export function passThrough(call: Call, from: Call, inputs: Inputs, joins: ReadonlyMap<Call, Join>): Step | undefined {
  const { channels, isNonzero } = inputs;
  const { type, config } = call.layer;
  const same: Step = { channels: { ...channels, rank: call.rank }, isNonzero };
  if (identities.test(type) || keeping.test(type)) return same;
  // The input of a nested model has the values of all its uses.
  if (type === 'InputLayer' || sums.has(type)) {
    const isAll = call.isWhole && inputs.zero + inputs.nonzero === call.inputs.size;
    return isAll ? { channels, isNonzero: inputs.nonzero > 0 } : undefined;
  }
  if (type === 'Multiply') {
    // What is not zero is a factor of another layer's channels. A single channel may be multiplied with several.
    return inputs.zero === 0
      ? undefined
      : { channels: channels.total === 1 ? somewhere(channels) : channels, isNonzero: false };
  }
  if (call.inputs.size > 1) {
    const moved = type === 'Concatenate' ? concatenate(call, from, channels, joins.get(call)) : undefined;
    return moved && { channels: moved, isNonzero };
  }
  if (type === 'Activation') return activate(call, config.activation, same);
  if (type === 'ReLU' || type === 'ThresholdedReLU') return rectify(call, same);
  if (type === 'Softmax' || otherNorms.test(type)) return raised(call, type, same);
  if (type === 'Rescaling')
    return config.offset === 0 || config.offset === undefined ? same : raised(call, 'Rescaling', same);
  const moved = move(call, channels);
  return moved && { channels: moved, isNonzero };
}

function rectify(call: Call, step: Step): Step {
  const { threshold, theta, negative_slope: slope } = call.layer.config;
  const limit = numberOf(threshold ?? theta) ?? 0;
  // Below the threshold, the output is slope x (input - threshold).
  return limit !== 0 && (numberOf(slope) ?? 0) !== 0 ? raised(call, 'its threshold', step) : step;
}

function move({ layer, rank, inputs }: Call, channels: Channels): Channels | undefined {
  const { type, config } = layer;
  const { axis, total, start } = channels;
  const [input] = inputs;
  if (/^Global(Max|Average)Pooling\dD$/.test(type)) {
    const before = Number(/\d/.exec(type)![0]) + 2;
    const isAlong = axis === (isChannelsFirst(config) ? 1 - before : -1);
    if (!isAlong) return axis === undefined ? channels : undefined;
    return config.keepdims === true ? { ...channels, rank } : { ...channels, axis: -1, rank };
  }
  if (type === 'Flatten') return input?.rank === 2 ? channels : somewhere(channels);
  if (type === 'RepeatVector') return { ...channels, rank };
  if (type === 'Reshape') {
    const target = Array.isArray(config.target_shape) ? (config.target_shape as unknown[]) : [];
    const isKept = axis === -1 && channels.sizes.length === 1 && target.at(-1) === total && start === 0;
    return isKept ? { ...channels, rank } : somewhere(channels);
  }
  if (type === 'Permute') {
    const order = Array.isArray(config.dims) ? (config.dims as unknown[]) : [];
    const before = order.length + 1;
    if (axis === undefined) return channels;
    // Axes are counted from 1: the first one is that of the batch.
    const place = order.indexOf(before + axis);
    return place < 0 ? somewhere(channels) : { ...channels, axis: place + 1 - before, rank: before };
  }
  return undefined;
}

function concatenate(call: Call, from: Call, channels: Channels, join: Join | undefined): Channels | undefined {
  const along = axisOf(call.layer.config, channels.rank);
  if (along === undefined || channels.axis === undefined) return somewhere(channels);
  // Along another axis, the values are beside those of other layers.
  if (along !== channels.axis) return undefined;
  if (along !== -1 || join === undefined) return somewhere(channels);
  const { starts, total } = join;
  return { ...channels, sizes: [total], start: starts.get(from)! + channels.start, total, rank: call.rank };
}

/** The axis of a config, counted from the end; by default the last one. Undefined if that takes an unknown rank. */
export function axisOf({ axis }: Config, rank: number | undefined, more = 0): number | undefined {
  if (Array.isArray(axis) && axis.length !== 1) return undefined;
  const index = numberOf(Array.isArray(axis) ? (axis as unknown[])[0] : axis) ?? -1;
  if (index < 0) return index;
  return rank === undefined ? undefined : index + more - rank;
}

export const isChannelsFirst = ({ data_format: format }: Config): boolean =>
  format === 'channels_first' || format === 'channelsFirst';
