import { Sparsifier, SparsifyError } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { pruneMatrixNaively } from '../../support/naive-prune.js';
import {
  constant,
  graph,
  graphAttribute,
  integerAttribute,
  integersAttribute,
  list,
  localFunction,
  mixedNumbers,
  model,
  node,
  numbers,
  referenceAttribute,
  sparseTensor,
  tensor,
  tensorAttribute,
  textAttribute,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { readGraphOf } from '../../support/onnx-reader.js';

const ms = (op: string, inputs: string, outputs: string, ...attributes: Uint8Array[]) =>
  node(op, inputs, outputs, { name: 'layer', domain: 'com.microsoft', attributes });
const flags = (...names: string[]) => names.map((name) => integerAttribute(name, 1));
const size = (shape: readonly number[]) => shape.reduce((product, each) => product * each, 1);
const mixed = (name: string, seed: number, ...shape: number[]) =>
  tensor(name, shape, { data: mixedNumbers(size(shape), seed) });
const all = { context: 'local', criteria: 'largeFinal', layerType: 'all' } as const;

/** All layers, as `name kind (roles) shape`. */
async function layersOf(options: GraphOptions, functions: readonly Uint8Array[] = []): Promise<string[]> {
  using read = await readOnnx(model(options, 17, functions));
  return read.tensors.map(
    ({ name, kind, roles, shape, groups }) =>
      `${name} ${kind} (${roles.join(' ')}) ${shape.join('x')}${groups > 1 ? ` in ${groups} groups` : ''}`,
  );
}

describe('operators of ONNX Runtime', () => {
  const cases: readonly (readonly [title: string, options: GraphOptions, layers: string[]])[] = [
    [
      'FusedConv',
      {
        nodes: [ms('FusedConv', 'x w b', 'y', textAttribute('activation', 'Relu'), integerAttribute('group', 2))],
        initializers: [tensor('w', [4, 3, 2, 2])],
      },
      ['layer conv2d (out in height width) 4x3x2x2 in 2 groups'],
    ],
    [
      'FusedGemm',
      { nodes: [ms('FusedGemm', 'x w', 'y', ...flags('transB'))], initializers: [tensor('w', [4, 3])] },
      ['layer dense (out in) 4x3'],
    ],
    [
      'FusedMatMul',
      { nodes: [ms('FusedMatMul', 'x w', 'y')], initializers: [tensor('w', [3, 4])] },
      ['layer dense (in out) 3x4'],
    ],
    [
      'FusedMatMul with transB',
      { nodes: [ms('FusedMatMul', 'x w', 'y', ...flags('transB'))], initializers: [tensor('w', [4, 3])] },
      ['layer dense (out in) 4x3'],
    ],
    [
      'FusedMatMul with a constant A and transA',
      { nodes: [ms('FusedMatMul', 'w x', 'y', ...flags('transA', 'transB'))], initializers: [tensor('w', [3, 4])] },
      ['layer dense (in out) 3x4'],
    ],
    [
      'FusedMatMul with batches and transB',
      { nodes: [ms('FusedMatMul', 'x w', 'y', ...flags('transB'))], initializers: [tensor('w', [2, 4, 3])] },
      ['layer dense (out multiplier in) 2x4x3'],
    ],
    [
      'FusedMatMul with transposed batches',
      { nodes: [ms('FusedMatMul', 'x w', 'y', ...flags('transBatchB'))], initializers: [tensor('w', [3, 2, 4])] },
      ['layer dense (in out multiplier) 3x2x4'],
    ],
    [
      'Attention',
      { nodes: [ms('Attention', 'x w b', 'y')], initializers: [tensor('w', [8, 24]), tensor('b', [24])] },
      ['layer dense (in out) 8x24'],
    ],
    [
      'EmbedLayerNormalization',
      {
        nodes: [ms('EmbedLayerNormalization', 'ids types w p s g b', 'y')],
        initializers: [tensor('w', [9, 4]), tensor('p', [6, 4]), tensor('s', [2, 4]), tensor('g', [4])],
      },
      ['layer embedding (out in) 9x4', 'layer.position embedding (out in) 6x4', 'layer.segment embedding (out in) 2x4'],
    ],
  ];
  test.each(cases)('The weights of %s are layers', async (_title, options, layers) => {
    expect(await layersOf(options)).toEqual(layers);
  });

  test('Weights that are laid out for one machine are skipped, and the reason says what to do', async () => {
    const nodes = [node('Conv', 'x w b', 'y', { name: 'c', domain: 'com.microsoft.nchwc' })];
    using read = await readOnnx(model({ nodes, initializers: [tensor('w', [8, 8, 3, 3])] }));
    const reason = 'its weight is laid out for one machine; save the model with extended optimisation instead';
    const entry = { name: 'c', reason, operator: 'com.microsoft.nchwc.Conv', shape: [8, 8, 3, 3], weights: 576 };
    expect(read.skipped).toEqual([entry]);
  });
});

describe('products of matrices', () => {
  const matMul = (inputs: string) => node('MatMul', inputs, 'y', { name: 'fc' });
  const einsum = (equation: string, inputs = 'x w') =>
    node('Einsum', inputs, 'y', { name: 'fc', attributes: [textAttribute('equation', equation)] });
  const cases: readonly (readonly [title: string, nodes: Uint8Array, shape: number[], layer: string])[] = [
    ['a leading 1', matMul('x w'), [1, 6, 4], 'fc dense (in out) 6x4'],
    ['two leading 1s on the left', matMul('w x'), [1, 1, 6, 4], 'fc dense (out in) 6x4'],
    ['a stack of matrices', matMul('x w'), [3, 6, 4], 'fc dense (out in multiplier) 3x6x4'],
    ['a stack of stacks', matMul('x w'), [2, 3, 6, 4], 'fc dense (out in multiplier) 6x6x4'],
    ['a stack with a 1', matMul('x w'), [3, 1, 6, 4], 'fc dense (out in multiplier) 3x6x4'],
    ['a stack on the left', matMul('w x'), [3, 4, 6], 'fc dense (out multiplier in) 3x4x6'],
    ['Einsum', einsum('bij,jk->bik'), [6, 4], 'fc dense (in out) 6x4'],
    ['Einsum with the constant first', einsum('kj,bij->bik', 'w x'), [4, 6], 'fc dense (out in) 4x6'],
    ['Einsum without an output', einsum('ij, jk'), [6, 4], 'fc dense (in out) 6x4'],
    ['Einsum with an ellipsis', einsum('...j,jk->...k'), [6, 4], 'fc dense (in out) 6x4'],
    ['Einsum of heads', einsum('bsd,dhk->bshk'), [6, 2, 3], 'fc dense (in out) 6x6'],
    ['Einsum that sums over heads', einsum('bshk,hkd->bsd'), [2, 3, 6], 'fc dense (in out) 6x6'],
    ['Einsum of experts', einsum('ecd,edh->ech'), [3, 6, 4], 'fc dense (out in multiplier) 3x6x4'],
  ];
  test.each(cases)('A product of matrices is a dense layer: %s', async (_title, product, shape, layer) => {
    expect(await layersOf({ nodes: [product], initializers: [tensor('w', shape)] })).toEqual([layer]);
  });

  test.each([
    ['a product of elements', 'ij,ij->ij', [6, 4]],
    ['an outer product', 'i,j->ij', [6, 4]],
    ['a sum along the constant alone', 'bi,jk->bij', [6, 4]],
    ['a diagonal', 'bj,jj->bj', [6, 6]],
    ['channels that are stored apart', 'bd,hdk->bhk', [2, 6, 3]],
    ['an ellipsis in the constant', 'bj,...j->b', [6, 4]],
    ['a word', 'product', [6, 4]],
  ])('Einsum is skipped if it is %s', async (_title, equation, shape) => {
    using read = await readOnnx(model({ nodes: [einsum(equation)], initializers: [tensor('w', shape)] }));
    expect(read.tensors).toEqual([]);
    expect(read.skipped).toMatchObject([{ name: 'fc', shape, weights: size(shape) }]);
    expect(read.skipped[0]!.reason).toMatch(/Einsum|not stored beside/);
  });

  test.each(['column', 'vector', 'weight', 'row', 'layer'] as const)(
    'A unit of a stack of matrices lies in one matrix: %s',
    async (granularity) => {
      using read = await readOnnx(model({ nodes: [matMul('x w')], initializers: [mixed('w', 1, 3, 6, 4)] }));
      const context = granularity === 'layer' ? 'global' : 'local';
      const sparsifier = new Sparsifier(read, { ...all, context, granularity });
      const pruning = sparsifier.sparsifyModel(50);
      if (granularity === 'column') await expect(pruning).rejects.toThrow('a unit would extend over several matrices');
      else expect((await pruning).layers[0]!.units).toBe({ weight: 72, row: 12, vector: 12, layer: 1 }[granularity]);
    },
  );

  test('The rows of a stack of matrices are those of each matrix', async () => {
    const bytes = model({ nodes: [matMul('w x')], initializers: [mixed('w', 1, 3, 4, 6)] });
    using read = await readOnnx(bytes);
    await new Sparsifier(read, { ...all, granularity: 'row' }).sparsifyModel(50);
    const expected = bytes.slice();
    pruneMatrixNaively(expected, readGraphOf(bytes).constants.get('w')!, 50, 'row');
    expect(await read.bytes()).toEqual(expected);
  });
});

describe('weights behind nodes that arrange or convert them', () => {
  const conv = (weight: string) => node('Conv', `x ${weight}`, 'y', { name: 'conv' });
  const cast = (to: number) => node('Cast', 'w', 'd', { attributes: [integerAttribute('to', to)] });
  const unsqueeze = (input: string, output: string, ...axes: number[]) =>
    node('Unsqueeze', input, output, { attributes: [integersAttribute('axes', axes)] });
  const cases: readonly (readonly [title: string, options: GraphOptions, layer: string])[] = [
    [
      'Cast of 16 bits',
      { nodes: [cast(1), conv('d')], initializers: [tensor('w', [4, 3, 2], { dtype: 'float16' })] },
      'conv conv1d (out in width) 4x3x2',
    ],
    [
      'Cast to bfloat16',
      { nodes: [cast(16), conv('d')], initializers: [tensor('w', [4, 3, 2])] },
      'conv conv1d (out in width) 4x3x2',
    ],
    [
      'Unsqueeze',
      { nodes: [unsqueeze('w', 'd', 2), conv('d')], initializers: [tensor('w', [4, 3, 5])] },
      'conv conv2d (out in width) 4x3x5',
    ],
    [
      'Unsqueeze with an input',
      { nodes: [node('Unsqueeze', 'w axes', 'd'), conv('d')], initializers: [tensor('w', [4, 3]), list('axes', -1)] },
      'conv conv1d (out in) 4x3',
    ],
    [
      'Squeeze',
      {
        nodes: [node('Squeeze', 'w axes', 'd'), conv('d')],
        initializers: [tensor('w', [4, 3, 1, 5]), list('axes', 2)],
      },
      'conv conv1d (out in width) 4x3x5',
    ],
    [
      'Squeeze of all axes of size 1',
      {
        nodes: [node('Squeeze', 'w', 'd'), node('MatMul', 'x d', 'y', { name: 'fc' })],
        initializers: [tensor('w', [1, 4, 1, 5])],
      },
      'fc dense (in out) 4x5',
    ],
    [
      'Reshape that adds axes of size 1',
      { nodes: [node('Reshape', 'w s', 'd'), conv('d')], initializers: [tensor('w', [4, 3]), list('s', 0, -1, 1, 1)] },
      'conv conv2d (out in) 4x3',
    ],
    [
      'Flatten',
      {
        nodes: [node('Flatten', 'w', 'd'), node('MatMul', 'x d', 'y', { name: 'fc' })],
        initializers: [tensor('w', [4, 5, 1, 1])],
      },
      'fc dense (in out) 4x5',
    ],
    [
      'QuantizeLinear and DequantizeLinear of floats',
      {
        nodes: [node('QuantizeLinear', 'w s z', 'q'), node('DequantizeLinear', 'q s z', 'd'), conv('d')],
        initializers: [tensor('w', [4, 3, 2]), tensor('s', []), tensor('z', [], { dtype: 'int8' })],
      },
      'conv conv1d (out in width) 4x3x2',
    ],
  ];
  test.each(cases)('A weight is found behind %s', async (_title, options, layer) => {
    expect(await layersOf(options)).toEqual([layer]);
  });

  test.each<[title: string, options: GraphOptions]>([
    [
      'a Reshape that changes more than axes of size 1',
      { nodes: [node('Reshape', 'w s', 'd'), conv('d')], initializers: [tensor('w', [4, 6]), list('s', 4, 3, 2)] },
    ],
    [
      'QuantizeLinear and DequantizeLinear with different zero points',
      {
        nodes: [node('QuantizeLinear', 'w s z', 'q'), node('DequantizeLinear', 'q s u', 'd'), conv('d')],
        initializers: [
          ...[tensor('w', [4, 3, 2]), tensor('s', []), tensor('z', [], { dtype: 'int8' })],
          tensor('u', [], { dtype: 'int8', data: numbers('int8', [5]) }),
        ],
      },
    ],
    ['a Cast to integers', { nodes: [cast(6), conv('d')], initializers: [tensor('w', [4, 3, 2])] }],
    [
      'a Slice',
      {
        nodes: [node('Slice', 'w a b', 'd'), conv('d')],
        initializers: [tensor('w', [4, 3, 2]), list('a', 0), list('b', 2)],
      },
    ],
    ['a Clip', { nodes: [node('Clip', 'w', 'd'), conv('d')], initializers: [tensor('w', [4, 3, 2])] }],
  ])('A weight is skipped behind %s, and its numbers are counted once', async (_title, options) => {
    using read = await readOnnx(model(options));
    expect(read.tensors).toEqual([]);
    expect(read.weights).toBe(size(readGraphOf(model(options)).constants.get('w')!.shape));
    expect(read.skipped).toMatchObject([
      { name: 'conv', shape: [], weights: 0 },
      { name: 'w', weights: read.weights },
    ]);
  });
});

describe('recurrent layers that exporters put together', () => {
  const slice = (input: string, output: string, from: string, to: string) =>
    node('Slice', `${input} ${from} ${to} zero`, output);
  /** LSTM weights whose gates are stored in another order, as PyTorch does, in one direction. */
  const reordered = (name: string) => [
    slice(name, `${name}i`, 'n0', 'n1'),
    slice(name, `${name}o`, 'n3', 'n4'),
    slice(name, `${name}f`, 'n1', 'n3'),
    node('Concat', `${name}i ${name}o ${name}f`, `${name}c`, { attributes: [integerAttribute('axis', 0)] }),
    node('Unsqueeze', `${name}c zero`, `${name}u`),
  ];
  const lists = [list('zero', 0), list('n0', 0), list('n1', 4), list('n3', 12), list('n4', 16)];
  const lstm = (inputs: string) => node('LSTM', inputs, 'y', { name: 'lstm' });

  test('Weights whose gates are sliced and put together again are layers as they are stored', async () => {
    const bytes = model({
      nodes: [...reordered('w'), ...reordered('r'), lstm('x wu ru')],
      initializers: [mixed('w', 1, 16, 5), mixed('r', 2, 16, 4), ...lists],
    });
    using read = await readOnnx(bytes);
    expect(read.skipped).toEqual([]);
    expect(read.tensors).toMatchObject([
      { name: 'lstm', kind: 'lstm', roles: ['out', 'in'], shape: [16, 5] },
      { name: 'lstm.recurrent', kind: 'lstm', roles: ['out', 'in'], shape: [16, 4] },
    ]);
    for (const granularity of ['weight', 'row', 'column'] as const) {
      const expected = bytes.slice();
      const { constants } = readGraphOf(bytes);
      for (const name of ['w', 'r']) pruneMatrixNaively(expected, constants.get(name)!, 50, granularity);
      using fresh = await readOnnx(bytes);
      await new Sparsifier(fresh, { ...all, granularity }).sparsifyModel(50);
      expect(await fresh.bytes()).toEqual(expected);
    }
  });

  test('Each direction that is stored by itself is a layer of its own', async () => {
    const both = (name: string) =>
      node('Concat', `${name}u ${name}bu`, `${name}2`, { attributes: [integerAttribute('axis', 0)] });
    const nodes = ['w', 'wb', 'r', 'rb'].flatMap(reordered);
    const initializers = [mixed('w', 1, 16, 5), mixed('wb', 2, 16, 5), mixed('r', 3, 16, 4), mixed('rb', 4, 16, 4)];
    const graph = {
      nodes: [...nodes, both('w'), both('r'), lstm('x w2 r2')],
      initializers: [...initializers, ...lists],
    };
    expect(await layersOf(graph)).toEqual([
      'lstm lstm (out in) 16x5',
      'wb lstm (out in) 16x5',
      'lstm.recurrent lstm (out in) 16x4',
      'rb lstm (out in) 16x4',
    ]);
  });

  test('A matrix that is split into the weights of inputs and of states is one layer', async () => {
    const nodes = [
      node('Split', 'k sizes', 'a b', { attributes: [integerAttribute('axis', 0)] }),
      node('Transpose', 'a', 'at'),
      node('Unsqueeze', 'at zero', 'w'),
      node('Transpose', 'b', 'bt'),
      node('Unsqueeze', 'bt zero', 'r'),
      lstm('x w r'),
    ];
    const initializers = [mixed('k', 1, 9, 16), list('sizes', 5, 4), list('zero', 0)];
    using read = await readOnnx(model({ nodes, initializers }));
    expect(read.skipped).toEqual([]);
    expect(read.tensors).toMatchObject([
      { name: 'lstm', aliases: ['lstm.recurrent'], kind: 'lstm', roles: ['in', 'out'], shape: [9, 16] },
    ]);
  });

  test('RNN has the kind rnn, in any number of directions', async () => {
    const initializers = [tensor('w', [2, 4, 3]), tensor('r', [2, 4, 4])];
    expect(await layersOf({ nodes: [node('RNN', 'x w r', 'y', { name: 'cell' })], initializers })).toEqual([
      'cell rnn (out in) 8x3',
      'cell.recurrent rnn (out in) 8x4',
    ]);
  });

  test('A weight of too many constants is skipped', async () => {
    const parts = Array.from({ length: 17 }, (_, index) => `p${index}`);
    const nodes = [node('Concat', parts.join(' '), 'c', { attributes: [integerAttribute('axis', 1)] }), lstm('x c r')];
    const initializers = [...parts.map((name) => tensor(name, [1, 4, 3])), tensor('r', [1, 68, 17])];
    using read = await readOnnx(model({ nodes, initializers }));
    expect(read.tensors).toMatchObject([{ name: 'lstm.recurrent' }]);
    expect(read.skipped).toMatchObject([{ name: 'lstm', weights: 0 }, ...parts.map((name) => ({ name, weights: 12 }))]);
  });
});

describe('tied weights', () => {
  const gather = node('Gather', 'w i', 'e', { name: 'embed' });
  const head = node('MatMul', 'h t', 'z', { name: 'head' });
  const transpose = node('Transpose', 'w', 't');
  const cases: readonly (readonly [title: string, nodes: Uint8Array[], kind: string, roles: string])[] = [
    ['an embedding and a head', [gather, transpose, head], 'embedding', 'out in'],
    ['a head and an embedding', [transpose, head, gather], 'dense', 'out in'],
    [
      'an embedding and a Gemm',
      [gather, node('Gemm', 'h w', 'z', { name: 'head', attributes: flags('transB') })],
      'embedding',
      'out in',
    ],
    [
      'both sides of a product',
      [node('MatMul', 'w x', 'e', { name: 'embed' }), node('MatMul', 'h w', 'z', { name: 'head' })],
      'dense',
      'out in',
    ],
  ];
  test.each(cases)(
    'Tied weights are one tensor that is pruned by single weights: %s',
    async (_title, nodes, kind, roles) => {
      const bytes = model({ nodes, initializers: [mixed('w', 1, 8, 8)] });
      using read = await readOnnx(bytes);
      expect(read.skipped).toEqual([]);
      expect(read.tensors).toMatchObject([{ kind, roles: roles.split(' '), partners: [] }]);
      const { name, aliases } = read.tensors[0]!;
      expect([name, ...aliases].sort()).toEqual(['embed', 'head']);
      for (const granularity of ['row', 'column', 'filter', { nm: [2, 4] }, { block: { in: 4 } }] as const) {
        const sparsifier = new Sparsifier(read, { ...all, granularity });
        const error = await sparsifier
          .sparsifyModel(...(typeof granularity === 'object' && 'nm' in granularity ? [] : [50]))
          .then(
            () => undefined,
            (thrown: unknown) => thrown as SparsifyError,
          );
        expect(error).toBeInstanceOf(SparsifyError);
        expect(error).toMatchObject({
          code: 'granularity',
          message: expect.stringContaining('several nodes share it') as string,
        });
      }
      expect(await read.bytes()).toEqual(bytes);
      await new Sparsifier(read, { ...all, granularity: 'weight' }).sparsifyModel(50);
      const expected = bytes.slice();
      pruneMatrixNaively(expected, readGraphOf(bytes).constants.get('w')!, 50, 'weight');
      expect(await read.bytes()).toEqual(expected);
    },
  );
});

describe('local functions', () => {
  const linear = localFunction(
    'my.own',
    'Linear',
    'x weight bias',
    'y',
    node('Transpose', 'weight', 't'),
    node('MatMul', 'x t', 'm'),
    node('Add', 'm bias', 'y'),
  );
  const call = (op: string, inputs: string, output: string, ...attributes: Uint8Array[]) =>
    node(op, inputs, output, { name: output, domain: 'my.own', attributes });

  test('A weight that is passed into a function is a layer for each call', async () => {
    const nodes = [call('Linear', 'x w b', 'y'), call('Linear', 'y v c', 'z')];
    const initializers = [tensor('w', [4, 3]), tensor('b', [4]), tensor('v', [2, 4]), tensor('c', [2])];
    using read = await readOnnx(model({ nodes, initializers }, 17, [linear]));
    expect(read.skipped).toEqual([]);
    expect(read.tensors).toMatchObject([
      { name: 'w', shape: [4, 3], roles: ['out', 'in'], partners: [{ part: 'bias' }] },
      { name: 'v', shape: [2, 4], roles: ['out', 'in'], partners: [{ part: 'bias' }] },
    ]);
  });

  test('A constant in the body of a function is one tensor, however often it is called', async () => {
    const body = localFunction('my.own', 'Fixed', 'x', 'y', constant('k', [3, 4]), node('MatMul', 'x k', 'y'));
    const nodes = [call('Fixed', 'x', 'y'), call('Fixed', 'y', 'z')];
    expect(await layersOf({ nodes }, [body])).toEqual(['k dense (in out) 3x4']);
  });

  test('Attributes of a call decide how the body reads a weight', async () => {
    const body = localFunction(
      'my.own',
      'Grouped',
      'x w',
      'y',
      node('Conv', 'x w', 'y', { name: 'conv', attributes: [referenceAttribute('group', 'parts')] }),
    );
    const nodes = [call('Grouped', 'x w', 'y', integerAttribute('parts', 2)), call('Grouped', 'y v', 'z')];
    const initializers = [tensor('w', [4, 3, 2]), tensor('v', [4, 3, 2])];
    expect(await layersOf({ nodes, initializers }, [body])).toEqual([
      'conv conv1d (out in width) 4x3x2 in 2 groups',
      'v conv1d (out in width) 4x3x2',
    ]);
  });

  test('Functions call each other, also from a subgraph, and may return what they are given', async () => {
    const outer = localFunction(
      'my.own',
      'Outer',
      'x weight bias',
      'y same',
      call('Linear', 'x weight bias', 'y'),
      node('Identity', 'weight', 'same'),
    );
    const same = localFunction('my.own', 'Same', 'p q', 'p');
    const branch = graph({
      nodes: [call('Outer', 'x w b', 'u s'), call('Same', 's b', 'r'), node('MatMul', 'x r', 'v')],
    });
    const nodes = [node('If', 'c', 'y', { attributes: [graphAttribute('then_branch', branch)] })];
    using read = await readOnnx(
      model({ nodes, initializers: [tensor('w', [4, 4]), tensor('b', [4])] }, 17, [linear, outer, same]),
    );
    // Linear reads it as (out, in), and the MatMul after the call as (in, out).
    expect(read.tensors).toMatchObject([{ name: 'w', onlyWeight: expect.stringContaining('several nodes') as string }]);
    expect(read.weights).toBe(16);
  });

  test.each([
    ['calls itself', [localFunction('my.own', 'Linear', 'x w b', 'y', call('Linear', 'x w b', 'y'))]],
    [
      'calls too many others',
      Array.from({ length: 40 }, (_, level) => {
        const inner = level === 0 ? node('Relu', 'x', 'm') : call(`F${level - 1}`, 'x', 'm');
        const name = level === 39 ? 'Linear' : `F${level}`;
        return localFunction(
          'my.own',
          name,
          'x',
          'y',
          inner,
          level === 0 ? node('Relu', 'm', 'y') : call(`F${level - 1}`, 'm', 'y'),
        );
      }),
    ],
  ])('A model is refused if a function %s', async (_title, functions) => {
    const bytes = model({ nodes: [call('Linear', 'x w b', 'y')], initializers: [tensor('w', [4, 3])] }, 17, functions);
    await expect(readOnnx(bytes)).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('call each other') as string,
    });
  });
});

describe('other constants', () => {
  const listed = async (options: GraphOptions) => {
    using read = await readOnnx(model(options));
    return { layers: read.tensors.length, skipped: read.skipped, weights: read.weights };
  };

  test('A constant that no layer reads is skipped with the nodes that read it', async () => {
    const nodes = [node('Mul', 'x a', 'p'), node('Add', 'p a', 'q'), node('Odd', 'q b', 'r', { domain: 'my.own' })];
    const initializers = [tensor('a', [4, 1]), tensor('b', [2, 3]), tensor('unread', [5, 5]), tensor('vector', [7])];
    expect(await listed({ nodes, initializers })).toEqual({
      layers: 0,
      weights: 10,
      skipped: [
        {
          name: 'a',
          operator: 'Mul',
          shape: [4, 1],
          weights: 4,
          reason: 'it is an operand of Mul, an operand of Add, not the weight of a layer',
        },
        {
          name: 'b',
          operator: 'my.own.Odd',
          shape: [2, 3],
          weights: 6,
          reason: 'it is an operand of my.own.Odd, not the weight of a layer',
        },
      ],
    });
  });

  test('A bias of several axes is skipped, since it changes with the channels of its layer', async () => {
    const nodes = [node('Conv', 'x w', 'y', { name: 'conv' }), node('Add', 'y b', 'z')];
    const { skipped } = await listed({ nodes, initializers: [tensor('w', [4, 3, 1, 1]), tensor('b', [4, 1, 1])] });
    const reason = 'its numbers are removed with the output channels of conv';
    expect(skipped).toEqual([{ name: 'b', operator: 'Add', shape: [4, 1, 1], weights: 4, reason }]);
  });

  test('A weight that is computed has no numbers of its own', async () => {
    const nodes = [node('Mul', 'a b', 'w'), node('MatMul', 'x w', 'y', { name: 'fc' })];
    const { skipped, weights } = await listed({ nodes, initializers: [tensor('a', [3, 4]), tensor('b', [3, 1])] });
    expect(weights).toBe(15);
    expect(skipped).toMatchObject([
      { name: 'fc', reason: 'its weight is computed from constants by Mul', operator: 'MatMul', shape: [], weights: 0 },
      { name: 'a', weights: 12 },
      { name: 'b', weights: 3 },
    ]);
  });

  test('A sparse tensor counts the numbers that it stores', async () => {
    const { skipped, weights } = await listed({
      nodes: [node('MatMul', 'x w', 'y')],
      sparse: [sparseTensor('w', [40, 30], 7)],
    });
    expect(weights).toBe(7);
    expect(skipped).toEqual([
      { name: 'w', operator: 'MatMul', shape: [40, 30], weights: 7, reason: 'it is stored as a sparse tensor' },
    ]);
  });

  test('A tensor in an attribute of a node counts too', async () => {
    const table = node('Odd', 'x', 'y', {
      name: 'odd',
      domain: 'my.own',
      attributes: [tensorAttribute('table', tensor('', [3, 5]))],
    });
    const { skipped } = await listed({ nodes: [table] });
    expect(skipped).toMatchObject([{ name: 'odd.table', operator: 'my.own.Odd', shape: [3, 5], weights: 15 }]);
  });

  test.each(['float64', 'float8e4m3fn'] as const)('Weights of type %s are skipped, and counted', async (dtype) => {
    const { skipped, weights } = await listed({
      nodes: [node('MatMul', 'x w', 'y')],
      initializers: [tensor('w', [3, 4], { dtype })],
    });
    expect(weights).toBe(12);
    expect(skipped).toMatchObject([
      { name: 'w', weights: 12, reason: expect.stringContaining(`its type is ${dtype}`) as string },
    ]);
  });
});

describe('files that once went wrong', () => {
  const cases: readonly (readonly [name: string, layers: Record<string, number>])[] = [
    ['ms_fusedconv', { fc: 216, c2: 32 }],
    ['ms_fusedgemm_matmul', { fg: 48, fm: 32 }],
    ['ms_attention', { att: 192, proj: 64 }],
    ['ort_ext', { c1: 432, c2: 2304, 'fused g': 192, 'mm/MatmulTransposeFusion/': 60 }],
    ['fn_weight_passed', { 'fc1.weight': 48, 'fc2.weight': 32 }],
    ['op_einsum', { es: 64, mm: 32 }],
    ['op_rnn', { rnn: 15, 'rnn.recurrent': 25, mm: 10 }],
    ['tied', { embed: 256, fc: 64 }],
    ['cast_fp16', { c1: 216, c2: 32 }],
    ['qdq_float', { c1: 216 }],
    ['mm_1lead', { fc: 48 }],
  ];
  test.each(cases)('All weights of %s are layers, and half of them can be removed', async (name, layers) => {
    using read = await readOnnx(await readBytes(`cases/${name}.onnx`));
    expect(Object.fromEntries(read.tensors.map(({ name, values }) => [name, values.length]))).toEqual(layers);
    const { total } = await new Sparsifier(read, { ...all, granularity: 'weight' }).sparsifyModel(50);
    expect(total.zeros).toBe(total.weights / 2);
  });

  test('A tensor of 100,000 axes is skipped', async () => {
    using read = await readOnnx(await readBytes('cases/onnx-perm-chain.onnx'));
    expect(read.tensors).toEqual([]);
    expect(read.skipped).toMatchObject([{ operator: 'Transpose', weights: 1 }]);
    expect(read.skipped[0]!.shape).toHaveLength(100_000);
  });

  test('Thousands of layers without names have names of their own', async () => {
    using read = await readOnnx(await readBytes('cases/onnx-names-quadratic.onnx'));
    expect(new Set(read.skipped.map(({ name }) => name)).size).toBe(7000);
  });
});
