import type { Kind, Role } from '../../model/model.js';
import { largestOf } from '../../model/numbers.js';

export type Config = Readonly<Record<string, unknown>>;

/** One weight of a layer. */
export interface Parameter {
  /** Its names in Keras and TensorFlow.js. */
  readonly names: readonly string[];
  /** Appended to the name of a layer with several weights. */
  readonly suffix?: string;
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  /** The number of output channels according to the config. */
  readonly channels?: number | undefined;
  readonly groups?: number;
  /** Whether its output channels are those of the layer, and have the layer's bias. */
  readonly hasBias: boolean;
}

const spatial = (dimensions: number): readonly Role[] => (['depth', 'height', 'width'] as const).slice(3 - dimensions);

function convolution(dimensions: 1 | 2 | 3): (config: Config) => Parameter[] {
  return (config) => [
    {
      names: ['kernel'],
      kind: `conv${dimensions}d`,
      roles: [...spatial(dimensions), 'in', 'out'],
      channels: numberOf(config.filters),
      groups: numberOf(config.groups) ?? 1,
      hasBias: true,
    },
  ];
}

function transposed(dimensions: 1 | 2 | 3): (config: Config) => Parameter[] {
  return (config) => [
    {
      names: ['kernel'],
      kind: `convTranspose${dimensions}d`,
      roles: [...spatial(dimensions), 'out', 'in'],
      channels: numberOf(config.filters),
      hasBias: true,
    },
  ];
}

const depthwise = (dimensions: 1 | 2): Parameter => ({
  names: ['depthwise_kernel', 'kernel'],
  kind: `conv${dimensions}d`,
  roles: [...spatial(dimensions), 'out', 'multiplier'],
  hasBias: true,
});

function separable(dimensions: 1 | 2): (config: Config) => Parameter[] {
  return (config) => [
    { ...depthwise(dimensions), names: ['depthwise_kernel'], hasBias: false },
    {
      names: ['pointwise_kernel'],
      suffix: '.pointwise',
      kind: `conv${dimensions}d`,
      roles: [...spatial(dimensions), 'in', 'out'],
      channels: numberOf(config.filters),
      hasBias: true,
    },
  ];
}

/** The gates are concatenated along the last axis. */
function recurrent(kind: 'lstm' | 'gru' | 'rnn', gates: number): (config: Config) => Parameter[] {
  return (config) => {
    const units = numberOf(config.units);
    const channels = units && units * gates;
    const one = { kind, roles: ['in', 'out'] as const, channels, hasBias: false };
    return [
      { ...one, names: ['kernel'] },
      { ...one, names: ['recurrent_kernel'], suffix: '.recurrent' },
    ];
  };
}

/** Layers with weights that can be pruned, by class name. */
export const layerTypes: ReadonlyMap<string, (config: Config) => Parameter[]> = new Map([
  ['Conv1D', convolution(1)],
  ['Conv2D', convolution(2)],
  ['Conv3D', convolution(3)],
  ['Conv1DTranspose', transposed(1)],
  ['Conv2DTranspose', transposed(2)],
  ['Conv3DTranspose', transposed(3)],
  ['DepthwiseConv1D', () => [depthwise(1)]],
  ['DepthwiseConv2D', () => [depthwise(2)]],
  ['SeparableConv1D', separable(1)],
  ['SeparableConv2D', separable(2)],
  [
    'Dense',
    (config) => [
      { names: ['kernel'], kind: 'dense', roles: ['in', 'out'], channels: numberOf(config.units), hasBias: true },
    ],
  ],
  [
    'Embedding',
    (config) => [
      {
        names: ['embeddings'],
        kind: 'embedding',
        roles: ['out', 'in'],
        channels: numberOf(config.input_dim),
        hasBias: false,
      },
    ],
  ],
  ['LSTM', recurrent('lstm', 4)],
  ['LSTMCell', recurrent('lstm', 4)],
  ['GRU', recurrent('gru', 3)],
  ['GRUCell', recurrent('gru', 3)],
  ['SimpleRNN', recurrent('rnn', 1)],
  ['SimpleRNNCell', recurrent('rnn', 1)],
]);

/** The names of all weights of a layer, in the order in which Keras and TensorFlow.js number them. */
export function weightNames(type: string, config: Config): string[] {
  if (type === 'BatchNormalization') {
    const parts = [config.scale === false ? [] : ['gamma'], config.center === false ? [] : ['beta']].flat();
    return [...parts, 'moving_mean', 'moving_variance'];
  }
  const names = (layerTypes.get(type)?.(config) ?? []).map(({ names }) => names[0]!);
  return type === 'Embedding' || config.use_bias === false ? names : [...names, 'bias'];
}

/** Layers that do nothing at inference. */
export const identities = /^((Spatial|Alpha|Gaussian)?Dropout(\dD)?|GaussianNoise|ActivityRegularization|Identity)$/;

/** Layers whose output has the rank of their input, or the highest rank of their inputs. */
const keeping =
  /^(Dense|Activation|BatchNormalization|LayerNormalization|(Leaky|P|Thresholded)?ReLU|ELU|Softmax|Masking|Rescaling|Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate|Permute)$/;

/** The number of axes of the output of a layer, given its type, its config and the ranks of its inputs. */
export function rankAfter(type: string, config: Config, inputs: readonly (number | undefined)[]): number | undefined {
  const dimensions = /^(?!Global).*(\d)D(Transpose)?$/.exec(type)?.[1];
  if (dimensions !== undefined) return Number(dimensions) + 2;
  if (type === 'Flatten' || (/^Global.*Pooling\dD$/.test(type) && config.keepdims !== true)) return 2;
  if (type === 'Reshape') return Array.isArray(config.target_shape) ? config.target_shape.length + 1 : undefined;
  if (type === 'RepeatVector') return 3;
  if (/^(LSTM|GRU|SimpleRNN|RNN)$/.test(type)) return config.return_sequences === true ? 3 : 2;
  const given = config.batch_input_shape ?? config.batch_shape;
  const ranks = inputs.length === 0 && Array.isArray(given) ? [given.length] : inputs;
  // The input of a nested model may come from several layers.
  if (type === 'InputLayer') return Array.isArray(given) ? given.length : ranks[0];
  if (!(keeping.test(type) || identities.test(type)) || ranks.length === 0 || ranks.includes(undefined))
    return undefined;
  return largestOf(ranks as number[]);
}

/** Layers whose output has the last axis of their inputs, or the longest of them. */
const keepWidth =
  /^(Activation|BatchNormalization|LayerNormalization|(Leaky|P|Thresholded)?ReLU|ELU|Softmax|Add|Subtract|Multiply|Average|Maximum|Minimum|(Global)?(Max|Average)Pooling\dD|ZeroPadding\dD|UpSampling\dD|InputLayer)$/;

/** The size of the last axis of the output of a layer, given those of its inputs. */
export function widthAfter(type: string, config: Config, inputs: readonly (number | undefined)[]): number | undefined {
  if (config.data_format === 'channels_first') return undefined;
  const parameter = layerTypes.get(type)?.(config).at(-1);
  if (parameter?.roles.includes('multiplier')) {
    return inputs[0] === undefined ? undefined : inputs[0] * (numberOf(config.depth_multiplier) ?? 1);
  }
  if (parameter !== undefined) return parameter.hasBias ? parameter.channels : undefined;
  if (type === 'Concatenate') {
    return inputs.includes(undefined) ? undefined : (inputs as number[]).reduce((sum, size) => sum + size, 0);
  }
  const { target_shape: target } = config;
  if (type === 'Reshape') {
    const size = Array.isArray(target) ? numberOf((target as unknown[]).at(-1)) : undefined;
    return size !== undefined && size > 0 ? size : undefined;
  }
  const given = config.batch_input_shape ?? config.batch_shape;
  if (inputs.length === 0) return Array.isArray(given) ? numberOf((given as unknown[]).at(-1)) : undefined;
  if (!(keepWidth.test(type) || identities.test(type)) || inputs.includes(undefined)) return undefined;
  return (inputs as number[]).reduce((most, size) => Math.max(most, size));
}

export const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
