import { loadEngine, type Bias } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { outputsOf, type Arrays } from '../../support/filters.js';
import { withAxisLast } from '../../support/naive-rows.js';
import {
  constant,
  floatAttribute,
  integerAttribute,
  integersAttribute,
  localFunction,
  model,
  node,
  numbers as numberBytes,
  tensor,
  textAttribute,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { withModel } from '../../support/onnx-model.js';

// Networks of small whole numbers, in which sums are exact.

const microsoft = 'com.microsoft';

/** A constant of whole numbers from -3 to 3. */
function whole(name: string, ...shape: readonly number[]) {
  const count = shape.reduce((product, size) => product * size, 1);
  const data = Array.from({ length: count }, (_, index) => ((index * 5 + name.length) % 7) - 3);
  return tensor(name, shape, { data: numberBytes('float32', data) });
}

const ones = (name: string, count: number) =>
  tensor(name, [count], { data: numberBytes('float32', Array<number>(count).fill(1)) });

const inputOf = (shape: readonly number[]) => ({
  shape,
  data: Float32Array.from(
    { length: shape.reduce((product, size) => product * size, 1) },
    (_, index) => (index % 5) - 2,
  ),
});

/** A normalisation that divides by exactly 1. */
const normalisation = (input: string, output: string, ...attributes: Uint8Array[]) =>
  node('BatchNormalization', `${input} scale shift mean variance`, output, {
    attributes: [floatAttribute('epsilon', 0), ...attributes],
  });

const statistics = (count: number) => [
  ones('scale', count),
  whole('shift', count),
  whole('mean', count),
  ones('variance', count),
];

interface Network {
  readonly nodes: readonly Uint8Array[];
  readonly constants: readonly Uint8Array[];
  /** The shape of the input `x`. */
  readonly input: readonly number[];
  /** The outputs that change with the bias of the first layer, and the axis of its channels in all of them. */
  readonly outputs?: readonly string[];
  readonly axis?: number;
  /** Outputs that must not change with it. */
  readonly others?: readonly string[];
  readonly functions?: readonly Uint8Array[];
}

function bytesOf({ nodes, constants, input, outputs = ['y'], others = [], functions }: Network) {
  const options: GraphOptions = {
    nodes,
    initializers: constants,
    inputs: { x: input.length },
    outputs: Object.fromEntries([...outputs, ...others].map((name) => [name, undefined])),
  };
  return model(options, 17, functions);
}

/** The bias of the first layer. */
const biasOf = (network: Network) => withModel(bytesOf(network), ({ tensors }): Bias | undefined => tensors[0]!.bias);

/** The outputs, and those of the network whose bias is larger by 1, 2, 3 ... */
async function shifted(network: Network): Promise<{ bias: Bias; before: Arrays; after: Arrays }> {
  const bytes = bytesOf(network);
  const [bias, changed] = await withModel(bytes, async (read) => {
    const engine = await loadEngine();
    const { bias } = read.tensors[0]!;
    const region = await read.load(engine, bias!.values);
    const stored = await region.block.read(region.offset, new Uint8Array(region.bytes));
    const numbers = new Float32Array(stored.buffer).map((number, channel) => number + channel + 1);
    await region.block.write(new Uint8Array(numbers.buffer), region.offset);
    await read.store(engine, bias!.values, region);
    region.release();
    return [bias!, await read.bytes()];
  });
  const x = inputOf(network.input);
  return { bias, before: await outputsOf(bytes, { x }), after: await outputsOf(changed, { x }) };
}

const conv = (inputs: string, output: string, ...attributes: Uint8Array[]) =>
  node('Conv', inputs, output, { attributes });
const image = [2, 3, 4, 4];
const filters = whole('w', 4, 3, 2, 2);

/** Networks, and whether their bias is subtracted. */
const networks: Record<string, Network & { readonly sign?: -1 }> = {
  'the bias of a convolution': {
    nodes: [conv('x w b', 'y')],
    constants: [filters, whole('b', 4)],
    input: image,
    axis: 1,
  },
  'the bias of a convolution whose output is also read by others': {
    nodes: [conv('x w b', 'y'), node('Neg', 'x', 'z')],
    constants: [filters, whole('b', 4)],
    input: image,
    axis: 1,
    others: ['z'],
  },
  'the bias of a transposed convolution in groups': {
    nodes: [node('ConvTranspose', 'x w b', 'y', { attributes: [integerAttribute('group', 2)] })],
    constants: [whole('w', 4, 3, 2), whole('b', 6)],
    input: [1, 4, 5],
    axis: 1,
  },
  'the bias of a fused convolution': {
    nodes: [node('FusedConv', 'x w b', 'y', { domain: microsoft })],
    constants: [filters, whole('b', 4)],
    input: image,
    axis: 1,
  },
  'a Constant node': {
    nodes: [constant('b', [4], { data: numberBytes('float32', [1, -2, 3, 0]) }), conv('x w b', 'y')],
    constants: [filters],
    input: image,
    axis: 1,
  },
  'the third operand of a Gemm': {
    nodes: [node('Gemm', 'x w b', 'y')],
    constants: [whole('w', 3, 5), whole('b', 5)],
    input: [2, 3],
  },
  'the third operand of a Gemm, with two axes': {
    nodes: [node('Gemm', 'x w b', 'y', { attributes: [floatAttribute('beta', 1)] })],
    constants: [whole('w', 3, 5), whole('b', 1, 5)],
    input: [2, 3],
  },
  'the third operand of a Gemm with its weight on the left': {
    nodes: [node('Gemm', 'w x b', 'y')],
    constants: [whole('w', 5, 3), whole('b', 5, 1)],
    input: [3, 2],
    axis: 0,
  },
  'an Add behind a MatMul': {
    nodes: [node('MatMul', 'x w', 'm'), node('Add', 'm b', 'y')],
    constants: [whole('w', 3, 5), whole('b', 5)],
    input: [2, 2, 3],
  },
  'an Add whose first operand is the constant': {
    nodes: [node('MatMul', 'x w', 'm'), node('Add', 'b m', 'y')],
    constants: [whole('w', 3, 5), whole('b', 1, 1, 5)],
    input: [2, 2, 3],
  },
  'an Add behind a MatMul with its weight on the left': {
    nodes: [node('MatMul', 'w x', 'm'), node('Add', 'm b', 'y')],
    constants: [whole('w', 5, 3), whole('b', 5, 1)],
    input: [2, 3, 2],
    axis: 1,
  },
  'an Add behind an Einsum': {
    nodes: [
      node('Einsum', 'x w', 'm', { attributes: [textAttribute('equation', 'bhs,oh->bos')] }),
      node('Add', 'm b', 'y'),
    ],
    constants: [whole('w', 5, 3), whole('b', 5, 1)],
    input: [2, 3, 2],
    axis: 1,
  },
  'an Add behind a convolution': {
    nodes: [conv('x w', 'c'), node('Add', 'c b', 'y')],
    constants: [filters, whole('b', 1, 4, 1, 1)],
    input: image,
    axis: 1,
  },
  'an Add behind a convolution whose bias others read, too': {
    nodes: [conv('x w b', 'c'), node('Add', 'c d', 'y'), node('Neg', 'b', 'z')],
    constants: [filters, whole('b', 4), whole('d', 4, 1, 1)],
    input: image,
    axis: 1,
    others: ['z'],
  },
  'the mean of a normalisation behind a convolution': {
    nodes: [conv('x w', 'c'), normalisation('c', 'y')],
    constants: [filters, ...statistics(4)],
    input: image,
    axis: 1,
    sign: -1,
  },
  'the mean of a normalisation behind a Gemm': {
    nodes: [node('Gemm', 'x w', 'g'), normalisation('g', 'y')],
    constants: [whole('w', 3, 5), ...statistics(5)],
    input: [2, 3],
    axis: 1,
    sign: -1,
  },
  'the bias, before the mean of a normalisation': {
    nodes: [conv('x w b', 'c'), normalisation('c', 'y')],
    constants: [filters, whole('b', 4), ...statistics(4)],
    input: image,
    axis: 1,
  },
  'the bias of two convolutions that share it with their weight': {
    nodes: [conv('x w b', 'y'), node('Neg', 'x', 'n'), conv('n w b', 'z')],
    constants: [filters, whole('b', 4)],
    input: image,
    outputs: ['y', 'z'],
    axis: 1,
  },
  'the constant that is added behind both products with a weight': {
    nodes: [
      node('MatMul', 'x w', 'm'),
      node('Add', 'm b', 'y'),
      node('Neg', 'x', 'n'),
      node('MatMul', 'n w', 'o'),
      node('Add', 'b o', 'z'),
    ],
    constants: [whole('w', 3, 5), whole('b', 5)],
    input: [2, 3],
    outputs: ['y', 'z'],
  },
  'a constant in a function that is called twice': {
    nodes: [
      node('Layer', 'x', 'y', { domain: 'my.own' }),
      node('Neg', 'x', 'n'),
      node('Layer', 'n', 'z', { domain: 'my.own' }),
    ],
    constants: [],
    functions: [
      localFunction(
        ...(['my.own', 'Layer', 'a', 'c'] as const),
        constant('w', [3, 2], { data: numberBytes('float32', [1, 2, -1, 0, 2, 1]) }),
        constant('b', [2], { data: numberBytes('float32', [1, 2]) }),
        node('MatMul', 'a w', 'm'),
        node('Add', 'm b', 'c'),
      ),
    ],
    input: [2, 3],
    outputs: ['y', 'z'],
  },
};

describe('What is added to a bias is added to the output of its layer, and to nothing else', () => {
  test.each(Object.entries(networks))('It is %s', async (_, network) => {
    const { outputs = ['y'], others = [], axis = -1, sign = 1 } = network;
    const { bias, before, after } = await shifted(network);
    expect(bias.sign).toBe(sign);
    for (const name of outputs) {
      const [old, now] = [withAxisLast(before[name]!, axis), withAxisLast(after[name]!, axis)];
      const count = bias.values.length;
      expect(now.length % count).toBe(0);
      expect(now.map((number, index) => number - old[index]!)).toEqual(
        now.map((__, index) => sign * ((index % count) + 1)),
      );
    }
    for (const name of others) expect(after[name]).toEqual(before[name]);
  });

  test('It is that of query, key and value', async () => {
    // With one position, attention gives the value.
    const network = {
      nodes: [node('Attention', 'x w b', 'y', { domain: microsoft, attributes: [integerAttribute('num_heads', 1)] })],
      constants: [whole('w', 2, 6), whole('b', 6)],
      input: [2, 1, 2],
    };
    const { bias, before, after } = await shifted(network);
    expect(bias).toMatchObject({ sign: 1, values: { length: 6 } });
    expect([...after.y!.data].map((number, index) => number - before.y!.data[index]!)).toEqual([5, 6, 5, 6]);
  });

  test('It is one that is stored in half precision and converted', async () => {
    const bias = await biasOf({
      nodes: [node('Cast', 'b', 'c', { attributes: [integerAttribute('to', 1)] }), conv('x w c', 'y')],
      constants: [filters, tensor('b', [4], { dtype: 'float16' })],
      input: image,
    });
    expect(bias).toMatchObject({ sign: 1, values: { dtype: 'float16', length: 4 } });
  });
});

const zero = tensor('zero', [], { dtype: 'int32', data: numberBytes('int32', [0]) });
const scale = tensor('half', [], { data: numberBytes('float32', [0.5]) });
const product = (output: string) => node('MatMul', 'x w', output);
const square = whole('w', 3, 3);

/** Networks whose first layer has no bias of its own. */
const without: Record<string, Network> = {
  'nothing is added': { nodes: [conv('x w', 'y')], constants: [filters], input: image },
  'another layer has the same bias': {
    nodes: [conv('x w b', 'y'), conv('x v b', 'z')],
    constants: [filters, whole('v', 4, 3, 1, 1), whole('b', 4)],
    input: image,
    others: ['z'],
  },
  'the bias is an output': {
    nodes: [conv('x w b', 'y')],
    constants: [filters, whole('b', 4)],
    input: image,
    others: ['b'],
  },
  'the bias is computed while the model runs': {
    nodes: [
      node('ReduceMean', 'x', 'b', {
        attributes: [integersAttribute('axes', [0, 2, 3]), integerAttribute('keepdims', 0)],
      }),
      conv('x w b', 'y'),
    ],
    constants: [whole('w', 3, 3, 2, 2)],
    input: image,
  },
  'the bias is stored as codes': {
    nodes: [node('DequantizeLinear', 'codes half zero', 'b'), conv('x w b', 'y')],
    constants: [filters, tensor('codes', [4], { dtype: 'int32' }), scale, zero],
    input: image,
  },
  'the bias is rounded to codes': {
    nodes: [
      node('QuantizeLinear', 'b half byte', 'codes'),
      node('DequantizeLinear', 'codes half byte', 'c'),
      conv('x w c', 'y'),
    ],
    constants: [filters, whole('b', 4), scale, tensor('byte', [], { dtype: 'int8', data: numberBytes('int8', [0]) })],
    input: image,
  },
  'a scalar is added': {
    nodes: [conv('x w', 'c'), node('Add', 'c half', 'y')],
    constants: [filters, scale],
    input: image,
  },
  'numbers are added along another axis': {
    nodes: [conv('x w', 'c'), node('Add', 'c b', 'y')],
    constants: [whole('w', 3, 3, 2, 2), whole('b', 3)],
    input: image,
  },
  'numbers are added that differ along other axes, too': {
    nodes: [conv('x w', 'c'), node('Add', 'c b', 'y')],
    constants: [filters, whole('b', 4, 3, 1)],
    input: image,
  },
  'the outputs of two layers are added': {
    nodes: [product('m'), node('MatMul', 'x v', 'n'), node('Add', 'm n', 'y')],
    constants: [square, whole('v', 3, 3)],
    input: [2, 3],
  },
  'what a layer gives is added to itself': {
    nodes: [product('m'), node('Add', 'm m', 'y')],
    constants: [square],
    input: [2, 3],
  },
  'the output is read before the Add': {
    nodes: [product('m'), node('Add', 'm b', 'y'), node('Neg', 'm', 'z')],
    constants: [square, whole('b', 3)],
    input: [2, 3],
    others: ['z'],
  },
  'the output is one of the graph before the Add': {
    nodes: [product('m'), node('Add', 'm b', 'y')],
    constants: [square, whole('b', 3)],
    input: [2, 3],
    others: ['m'],
  },
  'the constant is added elsewhere, too': {
    nodes: [product('m'), node('Add', 'm b', 'y'), node('Add', 'x b', 'z')],
    constants: [square, whole('b', 3)],
    input: [2, 3],
    others: ['z'],
  },
  'an activation comes before the Add': {
    nodes: [product('m'), node('Relu', 'm', 'r'), node('Add', 'r b', 'y')],
    constants: [square, whole('b', 3)],
    input: [2, 3],
  },
  'the activation of a fused node comes before the Add': {
    nodes: [
      node('FusedConv', 'x w', 'c', { domain: microsoft, attributes: [textAttribute('activation', 'Relu')] }),
      node('Add', 'c b', 'y'),
    ],
    constants: [filters, whole('b', 4, 1, 1)],
    input: image,
  },
  'a Gemm scales its bias': {
    nodes: [node('Gemm', 'x w b', 'y', { attributes: [floatAttribute('beta', 0.5)] })],
    constants: [square, whole('b', 3)],
    input: [2, 3],
  },
  'a Gemm scales its product': {
    nodes: [node('Gemm', 'x w b', 'g', { attributes: [floatAttribute('alpha', 0.5)] }), node('Add', 'g c', 'y')],
    constants: [square, whole('b', 3), whole('c', 3)],
    input: [2, 3],
  },
  'a FusedMatMul scales its product': {
    nodes: [
      node('FusedMatMul', 'x w', 'm', { domain: microsoft, attributes: [floatAttribute('alpha', 0.5)] }),
      node('Add', 'm b', 'y'),
    ],
    constants: [square, whole('b', 3)],
    input: [2, 3],
  },
  'a Gemm adds a matrix': {
    nodes: [node('Gemm', 'x w b', 'y')],
    constants: [square, whole('b', 2, 3)],
    input: [2, 3],
  },
  'a normalisation is trained': {
    nodes: [conv('x w', 'c'), normalisation('c', 'y m v', integerAttribute('training_mode', 1))],
    constants: [filters, ...statistics(4)],
    input: image,
    others: ['m', 'v'],
  },
  'a normalisation is along another axis': {
    nodes: [product('m'), normalisation('m', 'y')],
    constants: [square, ...statistics(3)],
    input: [2, 3, 3],
  },
  'two normalisations have the same mean': {
    nodes: [conv('x w', 'c'), normalisation('c', 'y'), conv('x v', 'd'), normalisation('d', 'z')],
    constants: [filters, whole('v', 4, 3, 2, 2), ...statistics(4)],
    input: image,
    others: ['z'],
  },
  'only one of the nodes that share a weight has a bias': {
    nodes: [conv('x w b', 'y'), conv('x w', 'z')],
    constants: [filters, whole('b', 4)],
    input: image,
    others: ['z'],
  },
  'the nodes that share a weight have different biases': {
    nodes: [conv('x w b', 'y'), conv('x w c', 'z')],
    constants: [filters, whole('b', 4), whole('c', 4)],
    input: image,
    others: ['z'],
  },
  'the weight is a stack of matrices': {
    nodes: [product('m'), node('Add', 'm b', 'y')],
    constants: [whole('w', 2, 3, 5), whole('b', 5)],
    input: [2, 4, 3],
  },
  'the weight is that of gates': {
    nodes: [node('RNN', 'x w r b', 'y', { attributes: [integerAttribute('hidden_size', 2)] })],
    constants: [whole('w', 1, 2, 3), whole('r', 1, 2, 2), whole('b', 1, 4)],
    input: [2, 4, 3],
  },
};

describe('A layer has no bias of its own', () => {
  test.each(Object.entries(without))('If %s', async (_, network) => {
    const x = inputOf(network.input);
    // The networks are valid, and the layer has channels.
    expect((await outputsOf(bytesOf(network), { x })).y!.data.length).toBeGreaterThan(0);
    expect(await biasOf(network)).toBeUndefined();
  });

  test('If a normalisation is trained and its statistics have no names', async () => {
    // ONNX Runtime cannot compute it.
    const trained = normalisation('c', 'y - -', integerAttribute('training_mode', 1));
    const constants = [filters, ...statistics(4)];
    expect(await biasOf({ nodes: [conv('x w', 'c'), trained], constants, input: image })).toBeUndefined();
  });
});
