// A network whose channels are coupled: a residual block with a depthwise convolution inside.
import { integerAttribute, integersAttribute, model, node, numbers, tensor } from './onnx-builder.js';
import { Random } from './removal/random.js';

/** The shapes of the weights, by the names of the layers. */
export const shapes = {
  stem: [8, 3, 3, 3],
  a: [6, 8, 3, 3],
  d: [6, 1, 3, 3],
  c: [8, 6, 1, 1],
  fc: [5, 8],
} as const;
export type LayerName = keyof typeof shapes;
export const layerNames = Object.keys(shapes) as LayerName[];

export interface CoupledNetwork {
  readonly weights: Readonly<Record<LayerName, Float32Array>>;
  readonly biases: Readonly<Record<LayerName, Float32Array>>;
}

const productOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Random weights and biases. */
export function numbersOf(seed = 1): CoupledNetwork {
  const draw = (place: number, count: number) => new Random(seed, place).normals(count, 0.5);
  const each = <Result>(make: (name: LayerName, place: number) => Result) =>
    Object.fromEntries(layerNames.map((name, place) => [name, make(name, place)])) as Record<LayerName, Result>;
  return {
    weights: each((name, place) => draw(place, productOf(shapes[name]))),
    biases: each((name, place) => draw(10 + place, shapes[name][0])),
  };
}

/**
 * `stem` and `c` make eight channels that are added up; `a` makes six, which `d` filters one by one and `c` reads; `fc` makes
 * the output.
 */
export function coupledModel({ weights, biases }: CoupledNetwork = numbersOf()): Uint8Array<ArrayBuffer> {
  const floats = (name: string, shape: readonly number[], values: Float32Array) =>
    tensor(name, shape, { data: numbers('float32', Array.from(values)) });
  const pads = integersAttribute('pads', [1, 1, 1, 1]);
  const conv = (input: string, name: LayerName, attributes: readonly Uint8Array[] = [pads]) =>
    node('Conv', `${input} ${name}.weight ${name}.bias`, name, { name, attributes });
  return model({
    nodes: [
      conv('x', 'stem'),
      node('Relu', 'stem', 's'),
      conv('s', 'a'),
      node('Relu', 'a', 'ra'),
      conv('ra', 'd', [pads, integerAttribute('group', 6)]),
      node('Relu', 'd', 'rd'),
      conv('rd', 'c', []),
      node('Add', 'c s', 'sum'),
      node('Relu', 'sum', 'r'),
      node('GlobalAveragePool', 'r', 'pool'),
      node('Flatten', 'pool', 'flat'),
      node('Gemm', 'flat fc.weight fc.bias', 'y', { name: 'fc', attributes: [integerAttribute('transB', 1)] }),
    ],
    initializers: layerNames.flatMap((name) => [
      floats(`${name}.weight`, shapes[name], weights[name]),
      floats(`${name}.bias`, [shapes[name][0]], biases[name]),
    ]),
    inputs: { x: [1, 3, 6, 6] },
    outputs: { y: undefined },
  });
}

/** The groups of the network: the layers that make channels, those that pass them on, and those that read them. */
export const groups = [
  { name: 'stem', channels: 8, producers: ['stem', 'c'], followers: [], readers: ['a', 'fc'] },
  { name: 'a', channels: 6, producers: ['a'], followers: ['d'], readers: ['c'] },
] as const;
export type CoupledGroup = (typeof groups)[number];

/** The weights of a layer that make a channel, and those that read it. */
export const rowOf = (name: LayerName, numbers: Float32Array, channel: number): Float32Array => {
  const size = productOf(shapes[name].slice(1));
  return numbers.subarray(channel * size, (channel + 1) * size);
};

export function columnOf(name: LayerName, numbers: Float32Array, channel: number): number[] {
  const [, inputs] = shapes[name];
  const inner = productOf(shapes[name].slice(2));
  return Array.from(numbers).filter((_, place) => Math.floor(place / inner) % inputs === channel);
}
