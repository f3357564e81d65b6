// Whole heads of attention, and whole groups of channels, that no output depends on or whose values are zero.
import { Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import {
  floatAttribute,
  integerAttribute,
  integersAttribute,
  list,
  model,
  node,
  numbers,
  tensor,
} from '../support/onnx-builder.js';
import { judge } from '../support/removal/judging.js';
import { productOf } from '../support/removal/operators.js';
import { Random } from '../support/removal/random.js';
import { removedFrom } from '../support/removal/removing.js';

type Bytes = Uint8Array<ArrayBuffer>;

const [heads, width, steps, features] = [4, 3, 5, 6];

/** Random numbers that are zero at some places, given by the index along each axis. */
function floats(name: string, shape: readonly number[], isZero: (...at: number[]) => boolean = () => false): Bytes {
  const data = new Random(shape.length, ...[...name].map((letter) => letter.charCodeAt(0))).normals(
    productOf(shape),
    0.6,
  );
  for (const place of data.keys()) {
    let rest = place;
    const at = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at[axis] = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    if (isZero(...at)) data[place] = 0;
  }
  return tensor(name, shape, { data: numbers('float32', [...data]) });
}

/** Which numbers of a layer are zero, by head and width. */
type Zeros = (head: number, width: number) => boolean;
const none: Zeros = () => false;
const inHeads =
  (...dead: readonly number[]): Zeros =>
  (head) =>
    dead.includes(head);
const inWidths =
  (...dead: readonly number[]): Zeros =>
  (_, at) =>
    dead.includes(at);
const either =
  (...all: readonly Zeros[]): Zeros =>
  (head, at) =>
    all.some((zeros) => zeros(head, at));

interface Layers {
  readonly query?: Zeros;
  readonly key?: Zeros;
  readonly value?: Zeros;
  /** Of the weights that read the heads. */
  readonly output?: Zeros;
}

/** A layer that computes all heads, with a bias. */
function projection(name: string, zeros: Zeros = none, count = heads): { nodes: Bytes[]; initializers: Bytes[] } {
  const isZero = (column: number) => zeros(Math.floor(column / width), column % width);
  return {
    nodes: [node('MatMul', `x w${name}`, `${name}m`), node('Add', `b${name} ${name}m`, `${name}f`)],
    initializers: [
      floats(`w${name}`, [features, count * width], (_, column) => isZero(column!)),
      floats(`b${name}`, [count * width], (column) => isZero(column!)),
    ],
  };
}

/** The layer that reads all heads. */
const reading = (zeros: Zeros = none): { nodes: Bytes[]; initializers: Bytes[] } => ({
  nodes: [node('MatMul', 'joined wo', 'om'), node('Add', 'om bo', 'y')],
  initializers: [
    floats('wo', [heads * width, features], (row) => zeros(Math.floor(row! / width), row! % width)),
    floats('bo', [features]),
  ],
});

const turned = (input: string, output: string, ...perm: readonly number[]) =>
  node('Transpose', input, output, { attributes: [integersAttribute('perm', perm)] });
const softmax = node('Softmax', 'scores', 'shares', { attributes: [integerAttribute('axis', -1)] });

interface Part {
  readonly nodes: readonly Bytes[];
  readonly initializers?: readonly Bytes[];
}

/** From `q`, `kt` and `v` to `mixed`. */
const attended: Part = {
  nodes: [
    node('MatMul', 'q kt', 'products'),
    node('Mul', 'products scale', 'scores'),
    softmax,
    node('MatMul', 'shares v', 'mixed'),
  ],
  initializers: [tensor('scale', [], { data: numbers('float32', [0.577]) })],
};
const joined: Part = {
  nodes: [turned('mixed', 'back', 0, 2, 1, 3), node('Reshape', 'back flat', 'joined')],
  initializers: [list('flat', 0, 0, heads * width)],
};
const apart: Part = {
  nodes: ['q', 'k', 'v'].map((name) => node('Reshape', `${name}f apart`, `${name}r`)),
  initializers: [list('apart', 0, 0, heads, width)],
};
const facing: Part = {
  nodes: [turned('qr', 'q', 0, 2, 1, 3), turned('kr', 'kt', 0, 2, 3, 1), turned('vr', 'v', 0, 2, 1, 3)],
};
const projections = ({ query, key, value }: Layers): Part[] => [
  projection('q', query),
  projection('k', key),
  projection('v', value),
];

interface Choice {
  readonly input?: readonly (number | string)[];
  readonly sizes?: readonly (readonly number[])[];
  readonly roundTo?: number;
  /** What the file says about values. */
  readonly values?: Readonly<Record<string, { readonly shape: readonly (number | string)[] }>>;
}

/** Removes what is dead, and compares the outputs. */
async function removedOf(
  parts: readonly Part[],
  { input = [1, steps, features], sizes = [[1, steps, features]], roundTo = 1, values = {} }: Choice = {},
) {
  const bytes = model({
    nodes: parts.flatMap(({ nodes }) => nodes),
    initializers: parts.flatMap(({ initializers = [] }) => initializers),
    inputs: { x: { shape: input } },
    outputs: { y: undefined },
    values,
  });
  const choice = { inputs: sizes.map((shape) => ({ x: shape })), roundTo };
  const removed = removedFrom(bytes, choice);
  const feeds = sizes.map((shape) =>
    [1, 2].map((seed) => ({ x: new Tensor('float32', new Random(seed).normals(productOf(shape)), shape) })),
  );
  const { problems } = await judge(bytes, removed.bytes, feeds);
  expect(problems).toEqual([]);
  const again = removedFrom(removed.bytes, choice);
  expect(again.count).toBe(0);
  return removed;
}

/** The sizes of values that are left when what is dead is removed. */
async function left(...given: Parameters<typeof removedOf>) {
  const { after } = await removedOf(...given);
  return (name: string) => after.get(name)!.join();
}

const plain = (layers: Layers): Part[] => [
  ...projections(layers),
  apart,
  facing,
  attended,
  joined,
  reading(layers.output),
];

describe('a head goes', () => {
  test('if its layers are zero', async () => {
    const dead = inHeads(1, 3);
    const sizeOf = await left(plain({ query: dead, key: dead, value: dead, output: dead }));
    expect([sizeOf('q'), sizeOf('scores'), sizeOf('mixed'), sizeOf('joined')]).toEqual([
      '1,2,5,3',
      '1,2,5,5',
      '1,2,5,3',
      '1,5,6',
    ]);
  });

  test('if its values are zero, whatever its shares are', async () => {
    const sizeOf = await left(plain({ value: inHeads(0) }));
    expect([sizeOf('q'), sizeOf('scores'), sizeOf('joined')]).toEqual(['1,3,5,3', '1,3,5,5', '1,5,9']);
  });

  test('if nothing reads it', async () => {
    const sizeOf = await left(plain({ output: inHeads(2) }));
    expect([sizeOf('q'), sizeOf('scores'), sizeOf('joined')]).toEqual(['1,3,5,3', '1,3,5,5', '1,5,9']);
  });

  test('and so do widths of the others', async () => {
    const sizeOf = await left(
      plain({ query: either(inHeads(1), inWidths(0)), value: either(inHeads(3), inWidths(1, 2)), output: inHeads(0) }),
    );
    expect([sizeOf('q'), sizeOf('kt'), sizeOf('v'), sizeOf('joined')]).toEqual([
      '1,2,5,2',
      '1,2,2,5',
      '1,2,5,1',
      '1,5,2',
    ]);
  });

  test('and so do widths that are zero in all heads that stay', async () => {
    const sizeOf = await left(
      plain({
        query: (head, at) => head !== 2 && at === 1,
        value: either(inHeads(2), (head, at) => head === 0 && at === 0),
        output: (head, at) => head !== 0 && at === 0,
      }),
    );
    expect([sizeOf('q'), sizeOf('v')]).toEqual(['1,3,5,2', '1,3,5,2']);
  });

  test('but not if any of its numbers counts', async () => {
    const sizeOf = await left(plain({ query: inHeads(0), key: inHeads(1), value: (head, at) => head === 2 && at > 0 }));
    expect([sizeOf('q'), sizeOf('v')]).toEqual(['1,4,5,3', '1,4,5,3']);
  });

  test('but one, if all are dead', async () => {
    const sizeOf = await left(plain({ value: () => true }));
    expect([sizeOf('q'), sizeOf('v')]).toEqual(['1,1,5,3', '1,1,5,1']);
  });
});

/** The numbers of a fused layer: a third of the columns each for queries, keys and values. */
const fused = ({ query = none, key = none, value = none }: Layers): Part => {
  const isZero = (column: number) => {
    const zeros = [query, key, value][Math.floor(column / (heads * width))]!;
    return zeros(Math.floor(column / width) % heads, column % width);
  };
  return {
    nodes: [node('MatMul', 'x w', 'm'), node('Add', 'm b', 'f')],
    initializers: [
      floats('w', [features, 3 * heads * width], (_, column) => isZero(column!)),
      floats('b', [3 * heads * width], (column) => isZero(column!)),
    ],
  };
};

const along = (axis: number) => ({ attributes: [integerAttribute('axis', axis)] });
const scalar = (name: string, value: number) => tensor(name, [], { dtype: 'int64', data: numbers('int64', [value]) });

describe('a head of a fused layer goes', () => {
  test('whose parts are split', async () => {
    const split: Part = {
      nodes: [node('Split', 'f thirds', 'qf kf vf', along(2))],
      initializers: [list('thirds', heads * width, heads * width, heads * width)],
    };
    const zeros = { query: inWidths(1), value: inHeads(0, 2) };
    const sizeOf = await left([fused(zeros), split, apart, facing, attended, joined, reading()]);
    expect([sizeOf('f'), sizeOf('q'), sizeOf('v')]).toEqual(['1,5,14', '1,2,5,2', '1,2,5,3']);
  });

  test('whose parts are slices', async () => {
    const ends = [0, 1, 2, 3].map((part) => part * heads * width);
    const sliced: Part = {
      nodes: ['q', 'k', 'v'].map((name, part) => node('Slice', `f e${part} e${part + 1} last`, `${name}f`)),
      initializers: [...ends.map((end, place) => list(`e${place}`, end)), list('last', -1)],
    };
    const sizeOf = await left([fused({ value: inHeads(3) }), sliced, apart, facing, attended, joined, reading()]);
    expect([sizeOf('f'), sizeOf('q')]).toEqual(['1,5,27', '1,3,5,3']);
  });

  test.each(['Gather', 'Split', 'Slice'])('whose parts lie along an axis, taken with %s', async (op) => {
    const parts = ['q', 'k', 'v'];
    const taken: Record<string, Part> = {
      Gather: {
        nodes: parts.map((name, part) => node('Gather', `five i${part}`, `${name}4`, along(0))),
        initializers: parts.map((_, part) => scalar(`i${part}`, part)),
      },
      Split: {
        nodes: [
          node('Split', 'five ones', 'q5 k5 v5', along(0)),
          ...parts.map((name) => node('Squeeze', `${name}5 first`, `${name}4`)),
        ],
        initializers: [list('ones', 1, 1, 1), list('first', 0)],
      },
      Slice: {
        nodes: parts.flatMap((name, part) => [
          node('Slice', `five s${part} s${part + 1} first`, `${name}5`),
          node('Squeeze', `${name}5 first`, `${name}4`),
        ]),
        initializers: [...[0, 1, 2, 3].map((end) => list(`s${end}`, end)), list('first', 0)],
      },
    };
    const sizeOf = await left([
      fused({ query: inWidths(2), key: inWidths(2), value: either(inHeads(1), inWidths(2)) }),
      {
        nodes: [node('Reshape', 'f shape', 'parted'), turned('parted', 'five', 2, 0, 3, 1, 4)],
        initializers: [list('shape', 1, -1, 3, heads, width)],
      },
      taken[op]!,
      {
        nodes: [node('Identity', 'q4', 'q'), node('Identity', 'v4', 'v'), turned('k4', 'kt', 0, 1, 3, 2)],
      },
      attended,
      joined,
      reading(),
    ]);
    expect([sizeOf('f'), sizeOf('q'), sizeOf('v')]).toEqual(['1,5,18', '1,3,5,2', '1,3,5,2']);
  });
});

/** From `q` and `kt` to `shares`, with something done to the scores. */
const scored = (nodes: readonly Bytes[], initializers: readonly Bytes[]): Part => ({
  nodes: [node('MatMul', 'q kt', 'products'), ...nodes, softmax, node('MatMul', 'shares v', 'mixed')],
  initializers,
});

describe('with a head goes its part of', () => {
  const zeros = { value: inHeads(1) };
  const network = (middle: Part) => [...projections(zeros), apart, facing, middle, joined, reading()];

  test('a mask, unless all heads have the same', async () => {
    const own = scored([node('Add', 'products mask', 'scores')], [floats('mask', [1, heads, steps, steps])]);
    expect((await left(network(own)))('scores')).toBe('1,3,5,5');
    const same = scored([node('Add', 'products mask', 'scores')], [floats('mask', [1, 1, steps, steps])]);
    expect((await left(network(same)))('scores')).toBe('1,3,5,5');
  });

  test('biases of positions', async () => {
    const places = Array.from({ length: steps * steps }, (_, place) => (place * 7) % 9);
    const biased = scored(
      [
        node('Gather', 'table places', 'found'),
        node('Reshape', 'found square', 'cells'),
        turned('cells', 'planes', 2, 0, 1),
        node('Unsqueeze', 'planes first', 'biases'),
        node('Add', 'products biases', 'scores'),
      ],
      [floats('table', [9, heads]), list('places', ...places), list('square', steps, steps, -1), list('first', 0)],
    );
    expect((await left(network(biased)))('biases')).toBe('1,3,5,5');
  });

  test('a scale of each head', async () => {
    const scaled = scored(
      [node('Min', 'scale limit', 'low'), node('Exp', 'low', 'scales'), node('Mul', 'products scales', 'scores')],
      [floats('scale', [heads, 1, 1]), tensor('limit', [], { data: numbers('float32', [0.3]) })],
    );
    expect((await left(network(scaled)))('scales')).toBe('3,1,1');
  });

  test('a scale of each number', async () => {
    const gained: Part = {
      nodes: [node('Mul', 'mixed gain', 'gained')],
      initializers: [floats('gain', [heads, 1, width], (head) => head === 3)],
    };
    const rest: Part = {
      nodes: [turned('gained', 'back', 0, 2, 1, 3), node('Reshape', 'back flat', 'joined')],
      initializers: [list('flat', 0, 0, -1)],
    };
    const sizeOf = await left([...projections(zeros), apart, facing, attended, gained, rest, reading()]);
    expect([sizeOf('gained'), sizeOf('q')]).toEqual(['1,2,5,3', '1,2,5,3']);
  });
});

describe('heads that share keys and values', () => {
  const groups = 2;
  /** Keys and values of two heads, each for two heads of the queries. */
  const shared = (layers: Layers): Part[] => [
    projection('q', layers.query),
    projection('k', layers.key, groups),
    projection('v', layers.value, groups),
    {
      nodes: [
        node('Reshape', 'qf apart', 'qr'),
        turned('qr', 'q', 0, 2, 1, 3),
        ...['k', 'v'].flatMap((name) => [
          node('Reshape', `${name}f pairs`, `${name}r`),
          turned(`${name}r`, `${name}h`, 0, 2, 1, 3),
          node('Unsqueeze', `${name}h third`, `${name}5`),
          node('Expand', `${name}5 wide`, `${name}w`),
          node('Reshape', `${name}w all`, `${name}a`),
        ]),
        turned('ka', 'kt', 0, 1, 3, 2),
        node('Identity', 'va', 'v'),
      ],
      initializers: [
        list('apart', 0, 0, heads, width),
        list('pairs', 0, 0, groups, width),
        list('third', 2),
        list('wide', 1, groups, heads / groups, steps, width),
        list('all', 1, heads, steps, width),
      ],
    },
    attended,
    joined,
    reading(layers.output),
  ];

  test('go with them', async () => {
    const sizeOf = await left(shared({ value: inHeads(0) }));
    expect([sizeOf('q'), sizeOf('kf'), sizeOf('joined')]).toEqual(['1,2,5,3', '1,5,3', '1,5,6']);
  });

  test('go in the same place of all pairs', async () => {
    const sizeOf = await left(shared({ output: inHeads(1, 3) }));
    expect([sizeOf('q'), sizeOf('kf'), sizeOf('joined')]).toEqual(['1,2,5,3', '1,5,6', '1,5,6']);
  });

  test('stay if only one of a pair is dead', async () => {
    const sizeOf = await left(shared({ output: inHeads(0, 3) }));
    expect([sizeOf('q'), sizeOf('kf'), sizeOf('joined')]).toEqual(['1,4,5,3', '1,5,6', '1,5,12']);
  });
});

describe('for inputs of any size', () => {
  const open = {
    input: ['batch', 'steps', features],
    sizes: [
      [1, steps, features],
      [3, 7, features],
    ],
  };

  // Sizes of the input, and the width from that of all heads.
  const sizes: Part = {
    nodes: [
      node('Shape', 'qf', 'all'),
      ...[0, 1, 2].map((axis) => node('Gather', `all axis${axis}`, `size${axis}`, along(0))),
      node('Div', 'size2 heads', 'wide'),
      ...['size0', 'size1', 'heads', 'wide', 'size2'].map((name) => node('Unsqueeze', `${name} zero`, `${name}s`)),
      node('Concat', 'size0s size1s headss wides', 'apart', along(0)),
      node('Concat', 'size0s size1s size2s', 'flat', along(0)),
      node('Cast', 'wide', 'float', { attributes: [integerAttribute('to', 1)] }),
      node('Sqrt', 'float', 'root'),
      node('Reciprocal', 'root', 'scale'),
    ],
    initializers: [...[0, 1, 2].map((axis) => scalar(`axis${axis}`, axis)), scalar('heads', heads), list('zero', 0)],
  };
  const computed = (layers: Layers): Part[] => [
    ...projections(layers),
    sizes,
    { nodes: apart.nodes },
    facing,
    { nodes: attended.nodes },
    { nodes: joined.nodes },
    reading(),
  ];

  test('heads go whose shapes are computed', async () => {
    const layers = { query: inWidths(0), key: inWidths(0), value: either(inHeads(1), inWidths(2)) };
    const sizeOf = await left(computed(layers), open);
    expect([sizeOf('q'), sizeOf('v'), sizeOf('joined')]).toEqual(['1,3,5,2', '1,3,5,2', '1,5,6']);
  });

  test('heads stay whose shapes cannot be right for all that read them', async () => {
    const sizeOf = await left(computed({ query: inWidths(0), value: inHeads(1) }), open);
    expect([sizeOf('q'), sizeOf('v'), sizeOf('joined')]).toEqual(['1,4,5,3', '1,4,5,3', '1,5,12']);
  });

  test('heads go that are those of all in a batch', async () => {
    // Matrices of all heads of a batch, one after the other, as in PyTorch's MultiheadAttention.
    const batched: Part = {
      nodes: [
        node('Shape', 'x', 'sizes'),
        node('Gather', 'sizes zero', 'batch', along(0)),
        node('Mul', 'batch heads', 'matrices'),
        node('Concat', 'steps matrices wide', 'apart', along(0)),
        ...['q', 'k', 'v'].flatMap((name) => [
          turned(`${name}f`, `${name}s`, 1, 0, 2),
          node('Reshape', `${name}s apart`, `${name}r`),
        ]),
        turned('qr', 'q', 1, 0, 2),
        turned('kr', 'kt', 1, 2, 0),
        turned('vr', 'v', 1, 0, 2),
        node('Concat', 'steps batch minus', 'flat', along(0)),
      ],
      initializers: [
        list('zero', 0),
        list('heads', heads),
        list('steps', -1),
        list('wide', width),
        list('minus', heads * width),
      ],
    };
    const rest: Part = {
      nodes: [
        turned('mixed', 'first', 1, 0, 2),
        node('Reshape', 'first flat', 'row'),
        turned('row', 'joined', 1, 0, 2),
      ],
    };
    const layers = { query: inWidths(0), value: either(inHeads(1), inWidths(0)) };
    const fixed = await left([...projections(layers), batched, attended, rest, reading()], {
      sizes: [[2, steps, features]],
      input: [2, steps, features],
    });
    expect([fixed('q'), fixed('v'), fixed('joined')]).toEqual(['6,5,2', '6,5,2', '2,5,6']);
    const sizeOf = await left([...projections(layers), batched, attended, rest, reading()], open);
    expect([sizeOf('q'), sizeOf('v'), sizeOf('joined')]).toEqual(['3,5,2', '3,5,2', '1,5,6']);
  });
});

test('names of sizes that are no longer right go with the heads', async () => {
  // Two values whose axes have the name of one size must not have others, or runtimes reuse memory that is too small.
  const batched: Part = {
    nodes: [
      ...['q', 'k', 'v'].flatMap((name) => [
        turned(`${name}f`, `${name}s`, 1, 0, 2),
        node('Reshape', `${name}s apart`, `${name}r`),
      ]),
      turned('qr', 'q', 1, 0, 2),
      turned('kr', 'kt', 1, 2, 0),
      turned('vr', 'v', 1, 0, 2),
    ],
    initializers: [list('apart', steps, -1, width)],
  };
  const rest: Part = {
    nodes: [turned('mixed', 'first', 1, 0, 2), node('Reshape', 'first flat', 'row'), turned('row', 'joined', 1, 0, 2)],
    initializers: [list('flat', steps, -1, heads * width)],
  };
  const choice = {
    input: ['batch', steps, features],
    sizes: [
      [1, steps, features],
      [3, steps, features],
    ],
  };
  const values = {
    qr: { shape: [steps, '4*batch', width] },
    products: { shape: ['4*batch', steps, steps] },
    joined: { shape: ['batch', steps, heads * width] },
  };
  const network = [...projections({ value: inHeads(1) }), batched, attended, rest, reading()];
  const { bytes, after } = await removedOf(network, { ...choice, values });
  expect(after.get('qr')).toEqual([steps, 3, width]);
  const names = Buffer.from(bytes)
    .toString('latin1')
    .match(/(4\*)?batch/g);
  expect(new Set(names)).toEqual(new Set(['batch']));
});

test('rounding keeps multiples of widths, not of heads', async () => {
  const sizeOf = await left(plain({ query: inWidths(0), value: inHeads(1, 2) }), { roundTo: 3 });
  expect([sizeOf('q'), sizeOf('v'), sizeOf('joined')]).toEqual(['1,2,5,3', '1,2,5,3', '1,5,6']);
  // A layer would have nine channels with three heads.
  const even = await left(plain({ query: inWidths(0), value: inHeads(1) }), { roundTo: 2 });
  expect([even('q'), even('v'), even('joined')]).toEqual(['1,4,5,2', '1,4,5,3', '1,5,12']);
});

test('rounding takes numbers of heads that stay anyway', async () => {
  // One number of one head counts.
  const value: Zeros = (head, at) => head !== 2 || at !== 1;
  const sizeOf = await left(plain({ value }), { roundTo: 3 });
  expect([sizeOf('q'), sizeOf('v'), sizeOf('joined')]).toEqual(['1,1,5,3', '1,1,5,3', '1,5,3']);
});

describe('a group', () => {
  const image = { input: [1, 3, 4, 4], sizes: [[1, 3, 4, 4]] };
  const [groups, inputs, outputs] = [3, 4, 2];
  const conv = (names: string, output: string, group = 1) =>
    node('Conv', names, output, {
      attributes: [integerAttribute('group', group), integersAttribute('pads', [1, 1, 1, 1])],
    });
  const channels = groups * inputs;

  /** A layer, a convolution with groups, and a layer that reads it. */
  const grouped = (isDead: (channel: number) => boolean, isUnread: (channel: number) => boolean): Part => ({
    nodes: [conv('x a ab', 'first'), conv('first g', 'middle', groups), conv('middle l', 'y')],
    initializers: [
      floats('a', [channels, 3, 3, 3], (channel) => isDead(channel!)),
      floats('ab', [channels], (channel) => isDead(channel!)),
      floats('g', [groups * outputs, inputs, 3, 3]),
      floats('l', [2, groups * outputs, 3, 3], (_, channel) => isUnread(channel!)),
    ],
  });
  const of = (group: number, size: number) => (channel: number) => Math.floor(channel / size) === group;

  test('of a convolution goes if its inputs are zero', async () => {
    const sizeOf = await left([grouped(of(1, inputs), () => false)], image);
    expect([sizeOf('first'), sizeOf('middle')]).toEqual(['1,8,4,4', '1,4,4,4']);
  });

  test('of a convolution goes if nothing reads its outputs', async () => {
    const sizeOf = await left([grouped(() => false, of(0, outputs))], image);
    expect([sizeOf('first'), sizeOf('middle')]).toEqual(['1,8,4,4', '1,4,4,4']);
  });

  test('of a convolution goes together with channels of the others', async () => {
    const isDead = (channel: number) => of(2, inputs)(channel) || channel % inputs === 1;
    const sizeOf = await left([grouped(isDead, (channel) => of(1, outputs)(channel))], image);
    expect([sizeOf('first'), sizeOf('middle')]).toEqual(['1,3,4,4', '1,2,4,4']);
  });

  test('of a convolution stays if one of its channels is used', async () => {
    const isDead = (channel: number) => of(1, inputs)(channel) && channel % inputs !== 3;
    const sizeOf = await left([grouped(isDead, () => false)], image);
    expect([sizeOf('first'), sizeOf('middle')]).toEqual(['1,12,4,4', '1,6,4,4']);
  });

  test('of channels that are normalised together goes as a whole', async () => {
    const normalised = (isDead: (channel: number) => boolean): Part => ({
      nodes: [
        conv('x a ab', 'first'),
        node('Reshape', 'first apart', 'grouped'),
        node('InstanceNormalization', 'grouped ones zeros', 'even', { attributes: [floatAttribute('epsilon', 1e-5)] }),
        node('Reshape', 'even whole', 'back'),
        node('Mul', 'back gain', 'scaled'),
        conv('scaled l', 'y'),
      ],
      initializers: [
        floats('a', [channels, 3, 3, 3], (channel) => isDead(channel!)),
        floats('ab', [channels], (channel) => isDead(channel!)),
        list('apart', 0, groups, -1),
        tensor('ones', [groups], { data: numbers('float32', [1, 1, 1]) }),
        tensor('zeros', [groups], { data: numbers('float32', [0, 0, 0]) }),
        list('whole', 1, channels, 4, 4),
        floats('gain', [channels, 1, 1]),
        floats('l', [2, channels, 3, 3]),
      ],
    });
    expect((await left([normalised(of(1, inputs))], image))('scaled')).toBe('1,8,4,4');
    expect((await left([normalised((channel) => channel % inputs === 1)], image))('scaled')).toBe('1,12,4,4');
  });
});
