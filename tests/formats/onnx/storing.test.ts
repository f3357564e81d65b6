import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { forms, storageOf, type Form } from '../../support/internal.js';
import {
  constant,
  floatAttribute,
  integerAttribute,
  localFunction,
  model,
  node,
  numbers,
  tensor,
  type GraphOptions,
} from '../../support/onnx-builder.js';

const onnxForms = ['int8', 'int8-dynamic', 'int4', 'float16'] as const;

/** The storage of a model that is not used any further. */
async function storageIn(bytes: Uint8Array) {
  using read = await readOnnx(bytes);
  return { storage: storageOf(read).storage, tensors: read.tensors, skipped: read.skipped };
}

const one = (
  nodes: readonly Uint8Array[],
  initializers = [tensor('w', [8, 8])],
  inputs: GraphOptions['inputs'] = { x: 2 },
) => ({
  nodes,
  initializers,
  inputs,
  outputs: { y: undefined },
});
const product = (op: string, inputs: string, ...attributes: readonly Uint8Array[]) =>
  one([node(op, inputs, 'y', { name: 'layer', attributes })]);

test('ONNX has four forms, and products are dynamic by default where the operators are there', async () => {
  for (const [opset, dense] of [
    [10, 'int8'],
    [11, 'int8-dynamic'],
    [17, 'int8-dynamic'],
  ] as const) {
    const { storage } = await storageIn(model(product('MatMul', 'x w'), opset));
    expect(storage.forms).toEqual(onnxForms);
    expect(forms).toEqual(expect.arrayContaining([...storage.forms]));
    expect(storage.usualForm('dense')).toBe(dense);
    for (const kind of ['conv2d', 'convTranspose1d', 'embedding', 'lstm'] as const)
      expect(storage.usualForm(kind)).toBe('int8');
  }
});

const multiplied = ['int8-dynamic', 'int4'] as const;

interface Case {
  readonly options: GraphOptions;
  readonly forms: readonly Form[];
  readonly reason: string;
  readonly opset?: number;
  readonly functions?: readonly Uint8Array[];
}

const cases: Readonly<Record<string, Case>> = {
  'an opset without DynamicQuantizeLinear': {
    options: product('MatMul', 'x w'),
    opset: 10,
    forms: ['int8-dynamic'],
    reason: 'its operators need opset 11 or later, and the file has opset 10',
  },
  'sums that are too long': {
    options: one([node('MatMul', 'x w', 'y', { name: 'layer' })], [tensor('w', [66312, 2])]),
    forms: ['int8-dynamic'],
    reason: 'sums of more than 66311 products of codes may not fit into 32 bits',
  },
  'a convolution': {
    options: one([node('Conv', 'x w', 'y', { name: 'layer' })], [tensor('w', [8, 8, 1, 1])], { x: 4 }),
    forms: multiplied,
    reason: 'only MatMul and Gemm multiply codes, and it is the weight of Conv layer',
  },
  'a table': {
    options: one([node('Gather', 'w x', 'y', { name: 'layer' })], undefined, { x: { shape: [3], type: 7 } }),
    forms: multiplied,
    reason: 'only MatMul and Gemm multiply codes, and it is the weight of Gather layer',
  },
  'the left factor': {
    options: product('MatMul', 'w x'),
    forms: multiplied,
    reason: 'it is the left factor of MatMul layer',
  },
  'a stack of matrices': {
    options: one([node('MatMul', 'x w', 'y', { name: 'layer' })], [tensor('w', [2, 8, 8])], { x: 3 }),
    forms: multiplied,
    reason: 'it has 3 axes, and codes are multiplied as matrices',
  },
  'a product with a vector': {
    options: { ...product('MatMul', 'x w'), inputs: { x: 1 } },
    forms: multiplied,
    reason: 'MatMul layer multiplies it with a vector',
  },
  'a Gemm that transposes its input': {
    options: product('Gemm', 'x w', integerAttribute('transA', 1)),
    forms: multiplied,
    reason: 'Gemm layer transposes its input, or multiplies its bias or output by a factor',
  },
  'a Gemm that multiplies its bias': {
    options: one(
      [node('Gemm', 'x w b', 'y', { name: 'layer', attributes: [floatAttribute('beta', 2)] })],
      [tensor('w', [8, 8]), tensor('b', [8])],
    ),
    forms: multiplied,
    reason: 'Gemm layer transposes its input, or multiplies its bias or output by a factor',
  },
  'a Gemm that negates its product': {
    options: product('Gemm', 'x w', floatAttribute('alpha', -1)),
    forms: multiplied,
    reason: 'Gemm layer transposes its input, or multiplies its bias or output by a factor',
  },
  'a weight of 16 bits': {
    options: one(
      [
        node('Cast', 'w', 'c', { attributes: [integerAttribute('to', 1)] }),
        node('MatMul', 'x c', 'y', { name: 'layer' }),
      ],
      [tensor('w', [8, 8], { dtype: 'float16' })],
    ),
    forms: multiplied,
    reason: 'its numbers are not of type float32',
  },
  'a weight of 16 bits, again': {
    options: one(
      [
        node('Cast', 'w', 'c', { attributes: [integerAttribute('to', 1)] }),
        node('MatMul', 'x c', 'y', { name: 'layer' }),
      ],
      [tensor('w', [8, 8], { dtype: 'bfloat16' })],
    ),
    forms: ['float16'],
    reason: 'its numbers have 16 bits already',
  },
  'a weight that is rounded': {
    options: one(
      [
        node('QuantizeLinear', 'w s', 'q'),
        node('DequantizeLinear', 'q s', 'd'),
        node('MatMul', 'x d', 'y', { name: 'layer' }),
      ],
      [tensor('w', [8, 8]), tensor('s', [], { data: numbers('float32', [0.5]) })],
    ),
    forms: multiplied,
    reason: 'QuantizeLinear rounds it',
  },
  codes: {
    options: one(
      [node('DequantizeLinear', 'w s', 'd'), node('MatMul', 'x d', 'y', { name: 'layer' })],
      [tensor('w', [8, 8], { dtype: 'int8' }), tensor('s', [], { data: numbers('float32', [0.5]) })],
    ),
    forms: onnxForms,
    reason: 'it is stored as codes already',
  },
  'a weight that two nodes read in different ways': {
    options: one([
      node('MatMul', 'x w', 'h', { name: 'layer' }),
      node('Gemm', 'h w', 'y', { name: 'second', attributes: [integerAttribute('transB', 1)] }),
    ]),
    forms: multiplied,
    reason: 'several nodes share it: dense (in, out) / dense (out, in)',
  },
  'a weight in a local function': {
    options: one([node('own', 'x', 'y', { domain: 'my.own', name: 'call' })], []),
    functions: [
      localFunction('my.own', 'own', 'a', 'b', constant('w', [8, 8]), node('MatMul', 'a w', 'b', { name: 'layer' })),
    ],
    forms: onnxForms,
    reason: 'it is in a local function',
  },
  'a weight that a local function multiplies': {
    options: one([node('own', 'x w', 'y', { domain: 'my.own', name: 'call' })]),
    functions: [localFunction('my.own', 'own', 'a v', 'b', node('MatMul', 'a v', 'b', { name: 'layer' }))],
    forms: multiplied,
    reason: 'MatMul layer is in a local function',
  },
};

describe('What a form does not allow is said with the reason', () => {
  test.each(Object.entries(cases))('%s', async (_name, { options, opset, functions, forms, reason }) => {
    const { storage, tensors } = await storageIn(model(options, opset, functions));
    const layer = tensors.find(({ name }) => name === 'layer')!;
    for (const form of forms) expect(storage.obstacle(layer, form)).toBe(reason);
    // Nothing else is in the way.
    for (const form of onnxForms)
      if (!forms.includes(form) && layer.values.dtype === 'float32')
        expect(storage.obstacle(layer, form)).toBeUndefined();
  });
});

test('Sums that just fit into 32 bits are no obstacle', async () => {
  const { storage, tensors } = await storageIn(model(one([node('MatMul', 'x w', 'y')], [tensor('w', [66311, 2])])));
  expect(storage.obstacle(tensors[0]!, 'int8-dynamic')).toBeUndefined();
});

test('A weight that is an output of the graph is no layer, so it has no form', async () => {
  const { tensors, skipped } = await storageIn(
    model({ ...product('MatMul', 'x w'), outputs: { y: undefined, w: undefined } }),
  );
  expect(tensors).toEqual([]);
  expect(skipped).toMatchObject([{ reason: 'it is an output of the graph' }]);
});

test('Other numbers are those of 32 bits that are worth a node, and that nothing needs as they are', async () => {
  const list = (name: string, length = 64) => tensor(name, [length]);
  const { storage } = await storageIn(
    model({
      nodes: [
        node('Gemm', 'x w bias', 'a', { name: 'layer' }),
        node('BatchNormalization', 'a gamma beta mean variance', 'b'),
        node('Add', 'b short', 'c'),
        node('QuantizeLinear', 'c scales zeros', 'q', { attributes: [integerAttribute('axis', 1)] }),
        node('DequantizeLinear', 'q scales zeros', 'd', { attributes: [integerAttribute('axis', 1)] }),
        node('Mul', 'left right', 'constant'),
        node('Mul', 'd constant', 'e'),
        node('Add', 'e given', 'f'),
        node('Identity', 'whole', 'i'),
        node('Add', 'f i', 'y'),
        node('Cast', 'half', 'h', { attributes: [integerAttribute('to', 1)] }),
        node('Add', 'f h', 'z'),
        constant('inner', [64]),
        node('Add', 'f inner', 'v'),
        node('MatMul', 'f left', 'u', { name: 'left' }),
        node('Reshape', 'table shape', 't'),
        node('Add', 'f t', 's'),
      ],
      initializers: [
        ...[tensor('w', [64, 64]), list('bias'), list('gamma'), list('beta'), list('mean'), list('variance')],
        ...[list('short', 1), list('scales'), tensor('zeros', [64], { dtype: 'int8' }), list('left'), list('right')],
        ...[list('given'), list('whole'), list('unused'), tensor('half', [64], { dtype: 'float16' })],
        ...[tensor('table', [2, 64]), tensor('shape', [2], { dtype: 'int64', data: numbers('int64', [2, 64]) })],
      ],
      inputs: { x: 2 },
      outputs: { y: undefined, z: undefined, v: undefined, given: undefined, u: undefined, s: undefined },
    }),
  );
  const others = storage.others();
  expect(others.map(({ name }) => name)).toEqual([
    'bias',
    'gamma',
    'beta',
    'mean',
    'variance',
    'whole',
    'table',
    'inner',
  ]);
  for (const { values } of others) expect(values.dtype).toBe('float32');
});
