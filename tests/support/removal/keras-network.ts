import { tf } from '../tfjs.js';
import { Random } from './random.js';

export interface TfjsChoice {
  readonly seed: number;
  /** How many layers it has, at most. */
  readonly count: number;
  /** Layers that are left out, by number: how failures are made small. */
  readonly without?: ReadonlySet<number>;
}

type Value = tf.SymbolicTensor;
type Layer = tf.layers.Layer;

/** What a network has so far. */
interface Network {
  random: Random;
  readonly values: Value[];
  readonly inputs: Value[];
  readonly unread: Set<Value>;
  readonly shared: Layer[];
  names: number;
}

const activations = [
  'linear',
  'relu',
  'relu6',
  'sigmoid',
  'tanh',
  'elu',
  'selu',
  'softplus',
  'softsign',
  'hardSigmoid',
  'swish',
];

const shapeOf = (value: Value): number[] => value.shape.slice(1) as number[];
const channelsOf = (value: Value): number => shapeOf(value).at(-1)!;

/** A layer that can be put behind a value. */
interface Choice {
  readonly weight: number;
  readonly takes: (shape: readonly number[]) => boolean;
  readonly apply: (net: Network, value: Value) => Value | undefined;
}

const ofSpace = ([h, w, c]: readonly number[]) => c !== undefined && h! > 0 && w! > 0;
const ofSteps = (shape: readonly number[]) => shape.length === 2;
const ofAny = () => true;

const named = (net: Network, kind: string) => ({ name: `${kind}_${net.names++}` });

function applied(net: Network, layer: Layer, ...inputs: readonly Value[]): Value {
  const value = layer.apply(inputs.length === 1 ? inputs[0]! : [...inputs]) as Value;
  for (const input of inputs) net.unread.delete(input);
  return value;
}

const one = (weight: number, takes: Choice['takes'], make: (net: Network, value: Value) => Layer): Choice => ({
  weight,
  takes,
  apply: (net, value) => applied(net, make(net, value), value),
});

const size = ({ random }: Network) => random.between(2, 7);
const padding = ({ random }: Network) => random.pick(['same', 'same', 'valid'] as const);
const activation = ({ random }: Network) => (random.chance(0.4) ? random.pick(activations) : 'linear') as 'relu';
const fits = (kernel: number, value: Value, pad: string) =>
  pad === 'same' ||
  shapeOf(value)
    .slice(0, -1)
    .every((each) => each >= kernel);

function window(net: Network, value: Value) {
  const kernelSize = net.random.pick([1, 1, 2, 3, 3]);
  const pad = padding(net);
  return {
    kernelSize,
    strides: net.random.pick([1, 1, 1, 2]),
    padding: fits(kernelSize, value, pad) ? pad : ('same' as const),
    useBias: net.random.chance(0.6),
    activation: activation(net),
  };
}

/** Another value of the same shape, or with one index along some axes. */
function partner(net: Network, value: Value, others: (shape: readonly number[]) => boolean): Value | undefined {
  const found = net.values.filter((other) => other !== value && others(shapeOf(other)));
  return found.length === 0 ? undefined : net.random.pick(found);
}

const merging = (weight: number, make: (net: Network) => Layer): Choice => ({
  weight,
  takes: ofAny,
  apply: (net, value) => {
    const shape = shapeOf(value);
    const other = partner(
      net,
      value,
      (own) =>
        own.length === shape.length &&
        own.every((each, axis) => each === shape[axis] || (axis < own.length - 1 && each === 1)),
    );
    return other && applied(net, make(net), value, other);
  },
});

const choices: readonly Choice[] = [
  one(5, ofSpace, (net, value) =>
    tf.layers.conv2d({ filters: size(net), ...window(net, value), ...named(net, 'conv') }),
  ),
  one(2, ofSpace, (net, value) =>
    tf.layers.depthwiseConv2d({
      ...{ depthMultiplier: net.random.pick([1, 1, 2]), ...window(net, value), ...named(net, 'depthwise') },
    }),
  ),
  one(1, ofSpace, (net, value) =>
    tf.layers.separableConv2d({ filters: size(net), ...window(net, value), ...named(net, 'separable') }),
  ),
  one(
    1,
    (shape) => ofSpace(shape) && shape[0]! < 8,
    (net, value) =>
      tf.layers.conv2dTranspose({ filters: size(net), ...window(net, value), ...named(net, 'transpose') }),
  ),
  one(2, ofSteps, (net, value) =>
    tf.layers.conv1d({ filters: size(net), ...window(net, value), ...named(net, 'conv1d') }),
  ),
  one(4, ofAny, (net) =>
    tf.layers.batchNormalization({
      scale: net.random.chance(0.8),
      center: net.random.chance(0.8),
      ...named(net, 'norm'),
    }),
  ),
  one(3, ofAny, (net) =>
    tf.layers.activation({ activation: net.random.pick(activations) as 'relu', ...named(net, 'activation') }),
  ),
  one(1, ofAny, (net) => tf.layers.leakyReLU({ alpha: 0.2, ...named(net, 'leaky') })),
  one(1, ofAny, (net) => tf.layers.reLU({ ...(net.random.chance(0.5) && { maxValue: 1 }), ...named(net, 'relu') })),
  one(1, ofAny, (net, value) =>
    tf.layers.prelu({
      sharedAxes: shapeOf(value)
        .slice(0, -1)
        .map((_, axis) => axis + 1),
      ...named(net, 'prelu'),
    } as object),
  ),
  one(1, ofSpace, (net, value) => {
    const pad = padding(net);
    const options = {
      poolSize: 2,
      strides: net.random.pick([1, 2]),
      padding: fits(2, value, pad) ? pad : ('same' as const),
    };
    return net.random.chance(0.5)
      ? tf.layers.maxPooling2d({ ...options, ...named(net, 'max') })
      : tf.layers.averagePooling2d({ ...options, ...named(net, 'average') });
  }),
  one(1, ofSpace, (net) =>
    net.random.chance(0.5)
      ? tf.layers.globalAveragePooling2d(named(net, 'mean'))
      : tf.layers.globalMaxPooling2d(named(net, 'most')),
  ),
  one(
    1,
    (shape) => ofSpace(shape) && shape[0]! < 7,
    (net) =>
      tf.layers.upSampling2d({
        size: [2, 2],
        interpolation: net.random.pick(['nearest', 'bilinear'] as const),
        ...named(net, 'up'),
      }),
  ),
  one(1, ofSpace, (net) =>
    tf.layers.zeroPadding2d({
      padding: [
        [1, 0],
        [0, 2],
      ],
      ...named(net, 'pad'),
    }),
  ),
  one(
    1,
    (shape) => ofSpace(shape) && shape[0]! > 2 && shape[1]! > 2,
    (net) =>
      tf.layers.cropping2D({
        cropping: [
          [1, 0],
          [0, 1],
        ],
        ...named(net, 'crop'),
      }),
  ),
  one(1, ofAny, (net) => tf.layers.dropout({ rate: 0.5, ...named(net, 'dropout') })),
  one(
    1,
    (shape) => shape.length > 1,
    (net) => tf.layers.flatten(named(net, 'flatten')),
  ),
  one(
    3,
    (shape) => shape.length < 3,
    (net) =>
      tf.layers.dense({
        units: size(net),
        useBias: net.random.chance(0.7),
        activation: activation(net),
        ...named(net, 'dense'),
      }),
  ),
  one(
    1,
    (shape) => shape.length === 3,
    (net) => tf.layers.dense({ units: size(net), activation: activation(net), ...named(net, 'dense') }),
  ),
  one(
    1,
    (shape) => shape.length === 1,
    (net, value) => tf.layers.reshape({ targetShape: [1, 1, channelsOf(value)], ...named(net, 'reshape') } as never),
  ),
  one(1, ofSpace, (net, value) =>
    tf.layers.reshape({
      targetShape: [shapeOf(value)[0]! * shapeOf(value)[1]!, channelsOf(value)],
      ...named(net, 'rows'),
    } as never),
  ),
  one(1, ofSpace, (net) =>
    tf.layers.permute({
      dims: net.random.pick([
        [2, 1, 3],
        [3, 1, 2],
      ]),
      ...named(net, 'permute'),
    }),
  ),
  one(
    1,
    (shape) => shape.length === 1,
    (net) => tf.layers.repeatVector({ n: 3, ...named(net, 'repeat') }),
  ),
  one(3, ofSteps, (net) => {
    const options = {
      units: size(net),
      returnSequences: net.random.chance(0.6),
      useBias: net.random.chance(0.8),
      ...(net.random.chance(0.2) && { activation: activation(net) }),
      ...named(net, 'recurrent'),
    };
    const make = net.random.pick([tf.layers.lstm, tf.layers.gru, tf.layers.simpleRNN] as ((
      options: object,
    ) => Layer)[]);
    const layer = make(options);
    if (net.random.chance(0.3))
      return tf.layers.bidirectional({
        layer: layer as never,
        mergeMode: net.random.pick(['concat', 'sum', 'ave', 'mul'] as const),
        ...named(net, 'both'),
      });
    return layer;
  }),
  one(1, ofSteps, (net) =>
    tf.layers.timeDistributed({
      layer: tf.layers.dense({ units: size(net), ...named(net, 'step') }),
      ...named(net, 'timed'),
    }),
  ),
  one(0.5, ofAny, (net) => tf.layers.softmax({ axis: -1, ...named(net, 'softmax') })),
  one(0.5, ofAny, (net) => tf.layers.layerNormalization(named(net, 'layernorm'))),
  merging(3, (net) => tf.layers.add(named(net, 'add'))),
  merging(1, (net) => tf.layers.multiply(named(net, 'multiply'))),
  merging(0.5, (net) => tf.layers.average(named(net, 'mean_of'))),
  merging(0.5, (net) => tf.layers.maximum(named(net, 'maximum'))),
  {
    weight: 2,
    takes: ofAny,
    apply: (net, value) => {
      const shape = shapeOf(value);
      const isAlong = shape.length === 1 || net.random.chance(0.9);
      const axis = isAlong ? shape.length - 1 : 0;
      const other = partner(
        net,
        value,
        (own) => own.length === shape.length && own.every((each, place) => place === axis || each === shape[place]),
      );
      return (
        other && applied(net, tf.layers.concatenate({ axis: isAlong ? -1 : 1, ...named(net, 'concat') }), value, other)
      );
    },
  },
  {
    // A layer that is called twice.
    weight: 0.5,
    takes: ofAny,
    apply: (net, value) => {
      const layer = net.random.chance(0.5) ? net.shared.at(-1) : undefined;
      const isFitting =
        layer && JSON.stringify(layer.batchInputShape ?? (layer.input as Value).shape) === JSON.stringify(value.shape);
      if (layer !== undefined && isFitting) return applied(net, layer, value);
      const fresh = tf.layers.dense({ units: channelsOf(value), activation: activation(net), ...named(net, 'shared') });
      const result = applied(net, fresh, value);
      if (net.random.chance(0.7)) return applied(net, fresh, result);
      net.shared.push(fresh);
      return result;
    },
  },
  {
    // A model inside the model.
    weight: 0.5,
    takes: ofSpace,
    apply: (net, value) => {
      const input = tf.input({ shape: shapeOf(value), ...named(net, 'inner_input') });
      const first = tf.layers.conv2d({
        filters: size(net),
        kernelSize: 3,
        padding: 'same',
        activation: activation(net),
        ...named(net, 'inner'),
      });
      const second = tf.layers.batchNormalization(named(net, 'inner_norm'));
      const inner = tf.model({
        inputs: input,
        outputs: second.apply(first.apply(input)) as Value,
        ...named(net, 'model'),
      });
      return applied(net, inner as never, value);
    },
  },
];

/** The network of a seed, with random weights. Each layer has random numbers of its own. */
export function randomKeras({ seed, count, without }: TfjsChoice): tf.LayersModel {
  const net: Network = { random: new Random(seed), values: [], inputs: [], unread: new Set(), shared: [], names: 0 };
  const { random } = net;
  const shape = random.pick([
    [random.between(4, 8), random.between(4, 8), random.between(2, 4)],
    [random.between(4, 8), random.between(4, 8), random.between(2, 4)],
    [random.between(3, 6), random.between(2, 5)],
    [random.between(2, 8)],
  ]);
  const input = tf.input({ shape, name: 'input' });
  net.inputs.push(input);
  net.values.push(input);
  for (let place = 0; place < count; place++) {
    net.random = new Random(seed, place + 1);
    net.names = 100 * (place + 1);
    if (!without?.has(place)) addLayer(net);
  }
  net.random = new Random(seed, 1000);
  net.names = 100_000;
  const outputs = [...net.unread].map((value) => concluded(net, value));
  return tf.model({ inputs: net.inputs, outputs });
}

function addLayer(net: Network): void {
  const { random } = net;
  for (let attempt = 0; attempt < 10; attempt++) {
    const value = random.chance(0.65) ? net.values.at(-1)! : random.pick(net.values);
    const shape = shapeOf(value);
    if (shape.reduce((product, each) => product * each, 1) > 1000) continue;
    const fitting = choices.filter(({ takes }) => takes(shape));
    let rest = random.next() * fitting.reduce((sum, { weight }) => sum + weight, 0);
    const choice = fitting.find(({ weight }) => (rest -= weight) < 0) ?? fitting[0]!;
    const result = choice.apply(net, value);
    if (result === undefined) continue;
    net.values.push(result);
    net.unread.add(result);
    return;
  }
}

/** Behind most values there is a layer with channels of its own. */
function concluded(net: Network, value: Value): Value {
  const { random } = net;
  if (random.chance(0.1)) return value;
  const shape = shapeOf(value);
  if (shape.length === 3 && random.chance(0.7))
    return applied(net, tf.layers.conv2d({ filters: 2, kernelSize: 3, padding: 'same', ...named(net, 'end') }), value);
  return applied(net, tf.layers.dense({ units: 2, ...named(net, 'end') }), value);
}
