import { describe, expect, test } from 'vitest';
import { storageOf } from '../../support/internal.js';
import {
  bytesField,
  concat,
  constant,
  graph,
  graphAttribute,
  integerAttribute,
  integerField,
  localFunction,
  model,
  node,
  numbers,
  tensor,
  textField,
  type GraphOptions,
} from '../../support/onnx-builder.js';
import { codesOf } from '../../support/onnx-codes.js';
import { readGraphOf } from '../../support/onnx-reader.js';
import {
  bytesOf,
  expectNear,
  files,
  type Files,
  inBranches,
  narrowNumbers,
  type Network,
  read,
  run,
  stored,
  twoReaders,
  weight,
} from '../../support/stored-models.js';

/** The files of a model with its codes as floats, and what is said about them. */
async function dequantized(before: Files) {
  using model = await read(before);
  const { storage, current } = storageOf(model);
  return await storage.dequantized(current);
}

const cast = (from: string, to: string, type = 1) =>
  node('Cast', from, to, { attributes: [integerAttribute('to', type)] });
const axis = (value: number) => integerAttribute('axis', value);
const operatorsOf = (bytes: Uint8Array) => readGraphOf(bytes).nodes.map(({ op }) => op);
const mainOf = (files: Files) => [...files.values()][0]!;

const one = (op: string, shape: readonly number[], from: readonly number[], ...attributes: Uint8Array[]): Network => ({
  options: {
    nodes: [node(op, 'x w', 'y', { name: 'layer', attributes })],
    initializers: [weight('w', shape)],
    inputs: { x: from },
    outputs: { y: undefined },
  },
  inputs: { x: from },
});
const transB = integerAttribute('transB', 1);
const withBias = (op: string, ...attributes: Uint8Array[]): Network => ({
  options: {
    nodes: [node(op, 'x w b', 'y', { name: 'layer', attributes })],
    initializers: [weight('w', [7, 40]), weight('b', [7])],
    inputs: { x: [3, 40] },
    outputs: { y: undefined },
  },
  inputs: { x: [3, 40] },
});
const older = (network: Network): Network => ({ ...network, opset: 11, version: 3 });

/** Networks that have one weight, `w`, and forms that it can have. */
const networks: Readonly<Record<string, Network>> = {
  'a convolution': one('Conv', [6, 3, 3, 3], [1, 3, 7, 7]),
  'a transposed convolution in groups': one('ConvTranspose', [4, 3, 3], [1, 4, 5], integerAttribute('group', 2)),
  'a product': { ...one('MatMul', [40, 7], [3, 40]), forms: ['int8', 'float16', 'int8-dynamic', 'int4'] },
  'a stack of products': one('MatMul', [2, 5, 7], [2, 3, 5]),
  'a Gemm with a bias': { ...withBias('Gemm', transB), forms: ['int8', 'float16', 'int8-dynamic', 'int4'] },
  'a product whose weight is a Constant node': {
    options: {
      nodes: [
        node('Relu', 'x', 'z'),
        constant('w', [5, 7], bytesOf(35, 2)),
        node('MatMul', 'z w', 'y', { name: 'layer' }),
      ],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
    forms: ['int8', 'float16', 'int8-dynamic', 'int4'],
  },
  'a weight that two nodes share': { ...twoReaders, forms: ['int8', 'float16', 'int8-dynamic', 'int4'] },
  'a file whose constants are inputs of the graph': older({
    options: {
      nodes: [node('MatMul', 'x w', 'y', { name: 'layer' })],
      initializers: [weight('w', [5, 7])],
      inputs: { x: [3, 5], w: [5, 7] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
    forms: ['int8', 'float16', 'int8-dynamic'],
  }),
  'a bfloat16 weight behind Cast': {
    options: {
      nodes: [cast('w', 'c'), node('MatMul', 'x c', 'y', { name: 'layer' })],
      initializers: [tensor('w', [5, 7], { dtype: 'bfloat16', data: narrowNumbers(35, 'bfloat16') })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
    forms: ['int8'],
  },
  'a weight of a subgraph, and one outside of it': {
    ...inBranches,
    forms: ['int8', 'float16', 'int8-dynamic', 'int4'],
  },
};

/** Files in which the weights are external data, with what lies between them. */
const external = (network: Network): Files => {
  const at = (offset: number) => ({ external: { location: 'data.bin', offset, length: 1120 } });
  const options = {
    ...network.options,
    nodes: [
      node('MatMul', 'x w', 'h', { name: 'layer' }),
      node('MatMul', 'x v', 'g', { name: 'other' }),
      node('Add', 'h g', 'y'),
    ],
    initializers: [tensor('w', [40, 7], at(64)), tensor('v', [40, 7], at(2048))],
  };
  const data = new Uint8Array(4096);
  data.set(bytesOf(280, 1).data, 64);
  data.set(bytesOf(280, 2).data, 2048);
  return new Map([...files({ ...network, options }), ['data.bin', data]]);
};

describe.each(Object.entries(networks))('%s', (_name, network) => {
  test.each(network.forms ?? (['int8', 'float16'] as const))(
    'What was stored as %s is as it was, with the numbers of that form',
    async (form) => {
      const { after, reference } = await stored(files(network), form);
      const { files: floats, changed, skipped } = await dequantized(after);
      const from =
        { int8: 'int8', 'int8-dynamic': 'int8', int4: '4-bit codes (MatMulNBits)' }[form as 'int8'] ?? 'float16';
      expect(changed.map((each) => each.from)).toEqual(changed.map(() => from));
      expect(skipped).toEqual([]);
      // A Gemm becomes a product and a sum, and what is rounded to 16 bits stays so.
      const isKept = (op: string) => op !== 'Cast' && op !== 'Constant';
      const operators = operatorsOf(mainOf(files(network))).filter(isKept);
      const isReplaced = form === 'int8-dynamic' || form === 'int4';
      const expectedOperators = isReplaced
        ? operators.flatMap((op) => (op === 'Gemm' ? ['MatMul', 'Add'] : [op]))
        : operators;
      expect(operatorsOf(mainOf(floats)).filter(isKept)).toEqual(expectedOperators);
      using again = await read(floats);
      using expected = await read(reference);
      expect(again.skipped).toEqual([]);
      expect(again.weights).toBe(expected.weights);
      for (const level of ['disabled', 'all'] as const) {
        expectNear(await run(floats, network.inputs, level), await run(reference, network.inputs, level));
      }
      expect((await dequantized(floats)).files).toEqual(floats);
    },
  );
});

test.each(['int8', 'float16', 'int8-dynamic', 'int4'] as const)(
  'Floats in the place of external data of the form %s are external data, too',
  async (form) => {
    const network = one('MatMul', [40, 7], [3, 40]);
    const before = external(network);
    const { after, reference } = await stored(before, form);
    expect(after.get('data.bin')!.length).toBeLessThan(before.get('data.bin')!.length);
    const { files: floats } = await dequantized(after);
    const [[, main], [location, data]] = [...floats] as [[string, Uint8Array], [string, Uint8Array]];
    expect([location, floats.size]).toEqual(['data.bin', 2]);
    expect(data.length).toBeGreaterThanOrEqual(2240);
    expect(readGraphOf(main).external.size).toBe(2);
    expectNear(await run(floats, network.inputs, 'disabled'), await run(reference, network.inputs, 'disabled'));
  },
);

const codes = (name: string, type: 'int8' | 'uint8' = 'int8', shape: readonly number[] = [5, 7]) =>
  tensor(name, shape, { dtype: type, data: codesOf(type, shape) });
const scale = (name: string, shape: readonly number[] = []) =>
  tensor(name, shape, {
    data: numbers(
      'float32',
      Array.from({ length: shape[0] ?? 1 }, (_, at) => 0.01 * (at + 1)),
    ),
  });
const zero = (name: string, value: number) => tensor(name, [], { dtype: 'uint8', data: numbers('uint8', [value]) });
const half = (name: string, shape: readonly number[]) =>
  tensor(name, shape, {
    dtype: 'float16',
    data: narrowNumbers(
      shape.reduce((product, size) => product * size, 1),
      'float16',
    ),
  });

/** Models that decode codes in another way than a chain of nodes, with the operators that are left. */
const others: (readonly [title: string, options: GraphOptions, operators: readonly string[]])[] = [
  [
    'codes that are transposed before they are decoded',
    {
      nodes: [
        node('Transpose', 'w', 't'),
        node('DequantizeLinear', 't s', 'd', { attributes: [axis(1)] }),
        node('MatMul', 'x d', 'y'),
      ],
      initializers: [codes('w', 'int8', [7, 5]), scale('s', [7])],
    },
    ['Transpose', 'Identity', 'MatMul'],
  ],
  [
    'codes that are decoded twice',
    {
      nodes: [
        node('DequantizeLinear', 'w s z', 'd'),
        node('DequantizeLinear', 'w s z', 'e'),
        node('MatMul', 'x d', 'h'),
        node('MatMul', 'x e', 'g'),
        node('Add', 'g h', 'y'),
      ],
      initializers: [codes('w', 'uint8'), scale('s'), zero('z', 17)],
    },
    ['Identity', 'Identity', 'MatMul', 'MatMul', 'Add'],
  ],
  [
    'codes of a graph that its subgraphs decode under one name',
    {
      nodes: [
        node('ReduceMax', 'x', 'most', { attributes: [integerAttribute('keepdims', 0)] }),
        node('Greater', 'most s', 'condition'),
        node('If', 'condition', 'y', {
          attributes: ['then', 'else'].map((branch) =>
            graphAttribute(
              `${branch}_branch`,
              graph({
                nodes: [node('DequantizeLinear', `${branch} s`, 'd'), node('MatMul', 'x d', 'p')],
                outputs: { p: undefined },
              }),
            ),
          ),
        }),
      ],
      initializers: [codes('then'), codes('else'), scale('s')],
    },
    ['ReduceMax', 'Greater', 'If'],
  ],
  [
    'codes that are shifted',
    {
      nodes: [
        cast('w', 'f'),
        cast('z', 'zf'),
        node('Sub', 'f zf', 'g'),
        node('Mul', 's g', 'd'),
        node('MatMul', 'x d', 'y'),
      ],
      initializers: [codes('w', 'uint8'), scale('s', [7]), zero('z', 128)],
    },
    ['MatMul'],
  ],
  [
    'codes with a scale that something else reads too',
    {
      nodes: [
        node('DequantizeLinear', 'w s', 'd', { attributes: [axis(1)] }),
        node('MatMul', 'x d', 'h'),
        node('Mul', 'h s', 'y'),
      ],
      initializers: [codes('w'), scale('s', [7])],
    },
    ['MatMul', 'Mul'],
  ],
  [
    'codes of half precision',
    {
      nodes: [node('DequantizeLinear', 'w s', 'd'), cast('d', 'f'), node('MatMul', 'x f', 'y')],
      initializers: [codes('w'), half('s', [])],
    },
    ['Cast', 'MatMul'],
  ],
  [
    'halves that two nodes convert',
    {
      nodes: [cast('w', 'd'), cast('w', 'e'), node('MatMul', 'x d', 'h'), node('Add', 'h e', 'y')],
      initializers: [half('w', [5, 5])],
    },
    ['Identity', 'Identity', 'MatMul', 'Add'],
  ],
  [
    'a product whose input is rounded for two of them, with zero points',
    {
      nodes: [
        node('DynamicQuantizeLinear', 'x', 'q a z'),
        node('MatMulInteger', 'q w z wz', 'i'),
        cast('i', 'f'),
        node('Mul', 's a', 'b'),
        node('Mul', 'f b', 'h'),
        node('MatMulInteger', 'q v z', 'j'),
        cast('j', 'g'),
        node('Mul', 'a t', 'c'),
        node('Mul', 'c g', 'k'),
        node('Add', 'h k', 'y'),
      ],
      initializers: [codes('w', 'uint8'), codes('v'), scale('s'), scale('t', [7]), zero('wz', 128)],
    },
    ['MatMul', 'MatMul', 'Add'],
  ],
  [
    'a product in one node, with a bias',
    {
      nodes: [node('DynamicQuantizeMatMul', 'x w s z b', 'y', { domain: 'com.microsoft' })],
      initializers: [codes('w', 'uint8'), scale('s'), zero('z', 128), weight('b', [7])],
    },
    ['MatMul', 'Add'],
  ],
  [
    'a product with floats at its end',
    {
      nodes: [
        node('DynamicQuantizeLinear', 'x', 'q a z'),
        node('MatMulIntegerToFloat', 'q w a s z - b', 'y', { domain: 'com.microsoft' }),
      ],
      initializers: [codes('w'), scale('s', [7]), weight('b', [7])],
    },
    ['MatMul', 'Add'],
  ],
  [
    'a product whose codes are transposed first',
    {
      nodes: [
        node('DynamicQuantizeLinear', 'x', 'q a z'),
        node('Transpose', 'w', 't'),
        node('MatMulInteger', 'q t z', 'i'),
        cast('i', 'f'),
        node('Mul', 's a', 'b'),
        node('Mul', 'f b', 'y'),
      ],
      initializers: [codes('w', 'int8', [7, 5]), scale('s', [7])],
    },
    ['Transpose', 'MatMul'],
  ],
  [
    'blocks with a bias that two products share',
    {
      nodes: ['p', 'q']
        .map((name) =>
          node('MatMulNBits', 'x w s - - b', name, {
            domain: 'com.microsoft',
            attributes: Object.entries({ N: 7, K: 5, bits: 4, block_size: 16 }).map(([key, value]) =>
              integerAttribute(key, value),
            ),
          }),
        )
        .concat(node('Add', 'p q', 'y')),
      initializers: [codes('w', 'uint8', [7, 1, 8]), scale('s', [7]), weight('b', [7])],
    },
    ['MatMul', 'Add', 'MatMul', 'Add', 'Add'],
  ],
];

/** Products with blocks of codes that are stored in other ways. */
const blocks = (
  sizes: Readonly<Record<string, number>>,
  inputs: string,
  output: string,
  ...initializers: Uint8Array[]
): GraphOptions => ({
  nodes: [
    node('MatMulNBits', inputs, output, {
      domain: 'com.microsoft',
      attributes: Object.entries({ N: 7, K: 5, ...sizes }).map(([key, value]) => integerAttribute(key, value)),
    }),
  ],
  initializers,
});
others.push(
  [
    'blocks of 4 bits with zero points that are floats',
    blocks(
      { bits: 4, block_size: 16 },
      'x w s z',
      'y',
      codes('w', 'uint8', [7, 1, 8]),
      scale('s', [7]),
      tensor('z', [7], { data: numbers('float32', [7.5, 8, 9, 1, 2, 3, 4]) }),
    ),
    ['MatMul'],
  ],
  [
    'blocks of 2 bits',
    blocks({ bits: 2, block_size: 16 }, 'x w s', 'y', codes('w', 'uint8', [7, 1, 4]), scale('s', [7])),
    ['MatMul'],
  ],
  [
    'blocks of half precision',
    {
      nodes: [cast('x', 'h', 10), ...blocks({ bits: 4, block_size: 16 }, 'h w s', 'p').nodes!, cast('p', 'y')],
      initializers: [codes('w', 'uint8', [7, 1, 8]), half('s', [7])],
    },
    ['Cast', 'MatMul', 'Cast'],
  ],
  [
    'blocks of 8 bits with a zero point for each',
    blocks(
      { bits: 8, block_size: 16 },
      'x w s z',
      'y',
      codes('w', 'uint8', [7, 1, 16]),
      scale('s', [7]),
      codes('z', 'uint8', [7]),
    ),
    ['MatMul'],
  ],
);

const networkOf = (options: GraphOptions): Files => {
  const bytes = model({ ...options, inputs: { x: [5, 5] }, outputs: { y: undefined } }, 21);
  const microsoft = bytesField(8, concat(textField(1, 'com.microsoft'), integerField(2, 1)));
  return new Map([['model.onnx', concat(bytes, microsoft)]]);
};

test.each(others)('The floats give the outputs of the codes: %s', async (title, options, operators) => {
  const before = networkOf(options);
  const { files: floats, skipped } = await dequantized(before);
  expect(skipped).toEqual([]);
  expect(operatorsOf(mainOf(floats))).toEqual(operators);
  const [found, expected] = [
    await run(floats, { x: [5, 5] }, 'disabled'),
    await run(before, { x: [5, 5] }, 'disabled'),
  ];
  // The inputs of products were rounded to 8 bits. Numbers of half precision have 11, those of weights and of outputs.
  const tolerance = title.startsWith('a product') ? 0.02 : title === 'blocks of half precision' ? 2 ** -10 : undefined;
  if (tolerance === undefined) return expectNear(found, expected);
  const far = found.y!.map((number, index) => Math.abs(number - expected.y![index]!));
  expect(Math.max(...far)).toBeLessThan(tolerance * Math.max(...expected.y!.map(Math.abs)));
});

test('The types that a file states of codes are dropped where they become floats', async () => {
  const [, { nodes, initializers }] = others[0]!;
  // A type is stated as that of an input is, in field 13 of the graph.
  const stated = (name: string, type: number) => {
    const entry = graph({ inputs: { [name]: { shape: [5, 7], type } } }).subarray(graph({}).length);
    return concat(Uint8Array.of((13 << 3) | 2), entry.subarray(1));
  };
  const whole = graph({ nodes: nodes!, initializers: initializers!, inputs: { x: [5, 5] }, outputs: { y: undefined } });
  const fileWith = (...types: Uint8Array[]): Files =>
    new Map([
      [
        'model.onnx',
        concat(integerField(1, 8), bytesField(8, integerField(2, 21)), bytesField(7, concat(whole, ...types))),
      ],
    ]);
  const before = fileWith(stated('t', 3), stated('d', 1));
  const { files: floats } = await dequantized(before);
  expect(floats).toEqual((await dequantized(fileWith(stated('d', 1)))).files);
  expectNear(await run(floats, { x: [5, 5] }, 'disabled'), await run(before, { x: [5, 5] }, 'disabled'));
});

const kept: readonly (readonly [title: string, options: GraphOptions, reason: RegExp])[] = [
  [
    'codes of QLinearConv',
    {
      nodes: [node('QLinearConv', 'x s z w s z', 'y', { name: 'conv' })],
      initializers: [codes('w', 'uint8', [4, 4, 1]), scale('s'), zero('z', 0)],
    },
    /QLinearConv conv computes with its integers/,
  ],
  [
    'codes that are decoded in a local function',
    {
      nodes: [node('Decode', 'w s', 'd', { domain: 'my.own' }), node('MatMul', 'x d', 'y')],
      initializers: [codes('w'), scale('s')],
    },
    /DequantizeLinear is in a local function/,
  ],
  [
    'codes that another operator reads as integers',
    {
      nodes: [node('DequantizeLinear', 'w s', 'd'), node('MatMul', 'x d', 'y'), node('Neg', 'w', 'v')],
      initializers: [codes('w'), scale('s')],
    },
    /Neg reads it as int8/,
  ],
  [
    'halves that another operator reads',
    { nodes: [cast('w', 'd'), node('MatMul', 'x d', 'y'), node('Neg', 'w', 'v')], initializers: [half('w', [5, 7])] },
    /Neg reads it as float16/,
  ],
  [
    'a product whose inputs have a fixed scale',
    {
      nodes: [
        node('QuantizeLinear', 'x s z', 'q'),
        node('MatMulInteger', 'q w z', 'i'),
        cast('i', 'f'),
        node('Mul', 's s', 'b'),
        node('Mul', 'f b', 'y'),
      ],
      initializers: [codes('w'), scale('s'), zero('z', 9)],
    },
    /rounded with a fixed scale/,
  ],
  [
    'a product of integers whose output is used as such',
    {
      nodes: [node('DynamicQuantizeLinear', 'x', 'q a z'), node('MatMulInteger', 'q w z', 'y')],
      initializers: [codes('w')],
    },
    /Cast and Mul do not follow MatMulInteger/,
  ],
  [
    'blocks of another size',
    {
      nodes: [
        node('MatMulNBits', 'x w s', 'y', {
          domain: 'com.microsoft',
          attributes: Object.entries({ N: 7, K: 5, bits: 4, block_size: 32 }).map(([key, value]) =>
            integerAttribute(key, value),
          ),
        }),
      ],
      initializers: [codes('w', 'uint8', [7, 1, 8]), scale('s', [7])],
    },
    /its shape does not fit the attributes/,
  ],
  [
    'a table of codes that are an output',
    {
      nodes: [node('DequantizeLinear', 'w s', 'd'), node('MatMul', 'x d', 'y')],
      initializers: [codes('w'), scale('s')],
      outputs: { w: 2 },
    },
    /it is an output of the graph/,
  ],
];
test.each(kept)('Codes stay with a reason, and so does the file: %s', async (_title, options, reason) => {
  const decode = localFunction('my.own', 'Decode', 'u v', 'o', node('DequantizeLinear', 'u v', 'o'));
  const bytes = model({ inputs: { x: [5, 5] }, ...options }, 17, [decode]);
  const { files: after, changed, skipped } = await dequantized(new Map([['model.onnx', bytes]]));
  expect(changed).toEqual([]);
  expect(skipped.map((each) => each.reason)).toContainEqual(expect.stringMatching(reason));
  expect(mainOf(after)).toEqual(bytes);
});

test('Activations that are rounded stay, and are told', async () => {
  const nodes = [
    node('QuantizeLinear', 'x s z', 'q', { name: 'round' }),
    node('DequantizeLinear', 'q s z', 'r'),
    node('DequantizeLinear', 'w s', 'd'),
    node('MatMul', 'r d', 'y', { attributes: [] }),
  ];
  const before = networkOf({ nodes, initializers: [codes('w'), scale('s'), zero('z', 9)] });
  const { files: floats, changed, skipped } = await dequantized(before);
  expect(changed).toHaveLength(1);
  expect(skipped).toEqual([{ name: 'x', reason: 'QuantizeLinear round rounds it while the model runs' }]);
  expect(operatorsOf(mainOf(floats))).toEqual(['QuantizeLinear', 'DequantizeLinear', 'MatMul']);
  const shapes = { x: [5, 5] };
  expect(await run(floats, shapes, 'disabled')).toEqual(await run(before, shapes, 'disabled'));
});
