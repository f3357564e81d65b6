import type { Value } from '../../../onnx/graph.js';
import type { LayerRule, LayerSite } from '../layer.js';
import { Float, type Attributes } from '../making.js';
import { Untranslated } from '../translation.js';

/** Functions of each number, as TensorFlow.js computes them: the operator, its attributes, and what it makes of 0. */
const activations: ReadonlyMap<string, readonly [op: string, attributes: Attributes, ofZero: number]> = new Map([
  ['relu', ['Relu', {}, 0]],
  ['relu6', ['Clip', { min: new Float(0), max: new Float(6) }, 0]],
  ['elu', ['Elu', {}, 0]],
  ['selu', ['Selu', {}, 0]],
  ['sigmoid', ['Sigmoid', {}, 0.5]],
  ['hard_sigmoid', ['HardSigmoid', { alpha: new Float(0.2), beta: new Float(0.5) }, 0.5]],
  ['tanh', ['Tanh', {}, 0]],
  ['softplus', ['Softplus', {}, Math.LN2]],
  ['softsign', ['Softsign', {}, 0]],
  ['swish', ['Swish', {}, 0]],
  ['silu', ['Swish', {}, 0]],
  ['mish', ['Mish', {}, 0]],
  ['gelu', ['Gelu', {}, 0]],
  ['gelu_new', ['Gelu', { approximate: 'tanh' }, 0]],
  ['exponential', ['Exp', {}, 1]],
]);

/** Functions of all numbers along the last axis. */
const overChannels: ReadonlyMap<string, string> = new Map([
  ['softmax', 'Softmax'],
  ['log_softmax', 'LogSoftmax'],
]);

/** TensorFlow.js writes names of several words in two ways. */
const nameOf = (activation: unknown): string => {
  if (typeof activation !== 'string') throw new Untranslated('its activation');
  return activation.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
};

/** A value after the activation of a layer. */
export function activated(site: LayerSite, value: Value, activation: unknown = site.config.activation): Value {
  if (activation === undefined || activation === null) return value;
  const name = nameOf(activation);
  if (name === 'linear') return value;
  const known = activations.get(name);
  if (known !== undefined) return site.node(known[0], [value], known[1]);
  const op = overChannels.get(name);
  if (op === undefined) throw new Untranslated(`its activation ${name}`);
  return site.node(op, [value], { axis: -1 });
}

/** What a function of each number makes of 0. */
export function valueOfZero(activation: unknown): number {
  const name = nameOf(activation);
  if (name === 'linear') return 0;
  const known = activations.get(name);
  if (known === undefined) throw new Untranslated(`its activation ${name}`);
  return known[2];
}

/** TensorFlow.js does not know the slope and the threshold that Keras has. */
const reLU: LayerRule = {
  keys: ['max_value', 'negative_slope', 'threshold'],
  translate: (site) => {
    for (const key of ['negative_slope', 'threshold'])
      if (site.number(key, 0) !== 0) throw new Untranslated(`its option ${key}`);
    const most = site.config.max_value ?? undefined;
    if (most === undefined) return site.node('Relu', [site.input]);
    return site.node('Clip', [site.input], { min: new Float(0), max: new Float(site.number('max_value', 0)) });
  },
};

export const activationLayers: Readonly<Record<string, LayerRule>> = {
  Activation: { keys: ['activation'], translate: (site) => activated(site, site.input) },
  ReLU: reLU,
  LeakyReLU: {
    keys: ['alpha'],
    translate: (site) => site.node('LeakyRelu', [site.input], { alpha: new Float(site.number('alpha', 0.3)) }),
  },
  ELU: {
    keys: ['alpha'],
    translate: (site) => site.node('Elu', [site.input], { alpha: new Float(site.number('alpha', 1)) }),
  },
  PReLU: {
    keys: ['shared_axes'],
    translate: (site) => site.node('PRelu', [site.input, site.weight('alpha')]),
  },
  ThresholdedReLU: {
    keys: ['theta'],
    translate: (site) => site.node('ThresholdedRelu', [site.input], { alpha: new Float(site.number('theta', 1)) }),
  },
  Softmax: {
    keys: ['axis'],
    // By default TensorFlow.js takes another axis than Keras, which always writes it.
    translate: (site) => site.node('Softmax', [site.input], { axis: site.axis(1) }),
  },
};
