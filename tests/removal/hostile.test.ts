import { planRemoval, removeChannels, type PlanRemovalOptions } from 'sparsifier/removal';
import { describe, expect, test } from 'vitest';
import { withoutRows } from '../support/dead-channels.js';
import {
  floatAttribute,
  integerAttribute,
  integersAttribute,
  list,
  mixedNumbers,
  model,
  node,
  numbers,
  tensor,
  type GraphOptions,
} from '../support/onnx-builder.js';
import { withModel } from '../support/onnx-model.js';

// Graphs for which a careless loop or list would take hours, or all memory. A test that does not end is ended by vitest.

const times = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** A layer of four channels, of which the last two are zero, and one that reads them. */
const makes = (input: string, output: string) => node('Conv', `${input} a`, output, { name: 'made' });
const reads = (input: string, output: string) => node('Conv', `${input} b`, output, { name: 'read' });
const weights = [
  tensor('a', [4, 4, 1, 1], { data: withoutRows(4, 4, 1, [2, 3]) }),
  tensor('b', [2, 4, 1, 1], { data: mixedNumbers(8, 2) }),
];
const bias = tensor('c', [4], { data: numbers('float32', [0.5, -0.2, 0.3, 0.7]) });
const axis = (place: number) => ({ attributes: [integerAttribute('axis', place)] });
const padded = (by: number) => ({ attributes: [integersAttribute('pads', [by, by, by, by])] });

const scalar = (name: string, value: number) => tensor(name, [], { dtype: 'int64', data: numbers('int64', [value]) });

/** What is planned for a graph with one input, and how many channels its new model has lost. */
async function removed(options: GraphOptions, asked: PlanRemovalOptions = { roundTo: 1 }) {
  const whole = { inputs: { x: { shape: [1, 4, 8, 8] } }, outputs: { y: undefined }, ...options };
  return withModel(model(whole), async (read) => {
    const plan = await planRemoval(read, asked);
    const { model: small, report } = await removeChannels(read, plan);
    small.close();
    const gone = report.groups.reduce((sum, { channels, kept }) => sum + channels - kept, 0);
    return { gone, notes: plan.notes, changed: report.indexMap.length };
  });
}

const huge = 10 ** 9;

describe('Values that are too large are not followed', () => {
  test.each<[name: string, node: Uint8Array, initializers: Uint8Array[], reason: RegExp]>([
    ['an Expand', node('Expand', 'v s', 'w'), [list('s', huge, 4, 8, 8)], /sizes 1000000000, 4, 8, 8/],
    ['a Pad', node('Pad', 'v s', 'w'), [list('s', 0, 0, huge, 0, 0, 0, 0, 0)], /sizes 1, 4, 1000000008, 8/],
    [
      'a Resize',
      node('Resize', 'v none none s', 'w'),
      [list('s', 1, 4, huge, 8), tensor('none', [0])],
      /sizes 1, 4, 1000000000, 8/,
    ],
    ['a Tile', node('Tile', 'v s', 'w'), [list('s', 1, 1, huge, 1)], /Tile/],
    ['a convolution that pads', node('Conv', 'v a', 'w', padded(huge)), [], /sizes 1, 4, 2000000008/],
    [
      'a transposed convolution',
      node('ConvTranspose', 'v a', 'w', { attributes: [integersAttribute('strides', [huge, 1])] }),
      [],
      /sizes 1, 4, 7000000001, 8/,
    ],
    [
      'a pool',
      node('MaxPool', 'v', 'w', {
        attributes: [integersAttribute('kernel_shape', [1, 1]), integersAttribute('pads', [huge, 0, 0, 0])],
      }),
      [],
      /sizes 1, 4, 1000000008, 8/,
    ],
    ['many axes', node('Unsqueeze', 'v s', 'w'), [list('s', ...times(62, (index) => index + 4))], /66 axes/],
  ])('%s', async (_, each, initializers, reason) => {
    const { gone, notes } = await removed({
      nodes: [makes('x', 'v'), each, node('GlobalAveragePool', 'w', 'p'), reads('p', 'y')],
      initializers: [...weights, ...initializers],
    });
    expect(notes.join('\n')).toMatch(reason);
    expect(gone).toBe(0);
  });

  test.each<[name: string, node: Uint8Array, initializers: Uint8Array[]]>([
    ['ConstantOfShape', node('ConstantOfShape', 's', 'w'), [list('s', huge, huge)]],
    ['Range', node('Range', 'from to by', 'w'), [scalar('from', 0), scalar('to', huge), scalar('by', 1)]],
    ['an empty constant', node('Relu', 'none', 'w'), [tensor('none', [0, huge])]],
  ])('%s, which takes nothing from what lies elsewhere', async (_, each, initializers) => {
    const { gone, notes } = await removed({
      nodes: [makes('x', 'v'), reads('v', 'y'), each],
      initializers: [...weights, ...initializers],
    });
    expect(notes.join('\n')).toMatch(/1000000000/);
    expect(gone).toBe(2);
  });

  test('inputs', async () => {
    const { gone, notes } = await removed({
      nodes: [makes('x', 'v'), reads('v', 'y')],
      initializers: weights,
      inputs: { x: { shape: [1, 4, huge, huge] } },
    });
    expect(notes.join('\n')).toMatch(/sizes 1, 4, 1000000000, 1000000000/);
    expect(gone).toBe(0);
  });

  test.each([1, 2])('a value that is joined with itself along axis %i again and again', async (place) => {
    const { gone, notes } = await removed({
      nodes: [
        makes('x', 'v0'),
        ...times(60, (index) => node('Concat', `v${index} v${index}`, `v${index + 1}`, axis(place))),
        node('Relu', 'v60', 'y'),
      ],
      initializers: weights,
    });
    expect(notes.join('\n')).toMatch(/Concat.*too large|Concat.*sizes/);
    expect(gone).toBe(0);
  });

  test('many values that are large together', async () => {
    const { gone, notes } = await removed({
      nodes: [makes('x', 'v'), reads('v', 'y'), ...times(30, (index) => node('Pad', `x s${index}`, `w${index}`))],
      initializers: [...weights, ...times(30, (index) => list(`s${index}`, 0, 0, 0, 0, 0, 0, 0, 2_000_000 + index))],
    });
    expect(notes.join('\n')).toMatch(/Pad.*too large/);
    expect(gone).toBe(2);
  });
});

describe('Lists', () => {
  test('that grow again and again are followed while they are short', async () => {
    const { gone, notes } = await removed({
      nodes: [
        makes('x', 'v'),
        reads('v', 'y'),
        node('Shape', 'x', 's0'),
        ...times(60, (index) => node('Concat', `s${index} s${index}`, `s${index + 1}`, axis(0))),
      ],
      initializers: weights,
    });
    expect(notes.join('\n')).toMatch(/Concat/);
    expect(gone).toBe(2);
  });

  test('are not floats of a large constant', async () => {
    const { gone, notes } = await removed({
      nodes: [makes('x', 'v'), node('Reshape', 'v s', 'w'), reads('w', 'y')],
      initializers: [...weights, tensor('s', [100_000])],
    });
    expect(notes.join('\n')).toMatch(/100000 numbers/);
    expect(gone).toBe(0);
  });

  test('of lists take as long as the lists', async () => {
    const { gone } = await removed({
      nodes: [
        makes('x', 'v0'),
        ...times(500, (index) => [
          node('Shape', `v${index}`, `s${index}`),
          node('Reshape', `v${index} s${index}`, `v${index + 1}`),
        ]).flat(),
        reads('v500', 'y'),
      ],
      initializers: weights,
    });
    expect(gone).toBe(2);
  });
});

describe('Constants that many nodes share', () => {
  test('One value is read by thousands of convolutions with one weight', async () => {
    const { gone } = await removed({
      nodes: [makes('x', 'v'), ...times(1000, (index) => reads('v', `y${index}`))],
      initializers: weights,
      outputs: Object.fromEntries(times(1000, (index) => [`y${index}`, undefined])),
    });
    expect(gone).toBe(2);
  });

  test('One weight carries constants into hundreds of padded convolutions', async () => {
    const { gone } = await removed({
      nodes: [node('Conv', 'x a c', 'v'), ...times(300, (index) => node('Conv', 'v w', `y${index}`, padded(1)))],
      initializers: [...weights, bias, tensor('w', [2, 4, 3, 3], { data: mixedNumbers(72, 3) })],
      outputs: Object.fromEntries(times(300, (index) => [`y${index}`, undefined])),
    });
    // One of the two carries the other.
    expect(gone).toBe(1);
  });

  test('Thousands of layers of one weight stand behind each other', async () => {
    const { gone } = await removed({
      nodes: times(1000, (index) =>
        node('Conv', `${index === 0 ? 'x' : `v${index}`} a`, index === 999 ? 'y' : `v${index + 1}`),
      ),
      initializers: weights,
    });
    // The first one reads the input of the model, so that all channels stay.
    expect(gone).toBe(0);
  });

  test('A vector that too many nodes read stays whole for those that are not followed', async () => {
    const size = 2 ** 20;
    const { gone, notes, changed } = await removed({
      nodes: times(20, (index) => [node('Add', `${index === 0 ? 'x' : `v${index - 1}`} big`, `v${index}`)]).flat(),
      initializers: [tensor('big', [size], { data: new Uint8Array(4 * size) })],
      inputs: { x: { shape: [1, size] } },
      outputs: { v19: undefined },
    });
    expect(notes.join('\n')).toMatch(/too many nodes read the same constants/);
    expect(gone).toBe(0);
    expect(changed).toBe(0);
  });
});

describe('What is known of padded convolutions', () => {
  test.each([
    [50, 1],
    [200, 1],
  ])('A kernel of %i times as many taps takes as long as its numbers', async (size, gone) => {
    const removal = await removed({
      nodes: [node('Conv', 'x a c', 'v'), node('Conv', 'v k d', 'w', padded(size)), node('Conv', 'w b', 'y')],
      initializers: [
        ...weights,
        bias,
        tensor('k', [4, 4, size, size], { data: mixedNumbers(16 * size ** 2, 3) }),
        tensor('d', [4], { data: numbers('float32', [1, 2, 3, 4]) }),
      ],
    });
    expect(removal.gone).toBe(gone);
  });

  test('Carriers are found among hundreds of constants', async () => {
    const count = 512;
    const { gone } = await removed({
      nodes: [
        node('Conv', 'x many many.bias', 'v'),
        ...times(3, (index) => [
          node('LeakyRelu', 'v', `r${index}`, { attributes: [floatAttribute('alpha', index / 10)] }),
          node('Conv', `r${index} w`, `y${index}`, padded(1)),
        ]).flat(),
      ],
      initializers: [
        tensor('many', [count, 4, 1, 1], { data: new Uint8Array(16 * count) }),
        tensor('many.bias', [count], { data: mixedNumbers(count, 4) }),
        tensor('w', [2, count, 3, 3], { data: mixedNumbers(18 * count, 5) }),
      ],
      outputs: { y0: undefined, y1: undefined, y2: undefined },
    });
    expect(gone).toBeGreaterThan(0);
  });
});

test('Tens of thousands of nodes stand behind each other', async () => {
  const count = 20_000;
  const { gone } = await removed({
    nodes: [
      makes('x', 'v0'),
      ...times(count, (index) => node('Identity', `v${index}`, `v${index + 1}`)),
      reads(`v${count}`, 'y'),
    ],
    initializers: weights,
  });
  expect(gone).toBe(2);
});
