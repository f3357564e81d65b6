// ONNX models whose channels take long to follow, to plan or to cut.
import { planRemoval, removeChannels } from 'sparsifier/removal';
import {
  conv,
  dense,
  floatAttribute,
  integerAttribute,
  integersAttribute,
  joined,
  kernel,
  list,
  model,
  node,
  product,
  reading,
  sharedMatrix,
  sharedWeight,
  tail,
  tensor,
  times,
  unary,
  vector,
} from '../onnx-models.mjs';

/** The work of planning and removing. */
const removing = (make) =>
  reading(make, async (read) => (await removeChannels(read, await planRemoval(read, { roundTo: 1 }))).model.close());

const kind = (name, n, make) => ({ name, n, run: removing(make) });

/** A weight of which every second filter is zero. */
const filters = (name, [count, ...rest]) => {
  const inner = rest.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: count * inner }, (_, at) => (Math.floor(at / inner) % 2 ? 0 : (at % 7) + 1));
  return tensor(name, [count, ...rest], { data: Buffer.from(data.buffer) });
};
const padded = { attributes: [integersAttribute('pads', [1, 1, 1, 1])] };
const axis = (at) => ({ attributes: [integerAttribute('axis', at)] });
const inputs = ['x'];
const outputs = ['y'];

export const kinds = [
  kind('n layers of one weight, each behind the other', 1000, (n) =>
    model({
      nodes: times(n, (index) => conv(index, [index === 0 ? 'x' : `y${index - 1}`, 'w'])),
      initializers: [filters('w', [4, 4, 1, 1])],
      inputs,
      outputs: [`y${n - 1}`],
    }),
  ),
  kind('n layers, each behind the other', 1000, (n) =>
    model({
      nodes: times(n, (index) => conv(index, [index === 0 ? 'x' : `y${index - 1}`, `w${index}`, 'b'], padded)),
      initializers: [...times(n, (index) => filters(`w${index}`, [4, 4, 3, 3])), vector('b')],
      inputs,
      outputs: [`y${n - 1}`],
    }),
  ),
  kind('n convolutions share one weight', 2000, sharedWeight),
  kind('n products share one weight', 2000, sharedMatrix),
  kind('n convolutions read a value with constants, with a padded one each', 500, (n) =>
    model({
      nodes: [conv('', ['x', 'f', 'b']), ...times(n, (index) => conv(index, ['y', `w${index}`], padded))],
      initializers: [
        filters('f', [16, 4, 1, 1]),
        vector('b', 16),
        ...times(n, (index) => tensor(`w${index}`, [4, 16, 3, 3])),
      ],
      inputs,
      outputs: times(n, (index) => `y${index}`),
    }),
  ),
  kind('n convolutions share a weight that carries constants', 500, (n) =>
    model({
      nodes: [conv('', ['x', 'f', 'b']), ...times(n, (index) => conv(index, ['y', `w`], padded))],
      initializers: [filters('f', [16, 4, 1, 1]), vector('b', 16), tensor(`w`, [4, 16, 3, 3])],
      inputs,
      outputs: times(n, (index) => `y${index}`),
    }),
  ),
  kind('n sums share a vector, behind layers that lose other channels', 500, (n) =>
    model({
      nodes: times(n, (index) => [
        conv(index, ['x', `w${index}`]),
        node('Add', [`y${index}`, 'v'], [`z${index}`]),
        node('Conv', [`z${index}`, `u${index}`], [`o${index}`]),
      ]).flat(1),
      initializers: [
        tensor('v', [16, 1, 1]),
        ...times(n, (index) => [
          tensor(`w${index}`, [16, 4, 1, 1], {
            data: Buffer.from(
              Float32Array.from({ length: 64 }, (_, at) => (index >> (Math.floor(at / 4) % 12)) & 1).buffer,
            ),
          }),
          tensor(`u${index}`, [2, 16, 1, 1]),
        ]).flat(1),
      ],
      inputs,
      outputs: times(n, (index) => `o${index}`),
    }),
  ),
  kind('n identities', 20_000, (n) => {
    const t = tail(n, unary('Identity'));
    return t;
  }),
  kind('n identities before the output', 20_000, (n) =>
    model({
      nodes: [
        conv('', ['x', 'w']),
        ...times(n, (i) => node('Relu', [i ? `v${i}` : 'y'], [`v${i + 1}`])),
        conv('o', [`v${n}`, 'u']),
      ],
      initializers: [filters('w', [4, 4, 1, 1]), kernel('u')],
      inputs,
      outputs: ['yo'],
    }),
  ),
  kind('n concatenations of a value with itself', 40, (n) =>
    model({
      nodes: [
        conv('', ['x', 'w']),
        ...times(n, (i) => node('Concat', [i ? `v${i}` : 'y', i ? `v${i}` : 'y'], [`v${i + 1}`], axis(1))),
      ],
      initializers: [filters('w', [4, 4, 1, 1])],
      inputs,
      outputs: [`v${n}`],
    }),
  ),
  kind('n concatenations of a value with itself along space', 40, (n) =>
    model({
      nodes: [
        conv('', ['x', 'w']),
        ...times(n, (i) => node('Concat', [i ? `v${i}` : 'y', i ? `v${i}` : 'y'], [`v${i + 1}`], axis(2))),
      ],
      initializers: [filters('w', [4, 4, 1, 1])],
      inputs,
      outputs: [`v${n}`],
    }),
  ),
  kind('n concatenations of a list with itself', 40, (n) =>
    model({
      nodes: [
        node('Shape', ['x'], ['v0']),
        ...times(n, (i) => node('Concat', [`v${i}`, `v${i}`], [`v${i + 1}`], axis(0))),
        node('Reshape', ['x', `v${n}`], ['y']),
      ],
      inputs,
      outputs,
    }),
  ),
  kind('an expansion to n', 10 ** 9, (n) =>
    model({ nodes: [node('Expand', ['x', 's'], ['y'])], initializers: [list('s', [n, 4, 8, 8])], inputs, outputs }),
  ),
  kind('a value filled with n numbers', 10 ** 9, (n) =>
    model({ nodes: [node('ConstantOfShape', ['s'], ['y'])], initializers: [list('s', [n])], inputs, outputs }),
  ),
  kind('a value filled with n channels, behind a Mul', 10 ** 9, (n) =>
    model({
      nodes: [node('ConstantOfShape', ['s'], ['f']), node('Mul', ['f', 'f'], ['y'])],
      initializers: [list('s', [1, n, 1, 1])],
      inputs,
      outputs,
    }),
  ),
  kind('a range of n', 10 ** 9, (n) =>
    model({
      nodes: [node('Range', ['a', 'n', 'b'], ['y'])],
      initializers: [
        ['a', 0],
        ['n', n],
        ['b', 1],
      ].map(([name, value]) =>
        tensor(name, [], { type: 'int64', data: Buffer.from(BigInt64Array.of(BigInt(value)).buffer) }),
      ),
      inputs,
      outputs,
    }),
  ),
  kind('a value tiled n times', 10 ** 9, (n) =>
    model({ nodes: [node('Tile', ['x', 's'], ['y'])], initializers: [list('s', [1, n, 1, 1])], inputs, outputs }),
  ),
  kind('a padding of n', 10 ** 9, (n) =>
    model({
      nodes: [node('Pad', ['x', 's'], ['y'])],
      initializers: [list('s', [0, 0, 0, n, 0, 0, 0, n])],
      inputs,
      outputs,
    }),
  ),
  kind('a resize to n', 10 ** 9, (n) =>
    model({
      nodes: [node('Resize', ['x', '', '', 's'], ['y'])],
      initializers: [list('s', [1, 4, n, n])],
      inputs,
      outputs,
    }),
  ),
  kind('a convolution with a padding of n', 10 ** 8, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f', 'b']),
        conv('', ['yf', 'w'], { attributes: [integersAttribute('pads', [n, n, n, n])] }),
      ],
      initializers: [filters('f', [4, 4, 1, 1]), vector('b'), tensor('w', [4, 4, 3, 3])],
      inputs,
      outputs,
    }),
  ),
  kind('a transposed convolution with strides of n', 10 ** 8, (n) =>
    model({
      nodes: [node('ConvTranspose', ['x', 'w'], ['y'], { attributes: [integersAttribute('strides', [n, n])] })],
      initializers: [tensor('w', [4, 4, 3, 3])],
      inputs,
      outputs,
    }),
  ),
  kind('a pool with pads of n', 10 ** 8, (n) =>
    model({
      nodes: [
        node('MaxPool', ['x'], ['y'], {
          attributes: [
            integersAttribute('kernel_shape', [n, n]),
            integersAttribute('pads', [n - 1, n - 1, n - 1, n - 1]),
          ],
        }),
      ],
      inputs,
      outputs,
    }),
  ),
  kind('a depth to space with a block of n', 10 ** 4, (n) =>
    model({
      nodes: [node('DepthToSpace', ['x'], ['y'], { attributes: [integerAttribute('blocksize', n)] })],
      inputs,
      outputs,
    }),
  ),
  kind('a space to depth with a block of 1/n', 2, (n) =>
    model({
      nodes: [node('SpaceToDepth', ['x'], ['y'], { attributes: [integerAttribute('blocksize', n)] })],
      inputs,
      outputs,
    }),
  ),
  kind('a reshape of a constant of n', 1_000_000, (n) =>
    model({
      nodes: [node('Reshape', ['w', 's'], ['y'])],
      initializers: [tensor('w', [n]), list('s', [n / 4, 4])],
      inputs,
      outputs,
    }),
  ),
  kind('a constant of n that is reshaped, for a product', 1_000_000, (n) =>
    model({
      nodes: [
        node('Reshape', ['w', 's'], ['v']),
        node('GlobalAveragePool', ['x'], ['p']),
        node('Flatten', ['p'], ['q']),
        product('q', 'v', 'y'),
      ],
      initializers: [tensor('w', [n]), list('s', [4, n / 4])],
      inputs,
      outputs,
    }),
  ),
  kind('a constant of n, with what follows it elementwise', 1_000_000, (n) =>
    model({
      nodes: [node('Relu', ['w'], ['v']), node('Mul', ['v', 'w'], ['y'])],
      initializers: [tensor('w', [4, n / 4])],
      inputs,
      outputs,
    }),
  ),
  kind('a reshape to n axes', 1000, (n) =>
    model({
      nodes: [
        node('Reshape', ['x', 's'], ['v']),
        node('Transpose', ['v'], ['y'], {
          attributes: [
            integersAttribute(
              'perm',
              times(n, (i) => n - 1 - i),
            ),
          ],
        }),
      ],
      initializers: [list('s', [1, 4, 8, 8, ...times(n - 4, () => 1)])],
      inputs,
      outputs,
    }),
  ),
  kind('n transpositions of 200 axes', 100, (n) =>
    model({
      nodes: [
        node('Reshape', ['x', 's'], ['v0']),
        ...times(n, (i) =>
          node('Transpose', [`v${i}`], [`v${i + 1}`], {
            attributes: [
              integersAttribute(
                'perm',
                times(200, (i) => 199 - i),
              ),
            ],
          }),
        ),
      ],
      initializers: [list('s', [1, 4, 8, 8, ...times(196, () => 1)])],
      inputs,
      outputs: [`v${n}`],
    }),
  ),
  kind('a shape to whose list n is added one after another', 2000, (n) =>
    model({
      nodes: [
        node('Shape', ['x'], ['v0']),
        ...times(n, (i) => node('Concat', [`v${i}`, 'o'], [`v${i + 1}`], axis(0))),
        node('Reshape', ['x', `v${n}`], ['y']),
      ],
      initializers: [list('o', [1])],
      inputs,
      outputs,
    }),
  ),
  kind('n sums of a list', 2000, (n) =>
    model({
      nodes: [
        node('Shape', ['x'], ['v0']),
        ...times(n, (i) => node('Add', [`v${i}`, `v${i}`], [`v${i + 1}`])),
        node('Reshape', ['x', `v${n}`], ['y']),
      ],
      inputs,
      outputs,
    }),
  ),
  kind('n shapes for n reshapes', 2000, (n) =>
    model({
      nodes: times(n, (i) => [
        node('Shape', [i ? `v${i}` : 'x'], [`s${i}`]),
        node('Reshape', [i ? `v${i}` : 'x', `s${i}`], [`v${i + 1}`]),
      ]).flat(1),
      inputs,
      outputs: [`v${n}`],
    }),
  ),
  kind('n padded convolutions of constants with kernels of 100', 20, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f', 'b']),
        ...times(n, (index) =>
          conv(index, [index ? `y${index - 1}` : 'yf', 'w', 'b'], {
            attributes: [integersAttribute('pads', [50, 50, 49, 49])],
          }),
        ),
      ],
      initializers: [filters('f', [4, 4, 1, 1]), vector('b'), filters('w', [4, 4, 100, 100])],
      inputs,
      outputs: [`y${n - 1}`],
    }),
  ),
  kind('a padded convolution of constants with a kernel of n', 250, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f', 'b']),
        conv('', ['yf', 'w', 'b'], { attributes: [integersAttribute('pads', [n, n, n, n])] }),
      ],
      initializers: [filters('f', [4, 4, 1, 1]), vector('b'), filters('w', [4, 4, n, n])],
      inputs,
      outputs,
    }),
  ),
  kind('constants of n channels before a padded convolution', 512, (n) =>
    model({
      nodes: [conv('f', ['x', 'f', 'b']), conv('', ['yf', 'w'], padded)],
      initializers: [filters('f', [n, 4, 1, 1]), vector('b', n), tensor('w', [8, n, 3, 3])],
      inputs,
      outputs,
    }),
  ),
  kind('constants of n channels before two padded convolutions', 512, (n) =>
    model({
      nodes: [conv('f', ['x', 'f', 'b']), conv('', ['yf', 'w'], padded), conv('2', ['yf', 'u'], padded)],
      initializers: [filters('f', [n, 4, 1, 1]), vector('b', n), tensor('w', [8, n, 3, 3]), tensor('u', [8, n, 3, 3])],
      inputs,
      outputs: ['y', 'y2'],
    }),
  ),
  kind('constants of n channels, each of which has its own padded convolution', 256, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f', 'b']),
        conv('', ['yf', 'w'], {
          attributes: [integersAttribute('pads', [1, 1, 1, 1]), integerAttribute('group', n / 2)],
        }),
        conv('2', ['y', 'u']),
      ],
      initializers: [filters('f', [n, 4, 1, 1]), vector('b', n), tensor('w', [n, 2, 3, 3]), tensor('u', [4, n, 1, 1])],
      inputs,
      outputs: ['y2'],
    }),
  ),
  kind('constants of n channels that unlike clips make', 256, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f', 'b']),
        ...times(8, (i) => [
          node('LeakyRelu', ['yf'], [`r${i}`], { attributes: [floatAttribute('alpha', i / 10)] }),
          conv(i, [`r${i}`, 'w'], padded),
        ]).flat(1),
      ],
      initializers: [
        filters('f', [n, 4, 1, 1]),
        tensor('b', [n], { data: Buffer.from(Float32Array.from({ length: n }, (_, i) => (i % 2 ? i : -i)).buffer) }),
        tensor('w', [8, n, 3, 3]),
      ],
      inputs,
      outputs: times(8, (i) => `y${i}`),
    }),
  ),
  kind('n layers of one output that are joined', 2000, (n) =>
    joined(n, [conv('o', ['all', 'o'])], { initializers: [tensor('o', [4, n, 1, 1])] }),
  ),
  kind('a value of which n parts are split and joined', 1000, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f']),
        node(
          'Split',
          ['yf'],
          times(n, (i) => `p${i}`),
          axis(1),
        ),
        node(
          'Concat',
          times(n, (i) => `p${n - 1 - i}`),
          ['c'],
          axis(1),
        ),
        conv('', ['c', 'w']),
      ],
      initializers: [filters('f', [n, 4, 1, 1]), tensor('w', [4, n, 1, 1])],
      inputs,
      outputs,
    }),
  ),
  kind('n slices of one value', 1000, (n) =>
    model({
      nodes: [
        conv('f', ['x', 'f']),
        ...times(n, (i) => node('Slice', ['yf', `s${i}`, `e${i}`, 'a'], [`p${i}`])),
        node(
          'Concat',
          times(n, (i) => `p${i}`),
          ['c'],
          axis(1),
        ),
        conv('', ['c', 'w']),
      ],
      initializers: [
        filters('f', [n, 4, 1, 1]),
        list('a', [1]),
        ...times(n, (i) => [list(`s${i}`, [i]), list(`e${i}`, [i + 1])]).flat(1),
        tensor('w', [4, n, 1, 1]),
      ],
      inputs,
      outputs,
    }),
  ),
  kind('a dense chain of n layers', 150, dense),
  kind('n sums with one layer', 2000, (n) =>
    model({
      nodes: [
        conv('', ['x', 'w']),
        ...times(n, (i) => [
          conv(i, [i ? `v${i}` : 'y', `w${i}`]),
          node('Add', [`y${i}`, i ? `v${i}` : 'y'], [`v${i + 1}`]),
        ]).flat(1),
      ],
      initializers: [filters('w', [4, 4, 1, 1]), ...times(n, (i) => filters(`w${i}`, [4, 4, 1, 1]))],
      inputs,
      outputs: [`v${n}`],
    }),
  ),
  kind('an Einsum-free chain of n squeezes and unsqueezes', 2000, (n) =>
    tail(n, (input, output) => node(output.slice(1) % 2 ? 'Unsqueeze' : 'Squeeze', [input, 'a'], [output]), {
      initializers: [list('a', [0])],
    }),
  ),
  kind('n constants of which no node is followed', 5000, (n) =>
    tail(n, (input, output) => node('Unheard', [input], [output])),
  ),
  kind('n unsqueezes, each of which adds an axis', 500, (n) =>
    tail(n, (input, output) => node('Unsqueeze', [input, 'a'], [output]), { initializers: [list('a', [0])] }),
  ),
  kind('n layers, of which each stays for the one after it', 1000, (n) =>
    model({
      nodes: times(n, (index) => conv(index, [index === 0 ? 'x' : `y${index - 1}`, `w${index}`])),
      initializers: times(n, (index) =>
        tensor(`w${index}`, [4, 4, 1, 1], {
          data: Buffer.from(Float32Array.from({ length: 16 }, (_, at) => +(at % 5 === 0)).buffer),
        }),
      ),
      inputs,
      outputs: [`y${n - 1}`],
    }),
  ),
  kind('n gathers of one table', 1000, (n) =>
    model({
      nodes: times(n, (i) => node('Gather', ['t', 'i'], [`g${i}`])),
      initializers: [tensor('t', [2000, 16]), list('i', [1, 2, 3])],
      inputs,
      outputs: times(n, (i) => `g${i}`),
    }),
  ),
];
