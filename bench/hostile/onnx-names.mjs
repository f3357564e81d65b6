// ONNX models with repeated names, and with many entries.
import {
  bytesField,
  conv,
  integerAttribute,
  kernel,
  lookups,
  matrix,
  model,
  node,
  opset,
  ownWeights,
  placed,
  product,
  sharedWeight,
  tensor,
  textField,
  times,
} from '../onnx-models.mjs';

export const kinds = [
  {
    name: 'n nameless convolutions whose weight is one input',
    n: 7000,
    make: (n) => model({ nodes: times(n, (index) => node('Conv', ['x', 'w'], [`y${index}`])), inputs: ['x'] }),
  },
  {
    name: 'n convolutions of one name',
    n: 7000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Conv', ['x', `w${index}`], [`y${index}`], { name: 'conv' })),
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'n convolutions with one output, n identities',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          ...times(n, (index) => node('Conv', ['x', `w${index}`], ['y'])),
          ...times(n, (index) => node('Identity', ['y'], [`z${index}`])),
        ],
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  { name: 'n lookups with one output, decoded n times', n: 3000, make: lookups },
  {
    name: 'a node with n inputs of one name',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Sum',
            times(n, () => 'w'),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n times one value',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          conv(''),
          node(
            'Sum',
            times(n, () => 'y'),
            ['v'],
          ),
        ],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n activations of a layer',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          conv(''),
          ...times(n, (index) => node('Relu', ['y'], [`r${index}`])),
          node(
            'Sum',
            times(n, (index) => `r${index}`),
            ['v'],
          ),
        ],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n layers',
    n: 10_000,
    make: (n) =>
      ownWeights(
        n,
        () => [],
        [],
        [
          node(
            'Sum',
            times(n, (index) => `y${index}`),
            ['v'],
          ),
        ],
      ),
  },
  {
    name: 'n values of one name',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [conv('')],
        initializers: [kernel('w')],
        inputs: times(n, () => 'x'),
        values: times(n, () => 'w'),
      }),
  },
  {
    name: 'n initializers of one name',
    n: 10_000,
    make: (n) => model({ nodes: [conv('')], initializers: times(n, () => kernel('w')), inputs: ['x'] }),
  },
  {
    name: 'n attributes of one name',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [conv('', ['x', 'w'], { attributes: times(n, () => integerAttribute('group', 1)) })],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n attributes',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [conv('', ['x', 'w'], { attributes: times(n, (index) => integerAttribute(`a${index}`, 1)) })],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n versions of operators',
    n: 50_000,
    make: (n) =>
      new Map([
        ['model.onnx', Buffer.concat([...sharedWeight(1).values(), ...times(n, (index) => opset(17, `d${index}`))])],
      ]),
  },
  {
    name: 'n metadata',
    n: 50_000,
    make: (n) =>
      new Map([
        [
          'model.onnx',
          Buffer.concat([
            ...sharedWeight(1).values(),
            ...times(n, () => bytesField(14, textField(1, 'k'), textField(2, 'v'))),
          ]),
        ],
      ]),
  },
  {
    name: 'n operators of names of their own',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [conv(''), ...times(n, (index) => node(`Op${index}`, ['y'], [`v${index}`]))],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n entries of external data',
    n: 20_000,
    make: (n) =>
      new Map([
        ...model({
          nodes: [conv('')],
          initializers: [tensor('w', [4, 4, 1, 1], { external: times(n, () => placed(0, 64)) })],
          inputs: ['x'],
        }),
        ['data', Buffer.alloc(64, 1)],
      ]),
  },
  {
    name: 'n tensors in one file of external data',
    n: 5000,
    make: (n) =>
      new Map([
        ...model({
          nodes: times(n, (index) => conv(index, ['x', `w${index}`])),
          initializers: times(n, (index) => tensor(`w${index}`, [4, 4, 1, 1], { external: placed(64 * index, 64) })),
          inputs: ['x'],
        }),
        ['data', Buffer.alloc(64 * n, 1)],
      ]),
  },
  {
    name: 'a weight with a name of n letters, and n partners',
    n: 3000,
    make: (n) =>
      model({
        nodes: [
          conv('', ['x', 'w'], { name: 'c'.repeat(10 * n) }),
          ...times(n, (index) => node('Mul', ['y', `m${index}`], [`p${index}`])),
          ...times(n, (index) => node('Add', [`p${index}`, `b${index}`], [`o${index}`])),
        ],
        initializers: [
          kernel('w'),
          ...times(n, (index) => tensor(`b${index}`, [4, 1, 1])),
          ...times(n, (index) => tensor(`m${index}`, [4, 1, 1])),
        ],
        inputs: ['x'],
      }),
  },
];
