import { Sparsifier } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import {
  constant,
  floatAttribute,
  graph,
  graphAttribute,
  integerAttribute,
  integersAttribute,
  list,
  model,
  node,
  numbers,
  rawNumbers,
  tensor,
  textAttribute,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { layersOf, numbersOf, withModel } from '../../support/onnx-model.js';
import { readGraphOf } from '../../support/onnx-reader.js';

const conv = (weight = 'w', attributes: Uint8Array[] = []) =>
  node('Conv', `x ${weight}`, 'y', { name: 'conv', attributes });
const group = (count: number) => integerAttribute('group', count);

describe('partners', () => {
  const vector = (name: string, size = 4) => tensor(name, [size]);
  const weight = tensor('w', [4, 4, 1, 1]);
  const matrix = tensor('w', [4, 4]);
  const normal = (data: string, scale = 'gamma', shift = 'beta') =>
    node('BatchNormalization', `${data} ${scale} ${shift} mean var`, 'n');
  const statistics = ['gamma', 'beta', 'mean', 'var'].map((name) => vector(name));
  const add = (constantName: string, data = 'y', output = 'a') => node('Add', `${data} ${constantName}`, output);
  const convBias = node('Conv', 'x w b', 'y');
  const matMul = node('MatMul', 'x w', 'y');
  const left = node('MatMul', 'w x', 'y');
  const gemm = (inputs: string) => node('Gemm', inputs, 'y');

  const cases: [title: string, options: GraphOptions, parts: string, leak?: RegExp][] = [
    ['the bias of a Conv', { nodes: [convBias], initializers: [weight, vector('b')] }, 'bias'],
    [
      'a bias in a Constant node, through Identity',
      { nodes: [constant('c', [4]), node('Identity', 'c', 'b'), convBias], initializers: [weight] },
      'bias',
    ],
    [
      'a bias in half precision',
      { nodes: [convBias], initializers: [weight, tensor('b', [4], { dtype: 'float16' })] },
      'bias',
    ],
    [
      'a bias in double precision',
      { nodes: [convBias], initializers: [weight, tensor('b', [4], { dtype: 'float64' })] },
      '',
      /^b: .*float64/,
    ],
    [
      'a bias of another length',
      { nodes: [convBias], initializers: [weight, vector('b', 3)] },
      '',
      /^b: .*one entry per output channel/,
    ],
    [
      'a computed bias',
      { nodes: [node('Neg', 'c', 'b'), convBias], initializers: [weight, vector('c')] },
      '',
      /^b: .*not stored/,
    ],
    [
      'a bias that is given at run time',
      { nodes: [convBias], initializers: [weight] },
      '',
      /^b: .*while the model runs/,
    ],
    [
      'a bias that another node reads',
      { nodes: [convBias, node('Mul', 'z b', 'm', { name: 'scale' })], initializers: [weight, vector('b')] },
      '',
      /^b: .*Mul scale/,
    ],
    [
      'a bias that is an output of the model',
      { nodes: [convBias], initializers: [weight, vector('b')], outputs: { b: 1 } },
      '',
      /^b: .*output/,
    ],
    [
      'a bias of ConvTranspose with groups',
      {
        nodes: [node('ConvTranspose', 'x w b', 'y', { attributes: [group(2)] })],
        initializers: [tensor('w', [4, 3, 1]), vector('b', 6)],
      },
      'bias',
    ],
    ['Gemm C as a vector', { nodes: [gemm('x w b')], initializers: [matrix, vector('b')] }, 'bias'],
    ['Gemm C as a row', { nodes: [gemm('x w b')], initializers: [matrix, tensor('b', [1, 4])] }, 'bias'],
    [
      'Gemm C as a column',
      { nodes: [gemm('x w b')], initializers: [matrix, tensor('b', [4, 1])] },
      '',
      /per output channel/,
    ],
    [
      'Gemm C as a scalar',
      { nodes: [gemm('x w b')], initializers: [matrix, vector('b', 1)] },
      '',
      /per output channel/,
    ],
    [
      'Gemm C as a matrix',
      { nodes: [gemm('x w b')], initializers: [matrix, tensor('b', [4, 4])] },
      '',
      /per output channel/,
    ],
    [
      'Gemm C as a column for a constant A',
      { nodes: [gemm('w x b')], initializers: [matrix, tensor('b', [4, 1])] },
      'bias',
    ],
    [
      'Gemm C as a vector for a constant A',
      { nodes: [gemm('w x b')], initializers: [matrix, vector('b')] },
      '',
      /per output channel/,
    ],
    ['an Add after MatMul', { nodes: [matMul, add('b')], initializers: [matrix, vector('b')] }, 'bias'],
    [
      'an Add with the constant first',
      { nodes: [matMul, node('Add', 'b y', 'a')], initializers: [matrix, vector('b')] },
      'bias',
    ],
    [
      'an Add of [1, 1, 4] after MatMul',
      { nodes: [matMul, add('b')], initializers: [matrix, tensor('b', [1, 1, 4])] },
      'bias',
    ],
    [
      'an Add along another axis of MatMul',
      { nodes: [matMul, add('b')], initializers: [matrix, tensor('b', [4, 1])] },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add of a scalar',
      { nodes: [matMul, add('b')], initializers: [matrix, tensor('b', [])] },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add of a matrix',
      { nodes: [matMul, add('b')], initializers: [matrix, tensor('b', [4, 4])] },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add after MatMul with the constant on the left',
      { nodes: [left, add('b')], initializers: [matrix, tensor('b', [4, 1])], inputs: { x: 2 } },
      'bias',
    ],
    [
      'an Add after MatMul with the constant on the left and an unknown rank',
      { nodes: [left, add('b')], initializers: [matrix, tensor('b', [4, 1])] },
      '',
      /^b: .*how many axes/,
    ],
    [
      'an Add along the last axis after MatMul with the constant on the left and an unknown rank',
      { nodes: [left, add('b')], initializers: [matrix, vector('b')] },
      '',
      /^b: .*how many axes/,
    ],
    [
      'an Add after MatMul of a constant on the left and a vector',
      { nodes: [left, add('b')], initializers: [matrix, vector('b')], inputs: { x: 1 } },
      'bias',
    ],
    [
      'an Add along the last axis after MatMul with the constant on the left',
      { nodes: [left, add('b')], initializers: [matrix, vector('b')], inputs: { x: 2 } },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add after ConvTranspose',
      { nodes: [node('ConvTranspose', 'x w', 'y'), add('b')], initializers: [weight, tensor('b', [1, 4, 1, 1])] },
      'bias',
    ],
    [
      'an Add of [4, 1, 1] after Conv',
      { nodes: [conv(), add('b')], initializers: [weight, tensor('b', [4, 1, 1])] },
      'bias',
    ],
    [
      'an Add along the width after Conv',
      { nodes: [conv(), add('b')], initializers: [weight, vector('b')] },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add along the batch after Conv',
      { nodes: [conv(), add('b')], initializers: [weight, tensor('b', [4, 1, 1, 1])] },
      '',
      /^b: it does not have one entry per output channel/,
    ],
    [
      'an Add to a Conv with a bias',
      { nodes: [convBias, add('c')], initializers: [weight, vector('b'), tensor('c', [4, 1, 1])] },
      'bias bias',
    ],
    [
      'an Add that is not the only reader',
      { nodes: [matMul, add('b'), node('Relu', 'y', 'r')], initializers: [matrix, vector('b')] },
      'bias',
    ],
    [
      'an Add beside an output of the graph',
      { nodes: [matMul, add('b')], initializers: [matrix, vector('b')], outputs: { y: 2 } },
      'bias',
    ],
    [
      'two Adds',
      { nodes: [matMul, add('b'), add('c', 'a', 'd')], initializers: [matrix, vector('b'), vector('c')] },
      'bias bias',
    ],
    ['an Add of two activations', { nodes: [matMul, add('x')], initializers: [matrix] }, ''],
    [
      'an Add that another layer also reads',
      { nodes: [matMul, add('b'), node('Mul', 'x b', 'm')], initializers: [matrix, vector('b')] },
      '',
      /^b: .*Mul/,
    ],
    ['batch normalisation', { nodes: [conv(), normal('y')], initializers: [weight, ...statistics] }, 'gamma beta'],
    [
      'batch normalisation beside another reader',
      { nodes: [conv(), normal('y'), node('Relu', 'y', 'r')], initializers: [weight, ...statistics] },
      'gamma beta',
    ],
    [
      'batch normalisation after Add',
      { nodes: [conv(), add('b'), normal('a')], initializers: [weight, tensor('b', [1, 4, 1, 1]), ...statistics] },
      'bias gamma beta',
    ],
    [
      'batch normalisation after Identity and Cast',
      {
        nodes: [conv(), node('Identity', 'y', 'i'), node('Cast', 'i', 'c'), normal('c')],
        initializers: [weight, ...statistics],
      },
      'gamma beta',
    ],
    [
      'batch normalisation after Relu',
      { nodes: [conv(), node('Relu', 'y', 'r'), normal('r')], initializers: [weight, ...statistics] },
      'gamma beta',
    ],
    [
      'batch normalisation of the sum with an activation',
      { nodes: [conv(), add('x'), normal('a')], initializers: [weight, ...statistics] },
      '',
    ],
    [
      'an output that is the scale of another batch normalisation',
      { nodes: [conv(), normal('x', 'y')], initializers: [weight, ...statistics] },
      '',
    ],
    [
      'batch normalisation with a gamma that others read',
      { nodes: [conv(), normal('y'), node('Mul', 'x gamma', 'm')], initializers: [weight, ...statistics] },
      'beta',
      /^gamma: .*Mul/,
    ],
    [
      'batch normalisation with a gamma that is its mean',
      {
        nodes: [conv(), node('BatchNormalization', 'y gamma beta gamma var', 'n')],
        initializers: [weight, ...statistics],
      },
      'gamma beta',
    ],
    [
      'batch normalisation with a gamma that is its variance',
      {
        nodes: [conv(), node('BatchNormalization', 'y gamma beta mean gamma', 'n')],
        initializers: [weight, ...statistics],
      },
      'beta',
      /^gamma: .*BatchNormalization/,
    ],
    [
      'batch normalisation of other channels',
      { nodes: [conv(), normal('y', 'other', 'other')], initializers: [weight, vector('other', 2), ...statistics] },
      '',
      /^other: .*per output channel/,
    ],
    [
      'batch normalisation after a MatMul of unknown rank',
      { nodes: [matMul, normal('y')], initializers: [matrix, ...statistics] },
      '',
      /^gamma: .*how many axes/,
    ],
    [
      'batch normalisation after an Add to a MatMul of unknown rank',
      { nodes: [matMul, add('b'), normal('a')], initializers: [matrix, vector('b'), ...statistics] },
      'bias',
      /^gamma: .*how many axes/,
    ],
    [
      'batch normalisation after an Add that gives a MatMul of rank 2 a third axis',
      {
        nodes: [matMul, add('b'), normal('a')],
        initializers: [matrix, tensor('b', [1, 1, 4]), ...statistics],
        inputs: { x: 2 },
      },
      'bias',
      /^gamma: .*channels are on axis 2/,
    ],
    [
      'batch normalisation after a MatMul whose rank follows from Flatten',
      {
        nodes: [node('Flatten', 'x', 'f'), node('Relu', 'f', 'r'), node('MatMul', 'r w', 'y'), normal('y')],
        initializers: [matrix, ...statistics],
      },
      'gamma beta',
    ],
    [
      'batch normalisation after a MatMul whose rank follows from Reshape',
      {
        nodes: [node('Reshape', 'x s', 'f'), node('MatMul', 'f w', 'y'), normal('y')],
        initializers: [matrix, tensor('s', [3]), ...statistics],
      },
      '',
      /^gamma: .*channels are on axis 2/,
    ],
    [
      'batch normalisation after a MatMul whose rank follows from a sum',
      {
        nodes: [node('Add', 'x z', 's'), node('MatMul', 's w', 'y'), normal('y')],
        initializers: [matrix, ...statistics],
        inputs: { x: 1, z: 2 },
      },
      'gamma beta',
    ],
    [
      'batch normalisation after a MatMul of rank 2',
      { nodes: [matMul, normal('y')], initializers: [matrix, ...statistics], inputs: { x: 2 } },
      'gamma beta',
    ],
    [
      'batch normalisation of another axis after MatMul',
      { nodes: [matMul, normal('y')], initializers: [matrix, ...statistics], inputs: { x: 3 } },
      '',
      /^gamma: .*channels are on axis 2/,
    ],
    [
      'batch normalisation after Gemm',
      { nodes: [gemm('x w'), normal('y')], initializers: [matrix, ...statistics] },
      'gamma beta',
    ],
    [
      'batch normalisation of another axis after Gemm with constant A',
      { nodes: [gemm('w x'), normal('y')], initializers: [matrix, ...statistics] },
      '',
      /^gamma: .*channels are on axis 0/,
    ],
    [
      'an Add and batch normalisation after an embedding',
      {
        nodes: [node('Gather', 'w i', 'y'), add('b'), normal('a')],
        initializers: [matrix, vector('b'), ...statistics],
      },
      '',
    ],
    [
      'batch normalisation after a recurrent layer',
      { nodes: [node('LSTM', 'x w w', 'y'), normal('y')], initializers: [tensor('w', [1, 4, 1]), ...statistics] },
      '',
    ],
    [
      'a bias that a recurrent layer also reads',
      {
        nodes: [convBias, node('LSTM', 'x v v b', 'z', { name: 'lstm' })],
        initializers: [weight, vector('b'), tensor('v', [1, 4, 1])],
      },
      '',
      /^b: .*LSTM lstm also uses it/,
    ],
    [
      'the biases of both nodes of a shared weight',
      { nodes: [convBias, node('Conv', 'x w c', 'z')], initializers: [weight, vector('b'), vector('c')] },
      'bias bias',
    ],
    [
      'one bias for both nodes of a shared weight',
      { nodes: [convBias, node('Conv', 'x w b', 'z')], initializers: [weight, vector('b')] },
      'bias',
    ],
    [
      'a bias that the layer of another weight reads',
      { nodes: [convBias, node('Conv', 'x v b', 'z')], initializers: [weight, vector('b'), tensor('v', [4, 1, 1])] },
      '',
      /^b: .*Conv/,
    ],
  ];
  test.each(cases)(
    'Partners are found, and what else keeps a channel from being 0: %s',
    async (_title, options, parts, leak) => {
      const { tensors } = await layersOf(options);
      const { partners, leaks = [], notes } = tensors[0]!;
      expect(partners.map(({ part }) => part).join(' ')).toBe(parts);
      const named = leaks.map(({ name, reason }) => `${name}: ${reason}`);
      if (leak) expect(named).toContainEqual(expect.stringMatching(leak));
      else expect(named).toEqual([]);
      expect(notes).toEqual([]);
    },
  );

  test.each(['unknown', 'known'])(
    'A batch normalisation along another axis than the channels is not changed if the rank is %s',
    async (rank) => {
      const before = await readBytes(`cases/bn_axis_${rank}.onnx`);
      const { constants } = readGraphOf(before);
      await withModel(before.slice(), async (read) => {
        const options = { granularity: 'filter', context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;
        const { total } = await new Sparsifier(read, options).sparsifyModel(50);
        expect(total.zeros).toBe(24);
        const after = await read.bytes();
        const { start, length } = [...constants.values()].find(({ shape }) => shape.length === 2)!;
        after.set(before.subarray(start, start + 4 * length), start);
        expect(after).toEqual(before);
      });
    },
  );

  test('A partner has the numbers that are in the file', async () => {
    const bytes = model({ nodes: [convBias], initializers: [weight, vector('b')] });
    await withModel(bytes, async (read) => {
      expect(await numbersOf(read, read.tensors[0]!.partners[0]!.values)).toEqual(rawNumbers('float32', 4));
    });
  });
});

describe('the way of channels through the graph', () => {
  const weight = tensor('w', [4, 3, 1, 1]);
  const vector = (name: string, size = 4) => tensor(name, [size]);
  const column = (name: string, size = 4) => tensor(name, [size, 1, 1]);
  const statistics = (size = 4) => ['gamma', 'beta', 'mean', 'var'].map((name) => vector(name, size));
  const normal = (data: string) => node('BatchNormalization', `${data} gamma beta mean var`, 'n', { name: 'norm' });
  const scalar = (name: string, value: number) =>
    tensor(name, [], { data: new Uint8Array(Float32Array.of(value).buffer) });
  const named = (op: string, inputs: string, output: string, attributes: readonly Uint8Array[] = []) =>
    node(op, inputs, output, { name: op.toLowerCase(), attributes });
  const axis = (value: number) => [integerAttribute('axis', value)];

  const cases: [title: string, options: GraphOptions, parts: string, leak?: RegExp][] = [
    ...['Sigmoid', 'Softplus', 'Exp', 'Cos', 'Softmax', 'HardSigmoid'].map(
      (op): [string, GraphOptions, string, RegExp] => [
        `${op}, which is not 0 for 0`,
        { nodes: [conv(), named(op, 'y', 's')], initializers: [weight] },
        '',
        new RegExp(`^${op} ${op.toLowerCase()}: its output for 0 is not 0$`),
      ],
    ),
    [
      'HardSigmoid that is 0 for 0',
      { nodes: [conv(), named('HardSigmoid', 'y', 's', [floatAttribute('beta', 0)])], initializers: [weight] },
      '',
    ],
    [
      'x * Sigmoid(x), which is 0 for 0',
      { nodes: [conv(), named('Sigmoid', 'y', 's'), named('Mul', 'y s', 'z')], initializers: [weight] },
      '',
    ],
    [
      'a Sigmoid that gates something else',
      { nodes: [conv(), named('Sigmoid', 'y', 's'), named('Mul', 'x s', 'z')], initializers: [weight] },
      '',
      /^Sigmoid sigmoid: /,
    ],
    [
      'a normalisation behind a Sigmoid',
      { nodes: [conv(), named('Sigmoid', 'y', 's'), normal('s')], initializers: [weight, ...statistics()] },
      'gamma beta',
    ],
    [
      'a scale behind a Sigmoid',
      { nodes: [conv(), named('Sigmoid', 'y', 's'), named('Mul', 's g', 'z')], initializers: [weight, column('g')] },
      'gamma',
    ],
    [
      'a scale without which a channel is 0 as well',
      { nodes: [conv(), named('Mul', 'y g', 'z')], initializers: [weight, column('g')] },
      '',
    ],
    [
      'Clip between limits that are inputs',
      {
        nodes: [conv(), named('Clip', 'y low high', 'z')],
        initializers: [weight, scalar('low', 0), scalar('high', 6)],
      },
      '',
    ],
    [
      'Clip above 0',
      { nodes: [conv(), named('Clip', 'y low', 'z')], initializers: [weight, scalar('low', 0.5)] },
      '',
      /^Clip clip: /,
    ],
    [
      'Clip above 0 by an attribute',
      { nodes: [conv(), named('Clip', 'y', 'z', [floatAttribute('min', 0.5)])], initializers: [weight] },
      '',
      /^Clip clip: /,
    ],
    [
      'Max with a number above 0',
      { nodes: [conv(), named('Max', 'y one', 'z')], initializers: [weight, scalar('one', 1)] },
      '',
      /^Max max: /,
    ],
    ['Add of 0', { nodes: [conv(), named('Add', 'y zero', 'z')], initializers: [weight, scalar('zero', 0)] }, ''],
    [
      'a bias behind a pool, Transpose and Reshape',
      {
        nodes: [
          conv(),
          named('GlobalAveragePool', 'y', 'p'),
          named('Transpose', 'p', 't', [integersAttribute('perm', [0, 2, 3, 1])]),
          named('Reshape', 't shape', 'r'),
          named('Add', 'r b', 'z'),
        ],
        initializers: [weight, list('shape', 0, -1, 4), vector('b')],
      },
      'bias',
    ],
    [
      'a bias behind a Reshape that splits the channels',
      {
        nodes: [conv(), named('Reshape', 'y shape', 'r'), named('Add', 'r b', 'z')],
        initializers: [weight, list('shape', 0, 2, 2, -1), vector('b', 1)],
      },
      '',
      /^b: Reshape reshape splits or merges the axis of the channels/,
    ],
    [
      'a bias behind a Reshape whose sizes are computed',
      {
        nodes: [
          conv(),
          named('Shape', 'y', 'sizes'),
          named('Gather', 'sizes first', 'batch'),
          named('Concat', 'batch rest', 'shape', axis(0)),
          named('Reshape', 'y shape', 'r'),
          named('Add', 'r b', 'z'),
        ],
        initializers: [weight, list('first', 0), list('rest', 4, -1), tensor('b', [4, 1])],
      },
      'bias',
    ],
    [
      'a bias behind a border that reflects the channels',
      {
        nodes: [conv(), named('Pad', 'y pads', 'p', [textAttribute('mode', 'reflect')]), named('Add', 'p b', 'z')],
        initializers: [weight, list('pads', 0, 1, 0, 0, 0, 1, 0, 0), column('b', 6)],
        inputs: { x: [1, 3, 8, 8] },
      },
      '',
      /^b: Pad pad /,
    ],
    [
      'Div by a constant, which leaves 0',
      { nodes: [conv(), named('Div', 'y d', 'z')], initializers: [weight, column('d')] },
      '',
    ],
    [
      'a bias behind Pad and Resize',
      {
        nodes: [conv(), named('Pad', 'y pads', 'p'), named('Resize', 'p - scales', 'r'), named('Add', 'r b', 'z')],
        initializers: [
          weight,
          list('pads', 0, 0, 1, 1, 0, 0, 1, 1),
          tensor('scales', [4], { data: new Uint8Array(Float32Array.of(1, 1, 2, 2).buffer) }),
          column('b'),
        ],
      },
      'bias',
    ],
    [
      'Pad with another number than 0',
      {
        nodes: [conv(), named('Pad', 'y pads value', 'p')],
        initializers: [weight, list('pads', 0, 0, 1, 1, 0, 0, 1, 1), scalar('value', 2)],
      },
      '',
      /^Pad pad: /,
    ],
    [
      'a normalisation behind Concat with an input of the model',
      {
        nodes: [conv(), named('Concat', 'x y', 'c', axis(1)), normal('c')],
        initializers: [weight, ...statistics(7)],
        inputs: { x: [1, 3, 8, 8] },
      },
      'gamma beta',
    ],
    [
      'a normalisation behind Concat with an unknown number of channels',
      {
        nodes: [conv(), named('Concat', 'x y', 'c', axis(1)), normal('c')],
        initializers: [weight, ...statistics(7)],
        inputs: { x: 4 },
      },
      '',
      /^gamma: the channels before them in Concat concat are not counted in the file/,
    ],
    [
      'a normalisation behind Concat along another axis',
      {
        nodes: [conv(), named('Concat', 'y x', 'c', axis(2)), normal('c')],
        initializers: [weight, ...statistics()],
      },
      '',
      /^gamma: it also applies to the other inputs of Concat concat/,
    ],
    [
      'a normalisation behind Concat whose numbers are not an array',
      {
        nodes: [conv(), named('Concat', 'y x', 'c', axis(1)), normal('c')],
        initializers: [weight, tensor('gamma', [7], { storage: 'unpacked' }), ...statistics(7).slice(1)],
        inputs: { x: [1, 3, 8, 8] },
      },
      'beta',
      /^gamma: its numbers are not stored as an array/,
    ],
    [
      'a normalisation behind Concat of two nodes with the same weight',
      {
        nodes: [conv(), node('Conv', 'y w', 'v'), named('Concat', 'y v', 'c', axis(1)), normal('c')],
        initializers: [tensor('w', [4, 4, 1, 1]), ...statistics(8)],
      },
      'gamma beta gamma beta',
    ],
    [
      'a normalisation behind a part of the channels',
      {
        nodes: [conv(), named('Split', 'y', 'a b', axis(1)), normal('b')],
        initializers: [weight, ...statistics(2)],
      },
      '',
      /^gamma: it belongs to a part of the channels/,
    ],
    [
      'an instance normalisation, whose scale has no effect on 0',
      {
        nodes: [conv(), named('InstanceNormalization', 'y gamma beta', 'n'), named('Mul', 'x gamma', 'm')],
        initializers: [weight, column('gamma'), vector('beta')],
      },
      'beta',
    ],
    [
      'a layer normalisation of the channels',
      {
        nodes: [node('MatMul', 'x m', 'y'), named('LayerNormalization', 'y gamma beta', 'n')],
        initializers: [tensor('m', [3, 4]), vector('gamma'), vector('beta')],
      },
      'gamma beta',
    ],
    [
      'a group normalisation',
      {
        nodes: [
          conv(),
          named('Reshape', 'y groups', 'r'),
          named('InstanceNormalization', 'r ones zeros', 'i'),
          named('Shape', 'y', 'shape'),
          named('Reshape', 'i shape', 'b'),
          named('Mul', 'b g', 'm'),
          named('Add', 'm h', 'z'),
        ],
        initializers: [
          weight,
          list('groups', 0, 2, -1),
          tensor('ones', [2], { data: new Uint8Array(Float32Array.of(1, 1).buffer) }),
          tensor('zeros', [2], { data: new Uint8Array(8) }),
          column('g'),
          column('h'),
        ],
      },
      'gamma bias',
    ],
    [
      'a bias in the branch of an If',
      {
        nodes: [
          conv(),
          node('If', 'x', 'z', {
            attributes: [
              graphAttribute('then_branch', graph({ nodes: [named('Add', 'y b', 'a')], outputs: { a: undefined } })),
            ],
          }),
        ],
        initializers: [weight, column('b')],
      },
      'bias',
    ],
    ['an operator that is not known', { nodes: [conv(), named('Det', 'y', 'z')], initializers: [weight] }, ''],
    [
      'a bias behind the sum with another value',
      {
        nodes: [conv(), named('Add', 'y x', 's'), node('Add', 's b', 'z')],
        initializers: [weight, column('b')],
      },
      '',
    ],
    [
      'a bias behind the sum of both halves of a residual block of one layer',
      {
        nodes: [conv(), named('Tanh', 'y', 't'), named('Add', 'y t', 's'), node('Add', 's b', 'z')],
        initializers: [weight, column('b')],
      },
      'bias',
    ],
    [
      'a FusedConv with a bias and an activation',
      {
        nodes: [
          node('FusedConv', 'x w b', 'y', {
            name: 'fused',
            domain: 'com.microsoft',
            attributes: [textAttribute('activation', 'Sigmoid')],
          }),
        ],
        initializers: [weight, vector('b')],
      },
      'bias',
      /^com\.microsoft\.FusedConv fused: the output of its activation for 0 is not 0/,
    ],
    [
      'a FusedConv to which another value is added',
      {
        nodes: [node('FusedConv', 'x w b r', 'y', { domain: 'com.microsoft' }), named('Sigmoid', 'y', 'z')],
        initializers: [weight, vector('b')],
      },
      'bias',
    ],
    [
      'a Sum with two constants',
      { nodes: [conv(), named('Sum', 'b y c', 'z')], initializers: [weight, column('b'), column('c')] },
      'bias bias',
    ],
    [
      'a Sum with another value',
      { nodes: [conv(), named('Sum', 'y b r', 'z')], initializers: [weight, column('b')] },
      '',
    ],
    [
      'Clip between limits in attributes of Constant nodes',
      {
        nodes: [
          node('Constant', '', 'low', { attributes: [floatAttribute('value_float', 0)] }),
          node('Constant', '', 'high', { attributes: [floatAttribute('value_float', 6)] }),
          ...[conv(), named('Clip', 'y low high', 'z'), named('Add', 'z b', 'a')],
        ],
        initializers: [weight, column('b')],
      },
      'bias',
    ],
    [
      'a Pad with ones along axes that are computed',
      { nodes: [conv(), named('Pad', 'y pads one', 'z')], initializers: [weight, scalar('one', 1)] },
      '',
      /^Pad pad: its output for 0 is not 0/,
    ],
    [
      'a bias behind a mean along axes that are computed',
      {
        nodes: [conv(), named('ReduceMean', 'y axes', 'm'), named('Add', 'm b', 'z')],
        initializers: [weight, column('b')],
      },
      '',
      /^b: ReduceMean reducemean may move or summarise the axis of the channels/,
    ],
    [
      'the bias of a SkipLayerNormalization',
      {
        nodes: [
          node('MatMul', 'x w', 'y'),
          node('SkipLayerNormalization', 'y r g h b', 'z', { domain: 'com.microsoft' }),
        ],
        initializers: [tensor('w', [4, 4]), vector('g'), vector('h'), vector('b')],
      },
      'bias',
    ],
    [
      'a BiasAdd with a scalar',
      {
        nodes: [node('MatMul', 'x w', 'y'), node('BiasAdd', 'y b r', 'z', { domain: 'com.microsoft' })],
        initializers: [tensor('w', [4, 4]), vector('b', 1)],
      },
      '',
      /^b: it does not have one entry per output channel/,
    ],
  ];
  test.each(cases)('Channels are followed as far as they go: %s', async (_title, options, parts, leak) => {
    const { tensors } = await layersOf(options);
    const { partners, leaks = [] } = tensors[0]!;
    expect(partners.map(({ part }) => part).join(' ')).toBe(parts);
    const told = leaks.map(({ name, reason }) => `${name}: ${reason}`);
    if (leak) expect(told).toContainEqual(expect.stringMatching(leak));
    else expect(told).toEqual([]);
  });

  test('Query, key and value each have their part of the bias of MultiHeadAttention', async () => {
    const projections = ['q', 'k', 'v'].map((name) => node('MatMul', `x ${name}w`, name, { name }));
    const weights = [
      ['q', 4],
      ['k', 4],
      ['v', 6],
    ].map(([name, size]) => tensor(`${name}w`, [4, size as number]));
    const attention = node('MultiHeadAttention', 'q k v b', 'y', { domain: 'com.microsoft' });
    const initializers = [...weights, tensor('b', [14], { data: numbers('float32', [...Array(14).keys()]) })];
    await withModel(model({ nodes: [...projections, attention], initializers }), async (read) => {
      const found = read.tensors.map(async ({ partners, leaks }) => {
        const bytes = await numbersOf(read, partners[0]!.values);
        return [partners.length, leaks, [...new Float32Array(bytes.slice().buffer)]];
      });
      expect(await Promise.all(found)).toEqual([
        [1, undefined, [0, 1, 2, 3]],
        [1, undefined, [4, 5, 6, 7]],
        [1, undefined, [8, 9, 10, 11, 12, 13]],
      ]);
    });
  });

  test('A product of two layers has the channels of neither alone, so its normalisation is left alone', async () => {
    const nodes = [conv(), node('Conv', 'x v', 'u', { name: 'other' }), named('Mul', 'y u', 'm'), normal('m')];
    const { tensors } = await layersOf({ nodes, initializers: [weight, tensor('v', [4, 3, 1, 1]), ...statistics()] });
    expect(tensors).toMatchObject([
      { name: 'conv', partners: [], leaks: [{ name: 'gamma', reason: 'other also has it' }, { name: 'beta' }] },
      { name: 'other', partners: [], leaks: [{ name: 'gamma', reason: 'conv also has it' }, { name: 'beta' }] },
    ]);
  });

  test('A depthwise convolution knows the layers whose channels it filters, and where they end', async () => {
    const depthwise = node('Conv', 'c d e', 'f', { name: 'depthwise', attributes: [group(7)] });
    const other = node('Conv', 'x v', 'u', { name: 'other' });
    const nodes = [conv(), other, named('Relu', 'y', 'r'), named('Concat', 'r u', 'c', axis(1)), depthwise];
    const initializers = [weight, tensor('v', [3, 3, 1, 1]), tensor('d', [7, 1, 3, 3]), vector('e', 7)];
    const { tensors } = await layersOf({ nodes, initializers });
    expect(tensors.map(({ name, channelsFrom }) => [name, channelsFrom])).toEqual([
      ['conv', undefined],
      ['other', undefined],
      ['depthwise', ['conv', 'other']],
    ]);
    expect(tensors.map(({ partners, leaks }) => [partners.length, leaks])).toEqual([
      [0, undefined],
      [0, undefined],
      [1, undefined],
    ]);
  });
});
