import fc from 'fast-check';
import { loadEngine, Sparsifier, SparsifyError, type Values, type WeightTensor } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { pruneMatrixNaively } from '../../support/naive-prune.js';
import {
  bytesField,
  concat,
  constant,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  mixedNumbers,
  model,
  node,
  rawNumbers,
  sparseTensor,
  tensor,
  tensorAttribute,
  textField,
  varint,
  type GraphOptions,
  type TensorOptions,
} from '../../support/onnx-builder.js';
import { countWeights } from '../../support/onnx-count.js';
import { layersOf, numbersOf, withModel } from '../../support/onnx-model.js';
import { readGraphOf } from '../../support/onnx-reader.js';
import { furtherFiles } from '../../support/model-files.js';

/** Sets the numbers at some indices to zero, as a sparsifier does. */
async function zero(read: FileModel, values: Values, indices: readonly number[]): Promise<void> {
  const engine = await loadEngine();
  const region = await read.load(engine, values);
  const bytes = await region.block.read(region.offset, new Uint8Array(region.bytes));
  const size = region.bytes / values.length;
  for (const index of indices) bytes.fill(0, index * size, (index + 1) * size);
  await region.block.write(bytes, region.offset);
  await read.store(engine, values, region);
  region.release();
}

const errorOf = (promise: Promise<unknown>): Promise<SparsifyError> =>
  promise.then(
    () => expect.fail('no error'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(SparsifyError);
      return error as SparsifyError;
    },
  );

const conv = (weight = 'w', attributes: Uint8Array[] = []) =>
  node('Conv', `x ${weight}`, 'y', { name: 'conv', attributes });
const gather = (data: string, axis?: number) =>
  node('Gather', `${data} i`, 'e', {
    name: 'embed',
    attributes: axis === undefined ? [] : [integerAttribute('axis', axis)],
  });
const group = (count: number) => integerAttribute('group', count);

describe('layers', () => {
  const weight = (...shape: number[]) => [tensor('w', shape)];
  const gemm = (inputs: string, ...flags: string[]) =>
    node('Gemm', inputs, 'y', { name: 'gemm', attributes: flags.map((flag) => integerAttribute(flag, 1)) });
  const transposed = (...order: number[]) =>
    node('Transpose', 'w', 't', { attributes: order.length > 0 ? [integersAttribute('perm', order)] : [] });

  const cases: [title: string, options: GraphOptions, kind: string, roles: string, shape: number[], groups?: number][] =
    [
      ['Conv of rank 3', { nodes: [conv()], initializers: weight(4, 3, 5) }, 'conv1d', 'out in width', [4, 3, 5]],
      [
        'Conv of rank 4',
        { nodes: [conv()], initializers: weight(4, 3, 2, 5) },
        'conv2d',
        'out in height width',
        [4, 3, 2, 5],
      ],
      [
        'Conv of rank 5',
        { nodes: [conv()], initializers: weight(4, 3, 2, 1, 5) },
        'conv3d',
        'out in depth height width',
        [4, 3, 2, 1, 5],
      ],
      [
        'grouped Conv',
        { nodes: [conv('w', [group(2)])], initializers: weight(4, 3, 1, 1) },
        'conv2d',
        'out in height width',
        [4, 3, 1, 1],
        2,
      ],
      [
        'depthwise Conv',
        { nodes: [conv('w', [group(4)])], initializers: weight(4, 1, 3, 3) },
        'conv2d',
        'out in height width',
        [4, 1, 3, 3],
        4,
      ],
      [
        'ConvTranspose of rank 3',
        { nodes: [node('ConvTranspose', 'x w', 'y')], initializers: weight(4, 3, 2) },
        'convTranspose1d',
        'in out width',
        [4, 3, 2],
      ],
      [
        'grouped ConvTranspose',
        { nodes: [node('ConvTranspose', 'x w', 'y', { attributes: [group(2)] })], initializers: weight(4, 3, 2, 2) },
        'convTranspose2d',
        'in out height width',
        [4, 3, 2, 2],
        2,
      ],
      [
        'ConvTranspose of rank 5',
        { nodes: [node('ConvTranspose', 'x w', 'y')], initializers: weight(1, 2, 1, 2, 1) },
        'convTranspose3d',
        'in out depth height width',
        [1, 2, 1, 2, 1],
      ],
      ['Gemm', { nodes: [gemm('x w')], initializers: weight(3, 4) }, 'dense', 'in out', [3, 4]],
      ['Gemm with transB', { nodes: [gemm('x w', 'transB')], initializers: weight(3, 4) }, 'dense', 'out in', [3, 4]],
      ['Gemm with constant A', { nodes: [gemm('w x')], initializers: weight(3, 4) }, 'dense', 'out in', [3, 4]],
      [
        'Gemm with constant A and transA',
        { nodes: [gemm('w x', 'transA')], initializers: weight(3, 4) },
        'dense',
        'in out',
        [3, 4],
      ],
      [
        'Gemm with constant A and transB',
        { nodes: [gemm('w x', 'transB')], initializers: weight(3, 4) },
        'dense',
        'out in',
        [3, 4],
      ],
      [
        'MatMul, constant on the right',
        { nodes: [node('MatMul', 'x w', 'y')], initializers: weight(3, 4) },
        'dense',
        'in out',
        [3, 4],
      ],
      [
        'MatMul, constant on the left',
        { nodes: [node('MatMul', 'w x', 'y')], initializers: weight(3, 4) },
        'dense',
        'out in',
        [3, 4],
      ],
      ['Gather', { nodes: [gather('w')], initializers: weight(7, 4) }, 'embedding', 'out in', [7, 4]],
      ['Gather along axis 0', { nodes: [gather('w', 0)], initializers: weight(7, 4) }, 'embedding', 'out in', [7, 4]],
      ['Gather along axis -2', { nodes: [gather('w', -2)], initializers: weight(7, 4) }, 'embedding', 'out in', [7, 4]],
      [
        'Gather through Transpose',
        { nodes: [transposed(1, 0), gather('t')], initializers: weight(4, 7) },
        'embedding',
        'in out',
        [4, 7],
      ],
      [
        'Gather from a Constant node with constant indices',
        { nodes: [constant('w', [7, 4]), constant('i', [2], { dtype: 'int8' }), gather('w')] },
        'embedding',
        'out in',
        [7, 4],
      ],
      ['a Constant node', { nodes: [constant('w', [4, 3, 1]), conv()] }, 'conv1d', 'out in width', [4, 3, 1]],
      [
        'an initializer that is also an input',
        { nodes: [conv()], initializers: weight(4, 3, 1), inputs: { x: 3, w: 3 } },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
      [
        'through Identity',
        { nodes: [node('Identity', 'w', 'i'), node('Identity', 'i', 'j'), conv('j')], initializers: weight(4, 3, 1) },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
      [
        'through Transpose',
        { nodes: [transposed(3, 2, 0, 1), conv('t')], initializers: weight(5, 2, 3, 4) },
        'conv2d',
        'height width in out',
        [5, 2, 3, 4],
      ],
      [
        'through Transpose without perm',
        { nodes: [transposed(), conv('t')], initializers: weight(5, 3, 4) },
        'conv1d',
        'width in out',
        [5, 3, 4],
      ],
      [
        'through two Transposes',
        {
          nodes: [
            transposed(1, 2, 0),
            node('Transpose', 't', 'u', { attributes: [integersAttribute('perm', [2, 1, 0])] }),
            conv('u'),
          ],
          initializers: weight(5, 3, 4),
        },
        'conv1d',
        'out width in',
        [5, 3, 4],
      ],
      [
        'Transpose of a MatMul weight',
        { nodes: [transposed(1, 0), node('MatMul', 'x t', 'y')], initializers: weight(3, 4) },
        'dense',
        'out in',
        [3, 4],
      ],
      [
        'an initializer in a subgraph',
        {
          nodes: [
            node('If', 'c', 'y', {
              attributes: [
                graphAttribute(
                  'then_branch',
                  graph({ nodes: [conv()], initializers: weight(4, 3, 1), outputs: { y: 3 } }),
                ),
              ],
            }),
          ],
        },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
      [
        'a Constant node in a subgraph of a subgraph',
        {
          nodes: [
            node('Loop', '- c', 'y', {
              attributes: [
                graphAttribute(
                  'body',
                  graph({
                    nodes: [
                      node('Scan', 'x', 'y', {
                        attributes: [graphAttribute('body', graph({ nodes: [constant('w', [4, 3, 1]), conv()] }))],
                      }),
                    ],
                  }),
                ),
              ],
            }),
          ],
        },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
      [
        'an outer initializer read in a subgraph',
        {
          nodes: [node('If', 'c', 'y', { attributes: [graphAttribute('else_branch', graph({ nodes: [conv()] }))] })],
          initializers: weight(4, 3, 1),
        },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
      [
        'the domain by its long name',
        { nodes: [node('Conv', 'x w', 'y', { domain: 'ai.onnx' })], initializers: weight(4, 3, 1) },
        'conv1d',
        'out in width',
        [4, 3, 1],
      ],
    ];
  test.each(cases)(
    'A weight is found with its kind, roles, shape and groups: %s',
    async (_title, options, kind, roles, shape, groups = 1) => {
      const { tensors, skipped } = await layersOf(options);
      expect(skipped).toEqual([]);
      expect(tensors).toMatchObject([{ kind, roles: roles.split(' '), shape, groups, values: { dtype: 'float32' } }]);
      expect(tensors[0]!.values.length).toBe(shape.reduce((product, size) => product * size, 1));
    },
  );

  test('A product of two activations is not a layer', async () => {
    const nodes = [node('MatMul', 'x x', 'y'), node('Gemm', 'x y', 'z')];
    expect(await layersOf({ nodes })).toEqual({ tensors: [], skipped: [] });
  });

  test.each<[title: string, options: GraphOptions]>([
    ['activations', { nodes: [gather('x')], inputs: { x: 2 } }],
    ['a vector', { nodes: [gather('w')], initializers: weight(4) }],
    ['integers', { nodes: [gather('w')], initializers: [tensor('w', [4, 2], { dtype: 'int8' })] }],
    ['a computed vector', { nodes: [node('Neg', 'v', 'w'), gather('w')], initializers: [tensor('v', [4])] }],
  ])('Gather of %s is not a layer', async (_title, options) => {
    expect(await layersOf(options)).toEqual({ tensors: [], skipped: [] });
  });

  test.each<[title: string, options: GraphOptions]>([
    ['a vector', { nodes: [node('MatMul', 'x w', 'y')], initializers: weight(4) }],
    ['integers', { nodes: [node('MatMul', 'x w', 'y')], initializers: [tensor('w', [4, 4], { dtype: 'int8' })] }],
    ['LSTM', { nodes: [node('LSTM', 'x w w', 'y')], initializers: [tensor('w', [1, 4, 1], { dtype: 'int8' })] }],
  ])('A constant of one axis or of integers that nothing decodes is no weight: %s', async (_title, options) => {
    expect(await layersOf(options)).toEqual({ tensors: [], skipped: [] });
  });

  test('The operand of an operator that is not in the table is not a layer', async () => {
    const nodes = [node('constructor', 'x w', 'y')];
    const { tensors, skipped } = await layersOf({ nodes, initializers: weight(4, 3, 1) });
    expect(tensors).toEqual([]);
    const reason = 'it is an operand of constructor, not the weight of a layer';
    expect(skipped).toEqual([{ name: 'w', reason, operator: 'constructor', shape: [4, 3, 1], weights: 12 }]);
  });

  test('The output of a subgraph is not a constant', async () => {
    const branch = graph({ nodes: [node('Relu', 'x', 'r')], outputs: { r: 2 } });
    const choice = node('If', 'c', 'w', { attributes: [graphAttribute('then_branch', branch)] });
    const nodes = [constant('c', [1]), choice, node('MatMul', 'x w', 'y')];
    expect(await layersOf({ nodes })).toEqual({ tensors: [], skipped: [] });
  });

  test('A name in a subgraph hides the same name in the outer graph', async () => {
    const branch = graph({ nodes: [conv()], initializers: [tensor('w', [2, 3, 1])] });
    const nodes = [
      node('If', 'c', 'z', { attributes: [graphAttribute('then_branch', branch)] }),
      node('Relu', 'w', 'r'),
    ];
    const { tensors } = await layersOf({ nodes, initializers: [tensor('w', [7])] });
    expect(tensors).toMatchObject([{ shape: [2, 3, 1] }]);
  });

  test.each([9, 11, 13, 18, 22])('A model of opset %i can be read', async (opset) => {
    const bytes = model({ nodes: [conv()], initializers: weight(4, 3, 1) }, opset);
    expect(await withModel(bytes, ({ tensors }) => tensors.length)).toBe(1);
  });
});

describe('recurrent layers', () => {
  const bias = [
    'bias b is left alone: a row of this weight is only one of the terms that its gate adds up',
    'peephole p is left alone: a row of this weight is only one of the terms that its gate adds up',
  ];
  const recurrent = (op: string, inputs: string, name = 'encoder') => node(op, inputs, `${name}y`, { name });
  const weights = [tensor('w', [2, 12, 5]), tensor('r', [2, 12, 4])];
  const shapes = (kind: string) => [
    { name: 'encoder', aliases: [], kind, roles: ['out', 'in'], shape: [24, 5], groups: 1, partners: [] },
    { name: 'encoder.recurrent', aliases: [], kind, roles: ['out', 'in'], shape: [24, 4], groups: 1, partners: [] },
  ];

  test.each([
    ['LSTM', 'x w r', []],
    ['LSTM', 'x w r b', bias.slice(0, 1)],
    ['LSTM', 'x w r b lengths h c p', bias],
    ['LSTM', 'x w r - - - - p', bias.slice(1)],
    ['GRU', 'x w r', []],
    ['GRU', 'x w r b lengths h', bias.slice(0, 1)],
  ])('Both weights of %s with the inputs %s are found, without partners', async (op, inputs, notes) => {
    const initializers = [...weights, tensor('b', [2, 24]), tensor('p', [2, 9])];
    const { tensors, skipped } = await layersOf({ nodes: [recurrent(op, inputs)], initializers });
    expect(tensors).toMatchObject(shapes(op.toLowerCase()).map((expected) => ({ ...expected, notes })));
    expect(tensors.map(({ values }) => values.length)).toEqual([120, 96]);
    const others = [
      { name: 'b', reason: `it is the bias of ${op}, not the weight of a layer`, weights: 48 },
      { name: 'p', reason: `it is the peephole weights of ${op}, not the weight of a layer`, weights: 18 },
    ];
    expect(skipped).toMatchObject(others.filter(({ name }) => inputs.split(' ').includes(name)));
  });

  test.each<[title: string, options: GraphOptions]>([
    [
      'its weights are in Constant nodes',
      { nodes: [constant('w', [2, 12, 5]), constant('r', [2, 12, 4]), recurrent('GRU', 'x w r')] },
    ],
    [
      'it reads them through Identity and Transposes that cancel each other',
      {
        nodes: [
          node('Identity', 'w', 'i'),
          node('Transpose', 'r', 't'),
          node('Transpose', 't', 'u'),
          recurrent('GRU', 'x i u'),
        ],
        initializers: weights,
      },
    ],
    [
      'it is in a subgraph',
      {
        nodes: [
          node('If', 'c', 'y', {
            attributes: [
              graphAttribute(
                'then_branch',
                graph({ nodes: [recurrent('GRU', 'x w r')], initializers: weights.slice(1) }),
              ),
            ],
          }),
        ],
        initializers: weights.slice(0, 1),
      },
    ],
  ])('Both weights of a recurrent layer are found if %s', async (_title, options) => {
    const { tensors, skipped } = await layersOf(options);
    expect(tensors).toMatchObject(shapes('gru'));
    expect(skipped).toEqual([]);
  });

  test('The weights of a recurrent layer without a name have the names of their tensors', async () => {
    const { tensors } = await layersOf({ nodes: [recurrent('LSTM', 'x w r', '')], initializers: weights });
    expect(tensors.map(({ name }) => name)).toEqual(['w', 'r']);
  });

  test('If two recurrent layers have the same name, the weights of the second have the names of their tensors', async () => {
    const nodes = [recurrent('LSTM', 'x w r'), recurrent('LSTM', 'x v q')];
    const initializers = [...weights, tensor('v', [1, 8, 1]), tensor('q', [1, 8, 2])];
    const { tensors } = await layersOf({ nodes, initializers });
    expect(tensors.map(({ name }) => name)).toEqual(['encoder', 'encoder.recurrent', 'v', 'q']);
  });

  test('A weight that two recurrent layers share is one tensor with notes about both biases', async () => {
    const nodes = [recurrent('LSTM', 'x w r b'), recurrent('LSTM', 'x w q c', 'decoder')];
    const others = [tensor('q', [2, 12, 4]), tensor('b', [2, 24]), tensor('c', [2, 24])];
    const { tensors, skipped } = await layersOf({ nodes, initializers: [...weights, ...others] });
    expect(skipped).toMatchObject([{ name: 'b' }, { name: 'c' }]);
    expect(tensors).toMatchObject([
      { name: 'encoder', aliases: ['decoder'], notes: [/bias b/, /bias c/].map((note) => expect.stringMatching(note)) },
      { name: 'encoder.recurrent', aliases: [], notes: [expect.stringMatching(/bias b/)] },
      { name: 'decoder.recurrent', aliases: [], notes: [expect.stringMatching(/bias c/)] },
    ]);
  });

  test('A constant that is both weights of a recurrent layer is one tensor', async () => {
    const initializers = [tensor('w', [2, 12, 3]), tensor('b', [2, 24])];
    const { tensors, skipped } = await layersOf({ nodes: [recurrent('LSTM', 'x w w b')], initializers });
    expect(skipped).toMatchObject([{ name: 'b' }]);
    expect(tensors).toMatchObject([
      { name: 'encoder', aliases: ['encoder.recurrent'], shape: [24, 3], notes: bias.slice(0, 1) },
    ]);
  });

  test('If one weight of a recurrent layer is computed, the other can still be pruned', async () => {
    const nodes = [node('Relu', 'r', 's'), recurrent('LSTM', 'x w s')];
    const { tensors, skipped } = await layersOf({ nodes, initializers: weights });
    expect(tensors).toMatchObject([{ name: 'encoder' }]);
    const reason = 'its weight is computed from constants by Relu';
    expect(skipped).toMatchObject([
      { name: 'encoder.recurrent', reason, operator: 'LSTM', shape: [], weights: 0 },
      { name: 'r', operator: 'Relu', shape: [2, 12, 4], weights: 96 },
    ]);
  });

  test('If both weights of a recurrent layer are computed, both are listed as skipped', async () => {
    const { skipped } = await layersOf({ nodes: [node('Split', 'x', 'w r'), recurrent('GRU', 'x w r')] });
    expect(skipped.map(({ name }) => name)).toEqual(['encoder', 'encoder.recurrent']);
  });

  describe.each([
    ['LSTM', 8],
    ['GRU', 6],
  ] as const)('%s', (op, rows) => {
    const dense = model({
      nodes: [recurrent(op, 'x w r b')],
      initializers: [
        tensor('w', [2, rows, 3], { data: mixedNumbers(2 * rows * 3, 1) }),
        tensor('r', [2, rows, 2], { data: mixedNumbers(2 * rows * 2, 2) }),
        tensor('b', [2, 2 * rows], { data: mixedNumbers(4 * rows, 3) }),
      ],
    });

    test.each(['weight', 'row', 'column', 'filter'] as const)(
      'With granularity %s, a glob selects both weights, and nothing else changes',
      async (granularity) => {
        const expected = dense.slice();
        for (const name of ['w', 'r']) {
          const matrix = readGraphOf(dense).constants.get(name)!;
          pruneMatrixNaively(expected, matrix, 50, granularity === 'filter' ? 'row' : granularity);
        }
        await withModel(dense, async (read) => {
          const options = { granularity, context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;
          const { layers, notes } = await new Sparsifier(read, options).sparsifyModel({ 'enc*': 50 });
          expect(await read.bytes()).toEqual(expected);
          expect(layers.map(({ name }) => name)).toEqual(['encoder', 'encoder.recurrent']);
          const isRow = granularity === 'row' || granularity === 'filter';
          const names = isRow ? ['encoder', 'encoder.recurrent'] : [];
          expect(notes).toEqual(names.map((name) => `${name}: ${bias[0]}`));
        });
      },
    );
  });
});

describe('names', () => {
  const weights = ['a', 'b', 'c', 'd'].map((name) => tensor(name, [2, 2]));
  const matMul = (weight: string, name = '') => node('MatMul', `x ${weight}`, `${weight}y`, { name });

  test('A layer has the name of its node, or else of its tensor, or else a number is appended', async () => {
    const nodes = [matMul('a', 'first'), matMul('b', 'first'), matMul('c'), matMul('d', 'b')];
    const { tensors } = await layersOf({ nodes, initializers: weights });
    expect(tensors.map(({ name }) => name)).toEqual(['first', 'b', 'c', 'd']);
  });

  test('A number is appended to the name of a layer if both names are taken', async () => {
    const branch = () => graph({ nodes: [matMul('w', 'same')], initializers: [tensor('w', [2, 2])] });
    const branches = ['then_branch', 'else_branch', 'third', 'fourth'].map((name) => graphAttribute(name, branch()));
    const { tensors } = await layersOf({ nodes: [node('If', 'c', 'y', { attributes: branches })] });
    expect(tensors.map(({ name }) => name)).toEqual(['same', 'w', 'w#2', 'w#3']);
  });

  test('A weight that several nodes share is one tensor with aliases', async () => {
    const nodes = [
      matMul('a', 'first'),
      matMul('b', 'other'),
      node('Identity', 'a', 'i'),
      matMul('i', 'second'),
      matMul('a'),
      matMul('a', 'other'),
    ];
    const { tensors } = await layersOf({ nodes, initializers: weights });
    expect(tensors).toMatchObject([
      { name: 'first', aliases: ['second'] },
      { name: 'other', aliases: [] },
    ]);
  });
});

describe('what is not pruned', () => {
  const weight = [tensor('w', [4, 4])];
  const matMul = (right: string, name = 'fc') => node('MatMul', `x ${right}`, `y${name}`, { name });
  const cases: [title: string, options: GraphOptions, reason: RegExp][] = [
    [
      'Reshape',
      {
        nodes: [node('Reshape', 'w s', 'd'), matMul('d')],
        initializers: [...weight, tensor('s', [2], { dtype: 'int8' })],
      },
      /constants by Reshape/,
    ],
    [
      'Cast after Identity',
      { nodes: [node('Cast', 'w', 'd'), node('Identity', 'd', 'i'), matMul('i')], initializers: weight },
      /constants by Cast/,
    ],
    ['a Constant node with a list', { nodes: [node('Constant', '', 'w'), matMul('w')] }, /Constant node/],
    ['a sparse initializer', { nodes: [matMul('w')], sparse: [sparseTensor('w', [4, 4], 3)] }, /sparse/],
    ['two constants', { nodes: [node('MatMul', 'w w', 'y')], initializers: weight }, /both inputs/],
    [
      'double precision',
      { nodes: [matMul('w')], initializers: [tensor('w', [4, 4], { dtype: 'float64' })] },
      /float64/,
    ],
    ['a Conv of rank 6', { nodes: [conv()], initializers: [tensor('w', [2, 2, 1, 1, 1, 1])] }, /6 axes/],
    [
      'groups that do not divide the channels',
      { nodes: [conv('w', [group(3)])], initializers: [tensor('w', [4, 1, 1])] },
      /3 groups/,
    ],
    ['no groups', { nodes: [conv('w', [group(0)])], initializers: [tensor('w', [4, 1, 1])] }, /0 groups/],
    ['an empty tensor', { nodes: [matMul('w')], initializers: [tensor('w', [0, 4])] }, /empty/],
    ['Gather along axis 1', { nodes: [gather('w', 1)], initializers: weight }, /axis 1/],
    ['Gather along axis -1', { nodes: [gather('w', -1)], initializers: weight }, /axis -1/],
    ['Gather of 3 axes', { nodes: [gather('w')], initializers: [tensor('w', [2, 4, 4])] }, /Gather.* 3 axes/],
    [
      'Gather of double precision',
      { nodes: [gather('w')], initializers: [tensor('w', [4, 4], { dtype: 'float64' })] },
      /float64/,
    ],
    ['LSTM with a matrix', { nodes: [node('LSTM', 'x w w', 'y')], initializers: weight }, /LSTM.* 2 axes/],
    [
      'LSTM with rows that cannot be divided into gates',
      { nodes: [node('LSTM', 'x w w', 'y')], initializers: [tensor('w', [1, 6, 2])] },
      /6 rows .*4 gates/,
    ],
    [
      'GRU with rows that cannot be divided into gates',
      { nodes: [node('GRU', 'x w w', 'y')], initializers: [tensor('w', [1, 8, 2])] },
      /8 rows .*3 gates/,
    ],
    [
      'LSTM through Transpose',
      { nodes: [node('Transpose', 'w', 't'), node('LSTM', 'x t t', 'y')], initializers: [tensor('w', [3, 4, 5])] },
      /transposed/,
    ],
    [
      'another domain',
      { nodes: [node('Odd', 'w', 'e', { domain: 'my.own' }), matMul('w')], initializers: weight },
      /my\.own\.Odd/,
    ],
    ['Reshape and MatMul', { nodes: [matMul('w'), node('Reshape', 'w s', 'e')], initializers: weight }, /Reshape/],
    ['a Loop', { nodes: [matMul('w'), node('Loop', '- - w', 'e')], initializers: weight }, /Loop/],
    [
      'a constant that is both weight and bias',
      { nodes: [node('Gemm', 'x w w', 'y')], initializers: weight },
      /Gemm reads it too, not as a weight/,
    ],
    ['an output of the graph', { nodes: [matMul('w')], initializers: weight, outputs: { w: 2 } }, /output/],
    [
      'an output through Transpose',
      { nodes: [matMul('w'), node('Transpose', 'w', 't')], initializers: weight, outputs: { t: 2 } },
      /output/,
    ],
    [
      'a Conv with a weight computed at run time',
      { nodes: [node('Relu', 'x', 'w'), conv()] },
      /Relu while the model runs/,
    ],
    ['a Conv with a weight given at run time', { nodes: [conv()], inputs: { x: 3, w: 3 } }, /input of the model/],
    [
      'a Conv with a weight given at run time, transposed',
      { nodes: [node('Transpose', 'w', 't'), conv('t')], inputs: { x: 3, w: 3 } },
      /input of the model/,
    ],
    [
      'QLinearConv',
      { nodes: [node('QLinearConv', 'x s z w', 'y')], initializers: [tensor('w', [4, 4, 1], { dtype: 'int8' })] },
      /QLinearConv/,
    ],
    [
      'ConvInteger',
      { nodes: [node('ConvInteger', 'x w', 'y')], initializers: [tensor('w', [4, 4, 1], { dtype: 'int8' })] },
      /ConvInteger/,
    ],
    [
      'QLinearMatMul',
      { nodes: [node('QLinearMatMul', 'x s z w', 'y')], initializers: [tensor('w', [4, 4], { dtype: 'int8' })] },
      /QLinearMatMul/,
    ],
    [
      'MatMulInteger',
      { nodes: [node('MatMulInteger', 'x w', 'y')], initializers: [tensor('w', [4, 4], { dtype: 'int8' })] },
      /MatMulInteger/,
    ],
    [
      'MatMulNBits',
      {
        nodes: [node('MatMulNBits', 'x w', 'y', { domain: 'com.microsoft' })],
        initializers: [tensor('w', [4, 4], { dtype: 'int8' })],
      },
      /it is stored as 4-bit codes \(MatMulNBits\); dequantize the model/,
    ],
    [
      'DynamicQuantizeMatMul',
      {
        nodes: [node('DynamicQuantizeMatMul', 'x w s', 'y', { domain: 'com.microsoft' })],
        initializers: [tensor('w', [4, 4], { dtype: 'int8' })],
      },
      /it is stored as 8-bit codes \(DynamicQuantizeMatMul\); dequantize the model/,
    ],
    [
      'a product of integers whose inputs are rounded while the model runs',
      {
        nodes: [
          node('DynamicQuantizeLinear', 'x', 'q a z'),
          node('MatMulInteger', 'q w z', 'i', { name: 'fc' }),
          node('Cast', 'i', 'f', { attributes: [integerAttribute('to', 1)] }),
          node('Mul', 'a s', 'b'),
          node('Mul', 'f b', 'y'),
        ],
        initializers: [tensor('w', [4, 4], { dtype: 'int8' }), tensor('s', [])],
      },
      /it is stored as 8-bit codes \(MatMulInteger\); dequantize the model/,
    ],
  ];
  test.each(cases)('A weight is not pruned, and the reason is given: %s', async (_title, options, reason) => {
    const { tensors, skipped } = await layersOf(options);
    expect(tensors).toEqual([]);
    expect(skipped[0]!.name).not.toBe('');
    expect(skipped[0]!.reason).toMatch(reason);
  });

  test.each([
    [4, [3, 2, 16], [3, 40]],
    [8, [3, 2, 32], [3, 40]],
    [2, [3, 3, 4], [3, 40]],
  ])('Codes of %i bits count as the weights that they stand for', async (bits, stored, shape) => {
    const sizes = { bits, N: 3, K: 40, block_size: bits === 2 ? 16 : 32 };
    const attributes = Object.entries(sizes).map(([name, value]) => integerAttribute(name, value));
    const bytes = model({
      nodes: [node('MatMulNBits', 'x w s', 'y', { name: 'fc', domain: 'com.microsoft', attributes })],
      initializers: [tensor('w', stored, { dtype: 'uint8' }), tensor('s', [6])],
    });
    using read = await readOnnx(bytes);
    expect(read.skipped).toMatchObject([{ name: 'fc', operator: 'com.microsoft.MatMulNBits', shape, weights: 120 }]);
    expect(read.skipped[0]!.reason).toContain(`stored as ${bits}-bit codes`);
    expect([read.weights, countWeights(bytes)]).toEqual([120, 120]);
  });

  test('A Transpose with an invalid perm is not followed', async () => {
    const transpose = node('Transpose', 'w', 't', { attributes: [integersAttribute('perm', [0, 0])] });
    const { tensors, skipped } = await layersOf({ nodes: [transpose, matMul('t')], initializers: weight });
    expect(tensors).toEqual([]);
    expect(skipped).toMatchObject([
      { name: 'fc', weights: 0 },
      { name: 'w', weights: 16, reason: 'it is an operand of Transpose, not the weight of a layer' },
    ]);
  });
});

describe('numbers', () => {
  const storages: TensorOptions[] = [
    { dtype: 'float32', storage: 'raw' },
    { dtype: 'float32', storage: 'packed' },
    { dtype: 'float32', storage: 'unpacked' },
    { dtype: 'float32', storage: 'two pieces' },
    { dtype: 'float16', storage: 'raw' },
    { dtype: 'float16', storage: 'packed' },
    { dtype: 'float16', storage: 'unpacked' },
    { dtype: 'float16', storage: 'two pieces' },
    { dtype: 'bfloat16', storage: 'raw' },
    { dtype: 'bfloat16', storage: 'packed' },
    { dtype: 'bfloat16', storage: 'unpacked' },
  ];
  const places = {
    initializer: (options: TensorOptions) => ({ nodes: [conv()], initializers: [tensor('w', [3, 4, 1], options)] }),
    'Constant node': (options: TensorOptions) => ({ nodes: [constant('w', [3, 4, 1], options), conv()] }),
    subgraph: (options: TensorOptions) => ({
      nodes: [
        node('If', 'c', 'y', { attributes: [graphAttribute('then_branch', graph(places.initializer(options)))] }),
      ],
    }),
  };
  const cases = storages.flatMap((options) =>
    Object.entries(places).map(([place, build]) => ({ ...options, place, build })),
  );

  test.each(cases)(
    'Numbers of type $dtype, stored as $storage ($place), are read and zeroed without changing other bytes',
    async ({ build, ...options }) => {
      const before = model(build(options));
      await withModel(before, async (read) => {
        const [{ values }] = read.tensors as [WeightTensor];
        const numbers = rawNumbers(options.dtype!, 12);
        expect(values).toMatchObject({ dtype: options.dtype, length: 12 });
        expect(await numbersOf(read, values)).toEqual(numbers);

        await zero(read, values, []);
        expect(await read.bytes()).toEqual(before);

        const removed = [0, 4, 5, 11];
        await zero(read, values, removed);
        for (const index of removed)
          numbers.fill(0, (index * numbers.length) / 12, ((index + 1) * numbers.length) / 12);
        expect(await numbersOf(read, values)).toEqual(numbers);
        const after = await read.bytes();
        expect(after.length).toBe(before.length);
        const changed = after.filter((byte, at) => byte !== before[at]);
        expect(changed.length).toBeLessThanOrEqual((numbers.length / 12) * removed.length + removed.length);
        await withModel(after, async (again) => {
          expect(await numbersOf(again, again.tensors[0]!.values)).toEqual(numbers);
        });
      });
    },
  );

  test('A zeroed varint takes as many bytes as before', async () => {
    const data = Uint8Array.of(0x01, 0x00, 0xc0, 0x03, 0x00, 0xbc);
    const options: TensorOptions = { dtype: 'float16', storage: 'packed', data };
    const before = model({ nodes: [conv()], initializers: [tensor('w', [3, 1, 1], options)] });
    const find = (bytes: Uint8Array, part: readonly number[]) => bytes.join().includes(part.join());
    expect(find(before, [0x01, 0xc0, 0x07, 0x80, 0xf8, 0x02])).toBe(true);
    await withModel(before, async (read) => {
      await zero(read, read.tensors[0]!.values, [1, 2]);
      expect(find(await read.bytes(), [0x01, 0x80, 0x00, 0x80, 0x80, 0x00])).toBe(true);
    });
  });

  test('A zeroed negative number in int32_data keeps its ten bytes', async () => {
    const weight = concat(
      integerField(1, 2),
      integerField(1, 1),
      integerField(1, 1),
      integerField(2, 10),
      textField(8, 'w'),
    );
    const values = concat(varint(-1 * 0x4400), varint(7));
    const before = model({ nodes: [conv()], initializers: [concat(weight, bytesField(5, values))] });
    await withModel(before, async (read) => {
      expect(await numbersOf(read, read.tensors[0]!.values)).toEqual(Uint8Array.of(0x00, 0xbc, 7, 0));
      await zero(read, read.tensors[0]!.values, [1]);
      expect((await read.bytes()).filter((byte, at) => byte !== before[at])).toEqual(Uint8Array.of(0));
      await zero(read, read.tensors[0]!.values, [0]);
      expect(await numbersOf(read, read.tensors[0]!.values)).toEqual(new Uint8Array(4));
    });
  });

  test('raw_data takes precedence over float_data', async () => {
    const both = concat(tensor('w', [2, 1, 1]), bytesField(4, new Uint8Array(8)));
    await withModel(model({ nodes: [conv()], initializers: [both] }), async (read) => {
      expect(await numbersOf(read, read.tensors[0]!.values)).toEqual(rawNumbers('float32', 2));
    });
  });

  test('An empty raw_data does not take precedence over float_data', async () => {
    const weight = concat(tensor('w', [2, 1, 1], { storage: 'packed' }), bytesField(9, new Uint8Array()));
    await withModel(model({ nodes: [conv()], initializers: [weight] }), async (read) => {
      expect(await numbersOf(read, read.tensors[0]!.values)).toEqual(rawNumbers('float32', 2));
    });
  });

  test('An unchanged model is written with the same bytes', async () => {
    const option = fc.record({
      storage: fc.constantFrom(...storages),
      place: fc.constantFrom(...Object.values(places)),
    });
    await fc.assert(
      fc.asyncProperty(option, async ({ storage, place }) => {
        const before = model(place(storage));
        expect(await withModel(before, (read) => read.bytes())).toEqual(before);
      }),
      { numRuns: 30 },
    );
  });
});

describe('external data', () => {
  const external = (name: string, location: string, offset: number, shape = [3, 4, 1]) =>
    tensor(name, shape, {
      external: { location, offset, length: 4 * shape.reduce((product, size) => product * size, 1) },
    });
  const data = concat(new Uint8Array(6).fill(9), rawNumbers('float32', 12), new Uint8Array(5).fill(9));
  const whole = model({ nodes: [conv()], initializers: [external('w', 'weights.bin', 6)] });
  const given = (files: Readonly<Record<string, Uint8Array>>) => ({ external: (name: string) => files[name]! });

  test('External data are read and changed in place', async () => {
    using read = await readOnnx(whole, given({ 'weights.bin': data }));
    const { values } = read.tensors[0]!;
    expect(await numbersOf(read, values)).toEqual(rawNumbers('float32', 12));
    expect(await furtherFiles(read)).toEqual(new Map([['weights.bin', data]]));
    await zero(read, values, [0, 1, 2]);
    expect(await read.bytes()).toEqual(whole);
    const expected = data.slice();
    expected.fill(0, 6, 18);
    expect((await furtherFiles(read)).get('weights.bin')).toEqual(expected);
  });

  test('The keys of external data can be in any order, and offset and length can be omitted', async () => {
    const weight = tensor('w', [3, 4, 1], { external: { checksum: 'abc', location: './a//b.bin' } });
    using read = await readOnnx(model({ nodes: [conv()], initializers: [weight] }), given({ 'a/b.bin': data }));
    expect((await numbersOf(read, read.tensors[0]!.values)).length).toBe(48);
  });

  test('External data can be in Constant nodes, in subgraphs and in attributes that are not weights', async () => {
    const attribute = (name: string, location: string) => tensorAttribute(name, external('t', location, 0));
    const body = graph({
      nodes: [node('Constant', '', 'v', { attributes: [attribute('value', 'b.bin')] }), node('Conv', 'x v', 'z')],
    });
    const nodes = [
      node('Constant', '', 'w', { attributes: [attribute('value', 'a.bin')] }),
      conv(),
      node('If', 'c', 'z', { attributes: [graphAttribute('then_branch', body)] }),
      node('Odd', 'x', 'o', { domain: 'my.own', attributes: [attribute('table', 'c.bin')] }),
    ];
    const asked: string[] = [];
    using read = await readOnnx(model({ nodes }), { external: async (name) => (asked.push(name), new Blob([data])) });
    expect(read.tensors).toHaveLength(2);
    expect(asked).toEqual(['a.bin', 'b.bin', 'c.bin']);
    expect([...(await furtherFiles(read)).keys()]).toEqual(asked);
  });

  test('A tensor without data_location is not external', async () => {
    const weight = concat(
      tensor('w', [3, 4, 1]),
      bytesField(13, concat(textField(1, 'location'), textField(2, '../x'))),
    );
    await withModel(model({ nodes: [conv()], initializers: [weight] }), async (read) => {
      expect(await furtherFiles(read)).toEqual(new Map());
    });
  });

  test('Weights that share bytes are not pruned', async () => {
    const nodes = ['w', 'v', 'u', 't'].map((name) => node('MatMul', `x ${name}`, `${name}y`));
    const initializers = [
      external('w', 'd', 6, [3, 4]),
      external('v', 'd', 10, [1, 1]),
      external('u', 'd', 50, [1, 1]),
      external('t', 'd', 54, [1, 1]),
    ];
    using read = await readOnnx(model({ nodes, initializers }), given({ d: data }));
    expect(read.tensors.map(({ name }) => name)).toEqual(['t']);
    expect(read.skipped).toMatchObject([
      { name: 'w', reason: expect.stringMatching(/bytes.* [vu]$/) },
      { name: 'v', reason: expect.stringMatching(/bytes.* w$/) },
      { name: 'u', reason: expect.stringMatching(/bytes.* w$/) },
    ]);
  });

  test('A bias that shares bytes with another constant is left alone', async () => {
    const initializers = [tensor('w', [3, 4, 1]), external('b', 'd', 6, [3]), external('c', 'd', 6, [3])];
    using read = await readOnnx(model({ nodes: [node('Conv', 'x w b', 'y')], initializers }), given({ d: data }));
    expect(read.tensors).toMatchObject([
      { partners: [], leaks: [{ name: 'b', reason: expect.stringMatching(/ c$/) as string }] },
    ]);
  });

  test.each(['/etc/passwd', 'C:\\x', 'C:x', '..', '../x', 'a/../x', 'a\\b', 'https://x/y', 'a\0b', '', '.'])(
    'The location %j of external data is refused',
    async (location) => {
      const bytes = model({ nodes: [conv()], initializers: [external('w', location, 0)] });
      const error = await errorOf(readOnnx(bytes, given({ [location]: data })));
      expect(error.code).toBe('file');
      expect(error.message).toContain('folder');
    },
  );

  test.each<[string, Uint8Array, ReturnType<typeof given> | undefined, string]>([
    ['are not given', whole, undefined, 'file'],
    ['are not known to the function', whole, given({}), 'file'],
    ['are empty', whole, given({ 'weights.bin': new Uint8Array() }), 'format'],
    ['are too short', whole, given({ 'weights.bin': data.slice(0, 53) }), 'format'],
    [
      'have another length than the shape',
      model({ nodes: [conv()], initializers: [tensor('w', [3, 1, 1], { external: { location: 'a', length: 16 } })] }),
      given({ a: data }),
      'format',
    ],
    [
      'have an offset that is not a number',
      model({ nodes: [conv()], initializers: [tensor('w', [3, 1, 1], { external: { location: 'a', offset: 'x' } })] }),
      given({ a: data }),
      'format',
    ],
    [
      'have a negative offset',
      model({ nodes: [conv()], initializers: [tensor('w', [3, 1, 1], { external: { location: 'a', offset: -4 } })] }),
      given({ a: data }),
      'format',
    ],
  ])('A model is refused if its external data %s', async (_title, bytes, options, code) => {
    expect((await errorOf(readOnnx(bytes, options))).code).toBe(code);
  });
});

describe('files that are not complete ONNX models', () => {
  const small = model({ nodes: [conv()], initializers: [tensor('w', [2, 1, 1])] });
  const text = (content: string) => new TextEncoder().encode(content);
  const deep = () => {
    let inner = graph({});
    for (let level = 0; level < 60; level++)
      inner = graph({ nodes: [node('If', '', '', { attributes: [graphAttribute('g', inner)] })] });
    return bytesField(7, inner);
  };
  test.each<[title: string, bytes: Uint8Array, message: RegExp]>([
    ['that is empty', new Uint8Array(), /the file is empty/],
    ['that is truncated', small.slice(0, 60), /ends inside the graph at byte 60/],
    ['without a graph', small.slice(0, 2), /no graph/],
    ['that is JSON', text('{"modelTopology": {}}'), /JSON/],
    ['that is HTML', text('<!DOCTYPE html><title>404</title>'), /HTML/],
    ['that is a zip archive', text('PK\x03\x04 and more'), /zip/],
    [
      'that is a safetensors file',
      concat(Uint8Array.of(80, 0, 0, 0, 0, 0, 0, 0), text('{"w":{"dtype":"F32"}}')),
      /safetensors/,
    ],
    ['that is a Git LFS pointer', text('version https://git-lfs.github.com/spec/v1\noid sha256:0'), /Git LFS/],
    ['with operators that are too old', model({}, 6), /opset 6/],
    [
      'with fewer numbers than the shape',
      model({ initializers: [tensor('w', [5], { data: rawNumbers('float32', 4) })] }),
      /'w' disagree.*16 bytes/,
    ],
    [
      'with more numbers than the shape',
      model({ initializers: [tensor('w', [3], { storage: 'unpacked', data: rawNumbers('float32', 4) })] }),
      /'w' disagree.*4 numbers/,
    ],
    ['whose weights were removed', model({ initializers: [tensor('w', [3], { storage: 'none' })] }), /'w' disagree/],
    [
      'with negative sizes',
      model({ initializers: [tensor('w', [-1, -4], { data: rawNumbers('float32', 4) })] }),
      /'w' disagree/,
    ],
    [
      'with a size that is too large for a number',
      model({ initializers: [tensor('w', Array(20).fill(2 ** 62), { data: new Uint8Array(4) })] }),
      /'w' disagree/,
    ],
    [
      'with half a number',
      model({ initializers: [concat(tensor('w', [1], { storage: 'none' }), bytesField(4, new Uint8Array(6)))] }),
      /damaged at byte \d+, inside its tensor/,
    ],
    ['with messages that are nested too deeply', deep(), /100 levels/],
  ])('A file %s is refused', async (_title, bytes, message) => {
    const error = await errorOf(readOnnx(bytes));
    expect(error.code).toBe('format');
    expect(error.message).toMatch(message);
  });

  /** Everything at once: each kind of field the reader looks at. */
  const rich = model({
    nodes: [
      constant('k', [2, 2], { storage: 'unpacked' }),
      node('Transpose', 'k', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
      node('MatMul', 'x t', 'm', { name: 'fc' }),
      node('Add', 'm b', 'a'),
      gather('e', -2),
      node('LSTM', 'x r r b', 'h', { name: 'lstm' }),
      node('If', 'c', 'y', {
        attributes: [graphAttribute('then_branch', graph({ nodes: [conv('w', [group(1)])], outputs: { y: 3 } }))],
      }),
    ],
    initializers: [
      tensor('w', [2, 1, 1], { dtype: 'float16', storage: 'packed' }),
      tensor('b', [2]),
      tensor('e', [2, 1]),
      tensor('r', [1, 4, 1]),
    ],
    sparse: [bytesField(1, tensor('s', [2]))],
    inputs: { x: 2 },
    outputs: { y: 3 },
  });

  /** A model or a SparsifyError, never anything else; a model is written back as it was. */
  async function survives(bytes: Uint8Array): Promise<void> {
    let read: FileModel;
    try {
      read = await readOnnx(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(SparsifyError);
      return;
    }
    for (const { values } of read.tensors) await zero(read, values, []);
    expect(await read.bytes()).toEqual(bytes);
    read.close();
  }

  test('Each truncation of a model is a model or an error', async () => {
    await withModel(rich, ({ tensors }) =>
      expect(tensors.map(({ name }) => name)).toEqual(['fc', 'embed', 'lstm', 'conv']),
    );
    for (let length = 0; length < rich.length; length++) await survives(rich.slice(0, length));
  });

  test.each(['Add', 'Concat', 'Conv', 'MatMul', 'Reshape', 'Sum', 'Where'])(
    'A node of the operator %s without inputs is read, and has no weight',
    async (op) => {
      const nodes = [concat(textField(2, 'y'), textField(4, op))];
      expect(await layersOf({ nodes, outputs: { y: undefined } })).toEqual({ tensors: [], skipped: [] });
    },
  );

  test('A model with changed bytes is a model or an error', async () => {
    const change = fc.record({ at: fc.nat(rich.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = rich.slice();
        for (const { at, byte } of changes) bytes[at] = byte;
        await survives(bytes);
      }),
      { numRuns: 500 },
    );
  });

  test('Arbitrary bytes are a model or an error', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: 200 });
  });
});

describe('memory', () => {
  const bytes = model({ nodes: [conv()], initializers: [tensor('w', [2, 1, 1], { storage: 'unpacked' })] });

  test('The memory of a model is freed once', async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    const read = await readOnnx(bytes);
    expect(engine.memory.blocks).toBe(blocks + 1);
    const region = await read.load(engine, read.tensors[0]!.values);
    expect(engine.memory.blocks).toBe(blocks + 2);
    region.release();
    read.close();
    read[Symbol.dispose]();
    expect(engine.memory.blocks).toBe(blocks);
    for (const use of [read.bytes(), read.toFiles(), read.load(engine, read.tensors[0]!.values)]) {
      expect((await errorOf(use)).code).toBe('usage');
    }
  });

  test('The memory of a model is freed after an error', async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    const weight = tensor('w', [2, 1, 1], { external: { location: 'd' } });
    const external = model({ nodes: [conv()], initializers: [weight] });
    await errorOf(readOnnx(bytes.slice(0, 50)));
    await errorOf(readOnnx(external, { external: () => new Uint8Array(3) }));
    expect(engine.memory.blocks).toBe(blocks);
  });

  test('The bytes of a model are not shared memory, and the source is not changed', async () => {
    const source = bytes.slice();
    await withModel(source, async (read) => {
      await zero(read, read.tensors[0]!.values, [0, 1]);
      const written = await read.bytes();
      expect(written.buffer).toBeInstanceOf(ArrayBuffer);
      expect(written).not.toEqual(bytes);
      expect(source).toEqual(bytes);
    });
  });

  test.each([new Blob([bytes]), bytes.buffer, bytes])(
    'A model can be read from a Blob, a buffer or an array',
    async (source) => {
      using read = await readOnnx(source);
      expect(await read.bytes()).toEqual(bytes);
    },
  );
});
