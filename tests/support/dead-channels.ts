// Small networks of which some channels are dead.
import {
  floatAttribute,
  integersAttribute,
  mixedNumbers,
  model,
  node,
  tensor,
  type GraphOptions,
} from './onnx-builder.js';

/** Numbers in rows of one length, of which some are 0. */
export function withoutRows(
  rows: number,
  length: number,
  seed: number,
  gone: readonly number[],
): Uint8Array<ArrayBuffer> {
  const numbers = new Float32Array(mixedNumbers(rows * length, seed).buffer);
  for (const row of gone) numbers.fill(0, row * length, (row + 1) * length);
  return new Uint8Array(numbers.buffer);
}

const padded = integersAttribute('pads', [1, 1, 1, 1]);

export interface ChannelsOptions {
  /** The filters of the first and of the second convolution that are 0, of 16 and 24. */
  readonly first?: readonly number[];
  readonly second?: readonly number[];
  /** Whether their biases are 0, too. */
  readonly biases?: boolean;
  readonly shape?: readonly (number | string)[];
}

/** Two convolutions, of which the second one pads, a mean over space and a dense layer. */
export const channelsGraph = ({
  first = [],
  second = [],
  biases = true,
  shape = [1, 3, 10, 10],
}: ChannelsOptions = {}) =>
  ({
    nodes: [
      node('Conv', 'x w1 b1', 'c1', { name: 'conv1' }),
      node('Relu', 'c1', 'r1', { name: 'relu1' }),
      node('Conv', 'r1 w2 b2', 'c2', { name: 'conv2', attributes: [padded] }),
      node('LeakyRelu', 'c2', 'r2', { name: 'relu2', attributes: [floatAttribute('alpha', 0.1)] }),
      node('GlobalAveragePool', 'r2', 'm', { name: 'mean' }),
      node('Flatten', 'm', 'f', { name: 'flat' }),
      node('Gemm', 'f w3 b3', 'y', { name: 'dense' }),
    ],
    initializers: [
      tensor('w1', [16, 3, 3, 3], { data: withoutRows(16, 27, 1, first) }),
      tensor('b1', [16], { data: withoutRows(16, 1, 2, biases ? first : []) }),
      tensor('w2', [24, 16, 3, 3], { data: withoutRows(24, 144, 3, second) }),
      tensor('b2', [24], { data: withoutRows(24, 1, 4, biases ? second : []) }),
      tensor('w3', [24, 5], { data: mixedNumbers(120, 5) }),
      tensor('b3', [5], { data: mixedNumbers(5, 6) }),
    ],
    inputs: { x: { shape } },
    outputs: { y: { shape: [shape[0]!, 5] } },
  }) satisfies GraphOptions;

export const channelsModel = (options?: ChannelsOptions, opset = 13): Uint8Array<ArrayBuffer> =>
  model(channelsGraph(options), opset);
