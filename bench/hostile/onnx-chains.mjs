// ONNX models of nodes in a row.
import {
  binary,
  chain,
  codes,
  integerAttribute,
  integersAttribute,
  list,
  matrix,
  model,
  node,
  tail,
  tensor,
  times,
  unary,
  vector,
} from '../onnx-models.mjs';

export const kinds = [
  ...[
    ['identities', unary('Identity')],
    ['transposes', unary('Transpose')],
    ['reshapes', binary('Reshape', 'shape')],
    ['casts', unary('Cast', [integerAttribute('to', 1)])],
    ['unsqueezes', unary('Unsqueeze', [integersAttribute('axes', [0])])],
    ['joins of one value', unary('Concat', [integerAttribute('axis', 0)])],
    ['slices', (input, output) => node('Slice', [input, 'shape', 'shape'], [output])],
    ['splits', unary('Split')],
    ['rounds', (input, output) => node('QuantizeLinear', [input, 's'], [output])],
    ['sums with itself', (input, output) => node('Add', [input, input], [output])],
    [
      'joins with itself',
      (input, output) => node('Concat', [input, input], [output], { attributes: [integerAttribute('axis', 0)] }),
    ],
  ].map(([name, nodeOf]) => ({
    name: `a weight behind n ${name}`,
    n: 20_000,
    make: (n) => chain(n, matrix('v0'), nodeOf, { initializers: [list('shape', [4, 4]), vector('s', 1)] }),
  })),
  {
    name: 'codes that are decoded n times',
    n: 20_000,
    make: (n) =>
      chain(n, matrix('v0', { type: 'int8' }), binary('DequantizeLinear', 's'), { initializers: [vector('s', 1)] }),
  },
  {
    name: 'codes behind n identities that are joined',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, (index) => `q${index}`),
            ['v0'],
          ),
          ...times(n, (index) => node('Identity', ['v0'], [`v${index + 1}`])),
          ...times(n, (index) => node('DequantizeLinear', [`v${index}`, 's'], [`w${index}`])),
        ],
        initializers: [...codes(n), vector('s', 1)],
        inputs: ['x'],
      }),
  },
  ...[
    ['identities', unary('Identity')],
    ['activations', unary('Relu')],
    ['transposes', unary('Transpose', [integersAttribute('perm', [0, 1, 3, 2])])],
    ['reshapes', binary('Reshape', 'shape')],
    ['biases', binary('Add', 'b')],
    ['sums with itself', (input, output) => node('Add', [input, input], [output])],
    ['products with itself', (input, output) => node('Mul', [input, input], [output])],
    [
      'joins with itself',
      (input, output) => node('Concat', [input, input], [output], { attributes: [integerAttribute('axis', 1)] }),
    ],
    [
      'splits in two',
      (input, output) => node('Split', [input], [output, `${output}b`], { attributes: [integerAttribute('axis', 2)] }),
    ],
    ['means', unary('ReduceMean', [integersAttribute('axes', [3])])],
  ].map(([name, nodeOf]) => ({
    name: `n ${name} behind a layer`,
    n: 20_000,
    make: (n) => tail(n, nodeOf, { initializers: [list('shape', [0, 4, -1, 1]), tensor('b', [4, 1, 1])] }),
  })),
];
