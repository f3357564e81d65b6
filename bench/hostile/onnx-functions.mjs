// ONNX models with subgraphs and local functions.
import {
  attribute,
  bytesField,
  calls,
  conv,
  doubling,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  kernel,
  matrix,
  model,
  nested,
  node,
  product,
  textAttribute,
  textField,
  times,
} from '../onnx-models.mjs';

export const kinds = [
  { name: 'n subgraphs inside each other', n: 8, make: nested },
  {
    name: 'n subgraphs beside each other',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) =>
          node('If', ['c'], [`o${index}`], {
            attributes: [graphAttribute('then_branch', graph({ nodes: [conv(index)], outputs: [`y${index}`] }))],
          }),
        ),
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a subgraph of n values of the graph around it',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          node('Loop', ['c'], ['o'], {
            attributes: [
              graphAttribute('body', graph({ nodes: times(n, (index) => conv(index, ['x', `w${index}`])) })),
            ],
          }),
        ],
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  { name: 'n functions that each call the next one twice', n: 12, make: doubling },
  {
    name: 'n calls of a function of n nodes',
    n: 100,
    make: (n) =>
      calls(
        n,
        times(n, (index) => node('Relu', [index === 0 ? 'x' : `v${index}`], [`v${index + 1}`])).concat([
          product(`v${n}`, 'w', 'y'),
        ]),
        [matrix('w')],
      ),
  },
  {
    name: 'n calls of a function with a node of n inputs',
    n: 1000,
    make: (n) =>
      calls(n, [
        node(
          'Sum',
          times(n, () => 'x'),
          ['y'],
        ),
      ]),
  },
  {
    name: 'n calls of a function with a node of n attributes',
    n: 1000,
    make: (n) =>
      calls(n, [node('Relu', ['x'], ['y'], { attributes: times(n, (index) => integerAttribute(`a${index}`, 1)) })]),
  },
  {
    name: 'n calls of a function with a list of n numbers',
    n: 3000,
    make: (n) =>
      calls(
        n,
        [
          node('Transpose', ['w'], ['y'], {
            attributes: [
              integersAttribute(
                'perm',
                times(n, (index) => index),
              ),
            ],
          }),
        ],
        [matrix('w')],
      ),
  },
  {
    name: 'n calls of a function with a constant of n numbers',
    n: 3000,
    make: (n) =>
      calls(n, [
        node('Constant', [], ['b'], {
          attributes: [
            attribute(
              'value',
              bytesField(
                5,
                integerField(1, n),
                integerField(2, 3),
                textField(8, 'b'),
                times(n, () => integerField(5, 1)),
              ),
            ),
          ],
        }),
        node('Add', ['x', 'b'], ['y']),
      ]),
  },
  {
    name: 'n calls of a function with a subgraph of n values',
    n: 1000,
    make: (n) =>
      calls(n, [
        node('If', ['x'], ['y'], {
          attributes: [
            graphAttribute(
              'then_branch',
              graph({ nodes: [node('Relu', ['x'], ['z'])], values: times(n, (index) => `v${index}`) }),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'n calls of a function, n layers deep in names',
    n: 3000,
    make: (n) =>
      calls(
        n,
        [node('Einsum', ['x', 'w'], ['y'], { attributes: [textAttribute('equation', 'a'.repeat(n))] })],
        [matrix('w')],
      ),
  },
];
