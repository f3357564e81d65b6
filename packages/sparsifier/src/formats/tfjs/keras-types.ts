import type { Kind, Role } from '../../model/model.js';

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

export const isChannelsFirst = ({ data_format: format }: Config): boolean =>
  format === 'channels_first' || format === 'channelsFirst';

export const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
