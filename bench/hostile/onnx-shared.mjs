// ONNX models of nodes that share constants.
import {
  binary,
  conv,
  integerAttribute,
  kernel,
  matrix,
  model,
  node,
  ownWeights,
  sharedMatrix,
  sharedWeight,
  tail,
  tensor,
  times,
  vector,
} from '../onnx-models.mjs';

export const kinds = [
  {
    name: 'n convolutions share weight and bias',
    n: 2500,
    make: (n) =>
      model({
        nodes: times(n, (index) => conv(index, ['x', 'w', 'b'])),
        initializers: [kernel('w'), vector('b')],
        inputs: ['x'],
      }),
  },
  { name: 'n convolutions share one weight', n: 20_000, make: sharedWeight },
  { name: 'n products share one weight', n: 20_000, make: sharedMatrix },
  { name: 'n convolutions share one bias', n: 5000, make: (n) => ownWeights(n, () => ['b'], [vector('b')]) },
  {
    name: 'n convolutions share a bias of n entries',
    n: 5000,
    make: (n) => ownWeights(n, () => ['b'], [vector('b', n)]),
  },
  {
    name: 'n convolutions share a bias of n zeros',
    n: 5000,
    make: (n) => ownWeights(n, () => ['b'], [tensor('b', [n], { data: Buffer.alloc(4 * n) })]),
  },
  {
    name: 'n convolutions share a bias of n axes',
    n: 5000,
    make: (n) =>
      ownWeights(n, () => ['b'], [
        tensor(
          'b',
          times(n, () => 1),
        ),
      ]),
  },
  {
    name: 'n convolutions, and n identities of their bias',
    n: 5000,
    make: (n) =>
      ownWeights(
        n,
        () => ['b'],
        [vector('b')],
        times(n, (index) => node('Identity', ['b'], [`i${index}`])),
      ),
  },
  {
    name: 'n convolutions share a norm',
    n: 5000,
    make: (n) =>
      ownWeights(
        n,
        () => [],
        ['s', 'b', 'm', 'v'].map((each) => vector(each)),
        times(n, (index) => node('BatchNormalization', [`y${index}`, 's', 'b', 'm', 'v'], [`n${index}`])),
      ),
  },
  {
    name: 'n norms behind one convolution',
    n: 5000,
    make: (n) =>
      model({
        nodes: [conv(''), ...times(n, (index) => node('BatchNormalization', ['y', 's', 'b', 'm', 'v'], [`n${index}`]))],
        initializers: [kernel('w'), ...['s', 'b', 'm', 'v'].map((each) => vector(each))],
        inputs: ['x'],
      }),
  },
  {
    name: 'n convolutions share weight, bias and norm',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) => [
          conv(index, ['x', 'w', 'b']),
          node('BatchNormalization', [`y${index}`, 's', 'b', 'm', 'v'], [`n${index}`]),
        ]).flat(1),
        initializers: [kernel('w'), ...['s', 'b', 'm', 'v'].map((each) => vector(each))],
        inputs: ['x'],
      }),
  },
  {
    name: 'n tables are looked up in n ways',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Gather', [`w${index}`, 'x'], [`y${index}`])),
        initializers: times(n, (index) => matrix(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'n recurrent layers share their weights',
    n: 3000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('LSTM', ['x', 'w', 'r', 'b', '', '', '', 'p'], [`y${index}`])),
        initializers: [tensor('w', [1, 8, 4]), tensor('r', [1, 8, 2]), tensor('b', [1, 16]), tensor('p', [1, 6])],
        inputs: ['x'],
      }),
  },
  {
    name: 'n gates are joined for n recurrent layers',
    n: 3000,
    make: (n) =>
      model({
        nodes: [
          node('Concat', ['a', 'b', 'c', 'd'], ['w'], { attributes: [integerAttribute('axis', 1)] }),
          ...times(n, (index) => node('LSTM', ['x', 'w', 'r'], [`y${index}`])),
        ],
        initializers: [...['a', 'b', 'c', 'd'].map((each) => tensor(each, [1, 2, 4])), tensor('r', [1, 8, 2])],
        inputs: ['x'],
      }),
  },
  {
    name: 'n powers with n exponents',
    n: 10_000,
    make: (n) => tail(n, binary('Pow', 'e'), { initializers: [vector('e', n)] }),
  },
];
