// The same network as a Keras model and as an ONNX graph, with the same weights.
import {
  floatAttribute,
  integerAttribute,
  integersAttribute,
  list,
  model,
  node,
  tensor,
  textAttribute,
} from '../onnx-builder.js';
import { tf } from '../tfjs.js';
import { Random } from './random.js';

type Numbers = Float32Array;

/** A value of both: in Keras [n, ...shape] with channels last, in ONNX with channels first. */
export interface TwinValue {
  readonly keras: tf.SymbolicTensor;
  readonly onnx: string;
  /** Of Keras, without the samples. */
  readonly shape: readonly number[];
}

export interface TwinWindow {
  readonly kernel?: number;
  readonly stride?: number;
  readonly padding?: 'same' | 'valid';
  readonly useBias?: boolean;
  readonly activation?: 'relu' | 'sigmoid';
}

/** Which numbers of filters are 0: none, the filters alone, or with all vectors of their channels. */
export type TwinMask = 'none' | 'filters' | 'group';

export class Twin {
  readonly #nodes: Uint8Array[] = [];
  readonly #initializers: Uint8Array[] = [];
  /** The weights of each Keras layer, in its order. */
  readonly #weights = new Map<string, (readonly [Numbers, readonly number[]])[]>();
  readonly #random: Random;
  readonly #dead: readonly boolean[];
  #input: TwinValue | undefined;
  #outputs: readonly TwinValue[] = [];
  #count = 0;

  constructor(
    seed: number,
    readonly mask: TwinMask,
  ) {
    this.#random = new Random(seed);
    this.#dead = Array.from({ length: 64 }, () => this.#random.chance(0.35));
  }

  input(shape: readonly number[]): TwinValue {
    this.#input = { keras: tf.input({ shape: [...shape], name: 'input' }), onnx: 'input', shape };
    return this.#input;
  }

  output(...values: readonly TwinValue[]): void {
    this.#outputs = values;
  }

  get keras(): tf.LayersModel {
    const built = tf.model({ inputs: this.#input!.keras, outputs: this.#outputs.map(({ keras }) => keras) });
    for (const layer of built.layers) {
      const weights = this.#weights.get(layer.name);
      if (weights !== undefined) layer.setWeights(weights.map(([numbers, shape]) => tf.tensor(numbers, [...shape])));
    }
    return built;
  }

  get onnx(): Uint8Array<ArrayBuffer> {
    const sizes = ({ shape }: TwinValue) => ['n', ...first(shape)];
    return model({
      nodes: this.#nodes,
      initializers: this.#initializers,
      inputs: { input: { shape: sizes(this.#input!) } as never },
      outputs: Object.fromEntries(this.#outputs.map((value) => [value.onnx, { shape: sizes(value) } as never])),
    });
  }

  /** Random numbers of which those of some outputs are 0. @param outputs the output that an index belongs to */
  #numbers(count: number, outputs: (index: number) => number, isVector = false): Numbers {
    const numbers = this.#random.normals(count, isVector ? 0.6 : 0.4);
    if (this.mask === 'none' || (isVector && this.mask === 'filters')) return numbers;
    return numbers.map((number, index) => (this.#dead[outputs(index) % 64] ? 0 : number));
  }

  #name(kind: string): string {
    return `${kind}_${this.#count++}`;
  }

  #stored(name: string, shape: readonly number[], numbers: Numbers): string {
    this.#initializers.push(tensor(name, shape, { data: new Uint8Array(numbers.buffer) }));
    return name;
  }

  #node(op: string, name: string, inputs: readonly string[], ...attributes: readonly Uint8Array[]): string {
    const output = `${name}/${this.#count++}`;
    this.#nodes.push(node(op, inputs.join(' '), output, { name, attributes }));
    return output;
  }

  #value(layer: tf.layers.Layer, inputs: readonly TwinValue[], onnx: string): TwinValue {
    const keras = layer.apply(inputs.length === 1 ? inputs[0]!.keras : inputs.map((each) => each.keras));
    return { keras: keras as tf.SymbolicTensor, onnx, shape: (keras as tf.SymbolicTensor).shape.slice(1) as number[] };
  }

  #activated(name: string, onnx: string, activation: TwinWindow['activation']): string {
    if (activation === undefined) return onnx;
    return this.#node(activation === 'relu' ? 'Relu' : 'Sigmoid', `${name}/${activation}`, [onnx]);
  }

  #bias(name: string, size: number, useBias: boolean): { numbers: Numbers | undefined; inputs: string[] } {
    if (!useBias) return { numbers: undefined, inputs: [] };
    const numbers = this.#numbers(size, (index) => index, true);
    return { numbers, inputs: [this.#stored(`${name}.bias`, [size], numbers)] };
  }

  conv(
    x: TwinValue,
    filters: number,
    { kernel = 3, stride = 1, padding = 'same', useBias = true, activation }: TwinWindow = {},
  ): TwinValue {
    const name = this.#name('conv');
    const channels = x.shape.at(-1)!;
    const shape = [kernel, kernel, channels, filters];
    const numbers = this.#numbers(product(shape), (index) => index % filters);
    const bias = this.#bias(name, filters, useBias);
    this.#weights.set(name, [[numbers, shape], ...(bias.numbers ? [[bias.numbers, [filters]] as const] : [])]);
    const own = this.#stored(
      `${name}.weight`,
      [filters, channels, kernel, kernel],
      moved(numbers, shape, [3, 2, 0, 1]),
    );
    const onnx = this.#node('Conv', name, [x.onnx, own, ...bias.inputs], ...windowOf(kernel, stride, padding));
    const layer = tf.layers.conv2d({
      ...{ name, filters, kernelSize: kernel, strides: stride, padding, useBias },
      ...(activation && { activation }),
    });
    return this.#value(layer, [x], this.#activated(name, onnx, activation));
  }

  depthwise(
    x: TwinValue,
    { kernel = 3, stride = 1, padding = 'same', useBias = true, activation }: TwinWindow = {},
  ): TwinValue {
    const name = this.#name('depthwise');
    const channels = x.shape.at(-1)!;
    const shape = [kernel, kernel, channels, 1];
    const numbers = this.#numbers(product(shape), (index) => index % channels);
    const bias = this.#bias(name, channels, useBias);
    this.#weights.set(name, [[numbers, shape], ...(bias.numbers ? [[bias.numbers, [channels]] as const] : [])]);
    const own = this.#stored(`${name}.weight`, [channels, 1, kernel, kernel], moved(numbers, shape, [2, 3, 0, 1]));
    const group = integerAttribute('group', channels);
    const onnx = this.#node('Conv', name, [x.onnx, own, ...bias.inputs], group, ...windowOf(kernel, stride, padding));
    const layer = tf.layers.depthwiseConv2d({
      ...{ name, kernelSize: kernel, strides: stride, padding, useBias },
      ...(activation && { activation }),
    });
    return this.#value(layer, [x], this.#activated(name, onnx, activation));
  }

  separable(x: TwinValue, filters: number): TwinValue {
    const name = this.#name('separable');
    const channels = x.shape.at(-1)!;
    const [shape, pointwise] = [
      [3, 3, channels, 1],
      [1, 1, channels, filters],
    ];
    const numbers = this.#numbers(product(shape), (index) => index % channels);
    const others = this.#numbers(product(pointwise), (index) => index % filters);
    const bias = this.#bias(`${name}.pointwise`, filters, true);
    this.#weights.set(name, [
      [numbers, shape],
      [others, pointwise],
      [bias.numbers!, [filters]],
    ]);
    const own = this.#stored(`${name}.weight`, [channels, 1, 3, 3], moved(numbers, shape, [2, 3, 0, 1]));
    const second = this.#stored(
      `${name}.pointwise.weight`,
      [filters, channels, 1, 1],
      moved(others, pointwise, [3, 2, 0, 1]),
    );
    const filtered = this.#node(
      'Conv',
      name,
      [x.onnx, own],
      integerAttribute('group', channels),
      ...windowOf(3, 1, 'same'),
    );
    const onnx = this.#node('Conv', `${name}.pointwise`, [filtered, second, ...bias.inputs]);
    return this.#value(tf.layers.separableConv2d({ name, filters, kernelSize: 3, padding: 'same' }), [x], onnx);
  }

  /** A transposed convolution that doubles height and width. */
  transposed(x: TwinValue, filters: number): TwinValue {
    const name = this.#name('transposed');
    const channels = x.shape.at(-1)!;
    const shape = [2, 2, filters, channels];
    const numbers = this.#numbers(product(shape), (index) => Math.floor(index / channels) % filters);
    const bias = this.#bias(name, filters, true);
    this.#weights.set(name, [
      [numbers, shape],
      [bias.numbers!, [filters]],
    ]);
    const own = this.#stored(`${name}.weight`, [channels, filters, 2, 2], moved(numbers, shape, [3, 2, 0, 1]));
    const onnx = this.#node('ConvTranspose', name, [x.onnx, own, ...bias.inputs], integersAttribute('strides', [2, 2]));
    return this.#value(tf.layers.conv2dTranspose({ name, filters, kernelSize: 2, strides: 2 }), [x], onnx);
  }

  norm(x: TwinValue): TwinValue {
    const name = this.#name('norm');
    const size = x.shape.at(-1)!;
    const [gamma, beta] = [0, 1].map(() => this.#numbers(size, (index) => index, true));
    const mean = this.#random.normals(size, 0.3);
    const variance = this.#random.normals(size).map((number) => 0.5 + Math.abs(number));
    const parts = [gamma!, beta!, mean, variance];
    this.#weights.set(
      name,
      parts.map((numbers) => [numbers, [size]] as const),
    );
    const inputs = parts.map((numbers, place) => this.#stored(`${name}.${place}`, [size], numbers));
    const onnx = this.#node('BatchNormalization', name, [x.onnx, ...inputs], floatAttribute('epsilon', 1e-3));
    return this.#value(tf.layers.batchNormalization({ name, epsilon: 1e-3 }), [x], onnx);
  }

  relu(x: TwinValue): TwinValue {
    const name = this.#name('relu');
    return this.#value(tf.layers.reLU({ name }), [x], this.#node('Relu', name, [x.onnx]));
  }

  add(...values: readonly TwinValue[]): TwinValue {
    const name = this.#name('add');
    return this.#value(
      tf.layers.add({ name }),
      values,
      this.#node(
        'Sum',
        name,
        values.map(({ onnx }) => onnx),
      ),
    );
  }

  multiply(one: TwinValue, other: TwinValue): TwinValue {
    const name = this.#name('multiply');
    return this.#value(tf.layers.multiply({ name }), [one, other], this.#node('Mul', name, [one.onnx, other.onnx]));
  }

  concat(...values: readonly TwinValue[]): TwinValue {
    const name = this.#name('concat');
    const onnx = this.#node(
      'Concat',
      name,
      values.map((each) => each.onnx),
      integerAttribute('axis', 1),
    );
    return this.#value(tf.layers.concatenate({ name }), values, onnx);
  }

  maxPool(x: TwinValue): TwinValue {
    const name = this.#name('max');
    const onnx = this.#node(
      'MaxPool',
      name,
      [x.onnx],
      integersAttribute('kernel_shape', [2, 2]),
      integersAttribute('strides', [2, 2]),
    );
    return this.#value(tf.layers.maxPooling2d({ name, poolSize: 2, strides: 2 }), [x], onnx);
  }

  /** The mean over all of height and width, which stay as axes. */
  squeeze(x: TwinValue): TwinValue {
    const name = this.#name('squeeze');
    const [height, width] = x.shape as [number, number];
    const onnx = this.#node('AveragePool', name, [x.onnx], integersAttribute('kernel_shape', [height, width]));
    return this.#value(tf.layers.averagePooling2d({ name, poolSize: [height, width], strides: 1 }), [x], onnx);
  }

  mean(x: TwinValue): TwinValue {
    const name = this.#name('mean');
    const onnx = this.#node(
      'ReduceMean',
      name,
      [x.onnx],
      integersAttribute('axes', [2, 3]),
      integerAttribute('keepdims', 0),
    );
    return this.#value(tf.layers.globalAveragePooling2d({ name }), [x], onnx);
  }

  upSample(x: TwinValue): TwinValue {
    const name = this.#name('up');
    const scales = this.#stored(`${name}.scales`, [4], Float32Array.of(1, 1, 2, 2));
    const modes = [textAttribute('mode', 'nearest'), textAttribute('coordinate_transformation_mode', 'asymmetric')];
    const onnx = this.#node('Resize', name, [x.onnx, '-', scales], ...modes, textAttribute('nearest_mode', 'floor'));
    return this.#value(tf.layers.upSampling2d({ name, size: [2, 2] }), [x], onnx);
  }

  /** In Keras, channels are the last axis, and in ONNX the first one. */
  flatten(x: TwinValue): TwinValue {
    const name = this.#name('flatten');
    const value = this.#value(tf.layers.flatten({ name }), [x], this.#node('Flatten', name, [x.onnx]));
    this.#flat.set(value, x.shape);
    return value;
  }
  readonly #flat = new Map<TwinValue, readonly number[]>();

  dense(x: TwinValue, units: number, activation?: TwinWindow['activation']): TwinValue {
    const name = this.#name('dense');
    const size = x.shape.at(-1)!;
    const numbers = this.#numbers(size * units, (index) => index % units);
    const bias = this.#bias(name, units, true);
    this.#weights.set(name, [
      [numbers, [size, units]],
      [bias.numbers!, [units]],
    ]);
    const space = this.#flat.get(x);
    const rows = space ? moved(numbers, [...space, units], [2, 0, 1, 3]) : numbers;
    const own = this.#stored(`${name}.weight`, [size, units], rows);
    const sum =
      x.shape.length === 1
        ? this.#node('Gemm', name, [x.onnx, own, ...bias.inputs])
        : this.#node('Add', `${name}.sum`, [this.#node('MatMul', name, [x.onnx, own]), ...bias.inputs]);
    const layer = tf.layers.dense({ name, units, ...(activation && { activation }) });
    return this.#value(layer, [x], this.#activated(name, sum, activation));
  }

  /** An LSTM that gives all steps of a sequence [n, steps, features], which both have in this order. */
  lstm(x: TwinValue, units: number): TwinValue {
    const name = this.#name('lstm');
    const size = x.shape[1]!;
    const [kernel, recurrent] = [size, units].map((rows) => this.#numbers(4 * rows * units, (index) => index % units));
    const bias = this.#numbers(4 * units, (index) => index % units, true);
    this.#weights.set(name, [
      [kernel!, [size, 4 * units]],
      [recurrent!, [units, 4 * units]],
      [bias, [4 * units]],
    ]);
    // The gates are i, f, c, o in Keras, and i, o, f, c in ONNX.
    const gates = (numbers: Numbers, rows: number) => {
      const swapped = moved(numbers, [rows, 4, units], [1, 2, 0]);
      const part = units * rows;
      return Float32Array.from([0, 3, 1, 2].flatMap((gate) => [...swapped.subarray(gate * part, (gate + 1) * part)]));
    };
    const inputs = [
      this.#node('Transpose', `${name}.in`, [x.onnx], integersAttribute('perm', [1, 0, 2])),
      this.#stored(`${name}.w`, [1, 4 * units, size], gates(kernel!, size)),
      this.#stored(`${name}.r`, [1, 4 * units, units], gates(recurrent!, units)),
      this.#stored(`${name}.b`, [1, 8 * units], Float32Array.of(...gates(bias, 1), ...new Float32Array(4 * units))),
    ];
    const sequence = this.#node('LSTM', name, inputs, integerAttribute('hidden_size', units));
    this.#initializers.push(list(`${name}.axes`, 1));
    const steps = this.#node('Squeeze', `${name}.squeeze`, [sequence, `${name}.axes`]);
    const onnx = this.#node('Transpose', `${name}.out`, [steps], integersAttribute('perm', [1, 0, 2]));
    return this.#value(
      tf.layers.lstm({ name, units, returnSequences: true, recurrentActivation: 'sigmoid' }),
      [x],
      onnx,
    );
  }
}

const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1);

/** The sizes of a value with channels first. */
const first = (shape: readonly number[]): number[] =>
  shape.length === 3 ? [shape[2]!, shape[0]!, shape[1]!] : [...shape];

const windowOf = (kernel: number, stride: number, padding: 'same' | 'valid'): Uint8Array[] => [
  integersAttribute('strides', [stride, stride]),
  textAttribute('auto_pad', padding === 'same' ? 'SAME_UPPER' : 'VALID'),
  integersAttribute('kernel_shape', [kernel, kernel]),
];

/** Numbers with their axes in another order. */
export function moved(numbers: Numbers, shape: readonly number[], order: readonly number[]): Numbers {
  const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
  const result = new Float32Array(numbers.length);
  let at = 0;
  const visit = (depth: number, place: number) => {
    if (depth === order.length) result[at++] = numbers[place]!;
    else
      for (let index = 0; index < shape[order[depth]!]!; index++)
        visit(depth + 1, place + index * strides[order[depth]!]!);
  };
  visit(0, 0);
  return result;
}
