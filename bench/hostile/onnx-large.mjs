// ONNX models with nodes that have many inputs, outputs, axes or numbers.
import {
  conv,
  dense,
  integerAttribute,
  integersAttribute,
  joined,
  matrix,
  model,
  node,
  product,
  tensor,
  textAttribute,
  times,
} from '../onnx-models.mjs';

/** A join of n layers that is split into n along an axis. */
const split = (axis) => (n) =>
  joined(n, [
    node(
      'Split',
      ['all'],
      times(n, (index) => `s${index}`),
      { attributes: [integerAttribute('axis', axis)] },
    ),
  ]);

export const kinds = [
  {
    name: 'a join of n constants',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, (index) => `w${index}`),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: times(n, (index) => matrix(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'a join of n times one constant',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, () => 'w'),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  { name: 'a join of n layers, split into n', n: 5000, make: split(1) },
  { name: 'a join of n layers, split into n along another axis', n: 5000, make: split(2) },
  {
    name: 'a join of n layers, read by n layers',
    n: 3000,
    make: (n) =>
      joined(
        n,
        times(n, (index) => conv(`b${index}`, ['all', 'w0'])),
      ),
  },
  {
    name: 'a join of n layers, read by n depthwise layers',
    n: 3000,
    make: (n) =>
      joined(
        n,
        times(n, (index) => conv(`b${index}`, ['all', `d${index}`], { attributes: [integerAttribute('group', 4)] })),
        { initializers: times(n, (index) => tensor(`d${index}`, [4, 1, 1, 1])) },
      ),
  },
  {
    name: 'a join of n layers, and a mean along n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('ReduceMean', ['all'], ['m'], {
          attributes: [
            integersAttribute(
              'axes',
              times(n, (index) => index + 4),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'a join of n layers, and a Transpose of n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('Transpose', ['all'], ['m'], {
          attributes: [
            integersAttribute(
              'perm',
              times(n, (index) => index),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'a join of n layers, and a cut of n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('Slice', ['all'], ['m'], {
          attributes: ['starts', 'ends', 'axes'].map((name) =>
            integersAttribute(
              name,
              times(n, (index) => index + 9),
            ),
          ),
        }),
      ]),
  },
  { name: 'n layers that each read all before them', n: 100, make: dense },
  {
    name: 'a constant split into n',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Split',
            ['w'],
            times(n, (index) => `v${index}`),
          ),
          ...times(n, (index) => product('x', `v${index}`, `y${index}`)),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'permutations of a tensor of n axes',
    n: 100_000,
    make: (n) =>
      model({
        nodes: times(3, (index) => node('Transpose', [index === 0 ? 'w' : `v${index}`], [`v${index + 1}`])),
        initializers: [
          tensor(
            'w',
            times(n, () => 1),
          ),
        ],
        inputs: ['x'],
      }),
  },
  {
    name: 'n layers read a tensor of n axes',
    n: 10_000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Add', ['x', 'w'], [`y${index}`])),
        initializers: [
          tensor(
            'w',
            times(n, () => 1),
          ),
        ],
        inputs: ['x'],
      }),
  },
  {
    name: 'n reshapes to a list of n numbers',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          node('Constant', [], ['shape'], {
            attributes: [
              integersAttribute(
                'value_ints',
                times(n, () => 1),
              ),
            ],
          }),
          ...times(n, (index) => node('Reshape', ['w', 'shape'], [`v${index}`])),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'an Einsum with an equation of n letters',
    n: 100_000,
    make: (n) =>
      model({
        nodes: [
          node('Einsum', ['x', 'w'], ['y'], {
            attributes: [textAttribute('equation', `${'a'.repeat(n)},ab->${'b'.repeat(n)}`)],
          }),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'an Einsum with n different letters',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          node('Einsum', ['x', 'w'], ['y'], {
            attributes: [
              textAttribute(
                'equation',
                `${times(n, (index) => String.fromCharCode(1000 + index)).join('')},ab->b${'c'.repeat(n)}`,
              ),
            ],
          }),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
];
