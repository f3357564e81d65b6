import { Sparsifier } from 'sparsifier';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { dequantize, quantize } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { errorOf } from '../../support/layers.js';
import {
  bytesField,
  concat,
  floatAttribute,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  localFunction,
  model,
  node,
  numbers,
  tensor,
  tensorAttribute,
  textAttribute,
  textField,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { withModel } from '../../support/onnx-model.js';

/** Time that grows with the square of these numbers would be minutes, and their cube would be years. */
const many = 4000;
const times = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, index) => make(index));
const names = (count: number, name: string) => times(count, (index) => `${name}${index}`).join(' ');
const same = (count: number, name: string) => times(count, () => name).join(' ');

const kernel = (name = 'w') => tensor(name, [4, 4, 1, 1]);
const matrix = (name = 'w') => tensor(name, [4, 4]);
const codes = (name = 'w') => tensor(name, [4, 4], { dtype: 'int8' });
const vector = (name: string, size = 4) => tensor(name, [size]);
const conv = (inputs = 'x w', output = 'y') => node('Conv', inputs, output);
const matMul = (inputs: string, output = 'z') => node('MatMul', inputs, output);
const along = (axis: number) => ({ attributes: [integerAttribute('axis', axis)] });
const own = { domain: 'my.own' };
const prune = { granularity: 'filter', context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;

/** A convolution with a weight of its own for each of many, and what follows. */
const convolutions = (count: number, inputs: string, nodes: Uint8Array[], ...more: Uint8Array[]): GraphOptions => ({
  nodes: [...times(count, (index) => conv(`x w${index} ${inputs}`, `y${index}`)), ...nodes],
  initializers: [...times(count, (index) => kernel(`w${index}`)), ...more],
});

/** A join of many convolutions, and a node that reads it. */
const joined = (count: number, reader: Uint8Array) =>
  convolutions(count, '', [node('Concat', names(count, 'y'), 'all', along(1)), reader]);

/** A chain of nodes of one operator from a constant to a product. */
const chain = (
  count: number,
  first: Uint8Array,
  nodeOf: (input: string, output: string) => Uint8Array,
): GraphOptions => ({
  nodes: [...times(count, (index) => nodeOf(`v${index}`, `v${index + 1}`)), matMul(`x v${count}`)],
  initializers: [first, vector('s', 1), tensor('shape', [2], { dtype: 'int64', data: numbers('int64', [4, 4]) })],
});

/** What is found in a model: how many layers, and each different partner, leak, reason and note once. */
interface Found {
  readonly layers: number;
  readonly parts: readonly string[];
  readonly leaks: readonly string[];
  readonly skipped: readonly string[];
  readonly notes: readonly string[];
}

const different = <Item>(items: readonly Item[]): Item[] => [...new Set(items)];
const foundIn = ({ tensors, skipped }: FileModel): Found => ({
  layers: tensors.length,
  parts: different(tensors.flatMap(({ partners }) => partners.map(({ part }) => part))),
  leaks: different(tensors.flatMap(({ leaks = [] }) => leaks.map(({ name, reason }) => `${name}: ${reason}`))),
  skipped: different(skipped.map(({ reason }) => reason)),
  notes: different(tensors.flatMap(({ notes }) => notes)),
});
const nothing: Found = { layers: 0, parts: [], leaks: [], skipped: [], notes: [] };
const partly = 'its channels are followed through a part of the graph only, which is very large';

describe('a large model takes time in proportion to its size', () => {
  const zeros = { data: new Uint8Array(4 * many) };
  const cases: [title: string, expected: Partial<Found>, options: GraphOptions, functions?: Uint8Array[]][] = [
    [
      'convolutions that share weight and bias',
      { layers: 1, parts: ['bias'] },
      { nodes: times(many, () => conv('x w b')), initializers: [kernel(), vector('b')] },
    ],
    [
      'convolutions that share a bias',
      { layers: many, leaks: ['b: Conv also uses it'] },
      convolutions(many, 'b', [], vector('b')),
    ],
    [
      'convolutions that share a bias of as many zeros',
      { layers: many },
      convolutions(many, 'b', [], tensor('b', [many], zeros)),
    ],
    [
      'convolutions that share a bias of as many axes',
      {
        layers: many,
        leaks: ['b: it does not have one entry per output channel'],
        skipped: ['it is an operand of Conv, not the weight of a layer'],
      },
      convolutions(
        many,
        'b',
        [],
        tensor(
          'b',
          times(many, () => 1),
        ),
      ),
    ],
    [
      'convolutions that share a bias that as many nodes pass on',
      { layers: many, leaks: ['b: Conv also uses it'] },
      convolutions(
        many,
        'b',
        times(many, (index) => node('Identity', 'b', `i${index}`)),
        vector('b'),
      ),
    ],
    [
      'convolutions that share a norm',
      { layers: many, leaks: ['s: BatchNormalization also uses it', 'b: BatchNormalization also uses it'] },
      convolutions(
        many,
        '',
        times(many, (index) => node('BatchNormalization', `y${index} s b m v`, `n${index}`)),
        ...['s', 'b', 'm', 'v'].map((name) => vector(name)),
      ),
    ],
    [
      'convolutions with one output, and as many nodes that read it',
      { layers: many, notes: [partly] },
      {
        nodes: [
          ...times(many, (index) => conv(`x w${index}`)),
          ...times(many, (index) => node('Identity', 'y', `i${index}`)),
        ],
        initializers: times(many, (index) => kernel(`w${index}`)),
      },
    ],
    [
      'powers with as many exponents',
      { layers: 1 },
      {
        nodes: [conv(), ...times(many, (index) => node('Pow', index === 0 ? 'y e' : `p${index} e`, `p${index + 1}`))],
        initializers: [kernel(), vector('e', many)],
      },
    ],
    [
      'a sum of one value',
      { layers: 1 },
      { nodes: [conv(), node('Sum', same(many, 'y'), 's')], initializers: [kernel()] },
    ],
    [
      'a sum of activations of one layer',
      { layers: 1 },
      {
        nodes: [conv(), ...times(many, (index) => node('Relu', 'y', `r${index}`)), node('Sum', names(many, 'r'), 's')],
        initializers: [kernel()],
      },
    ],
    ['a sum of layers', { layers: many }, convolutions(many, '', [node('Sum', names(many, 'y'), 's')])],
    [
      'a join of one constant',
      {
        skipped: [
          'its weight is computed from constants by Concat',
          'it is the weight of MatMul only in parts, or together with other constants',
        ],
      },
      { nodes: [node('Concat', same(5 * many, 'w'), 'v', along(0)), matMul('x v')], initializers: [matrix()] },
    ],
    [
      'a join of constants',
      {
        skipped: [
          'its weight is computed from constants by Concat',
          'it is an operand of Concat, not the weight of a layer',
        ],
      },
      {
        nodes: [node('Concat', names(many, 'w'), 'v', along(0)), matMul('x v')],
        initializers: times(many, (index) => matrix(`w${index}`)),
      },
    ],
    [
      'a join of layers that is split into as many',
      { layers: 2000, notes: [partly] },
      joined(2000, node('Split', 'all', names(2000, 's'), along(2))),
    ],
    [
      'a join of layers, and a mean along as many axes',
      { layers: many },
      joined(
        many,
        node('ReduceMean', 'all', 'm', {
          attributes: [
            integersAttribute(
              'axes',
              times(many, (axis) => axis + 9),
            ),
          ],
        }),
      ),
    ],
    [
      'a join of layers, and an order of as many axes',
      { layers: many },
      joined(
        many,
        node('Transpose', 'all', 'm', {
          attributes: [
            integersAttribute(
              'perm',
              times(many, (axis) => axis),
            ),
          ],
        }),
      ),
    ],
    [
      'codes that as many nodes pass on and decode',
      { skipped: ['its codes are arranged by Concat before they are decoded'] },
      {
        nodes: [
          node('Concat', names(many, 'q'), 'v', along(0)),
          ...times(many, (index) => node('Identity', 'v', `i${index}`)),
          ...times(many, (index) => node('DequantizeLinear', `i${index} s`, `d${index}`)),
        ],
        initializers: [...times(many, (index) => codes(`q${index}`)), vector('s', 1)],
      },
    ],
    [
      'codes that are looked up and decoded by as many',
      { layers: 1 },
      {
        nodes: [
          ...times(many, () => node('Gather', 'w x', 'g')),
          ...times(many, (index) => node('DequantizeLinear', 'g s', `d${index}`)),
        ],
        initializers: [codes(), vector('s', 1)],
      },
    ],
    [
      'codes with a scale of as many numbers',
      { skipped: ['the shapes of its scale and zero point do not fit'] },
      {
        nodes: times(many, (index) => [
          node('DequantizeLinear', `q${index} s`, `d${index}`),
          matMul(`x d${index}`, `z${index}`),
        ]).flat(),
        initializers: [...times(many, (index) => codes(`q${index}`)), vector('s', many)],
      },
    ],
    [
      'reshapes to as many sizes',
      { skipped: ['it is an operand of Reshape, not the weight of a layer'] },
      {
        nodes: [
          node('Constant', '', 'n', {
            attributes: [
              integersAttribute(
                'value_ints',
                times(many, () => 1),
              ),
            ],
          }),
          ...times(many, (index) => node('Reshape', 'w n', `v${index}`)),
        ],
        initializers: [matrix()],
      },
    ],
    [
      'an equation of as many letters',
      { skipped: [`an Einsum with an equation of ${2 * many + 6} characters is not supported`] },
      {
        nodes: [
          node('Einsum', 'x w', 'y', {
            attributes: [
              textAttribute(
                'equation',
                `${times(many, (index) => String.fromCharCode(1000 + index)).join('')},ab->b${'c'.repeat(many)}`,
              ),
            ],
          }),
        ],
        initializers: [matrix()],
      },
    ],
    [
      'calls of a function with as many constants',
      { skipped: ['it is an operand of Add, not the weight of a layer'] },
      { nodes: times(many, (index) => node('f', 'x', `y${index}`, own)) },
      [
        localFunction(
          'my.own',
          'f',
          'x',
          'y',
          node('Constant', '', 'c', {
            attributes: [
              tensorAttribute('value', tensor('', [many / 10, 10], { dtype: 'float16', storage: 'packed' })),
            ],
          }),
          node('Add', 'x c', 'y'),
        ),
      ],
    ],
    [
      'calls of a function with a subgraph',
      { layers: 1 },
      { nodes: times(many, (index) => node('f', 'x', `y${index}`, own)) },
      [
        localFunction(
          'my.own',
          'f',
          'x',
          'y',
          node('If', 'x', 'y', {
            attributes: [
              graphAttribute(
                'then_branch',
                graph({
                  nodes: [matMul('x w')],
                  initializers: [matrix()],
                  values: Object.fromEntries(times(many, (index) => [`v${index}`, 2])),
                }),
              ),
            ],
          }),
        ),
      ],
    ],
    ['identities', { layers: 1 }, chain(5 * many, matrix('v0'), (input, output) => node('Identity', input, output))],
    [
      'casts',
      { layers: 1 },
      chain(5 * many, matrix('v0'), (input, output) =>
        node('Cast', input, output, { attributes: [integerAttribute('to', 1)] }),
      ),
    ],
    ['transposes', { layers: 1 }, chain(5 * many, matrix('v0'), (input, output) => node('Transpose', input, output))],
    [
      'reshapes',
      { layers: 1 },
      chain(5 * many, matrix('v0'), (input, output) => node('Reshape', `${input} shape`, output)),
    ],
    [
      'decoders',
      {
        skipped: [
          'its weight is computed from constants by DequantizeLinear',
          'it is an operand of DequantizeLinear, not the weight of a layer',
        ],
      },
      chain(5 * many, codes('v0'), (input, output) => node('DequantizeLinear', `${input} s`, output)),
    ],
  ];
  test.each(cases)('Thousands of nodes: %s', async (_, expected, options, functions) => {
    expect(await withModel(model(options, 17, functions), foundIn)).toEqual({ ...nothing, ...expected });
  });

  test('Thousands of convolutions that share weight and bias are one layer, which is pruned with its bias', async () => {
    await withModel(await readBytes('cases/hostile/onnx-shared-bias-cubic.onnx'), async (read) => {
      const [layer, ...others] = read.tensors;
      expect(others).toEqual([]);
      expect(layer!.partners.map(({ part }) => part)).toEqual(['bias']);
      const { total } = await new Sparsifier(read, prune).sparsifyModel(50);
      expect(total.removedUnits).toBe(total.units / 2);
    });
  });

  test('Functions that each call the next one twice are refused', async () => {
    const functions = times(40, (index) => {
      const call = (input: string, output: string) => node(`f${index + 1}`, input, output, own);
      return localFunction('my.own', `f${index}`, 'a', 'c', call('a', 'b'), call('b', 'c'));
    });
    const last = localFunction('my.own', 'f40', 'a', 'c', node('Relu', 'a', 'c'));
    const bytes = model({ nodes: [node('f0', 'x', 'y', own)] }, 17, [...functions, last]);
    expect(await errorOf(() => readOnnx(bytes))).toMatchObject({
      code: 'format',
      message: expect.stringContaining('the local functions of the model call each other too often') as string,
    });
  });

  test('Calls of a function count all inputs of its nodes', async () => {
    const sum = localFunction('my.own', 'f', 'x', 'y', node('Sum', same(many, 'x'), 'y'));
    const bytes = model({ nodes: times(many, (index) => node('f', 'x', `y${index}`, own)) }, 17, [sum]);
    expect(await errorOf(() => readOnnx(bytes))).toMatchObject({
      code: 'format',
      details: { allowed: ['50 calls inside each other', '1000000 nodes, inputs, outputs and attributes'] },
    });
  });

  test('A weight that a file describes thousands of times is described no more once it is quantized', async () => {
    const values = concat(...times(many, () => bytesField(13, textField(1, 'w'))));
    const inner = concat(graph({ nodes: [matMul('x w')], initializers: [tensor('w', [32, 32])] }), values);
    const bytes = concat(integerField(1, 8), bytesField(8, integerField(2, 17)), bytesField(7, inner));
    await withModel(bytes, async (read) => {
      const { model: small, report } = await quantize(read, { weights: 'int8' });
      expect(report.layers).toMatchObject([{ form: 'int8' }]);
      expect((await small.bytes()).length).toBeLessThan(2000);
      small.close();
    });
  });

  test('A tensor of 200,000 axes is stored as 16-bit floats', async () => {
    const shape = times(200_000, (axis) => (axis < 2 ? 8 : 1));
    const dims = bytesField(1, Uint8Array.from(shape));
    const deep = concat(
      dims,
      integerField(2, 1),
      textField(8, 'deep'),
      bytesField(9, numbers('float32', shape.slice(0, 64))),
    );
    const bytes = model({ nodes: [matMul('x w'), node('Add', 'z deep', 'o')], initializers: [matrix(), deep] });
    await withModel(bytes, async (read) => {
      const { model: small, report } = await quantize(read, { others: 'float16' });
      expect(report.others).toEqual([{ name: 'deep', length: 64, form: 'float16' }]);
      expect(small.skipped[0]!.shape).toEqual(shape);
      small.close();
    });
  });

  test('A weight that is multiplied with many factors keeps its form, since each would need scales of its own', async () => {
    const scaled = (index: number) =>
      node('Gemm', 'x w', `y${index}`, { attributes: [floatAttribute('alpha', index + 1)] });
    const bytes = (count: number) => model({ nodes: times(count, scaled), initializers: [tensor('w', [32, 32])] });
    const formsOf = (count: number) =>
      withModel(bytes(count), async (read) => {
        const { model: small, report } = await quantize(read);
        small.close();
        return report.layers.map(({ form, reason }) => [form, reason]);
      });
    expect(await formsOf(16)).toEqual([['int8-dynamic', undefined]]);
    expect(await formsOf(17)).toEqual([
      ['int8', 'no int8-dynamic: several nodes share it, and multiply it with more than 16 different factors'],
    ]);
  });

  test('Codes that thousands of nodes with one output look up are dequantized', async () => {
    const bytes = model({
      nodes: [
        ...times(many, () => node('Gather', 'w x', 'g')),
        ...times(many, (index) => node('DequantizeLinear', 'g s', `d${index}`)),
      ],
      initializers: [codes(), vector('s', 1)],
    });
    await withModel(bytes, async (read) => {
      const { model: large, report } = await dequantize(read);
      expect(report.tensors.map(({ name }) => name)).toEqual(['w']);
      expect(large.tensors.map(({ values }) => values.dtype)).toEqual(['float32']);
      large.close();
    });
  });
});

test('How far channels are followed does not depend on layers elsewhere that share a bias', async () => {
  // More indices than are looked at in one pass; what the first pass found of nodes is known in the second.
  const [channels, slices] = [500_000, 24];
  const endsAt = (index: number) =>
    ['axes', 'starts', 'ends'].map((name, place) => integersAttribute(name, [[2, 0, 100 + index][place]!]));
  const modelWith = (other: string) =>
    model(
      {
        nodes: [
          node('Conv', 'x w', 'v0', { name: 'large' }),
          ...times(slices, (index) => node('Slice', `v${index}`, `v${index + 1}`, { attributes: endsAt(index) })),
          node('Add', `v${slices} late`, 'y'),
          node('Conv', 'x small b', 'p'),
          node('Conv', `x other ${other}`, 'q'),
        ],
        initializers: [
          ...[tensor('w', [channels, 1, 1, 1]), tensor('late', [channels, 1, 1])],
          ...['small', 'other'].map((name) => tensor(name, [4, 1, 1, 1])),
          ...['b', 'c'].map((name) => tensor(name, [4])),
        ],
        inputs: { x: [1, 1, 1, 1] },
        outputs: { y: [1, channels, 1, 1], p: [1, 4, 1, 1], q: [1, 4, 1, 1] },
      },
      9,
    );
  for (const other of ['b', 'c']) {
    await withModel(modelWith(other), (read) => {
      const { partners, leaks, notes } = read.tensors.find(({ name }) => name === 'large')!;
      expect([partners.map(({ part }) => part), leaks, notes]).toEqual([['bias'], undefined, []]);
    });
  }
});
