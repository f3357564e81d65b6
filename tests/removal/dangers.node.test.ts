// Graphs on which a removal would be wrong without any error.
import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { narrowed } from '../support/internal.js';
import {
  constant,
  floatAttribute,
  floatsAttribute,
  graph,
  graphAttribute,
  integerAttribute,
  integersAttribute,
  list,
  model,
  node,
  numbers,
  tensor,
  tensorAttribute,
  textAttribute,
} from '../support/onnx-builder.js';
import { judge } from '../support/removal/judging.js';
import { productOf } from '../support/removal/operators.js';
import { Random } from '../support/removal/random.js';
import { removedFrom } from '../support/removal/removing.js';
import {
  bias,
  first,
  floats,
  input,
  last,
  made,
  padded,
  removedOf,
  weight,
  weightsOf,
  wide,
  type SmallGraph,
} from '../support/removal/small-graphs.js';

describe('what is known of a channel', () => {
  test('comes from the axis that a constant is broadcast to, whatever its length', async () => {
    const row = floats('row', [4], [1, 2, 3, 4]);
    const nodes = [made, node('Add', 'v row', 's'), node('Conv', 's b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, bias, last, row] })).toBe(0);
    const same = floats('row', [4], [2, 2, 2, 2]);
    expect(await removedOf({ nodes, initializers: [first, bias, last, same] })).toBe(2);
  });

  test('is not a number of weights that a Cast rounds', async () => {
    const cast = (type: number) => [
      node('Cast', 'a', 'c', { attributes: [integerAttribute('to', type)] }),
      node('Cast', 'c', 'w', { attributes: [integerAttribute('to', 1)] }),
    ];
    const reader = floats('a', [2, 4, 1, 1], [1.5, 0.5, 0.5, 1.2, 0.7, 1, 0.5, 3.9]);
    const nodes = [...cast(6), node('Conv', 'x f fb', 'v'), node('Conv', 'v w', 'y')];
    await removedOf({
      nodes,
      initializers: [reader, weight('f', [4, 3, 1, 1], [2, 3]), floats('fb', [4], [0.1, -0.2, 0.3, 0.7])],
    });
    const isPositive = [
      made,
      node('Cast', 'v', 'p', { attributes: [integerAttribute('to', 9)] }),
      node('Cast', 'p', 's', { attributes: [integerAttribute('to', 1)] }),
      node('Conv', 's b', 'y'),
    ];
    await removedOf({ nodes: isPositive, initializers: [first, bias, last] });
  });

  test.each(['Floor', 'Ceil', 'Round', 'Sign'])('is not the result of %s where the last bit decides', async (op) => {
    // As float64 it is 6.99999988, and 7 as float32.
    const factor = floats('ten', [], [op === 'Round' ? 5 : op === 'Ceil' ? 10 : 10]);
    const nodes = [made, node('Mul', 'v ten', 'm'), node(op, 'm', 's'), node('Conv', 's b', 'y')];
    const values = op === 'Round' ? [0, 0, 0.3, 0.7] : [0, 0, 0, 0.7];
    await removedOf({ nodes, initializers: [first, floats('ab', [4], values), last, factor] });
  });

  test.each([
    ['Erf', 5.5],
    ['Erf', -3.9],
    ['Softplus', 30],
    ['Tanh', 9],
    ['Gelu', 7.5],
    ['Mish', 5],
  ])('is what %s makes of %f', async (op, value) => {
    const values = floats('ab', [4], [0.1, -0.2, 0.3, value]);
    const nodes = [made, node(op, 'v', 's'), node('Conv', 's b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, values, last], opset: 20 })).toBe(2);
  });

  test.each(['ThresholdedRelu', 'Not'])('is nothing behind %s where it was nothing', async (op) => {
    const to = (type: number) => ({ attributes: [integerAttribute('to', type)] });
    const functions =
      op === 'Not'
        ? [node('Cast', 'v', 'c', to(9)), node('Not', 'c', 'n'), node('Cast', 'n', 's', to(1))]
        : [node(op, 'v', 's', { attributes: [floatAttribute('alpha', 0.2)] })];
    const nodes = [made, ...functions, node('Conv', 's b', 'y')];
    const zeros = floats('ab', [4], [0.1, -0.2, 0, 0]);
    expect(await removedOf({ nodes, initializers: [first, zeros, last] })).toBe(2);
  });

  test('is nothing behind a comparison of numbers that are nearly the same', async () => {
    const to = (type: number) => ({ attributes: [integerAttribute('to', type)] });
    const nodes = [
      node('Conv', 'x zeros ab', 'v'),
      node('Greater', 'v half', 'g'),
      node('Not', 'g', 'n'),
      node('Cast', 'n', 'c', to(1)),
      node('Conv', 'c middle', 'm'),
      node('Conv', 'm b', 'y'),
    ];
    const zeros = floats('zeros', [4, 3, 1, 1], Array<number>(12).fill(0));
    const halves = floats('ab', [4], [0.5, 0.5, 0.5, 0.5]);
    const middle = weight('middle', [4, 4, 1, 1]);
    await removedOf({ nodes, initializers: [zeros, halves, floats('half', [], [0.5]), middle, last] });
  });

  test.each([
    [4, 2],
    [10, 2],
    [3, 0],
    [7, 0],
  ])('is what InstanceNormalization makes of its rounding errors, for a height of %i', async (size, count) => {
    // Odd sizes are added up in an order that depends on where a channel lies in memory.
    const shape = [1, 3, size, size % 2 === 0 ? 4 : size];
    const scales = [floats('scale', [4], [1, 1, 1.7, -0.9]), floats('shift', [4], [0.1, 0.2, 0.3, -0.1])];
    const nodes = [made, node('InstanceNormalization', 'v scale shift', 's'), node('Conv', 's b', 'y')];
    const initializers = [first, bias, last, ...scales];
    expect(await removedOf({ nodes, initializers, inputs: { x: shape } })).toBe(count);
  });

  test('is not 0 behind the logarithm of a sum', async () => {
    const axes = { attributes: [integersAttribute('axes', [2, 3])] };
    const reduced = (op: string) => [made, node(op, 'v', 's', axes), node('Conv', 's b', 'y')];
    const initializers = [first, floats('ab', [4], [0.1, -0.2, 0, 0]), last];
    expect(await removedOf({ nodes: reduced('ReduceLogSumExp'), initializers })).toBe(0);
    expect(await removedOf({ nodes: reduced('ReduceL1'), initializers })).toBe(2);
  });

  test('is nothing where it is not finite, even if no reader has a weight for it', async () => {
    const zeros = floats('zeros', [4, 1, 1], [1, 1, 0, 1]);
    const empty = weight('b', [2, 4, 1, 1], [], [2]);
    const bytes = model({
      nodes: [made, node('Div', 'v zeros', 'd'), node('Conv', 'd b', 'y')],
      initializers: [first, floats('ab', [4], [0.1, 0.1, 0, 0]), empty, zeros],
      inputs: input,
      outputs: { y: undefined },
    });
    const { after } = removedFrom(bytes, { inputs: [input] });
    expect(after.get('d')).toEqual([1, 3, 4, 4]);
  });

  test('is not what an input gives by default', async () => {
    const gate = floats('gate', [], [0]);
    const nodes = [made, node('Mul', 'v gate', 's'), node('Conv', 's b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, bias, last, gate], inputs: { ...input, gate: [] } })).toBe(0);
    const all = { x: input.x, a: [4, 3, 1, 1], ab: [4], b: [2, 4, 1, 1] };
    expect(
      await removedOf({ nodes: [made, node('Conv', 'v b', 'y')], initializers: [first, bias, last], inputs: all }),
    ).toBe(0);
  });

  test('is what batch normalisation makes of it, unless that is not finite', async () => {
    const vectors = (variance: number) => [
      floats('scale', [4], [1, 1, 1, 0]),
      floats('shift', [4], [0, 0, 0, 0]),
      floats('mean', [4], [0, 0, 0.3, 0]),
      floats('variance', [4], [1, 1, variance, 1]),
    ];
    const normal = node('BatchNormalization', 'v scale shift mean variance', 'n', {
      attributes: [floatAttribute('epsilon', 0)],
    });
    const nodes = [made, normal, node('Conv', 'n b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, bias, last, ...vectors(1)] })).toBe(2);
    const { after } = removedFrom(
      model({ nodes, initializers: [first, bias, last, ...vectors(0)], inputs: input, outputs: { y: undefined } }),
      { inputs: [input] },
    );
    expect(after.get('n')![1]).toBeGreaterThanOrEqual(3);
  });

  test('is not the same where windows of a pool leave the value', async () => {
    const attributes = (...more: Uint8Array[]) => ({
      attributes: [integersAttribute('kernel_shape', [2, 2]), ...more],
    });
    const ceil = attributes(
      integersAttribute('strides', [3, 3]),
      integerAttribute('ceil_mode', 1),
      integerAttribute('count_include_pad', 1),
    );
    const gaps = attributes(integersAttribute('dilations', [2, 2]), integersAttribute('pads', [1, 1, 1, 1]));
    for (const pool of [node('AveragePool', 'v', 'p', ceil), node('MaxPool', 'v', 'p', gaps)]) {
      await removedOf({ nodes: [made, pool, node('Conv', 'p b', 'y')], initializers: [first, bias, last] });
    }
  });
});

describe('what is folded', () => {
  const folding = (inputs: string) => [made, node('Conv', `v b ${inputs}`, 'y')];

  test.each([
    ['Identity', [node('Identity', 'bb', 'c')]],
    ['Reshape', [node('Reshape', 'bb two', 'c')]],
    ['Unsqueeze and Squeeze', [node('Unsqueeze', 'bb zero', 'u'), node('Squeeze', 'u zero', 'c')]],
  ])('is added to a bias behind %s', async (_, arranging) => {
    const lists = [list('two', 2), list('zero', 0)];
    const nodes = [...arranging, ...folding('c')];
    expect(await removedOf({ nodes, initializers: [first, bias, last, floats('bb', [2], [5, -5]), ...lists] })).toBe(2);
  });

  test.each([
    ['one number', [], 2],
    ['a number for each output', [2], 2],
    // One channel that stays has the constants of both.
    ['a number for each row', [3, 1], 1],
    ['other numbers for each row', [3, 2], 1],
  ] as const)('is added to the bias of Gemm, if that is %s', async (_, shape, count) => {
    const count0 = productOf(shape);
    const initializers = [
      weight('w', [5, 4], [], [2, 3]),
      floats('wb', [4], [0.1, 0.2, 0.3, 0.4]),
      weight('z', [4, 2]),
      floats(
        'zb',
        shape,
        Array.from({ length: count0 }, (__, place) => place + 1),
      ),
    ];
    const nodes = [node('Gemm', 'x w wb', 'h'), node('Gemm', 'h z zb', 'y')];
    expect(await removedOf({ nodes, initializers, inputs: { x: [3, 5] } })).toBe(count);
  });

  test('is of the type that the node computes with, not of the stored one', async () => {
    const half = (name: string, shape: readonly number[], values: readonly number[]) =>
      tensor(name, shape, {
        dtype: 'float16',
        data: new Uint8Array(Uint16Array.from(values, (value) => narrowed(value, 'float16')).buffer),
      });
    const toFloat = { attributes: [integerAttribute('to', 1)] };
    const nodes = [
      node('MatMul', 'x w', 'm'),
      node('Add', 'm wb', 'h'),
      node('Cast', 'z', 'c', toFloat),
      node('MatMul', 'h c', 'y'),
    ];
    const initializers = [
      weight('w', [5, 4], [], [2, 3]),
      floats('wb', [4], [0.1, 0.2, 0.3, 0.4]),
      half('z', [4, 2], [1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    expect(await removedOf({ nodes, initializers, inputs: { x: [3, 5] } })).toBe(2);
  });

  test('fits into 16 bits, or stays', async () => {
    const half = (name: string, shape: readonly number[], values: readonly number[]) =>
      tensor(name, shape, {
        dtype: 'float16',
        data: new Uint8Array(Uint16Array.from(values, (value) => narrowed(value, 'float16')).buffer),
      });
    const nodes = (large: number) => ({
      nodes: [
        node('Cast', 'x', 'h', { attributes: [integerAttribute('to', 10)] }),
        node('Conv', 'h a ab', 'v'),
        node('Conv', 'v b bb', 'z'),
        node('Cast', 'z', 'y', { attributes: [integerAttribute('to', 1)] }),
      ],
      initializers: [
        half('a', [2, 3, 1, 1], [0.5, 0.25, 0.5, 0, 0, 0]),
        half('ab', [2], [30000, 192]),
        half('b', [1, 2, 1, 1], [2, large]),
        half('bb', [1], [-60000]),
      ],
    });
    expect(await removedOf(nodes(2))).toBe(1);
    expect(await removedOf(nodes(-200))).toBe(0);
  });
});

test('weights on the left of a product are carried, too', async () => {
  const nodes = [
    node('Reshape', 'x rows', 'r'),
    node('MatMul', 'w r', 'm'),
    node('Add', 'm wb', 'h'),
    node('MatMul', 'z h', 'y'),
  ];
  const initializers = [
    weight('w', [4, 3], [2, 3]),
    floats('wb', [4, 1], [0.1, 0.2, 0.3, 0.4]),
    weight('z', [2, 4]),
    list('rows', 3, 16),
  ];
  expect(await removedOf({ nodes, initializers })).toBe(1);
});

test('weights that several layers read in a vector are carried for each', async () => {
  const shared = floats('s', [1, 4, 1, 1], [1, 2, 3, 4]);
  const nodes = [
    made,
    node('Conv', 'v s', 'p', padded),
    node('Relu', 'v', 'r'),
    node('Conv', 'r s', 'q', padded),
    node('Add', 'p q', 'y'),
  ];
  await removedOf({ nodes, initializers: [first, bias, shared] });
});

describe('the limits of a slice', () => {
  const join = (nodes: readonly Uint8Array[], ...lists: readonly Uint8Array[]): SmallGraph => ({
    nodes: [made, ...nodes, node('Conv', 's b', 'y')],
    initializers: [first, floats('ab', [4], [0.1, 0.1, 0, 0]), weight('b', [2, 3, 1, 1]), ...lists],
  });

  test('may be the largest integer there is, beside a limit that changes', async () => {
    const ends = tensor('ends', [2], {
      dtype: 'int64',
      data: new Uint8Array(BigInt64Array.of(2n ** 63n - 1n, 2n ** 63n - 1n).buffer),
    });
    const lists = [list('starts', 1, 1), ends, list('axes', 1, 2)];
    // The first channel has no reader.
    expect(await removedOf(join([node('Slice', 'v starts ends axes', 's')], ...lists))).toBe(3);
  });

  test('may count from an end that is gone', async () => {
    const lists = [list('starts', 0), list('ends', -1), list('axes', 1)];
    expect(await removedOf(join([node('Slice', 'v starts ends axes', 's')], ...lists))).toBe(2);
  });

  test('keep their type', async () => {
    const short = (from: string, to: string) => node('Cast', from, to, { attributes: [integerAttribute('to', 6)] });
    const nodes = [
      short('from', 'starts'),
      short('to', 'ends'),
      short('along', 'axes'),
      node('Slice', 'v starts ends axes', 's'),
    ];
    expect(await removedOf(join(nodes, list('from', -3), list('to', 9), list('along', 1)))).toBe(3);
  });

  test('are attributes before opset 10', async () => {
    const attributes = [
      integersAttribute('starts', [1, 0]),
      integersAttribute('ends', [-1, Number.MAX_SAFE_INTEGER]),
      integersAttribute('axes', [1, 3]),
    ];
    const nodes = [made, node('Slice', 'v', 's', { attributes }), node('Conv', 's b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, bias, weight('b', [2, 2, 1, 1])], opset: 9 })).toBe(3);
  });
});

describe('what operators were in other versions', () => {
  const around = (nodes: readonly Uint8Array[], channels = 4): SmallGraph => ({
    nodes: [made, ...nodes, node('Conv', 's b', 'y')],
    initializers: [first, floats('ab', [4], [0.1, -0.2, 0, 0]), weight('b', [2, channels, 1, 1])],
  });

  test('Softmax takes all axes from its own on before opset 13', async () => {
    const nodes = (attributes: Uint8Array[]) => [
      made,
      node('Softmax', 'v', 's', { attributes }),
      node('Conv', 's b', 'y'),
    ];
    const unread = weight('b', [2, 4, 1, 1], [], [1, 2]);
    const count = (opset: number, axis?: number) =>
      removedOf({
        nodes: nodes(axis === undefined ? [] : [integerAttribute('axis', axis)]),
        initializers: [first, bias, unread],
        opset,
      });
    expect([await count(11, 1), await count(11), await count(13, 1), await count(11, 2)]).toEqual([0, 0, 0, 2]);
    expect([await count(13, 3), await count(13), await count(13, -3)]).toEqual([2, 2, 0]);
  });

  test('Resize and Upsample change the numbers of an axis even where they do not change its size', async () => {
    const scaled = (...scales: number[]) => floats('scales', [4], scales);
    const nearest = { attributes: [textAttribute('mode', 'nearest')] };
    const bare = {
      attributes: [textAttribute('mode', 'nearest'), textAttribute('coordinate_transformation_mode', 'asymmetric')],
    };
    const upsample = node('Upsample', 'v scales', 's', nearest);
    const old = node('Upsample', 'v', 's', { attributes: [floatsAttribute('scales', [1, 1, 2, 2])] });
    const twice = (made1: Uint8Array, scales: Uint8Array, opset: number) => {
      const { nodes, initializers, ...rest } = around([made1]);
      return removedOf({
        nodes: nodes!,
        initializers: [...initializers!, scales, floats('none', [0], [])],
        ...rest,
        opset,
      });
    };
    expect(await twice(old, scaled(1, 1, 1, 1), 7)).toBe(2);
    expect(await twice(upsample, scaled(1, 1, 2, 2), 9)).toBe(2);
    expect(await twice(node('Resize', 'v scales', 's', nearest), scaled(1, 1, 2, 2), 10)).toBe(2);
    expect(await twice(node('Resize', 'v none scales', 's', bare), scaled(1, 1, 2, 2), 11)).toBe(2);
    expect(await twice(node('Resize', 'v - scales', 's', bare), scaled(1, 1, 2, 2), 13)).toBe(2);
    expect(await twice(node('Resize', 'v - scales', 's', bare), scaled(1, 1.2, 2, 2), 13)).toBe(0);
  });

  test('Split has parts that are not equal from opset 18 on', async () => {
    const parts = (attributes: Uint8Array[]) => [
      node('Split', 'v', 'p q r', { attributes: [integerAttribute('axis', 1), ...attributes] }),
      node('Concat', 'p q r', 's', { attributes: [integerAttribute('axis', 1)] }),
    ];
    const uneven = { ...around(parts([integerAttribute('num_outputs', 3)]), 5), opset: 18 };
    const wide5 = {
      ...uneven,
      initializers: [
        weight('a', [5, 3, 1, 1], [1, 4]),
        floats('ab', [5], [0.1, 0, 0.2, 0.3, 0]),
        weight('b', [2, 5, 1, 1]),
      ],
    };
    expect(await removedOf(wide5)).toBe(1);
  });

  test('Clip has limits in attributes before opset 11, and in inputs later', async () => {
    const old = node('Clip', 'v', 's', { attributes: [floatAttribute('min', 0.25), floatAttribute('max', 6)] });
    expect(await removedOf({ ...around([old]), opset: 10 })).toBe(2);
    const { nodes, initializers } = around([node('Clip', 'v low', 's')]);
    expect(
      await removedOf({ nodes: nodes!, initializers: [...initializers!, floats('low', [], [0.25])], opset: 11 }),
    ).toBe(2);
  });

  test('Pad takes a list of axes from opset 18 on', async () => {
    const { nodes, initializers } = around([node('Pad', 'v pads zero axes', 's')]);
    const lists = [list('pads', 1, 0, 1, 1), floats('zero', [], [0]), list('axes', -1, -2)];
    expect(await removedOf({ nodes: nodes!, initializers: [...initializers!, ...lists], opset: 18 })).toBe(2);
  });

  test('reductions take their axes from an input, which may be empty', async () => {
    const none = tensor('axes', [0], { dtype: 'int64', data: new Uint8Array(0) });
    const mean = (attributes: Uint8Array[], inputs: string) => node('ReduceMean', inputs, 's', { attributes });
    const { nodes, initializers } = around([mean([integerAttribute('noop_with_empty_axes', 1)], 'v axes')]);
    expect(await removedOf({ nodes: nodes!, initializers: [...initializers!, none], opset: 18 })).toBe(2);
    expect(await removedOf({ ...around([mean([integersAttribute('axes', [-1, 2])], 'v')]), opset: 13 })).toBe(2);
  });

  test('LayerNormalization has other outputs, which no rule knows', async () => {
    const axis = { attributes: [integerAttribute('axis', 3)] };
    const normal = node('LayerNormalization', 'v scale', 's mean', axis);
    const nodes = [made, normal, node('Conv', 's b', 'z'), node('ReduceMax', 'mean', 'm'), node('Add', 'z m', 'y')];
    expect(await removedOf({ nodes, initializers: [first, bias, last, floats('scale', [4], [1, 1, 1, 1])] })).toBe(0);
  });

  test('recurrent layers may have the batch first', async () => {
    const attributes = [integerAttribute('hidden_size', 2), integerAttribute('layout', 1)];
    const options = {
      nodes: [node('GRU', 'x w r', 'h', { attributes }), node('MatMul', 'h z', 'y')],
      initializers: [
        floats('w', [1, 6, 3], new Float32Array(18)),
        floats('r', [1, 6, 2], new Float32Array(12)),
        weight('z', [2, 2]),
      ],
      inputs: { x: [2, 5, 3] },
      outputs: { y: undefined },
    };
    const bytes = model(options, 14);
    expect(removedFrom(bytes, { inputs: [options.inputs] }).bytes).toEqual(bytes);
  });
});

test('what a convolution pads is not known where sizes are not, even if they agree for those that are tried', async () => {
  const same = { attributes: [textAttribute('auto_pad', 'SAME_UPPER'), integersAttribute('strides', [2, 2])] };
  const tap = floats('b', [2, 4, 2, 2], weightsOf(32));
  const named = { x: { shape: [1, 3, 'height', 'width'] } };
  const reading = [made, node('Conv', 'v b', 'y', same)];
  // All windows of even sizes give less than 0; of odd sizes the last ones, in the padding, give more.
  const depthwise = floats(
    'd',
    [4, 1, 2, 2],
    [1, 2, 3, 4].flatMap(() => [1, -2, 1, -2]),
  );
  const between = {
    attributes: [
      integerAttribute('group', 4),
      integersAttribute('pads', [0, 0, 1, 1]),
      integersAttribute('strides', [2, 2]),
    ],
  };
  const clipped = [made, node('Conv', 'v d', 'p', between), node('Relu', 'p', 'r'), node('Conv', 'r c', 'y')];
  for (const [nodes, initializers] of [
    [reading, [first, bias, tap]],
    [clipped, [first, bias, depthwise, weight('c', [2, 4, 1, 1])]],
  ] as const) {
    const bytes = model({ nodes, initializers, inputs: named, outputs: { y: undefined } });
    const { bytes: small } = removedFrom(bytes, { inputs: [{ x: [1, 3, 64, 64] }, { x: [1, 3, 96, 96] }] });
    const feeds = [6, 7, 1].map((size) =>
      [1, 2, 3].map((seed) => ({
        x: new Tensor('float32', new Random(seed).normals(3 * size * size), [1, 3, size, size]),
      })),
    );
    const fitting = nodes === reading ? feeds : feeds.slice(0, 2);
    expect((await judge(bytes, small, fitting)).problems).toEqual([]);
  }
});

test('a number that is computed from a size stays what it was, and a scalar', async () => {
  const integers = (name: string, value: number) =>
    tensor(name, [], { dtype: 'int64', data: numbers('int64', [value]) });
  const nodes = [
    made,
    node('Shape', 'v', 'shape'),
    node('Gather', 'shape one', 'count'),
    node('Cast', 'count', 'float', { attributes: [integerAttribute('to', 1)] }),
    node('Sqrt', 'float', 'root'),
    node('Unsqueeze', 'root front', 'scale'),
    node('Concat', 'scale scale', 'both', { attributes: [integerAttribute('axis', 0)] }),
    node('Reshape', 'both column', 'factors'),
    node('Conv', 'v b', 's'),
    node('Mul', 's factors', 'y'),
  ];
  const lists = [integers('one', 1), list('front', 0), list('column', 2, 1, 1)];
  const values = floats('ab', [4], [0.1, -0.2, 0, 0]);
  expect(await removedOf({ nodes, initializers: [first, values, last, ...lists] })).toBe(2);
});

test('numbers that fill a size stay as many as they were, where something else needs them', async () => {
  const fill = tensor('', [1], { data: numbers('float32', [0.5]) });
  const nodes = [
    made,
    node('Shape', 'v', 'shape'),
    node('Slice', 'shape one two', 'count'),
    node('ConstantOfShape', 'count', 'filled', { attributes: [tensorAttribute('value', fill)] }),
    // The rows of `x` are as long as `v` has channels.
    node('Add', 'x filled', 'z'),
    node('Conv', 'v b', 'y'),
  ];
  const values = floats('ab', [4], [0.1, -0.2, 0, 0]);
  const initializers = [first, values, last, list('one', 1), list('two', 2)];
  expect(await removedOf({ nodes, initializers, outputs: { y: undefined, z: undefined } })).toBe(2);
});

test('a size stays what it is where a node without a rule reads it', async () => {
  const nodes = [
    made,
    node('Shape', 'v', 'shape'),
    node('Slice', 'shape one two', 'count'),
    node('Concat', 'ones count', 'sizes', { attributes: [integerAttribute('axis', 0)] }),
    node('CenterCropPad', 'x sizes', 'z'),
    node('Conv', 'v b', 'y'),
  ];
  const values = floats('ab', [4], [0.1, -0.2, 0, 0]);
  const lists = [list('one', 1), list('two', 2), list('ones', 1, 1, 1)];
  const outputs = { y: undefined, z: undefined };
  expect(await removedOf({ nodes, initializers: [first, values, last, ...lists], outputs, opset: 18 })).toBe(0);
});

test('sizes are computed with 32 bits, as runtimes do', async () => {
  // As float64 it is 6.99999988.
  const nodes = [
    made,
    node('Shape', 'v', 'shape'),
    node('Slice', 'shape two four', 'space'),
    node('Cast', 'space', 'floats', { attributes: [integerAttribute('to', 1)] }),
    node('Mul', 'floats factor', 'scaled'),
    node('Floor', 'scaled', 'floor'),
    node('Cast', 'floor', 'sizes', { attributes: [integerAttribute('to', 7)] }),
    node('Concat', 'front sizes', 'all', { attributes: [integerAttribute('axis', 0)] }),
    node('Resize', 'v - - all', 's', { attributes: [textAttribute('mode', 'nearest')] }),
    node('Conv', 's b', 'y'),
  ];
  const lists = [list('two', 2), list('four', 4), list('front', 1, 4), floats('factor', [], [0.7])];
  expect(await removedOf({ nodes, initializers: [first, bias, last, ...lists], inputs: { x: [1, 3, 10, 10] } })).toBe(
    2,
  );
});

test('a list of one number becomes a scalar by Reshape', async () => {
  const nodes = [
    node('Shape', 'x', 'sizes'),
    node('Gather', 'sizes place', 'one'),
    node('Cast', 'one', 'float', { attributes: [integerAttribute('to', 1)] }),
    node('Reshape', 'float none', 'scalar'),
    made,
    node('Div', 'v scalar', 's'),
    node('Conv', 's b', 'y'),
  ];
  const initializers = [first, bias, last, list('place', 2), list('none')];
  expect(await removedOf({ nodes, initializers })).toBe(2);
});

test.each([
  ['Split', [2, 3], 1, node('Split', 'filled parts', 'front back', { attributes: [integerAttribute('axis', 1)] })],
  ['Slice', [0, 1], 2, node('Slice', 'filled from to along', 'back')],
])('a short list of numbers loses channels before a %s', async (_, dead, count, part) => {
  const nodes = [
    made,
    node('Shape', 'v', 'sizes'),
    node('ConstantOfShape', 'sizes', 'filled'),
    node('Add', 'v filled', 's'),
    node('Conv', 's b', 'y'),
    part,
    node('Conv', 'back c', 'z'),
  ];
  const numbers = [0.1, 0.1, 0.1, 0.1].map((number, index) => (dead.includes(index) ? 0 : number));
  const weights = [weight('a', [4, 3, 1, 1], dead), floats('ab', [4], numbers), last, weight('c', [2, 2, 1, 1])];
  const lists = [list('parts', 2, 2), list('from', 2), list('to', 4), list('along', 1)];
  const graph = { nodes, initializers: [...weights, ...lists], outputs: { y: undefined, z: undefined } };
  expect(await removedOf({ ...graph, inputs: { x: [1, 3, 1, 1] } })).toBe(count);
});

describe('channels stay', () => {
  const zeroBias = floats('ab', [4], [0.1, -0.2, 0, 0]);

  test('whose weights are codes', async () => {
    const codes = tensor('codes', [4, 3, 1, 1], {
      dtype: 'int8',
      data: Uint8Array.of(1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0),
    });
    const nodes = [node('DequantizeLinear', 'codes scale', 'a'), made, node('Conv', 'v b', 'y')];
    expect(await removedOf({ nodes, initializers: [codes, floats('scale', [], [0.1]), zeroBias, last] })).toBe(0);
  });

  test('that a subgraph reads, also where it only passes them on', async () => {
    const flag = [
      constant('one', [], { data: numbers('float32', [1]) }),
      node('Cast', 'one', 'flag', { attributes: [integerAttribute('to', 9)] }),
    ];
    const body = (op: string | undefined) =>
      graph({ nodes: op ? [node(op, 'v', 'o')] : [node('Identity', 'v', 'o')], outputs: { o: undefined } });
    const branch = node('If', 'flag', 's', {
      attributes: [graphAttribute('then_branch', body('Relu')), graphAttribute('else_branch', body(undefined))],
    });
    expect(
      await removedOf({
        nodes: [...flag, made, branch, node('Conv', 's b', 'y')],
        initializers: [first, zeroBias, last],
      }),
    ).toBe(0);
  });

  test('that are an output, or whose weights are', async () => {
    const nodes = [made, node('Conv', 'v b', 'y')];
    expect(
      await removedOf({ nodes, initializers: [first, zeroBias, last], outputs: { y: undefined, v: undefined } }),
    ).toBe(0);
    expect(
      await removedOf({ nodes, initializers: [first, zeroBias, last], outputs: { y: undefined, a: [4, 3, 1, 1] } }),
    ).toBe(0);
  });

  test('whose weights are subnormal, but not those whose are -0', async () => {
    const tiny = (value: number) => floats('b', [2, 4, 1, 1], [1, 2, 3, value, 4, 5, 6, value]);
    const nodes = [made, node('Conv', 'v b', 'y', padded)];
    const plain = weight('a', [4, 3, 1, 1]);
    expect(await removedOf({ nodes, initializers: [plain, bias, tiny(1e-40)] })).toBe(0);
    expect(await removedOf({ nodes, initializers: [plain, bias, tiny(-0)] })).toBe(1);
  });

  test('around axes of a list that count from the end, which they do from opset 11 on', async () => {
    const axes = { attributes: [integersAttribute('axes', [-5])] };
    const nodes = [made, node('Unsqueeze', 'v', 'u', axes), node('Squeeze', 'u', 's', axes), node('Conv', 's b', 'y')];
    const initializers = [first, zeroBias, last];
    expect(await removedOf({ nodes, initializers, opset: 11 })).toBe(2);
    expect(await removedOf({ nodes, initializers, opset: 10 })).toBe(0);
  });

  test('before a transposed convolution that would pad with less than nothing', async () => {
    const same = (...strides: number[]) => ({
      attributes: [textAttribute('auto_pad', 'SAME_UPPER'), integersAttribute('strides', strides)],
    });
    const transposed = weight('t', [4, 2, 1, 1]);
    const nodes = (...strides: number[]) => [made, node('ConvTranspose', 'v t', 'y', same(...strides))];
    const initializers = [first, zeroBias, transposed];
    expect(await removedOf({ nodes: nodes(1, 1), initializers })).toBe(2);
    expect(await removedOf({ nodes: nodes(2, 1), initializers })).toBe(0);
  });

  test('of which a mean is taken, since its divisor would change', async () => {
    const mean = node('ReduceMean', 'v', 'm', { attributes: [integersAttribute('axes', [1])] });
    const nodes = [made, mean, node('Conv', 'm b', 'y')];
    expect(await removedOf({ nodes, initializers: [first, zeroBias, weight('b', [2, 1, 1, 1])] })).toBe(0);
  });
});

test('a layer that pads gets the constants of dead channels from one that stays', async () => {
  expect(
    await removedOf({ nodes: [made, node('Conv', 'v wide', 'y', padded)], initializers: [first, bias, wide] }),
  ).toBe(1);
});
