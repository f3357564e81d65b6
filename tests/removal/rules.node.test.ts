// What operators do with channels that are dead: a graph around each of them, and how many channels go.
import { describe, expect, test } from 'vitest';
import {
  concat,
  constant,
  floatAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  list,
  model,
  node,
  textAttribute,
  textField,
  type GraphOptions,
} from '../support/onnx-builder.js';
import { removedFrom } from '../support/removal/removing.js';
import { bias, first, floats, last, made, padded, removedOf, weight, wide } from '../support/removal/small-graphs.js';

const zeroBias = floats('ab', [4], [0.1, -0.2, 0, 0]);
/** A reader without weights for the second channel. */
const reader = weight('b', [2, 4, 1, 1], [], [1]);
const read = node('Conv', 's b', 'y');
const attributes = (...all: readonly Uint8Array[]) => ({ attributes: all });

describe('channels are followed through', () => {
  test.each([
    ['Tile', 2, [node('Tile', 'v l', 's')], [list('l', 1, 1, 2, 3), last]],
    ['Tile along them', 2, [node('Tile', 'v l', 's')], [list('l', 1, 2, 1, 1), weight('b', [2, 8, 1, 1])]],
    [
      'Tile of a single row',
      2,
      [node('GlobalAveragePool', 'v', 'g'), node('Tile', 'g l', 's')],
      [list('l', 1, 1, 4, 4), last],
    ],
    [
      'TopK along space',
      2,
      [node('TopK', 'v l', 's t', attributes(integerAttribute('axis', 3)))],
      [list('l', 2), last],
    ],
    ['TopK along them', 0, [node('TopK', 'v l', 's t', attributes(integerAttribute('axis', 1)))], [list('l', 4), last]],
    [
      'Slice from the results of Mod',
      2,
      [node('Shape', 'x', 'h'), node('Mod', 'h l', 'm'), node('Slice', 'v m e', 's')],
      [list('l', 1, 1, 3, 3), list('e', 9, 9, 9, 9), last],
    ],
    [
      'a bias that is as long as a weight',
      2,
      [
        node('Shape', 'w', 'n', attributes(integerAttribute('start', 0), integerAttribute('end', 1))),
        node('Expand', 'one n', 'c'),
        node('Conv', 'v w c', 'u'),
        node('Relu', 'u', 's'),
      ],
      [weight('w', [4, 4, 1, 1], [], []), floats('one', [1], [0.5]), weight('b', [2, 4, 1, 1])],
    ],
    [
      'a bias that is as long as a weight with empty filters',
      3,
      [
        node('Shape', 'w', 'n', attributes(integerAttribute('start', 0), integerAttribute('end', 1))),
        node('Expand', 'one n', 'c'),
        node('Conv', 'v w c', 'u'),
        node('Relu', 'u', 's'),
      ],
      [weight('w', [4, 4, 1, 1], [1], []), floats('one', [1], [0.5]), weight('b', [2, 4, 1, 1])],
    ],
    [
      'Dropout that is told not to train',
      2,
      [constant('no', [], { dtype: 'bool', data: Uint8Array.of(0) }), node('Dropout', 'v half no', 's')],
      [floats('half', [], [0.5]), last],
    ],
    [
      'Resize by scales that are put together',
      2,
      [node('Concat', 'one two', 'z', attributes(integerAttribute('axis', 0))), node('Resize', 'v - z', 's')],
      [floats('one', [2], [1, 1]), floats('two', [2], [2, 2]), last],
    ],
    [
      'Clip with a limit that is computed',
      1,
      [node('ReduceMax', 'x', 'm', attributes(integerAttribute('keepdims', 0))), node('Clip', 'v - m', 's')],
      [reader],
    ],
  ] as const)('%s', async (_, count, nodes, initializers) => {
    expect(await removedOf({ nodes: [made, ...nodes, read], initializers: [first, bias, ...initializers] })).toBe(
      count,
    );
  });

  test.each([
    ['LpPool', 2, [node('LpPool', 'v', 's', attributes(integersAttribute('kernel_shape', [2, 2])))], [last]],
    ['GlobalLpPool', 2, [node('GlobalLpPool', 'v', 's')], [last]],
    [
      'GridSample',
      2,
      [
        node('Slice', 'x zero two one', 'c'),
        node('Transpose', 'c', 'g', attributes(integersAttribute('perm', [0, 2, 3, 1]))),
        node('GridSample', 'v g', 's'),
      ],
      [list('zero', 0), list('two', 2), list('one', 1), last],
    ],
    ['CumSum along space', 2, [node('CumSum', 'v l', 's')], [list('l', 3), last]],
    ['CumSum along them', 0, [node('CumSum', 'v l', 's')], [list('l', 1), last]],
    ['Trilu', 2, [node('Trilu', 'v', 's')], [last]],
    ['CastLike', 2, [node('CastLike', 'v b', 's')], [last]],
    [
      'ReduceL2 along them',
      2,
      [node('ReduceL2', 'v', 'n', attributes(integersAttribute('axes', [1]))), node('Conv', 'n b', 'y')],
      [weight('b', [2, 1, 1, 1])],
    ],
    [
      'ReduceSumSquare along them',
      2,
      [node('ReduceSumSquare', 'v', 'n', attributes(integersAttribute('axes', [1]))), node('Conv', 'n b', 'y')],
      [list('l', 1), weight('b', [2, 1, 1, 1])],
    ],
    [
      'ReduceLogSumExp along them',
      0,
      [node('ReduceLogSumExp', 'v', 'n', attributes(integersAttribute('axes', [1]))), node('Conv', 'n b', 'y')],
      [weight('b', [2, 1, 1, 1])],
    ],
    [
      'Einsum with a weight',
      2,
      [node('Einsum', 'v w', 'y', attributes(textAttribute('equation', 'bchw, dc -> bdhw')))],
      [weight('w', [5, 4])],
    ],
    [
      'Einsum without a result',
      2,
      [node('Einsum', 'v w', 'y', attributes(textAttribute('equation', 'bchw,cd')))],
      [weight('w', [4, 5])],
    ],
    ['Einsum of one operand', 2, [node('Einsum', 'v', 'y', attributes(textAttribute('equation', 'bchw->bhw')))], []],
    [
      'Einsum of two computed operands',
      2,
      [node('Einsum', 'v v', 'y', attributes(textAttribute('equation', 'bchw,bciw->bhi')))],
      [],
    ],
    [
      'Einsum that keeps them',
      2,
      [node('Einsum', 'v x', 's', attributes(textAttribute('equation', 'bchw,bdiw->bchi'))), read],
      [last],
    ],
    [
      'Einsum of three operands',
      2,
      [node('Einsum', 'v w v', 'y', attributes(textAttribute('equation', 'bchw,cd,bciw->bhid')))],
      [weight('w', [4, 2])],
    ],
    [
      'Einsum of three operands that keep them',
      2,
      [node('Einsum', 'v w x', 's', attributes(textAttribute('equation', 'bchw,cd,bdiw->bchi'))), read],
      [weight('w', [4, 3]), last],
    ],
    [
      'Einsum with a diagonal',
      0,
      [node('Einsum', 'v', 's', attributes(textAttribute('equation', 'bchh->bch'))), node('MatMul', 's w', 'y')],
      [weight('w', [4, 2])],
    ],
  ] as const)('%s, if they are 0', async (title, count, nodes, initializers) => {
    const ends = nodes.some((bytes) => new TextDecoder().decode(bytes).includes('y'));
    const all = [made, ...nodes, ...(ends ? [] : [read])];
    // Where the axes are an attribute.
    const opset = title.startsWith('Reduce') ? 13 : 17;
    expect(await removedOf({ nodes: all, initializers: [first, zeroBias, ...initializers], opset })).toBe(count);
  });

  test('ScatterND and GatherND by the first axes', async () => {
    const ends = [node('Conv', 'x c', 'u'), node('ScatterND', 'v at u', 's')];
    const initializers = [first, bias, weight('c', [4, 3, 1, 1]), list('zero', 0), list('to', 1, 1), reader];
    const at = node('Reshape', 'zero to', 'at');
    expect(await removedOf({ nodes: [made, at, ...ends, read], initializers })).toBe(1);
    expect(await removedOf({ nodes: [made, at, node('GatherND', 'v at', 's'), read], initializers })).toBe(1);
    const deep = list('to', 1, 2);
    const two = [
      made,
      node('Reshape', 'zeros to', 'at'),
      node('GatherND', 'v at', 'g'),
      node('Unsqueeze', 'g zero', 's'),
    ];
    const matrix = node('MatMul', 's w', 'y');
    const some = [first, bias, list('zeros', 0, 1), list('zero', 0), deep, weight('w', [4, 2])];
    expect(await removedOf({ nodes: [...two, matrix], initializers: some })).toBe(0);
  });

  test('ArgMax along another axis', async () => {
    const nodes = (axis: number) => [
      made,
      node('ArgMax', 'v', 'i', attributes(integerAttribute('axis', axis))),
      node('Cast', 'i', 's', attributes(integerAttribute('to', 1))),
      read,
    ];
    expect(await removedOf({ nodes: nodes(3), initializers: [first, bias, reader] })).toBe(1);
    const single = weight('b', [2, 1, 1, 1]);
    expect(await removedOf({ nodes: nodes(1), initializers: [first, bias, single] })).toBe(0);
  });
});

describe('transposed convolutions', () => {
  const transposed = (groups: number, inputs = 'v t tb') =>
    node(
      'ConvTranspose',
      inputs,
      's',
      attributes(integerAttribute('group', groups), integersAttribute('strides', [2, 2])),
    );
  const outputBias = (count: number) =>
    floats(
      'tb',
      [count],
      Array.from({ length: count }, (_, index) => 0.1 * index - 0.2),
    );

  test.each([1, 3])('of each channel by itself lose dead ones, with %i outputs each', async (outputs) => {
    const initializers = [first, zeroBias, weight('t', [4, outputs, 3, 3]), outputBias(4 * outputs)];
    const end = weight('b', [2, 4 * outputs, 1, 1]);
    expect(await removedOf({ nodes: [made, transposed(4), read], initializers: [...initializers, end] })).toBe(2);
  });

  test('in groups lose the same channels of each', async () => {
    const even = weight('a', [4, 3, 1, 1], [1, 3]);
    const initializers = [
      floats('ab', [4], [0.1, 0, 0.3, 0]),
      weight('t', [4, 3, 3, 3]),
      outputBias(6),
      weight('b', [2, 6, 1, 1]),
    ];
    expect(await removedOf({ nodes: [made, transposed(2), read], initializers: [even, ...initializers] })).toBe(1);
    // Not the same in both groups.
    expect(await removedOf({ nodes: [made, transposed(2), read], initializers: [first, ...initializers] })).toBe(0);
  });

  test('in groups lose outputs without weights, which are their biases', async () => {
    const data = weight('t', [4, 3, 3, 3], [], [1]);
    const initializers = [first, bias, data, outputBias(6), weight('b', [2, 6, 1, 1])];
    expect(await removedOf({ nodes: [made, transposed(2), read], initializers })).toBe(1);
  });
});

describe('recurrent operators', () => {
  const texts = (...names: readonly string[]) =>
    concat(textField(1, 'activations'), ...names.map((name) => textField(9, name)), integerField(20, 8));
  const nodes = (...names: readonly string[]) => [
    node('RNN', 'x w r', 'h', attributes(integerAttribute('hidden_size', 4), texts(...names))),
    node('Squeeze', 'h one', 's'),
    node('MatMul', 's o', 'y'),
  ];
  const initializers = [weightOf('w', [1, 4, 3]), weightOf('r', [1, 4, 4]), list('one', 1), weight('o', [4, 2])];

  test('are followed if their functions are stated, and are those that they have anyway', async () => {
    const inputs = { x: [5, 2, 3] };
    expect(await removedOf({ nodes: nodes('Tanh'), initializers, inputs })).toBe(2);
    expect(await removedOf({ nodes: nodes('Sigmoid'), initializers, inputs })).toBe(0);
  });

  /** Random weights of one direction, in which the last two units have none. */
  function weightOf(name: string, shape: readonly number[]) {
    const count = shape.reduce((product, size) => product * size, 1);
    return floats(
      name,
      shape,
      Array.from({ length: count }, (_, place) => (place < count / 2 ? Math.sin(place + 1) : 0)),
    );
  }
});

test('of a layer without any weights the channel stays that carries the constants of others', () => {
  const dead = weight('a', [4, 3, 1, 1], [0, 1, 2, 3]);
  const initializers = [
    dead,
    floats('ab', [4], [0, 0.5, -0.2, 0.7]),
    wide,
    floats('bb', [2], [1, 2]),
    weight('c', [2, 2, 1, 1]),
  ];
  const nodes = [made, node('Relu', 'v', 'r'), node('Conv', 'r wide bb', 's', padded), node('Conv', 's c', 'y')];
  const choice = { inputs: [{ x: [1, 3, 4, 4] }] };
  const bytes = model({ nodes, initializers, inputs: { x: [1, 3, 4, 4] }, outputs: { y: undefined } });
  const once = removedFrom(bytes, choice);
  expect(once.count).toBe(3);
  expect(removedFrom(once.bytes, choice).count).toBe(0);
});

describe('a number that is not finite', () => {
  test.each([
    ['of the channel', floats('n', [4, 1, 1], [1, 1, Infinity, 1]), 0],
    ['of all', floats('n', [], [Infinity]), 0],
    ['of none', floats('n', [4, 1, 1], [1, 1, 3, 1]), 2],
  ])('%s times 0 is not 0', async (_, factor, count) => {
    const nodes = [
      made,
      node('Mul', 'v n', 'm'),
      node('IsNaN', 'm', 'q'),
      node('Where', 'q two m', 'w'),
      node('IsInf', 'w', 'i'),
      node('Where', 'i two w', 's'),
      read,
    ];
    expect(
      await removedOf({ nodes, initializers: [first, zeroBias, last, factor, floats('two', [], [2])], opset: 20 }),
    ).toBe(count);
  });
});

/** How many channels go the first time, and the second. */
function counts(nodes: GraphOptions['nodes'], initializers: GraphOptions['initializers']): readonly number[] {
  const inputs = { x: [1, 3, 4, 4] };
  const once = removedFrom(model({ nodes, initializers, inputs, outputs: { y: undefined } }), { inputs: [inputs] });
  return [once.count, removedFrom(once.bytes, { inputs: [inputs] }).count];
}

describe('of a product with a factor of nothing but zeros', () => {
  const nothing = weight('a', [4, 3, 1, 1], [0, 1, 2, 3]);
  const zeros = floats('ab', [4], [0, 0, 0, 0]);
  /** Matrices, one for each channel, of which two columns are zero. */
  const matrices = floats(
    'w',
    [4, 4, 6],
    Array.from({ length: 96 }, (_, place) => (place % 6 === 1 || place % 6 === 2 ? 0 : Math.sin(place + 1))),
  );
  const ends = [node('Flatten', 's', 'f'), node('MatMul', 'f o', 'y')];
  const rows = weight('o', [96, 2]);

  test.each([
    ['MatMul', node('MatMul', 'v w', 's')],
    ['Einsum', node('Einsum', 'v w', 's', attributes(textAttribute('equation', 'bchw,cwd->bdhc')))],
  ])('all columns go but one, with %s', async (_, product) => {
    const graph = { nodes: [made, product, ...ends], initializers: [nothing, zeros, matrices, rows] };
    // Of four channels and of six columns all but one, and with them all but one of their 24 pairs.
    expect(await removedOf(graph)).toBe(3 + 5 + 23);
    expect(counts(graph.nodes, graph.initializers)).toEqual([3 + 5 + 23, 0]);
  });

  test('all rows go that are zero, and columns without weights', async () => {
    const graph = {
      nodes: [made, node('MatMul', 'v w', 's'), ...ends],
      initializers: [first, zeroBias, weight('w', [4, 6], [], [1, 2]), rows],
    };
    expect(await removedOf(graph)).toBe(2 + 2 + 24 - 2 * 4);
  });
});

test('A computed bias that a new one replaces stays as it is', async () => {
  const nodes = [
    made,
    node('Neg', 'c', 'n'),
    node('Conv', 'v b n', 'u'),
    node('Relu', 'u', 's'),
    node('Conv', 's d', 'y'),
  ];
  const initializers = [first, bias, floats('c', [2], [0, 0.3]), weight('b', [2, 4, 1, 1]), weight('d', [2, 2, 1, 1])];
  expect(await removedOf({ nodes, initializers })).toBe(2);
  expect(counts(nodes, initializers)).toEqual([2, 0]);
});

test.each([
  ['of another layer', 'x c ab'],
  ['of the same', 'x a ab'],
])('weights that a product reads transposed carry no constants %s', async (_, second) => {
  const doubled = floatAttribute('alpha', 2);
  const nodes = [
    node('Gemm', 'x a ab', 'p'),
    node('Gemm', second, 'q'),
    node('Gemm', 'p w', 'u', attributes(doubled)),
    node('Gemm', 'q w', 'v', attributes(doubled, integerAttribute('transB', 1))),
    node('Gemm', 'u d', 'r'),
    node('Gemm', 'v e', 's'),
    node('Add', 'r s', 'y'),
  ];
  const initializers = [
    weight('a', [5, 4], [], [1, 2]),
    weight('c', [5, 4], [], [1, 2]),
    floats('ab', [4], [0.3, 0.5, 1, 0.2]),
    weight('w', [4, 4]),
    weight('d', [4, 3]),
    weight('e', [4, 3], [1]),
  ];
  expect(await removedOf({ nodes, initializers, inputs: { x: [2, 5] } })).toBe(0);
});
