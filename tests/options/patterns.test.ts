import fc from 'fast-check';
import { Granularity, Sparsifier, type Progress, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  anyLayout,
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  in16Bits,
  layerOf,
  layoutOf,
  layouts,
  line,
  permuted,
  product,
  refusal,
  values,
  weightsOnly,
  weightwise,
  type Layout,
} from '../support/layers.js';
import {
  coordinates,
  copyOf,
  outside,
  scoresOf,
  unitsOf,
  without,
  type Asked,
  type Layers,
} from '../support/oracle.js';

type Pair = readonly [n: number, m: number];

const patterns: readonly Pair[] = [
  [2, 4],
  [1, 2],
  [4, 8],
  [1, 16],
  [3, 5],
];

/** A layout with so many input channels in each group, where it stores any. */
function withInputs(layout: Layout, inputs: number): Layout {
  const { kind, roles, shape, groups = 1 } = layout;
  const stored = kind.startsWith('convTranspose') ? inputs * groups : inputs;
  return { ...layout, shape: shape.map((size, axis) => (roles[axis] === 'in' ? stored : size)) };
}

/** How many input channels a group has. */
const inputsOf = (layer: ArrayLayer): number =>
  1 + Math.max(...Array.from(layer.data, (_, position) => coordinates(layer, position)[1]!));

/** What becomes of copies of the layers. */
async function patterned([n, m]: Pair, layers: Layers, options: Partial<SparsifierOptions> = {}) {
  const copies = copyOf(layers);
  const sparsifier = new Sparsifier(fromArrays(copies), {
    ...weightwise,
    granularity: Granularity.nm(n, m),
    ...options,
  });
  return { layers: copies, report: await sparsifier.sparsifyModel(), sparsifier };
}

/** What is to become of them. */
function expected(pair: Pair, layers: Layers, asked: Partial<Asked> = {}): Layers {
  const gone = Object.entries(layers).map(([name, layer], position) => {
    const scores = scoresOf(layer, unitsOf(layer, 'weight'), { ...weightwise, ...asked }, position);
    return [name, outside(pair, layer, scores)] as const;
  });
  return without(layers, Object.fromEntries(gone), 'weight');
}

const zerosIn = ({ data }: ArrayLayer): number => data.filter((each: number) => each === 0).length;

describe('patterns', () => {
  test('The largest weights of each set stay, and of equal ones the later', async () => {
    const { layers } = await patterned([2, 4], { layer: line([1, -5, 3, 2, /**/ 7, 7, -7, 7, /**/ 0, 1, 0, 0]) });
    expect([...layers.layer!.data]).toEqual([0, -5, 3, 0, 0, 0, -7, 7, 0, 1, 0, 0]);
  });

  test('A pattern runs along the input channels, not along what lies next to each other in memory', async () => {
    const layer: ArrayLayer = {
      kind: 'dense',
      roles: ['in', 'out'],
      shape: [4, 2],
      data: Float32Array.of(1, 8, 2, 7, 3, 6, 4, 5),
    };
    const { layers } = await patterned([1, 4], { layer });
    expect([...layers.layer!.data]).toEqual([0, 8, 0, 0, 0, 0, 4, 0]);
  });

  test.each(patterns)('The pattern %i:%i agrees with the oracle for all kinds and layouts', async (n, m) => {
    for (const inputs of [m, 2 * m, 17]) {
      for (const magnitudes of [2000, 2]) {
        const layers = Object.fromEntries(
          layouts.map((layout, index) => [layout.title, layerOf(withInputs(layout, inputs), index, magnitudes)]),
        );
        const { layers: after, report } = await patterned([n, m], layers);
        expectSame(after, expected([n, m], layers), `${inputs} input channels, ${magnitudes} magnitudes`);
        for (const { name, weights, units, keptUnits, zeros } of report.layers) {
          const inGroup = inputsOf(layers[name]!);
          const gone = (weights / inGroup) * Math.floor(inGroup / m) * (m - n);
          expect([units, keptUnits, zeros, zerosIn(after[name]!)], name).toEqual([weights, weights - gone, gone, gone]);
        }
      }
    }
  });

  test(
    'Patterns agree with the oracle for any shape, stored order and number of ties',
    { timeout: 120_000 },
    async () => {
      const pair = fc
        .integer({ min: 2, max: 9 })
        .chain((m) => fc.tuple(fc.integer({ min: 1, max: m - 1 }), fc.constant(m)));
      const layout = anyLayout(3, 20);
      await fc.assert(
        fc.asyncProperty(
          layout,
          pair,
          fc.nat(1000),
          fc.constantFrom(1, 3, 2000),
          async (each, pair, seed, magnitudes) => {
            const layers = { layer: layerOf(each, seed, magnitudes) };
            const { layers: after, sparsifier } = await patterned(pair, layers);
            expectSame(after, expected(pair, layers));
            const once = copyOf(after);
            await sparsifier.sparsifyModel();
            expectSame(after, once, 'the second time');
          },
        ),
        { numRuns: 120 },
      );
    },
  );

  test('A tensor with its axes in another order loses the same weights, ties included', async () => {
    for (const title of ['conv2d', 'grouped conv2d', 'conv3d', 'grouped convTranspose2d', 'dense', 'lstm']) {
      const layout = withInputs(layoutOf(title), 11);
      for (const magnitudes of [1, 3]) {
        const layer = layerOf(layout, 4, magnitudes);
        const stored = await patterned([2, 4], { layer });
        const axes = [...layout.shape.keys()];
        for (const order of [axes.slice().reverse(), [...axes.slice(1), 0], [axes.at(-1)!, ...axes.slice(0, -1)]]) {
          const moved = await patterned([2, 4], { layer: permuted(layer, order) });
          expectSame(moved.layers, { layer: permuted(stored.layers.layer!, order) }, `${title}, axes ${order}`);
        }
      }
    }
  });

  test('A depthwise kernel has one input channel per group, so all of it stays, whether or not the layout stores that axis', async () => {
    for (const title of ['depthwise conv2d', 'depthwise conv2d of tfjs', 'depthwise conv2d, multipliers first']) {
      const layers = { layer: layerOf(layoutOf(title)) };
      const { layers: after, report } = await patterned([1, 2], layers);
      expectSame(after, layers, title);
      expect(report.notes, title).toHaveLength(1);
    }
  });

  test(
    'Patterns agree with the oracle for tensors larger than the batches of the kernels',
    { timeout: 120_000 },
    async () => {
      const large: Omit<Layout, 'title'>[] = [
        { kind: 'dense', roles: ['out', 'in'], shape: [1, 9001] },
        { kind: 'dense', roles: ['in', 'out'], shape: [4500, 2] },
        { kind: 'dense', roles: ['in', 'out'], shape: [20, 300] },
        { kind: 'convTranspose2d', roles: ['in', 'out', 'height', 'width'], shape: [140, 9, 3, 3], groups: 2 },
      ];
      for (const layout of large) {
        for (const pair of [
          [2, 4],
          [60, 70],
        ] as const) {
          const layers = { layer: weightsOnly(layout, 3, 30) };
          const { layers: after } = await patterned(pair, layers);
          expectSame(after, expected(pair, layers), `${pair} of ${layout.roles} [${layout.shape}]`);
        }
      }
    },
  );
});

test('A pattern leaves biases alone, and no note mentions them', async () => {
  const bias = values(6, 9);
  // Where a channel has one weight, a unit is a whole channel.
  const first = { ...layerOf({ kind: 'dense', roles: ['out', 'in'], shape: [6, 1] }), bias };
  const { report } = await patterned([1, 2], { first, second: { ...first, data: values(6, 2) } });
  expect(report.notes).toHaveLength(2);
  expect(report.notes.join()).not.toContain('bias');
});

describe('rests', () => {
  test('A rest that is too short for the pattern stays, and the report says how long it is', async () => {
    const layers: Layers = {
      whole: layerOf(withInputs(layoutOf('dense'), 8)),
      rest: layerOf(withInputs(layoutOf('conv2d of tfjs'), 11)),
      short: layerOf(withInputs(layoutOf('grouped convTranspose2d'), 3)),
    };
    const { layers: after, report } = await patterned([2, 4], layers);
    expectSame(after, expected([2, 4], layers));
    expect(report.notes).toHaveLength(2);
    expect(report.notes[0]).toMatch(/^rest: .*\b3 of 11\b.*2:4/);
    expect(report.notes[1]).toMatch(/^short: .*\b3 of 3\b.*2:4/);
    expect(zerosIn(after.short!)).toBe(0);
  });
});

describe('calls', () => {
  test('pruneModel does the same as sparsifyModel', async () => {
    const [layers, other] = [{ layer: line(values(16)) }, { layer: line(values(16)) }];
    const options = { ...weightwise, granularity: Granularity.nm(2, 4) };
    await new Sparsifier(fromArrays(layers), options).sparsifyModel();
    await new Sparsifier(fromArrays(other), options).pruneModel();
    expectSame(other, layers);
  });

  test('A further call keeps what was removed, whatever training made of it', async () => {
    const layers = { layer: line([1, 2, 3, 4, 5, 6, 7, 8, 9]) };
    const sparsifier = new Sparsifier(fromArrays(layers), { ...weightwise, granularity: Granularity.nm(2, 4) });
    await sparsifier.sparsifyModel();
    expect([...layers.layer.data]).toEqual([0, 0, 3, 4, 0, 0, 7, 8, 9]);
    layers.layer.data.set([100, 100, 0.5, 0.25, -100, 100, 0, 0, 0]);
    await sparsifier.sparsifyModel();
    expect([...layers.layer.data]).toEqual([0, 0, 0.5, 0.25, 0, 0, 0, 0, 0]);
    layers.layer.data.fill(1);
    const report = await sparsifier.apply();
    expect([...layers.layer.data]).toEqual([0, 0, 1, 1, 0, 0, 1, 1, 1]);
    expect(report.total).toMatchObject({ units: 9, keptUnits: 5, zeros: 4 });
  });

  test('sparsifyLayer needs no amount either, and prunes its layer whatever the rules say', async () => {
    const before: Layers = { a: line(values(8, 1)), b: line(values(8, 2)) };
    const layers = copyOf(before);
    const sparsifier = new Sparsifier(fromArrays(layers), {
      ...weightwise,
      layerType: 'conv1d',
      granularity: Granularity.nm(1, 2),
    });
    const report = await sparsifier.sparsifyLayer('b');
    expectSame(layers, { ...before, ...expected([1, 2], { b: before.b! }) });
    expect(report.layers.map(({ name, keptUnits }) => [name, keptUnits])).toEqual([['b', 4]]);
  });

  test('The mask has the shape of the weights, and biases stay', async () => {
    const layers = { layer: layerOf(withInputs(layoutOf('grouped convTranspose2d'), 4)) };
    const { layers: after, sparsifier } = await patterned([2, 4], layers);
    const { shape, data } = sparsifier.mask('layer');
    expect(shape).toEqual(layers.layer.shape);
    expect([...data]).toEqual(Array.from(after.layer!.data, (weight) => (weight === 0 ? 0 : 1)));
    expect([after.layer!.bias, after.layer!.batchNorm]).toEqual([layers.layer.bias, layers.layer.batchNorm]);
  });
});

describe('criteria', () => {
  const layers: Layers = {
    conv: weightsOnly(withInputs(layoutOf('conv2d of tfjs'), 9), 1),
    grouped: weightsOnly(withInputs(layoutOf('grouped conv2d'), 5), 2),
    transposed: weightsOnly(withInputs(layoutOf('grouped convTranspose2d'), 6), 3),
    depthwise: weightsOnly(layoutOf('depthwise conv2d of tfjs'), 4),
    dense: weightsOnly(withInputs(layoutOf('dense'), 10), 5),
  };
  const others = Object.fromEntries(
    Object.entries(layers).map(([name, { data }], index) => [name, values(data.length, 50 + index, 30)]),
  );
  const round = Math.fround;

  /** By the score of each weight: its layer, its value, its partner among the others, and its stored position. */
  type Score = (weight: number, other: number, layer: ArrayLayer, position: number) => number;

  async function check(options: Partial<SparsifierOptions>, score: Score): Promise<void> {
    const { layers: after } = await patterned([2, 4], layers, options);
    const gone = Object.entries(layers).map(([name, layer]) => {
      const scores = unitsOf(layer, 'weight').map(({ positions: [position] }) =>
        score(layer.data[position!]!, others[name]![position!]!, layer, position!),
      );
      return [name, outside([2, 4], layer, scores)] as const;
    });
    expectSame(after, without(layers, Object.fromEntries(gone), 'weight'));
  }

  test('Criteria without state choose what stays', async () => {
    await check({ criteria: 'squaredFinal' }, (weight) => round(weight * weight));
    await check({ criteria: 'smallFinal' }, (weight) => -Math.abs(weight));
  });

  test('Criteria with initial weights choose what stays', async () => {
    const initial = others;
    await check({ criteria: 'largeInit', initial }, (_, other) => Math.abs(other));
    await check({ criteria: 'movement', initial }, (weight, other) => round(Math.abs(weight - other)));
    await check({ criteria: 'magnitudeIncrease', initial }, (weight, other) => Math.abs(weight) - Math.abs(other));
  });

  test('A criterion with gradients chooses what stays', () =>
    check({ criteria: 'taylor', gradient: others }, (weight, other) => {
      const part = round(weight * other);
      return round(part * part);
    }));

  test('A criterion with activations of each input channel chooses what stays, across groups', async () => {
    /** The input channel among those of all groups. */
    const channelOf = (layer: ArrayLayer, position: number): number => {
      const [out, input] = coordinates(layer, position) as [number, number];
      const outputs = 1 + Math.max(...Array.from(layer.data, (_, each) => coordinates(layer, each)[0]!));
      return Math.floor(out / (outputs / (layer.groups ?? 1))) * inputsOf(layer) + input;
    };
    const norm = (channel: number) => 1 + ((channel * 5) % 7);
    const activations = Object.fromEntries(
      Object.entries(layers).map(([name, layer]) => [
        name,
        Float32Array.from({ length: inputsOf(layer) * (layer.groups ?? 1) }, (_, channel) => norm(channel)),
      ]),
    );
    await check({ criteria: 'wanda', activations }, (weight, _, layer, position) =>
      round(Math.abs(weight) * norm(channelOf(layer, position))),
    );
  });

  test('A criterion with previous weights chooses what stays', async () => {
    const layers = { layer: line([1, 2, 3, 4, 5, 6, 7, 8]) };
    const sparsifier = new Sparsifier(fromArrays(layers), {
      ...weightwise,
      criteria: 'updatingMovement',
      granularity: Granularity.nm(1, 2),
    });
    layers.layer.data.set([9, 3, 3, 4, 5, 5, 0.5, 8]);
    await sparsifier.sparsifyModel();
    expect([...layers.layer.data]).toEqual([9, 0, 0, 4, 0, 5, 0.5, 0]);
  });

  test.each([0, 7])('The criterion random draws a number for each weight, with seed %i', async (seed) => {
    const { layers: after } = await patterned([2, 4], layers, { criteria: 'random', seed });
    expectSame(after, expected([2, 4], layers, { criteria: 'random', seed }));
  });

  test('A function is given each layer and chooses what stays', async () => {
    const seen: string[] = [];
    await check(
      {
        criteria: ({ name, weights, shape }) => {
          seen.push(name);
          expect(product(shape)).toBe(weights.length);
          return weights.map((weight) => 1 / weight);
        },
      },
      (weight) => round(1 / weight),
    );
    expect(seen).toEqual(Object.keys(layers));
  });

  test('Normalizers and reducers change nothing', async () => {
    const plain = await patterned([2, 4], layers);
    const more = await patterned([2, 4], layers, { normalizer: 'max', reducer: 'l2' });
    expectSame(more.layers, plain.layers);
  });
});

describe('16-bit numbers', () => {
  test.each(['float16', 'bfloat16'] as const)('A pattern of %s numbers agrees with the oracle', async (dtype) => {
    const layers: Layers = Object.fromEntries(
      layouts.map((layout, index) => [layout.title, in16Bits(layerOf(withInputs(layout, 10), index), dtype)]),
    );
    for (const pair of [
      [2, 4],
      [3, 5],
    ] as const) {
      const { layers: after } = await patterned(pair, layers);
      expectSame(after, expected(pair, layers), `${pair}`);
    }
  });
});

describe('invalid calls and patterns', () => {
  const layers: Layers = { a: line(values(8)), b: layerOf(layoutOf('conv2d')) };
  const granularity = Granularity.nm(2, 4);

  test.each<[unknown]>([[50], [0], [{ keep: 4 }], [{ remove: 1 }], [[50, 50]], [{ a: 50 }], [new Map()], [null]])(
    'The amount %j is an error, since a pattern already fixes how much is removed',
    async (amount) => {
      const error = await refusal(layers, amount, { granularity });
      expect(error.code).toBe('sparsity');
      expect(error.message).toMatch(/2:4.*Leave out the amount/);
      const sparsifier = new Sparsifier(fromArrays(copyOf(layers)), { ...weightwise, granularity });
      expect((await errorOf(() => sparsifier.sparsifyLayer('a', amount as number))).message).toBe(error.message);
      expect((await errorOf(() => sparsifier.explain(amount as number))).message).toBe(error.message);
    },
  );

  test('roundTo is an error', async () => {
    const error = await refusal(layers, undefined, { granularity }, { roundTo: 2 });
    expect(error.code).toBe('sparsity');
    expect(error.message).toMatch(/2:4.*roundTo: 2.*Leave out the amount and `roundTo`/);
  });

  test('The global context is an error', async () => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays(copyOf(layers)), { ...weightwise, granularity, context: 'global' }),
    );
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/2:4.*context: 'local'/);
  });

  test.each<Partial<SparsifierOptions>>([{ minKeep: 2 }, { maxSparsity: 25 }, { maxSparsity: { a: 50 } }])(
    'The limit %j is an error, since a pattern could exceed it',
    async (limit) => {
      const error = await errorOf(
        () => new Sparsifier(fromArrays(copyOf(layers)), { ...weightwise, granularity, ...limit }),
      );
      expect(error.code).toBe('usage');
      expect(error.message).toMatch(/2:4/);
      expect(error.message).toContain(Object.keys(limit)[0]);
    },
  );

  const noPatterns: unknown[][] = [
    [4, 4],
    [5, 4],
    [0, 4],
    [-1, 4],
    [1.5, 4],
    [2, 4.5],
    [NaN, 4],
    [2, NaN],
    [2, Infinity],
    [1, 257],
    ['2', '4'],
    [2],
    [2, 4, 8],
    [],
  ];
  test.each(noPatterns.map((pair) => ({ pair })))('$pair is not a pattern', async ({ pair }) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, granularity: { nm: pair } as never }),
    );
    expect(error.code).toBe('granularity');
    expect(error.message).toMatch(/0 < n < m <= 256/);
  });

  test('The longest pattern has 256 weights', async () => {
    const before = { layer: line(values(600, 1, 9)) };
    const { layers: after, report } = await patterned([255, 256], before);
    expectSame(after, expected([255, 256], before));
    expect(report.total.zeros).toBe(2);
  });

  test('Weights that cannot be ranked are an error, and nothing is changed', async () => {
    const bad = copyOf(layers);
    bad.b!.data[5] = NaN;
    const error = await refusal(bad, undefined, { granularity });
    expect([error.code, error.details.subject]).toEqual(['weights', 'b']);
  });

  test('A missing amount is an error where the granularity is not a pattern', async () => {
    for (const context of ['local', 'global'] as const) {
      expect((await refusal(layers, undefined, { context })).code).toBe('sparsity');
    }
    const sparsifier = new Sparsifier(fromArrays(copyOf(layers)), weightwise);
    expect((await errorOf(() => sparsifier.sparsifyLayer('a'))).code).toBe('sparsity');
  });
});

describe('running calls', () => {
  const layers: Layers = { a: line(values(80)), b: layerOf(withInputs(layoutOf('conv2d'), 8)) };

  test('Progress runs through the stages, each up to the total', async () => {
    const seen: Progress[] = [];
    const sparsifier = new Sparsifier(fromArrays(copyOf(layers)), { ...weightwise, granularity: { nm: [2, 4] } });
    await sparsifier.sparsifyModel(undefined, { onProgress: (progress) => seen.push(progress) });
    expect([...new Set(seen.map(({ stage }) => stage))]).toEqual(['load', 'score', 'mask', 'apply', 'store']);
    const total = layers.a!.data.length + layers.b!.data.length;
    expect(seen.filter(({ done }) => done === total).map(({ stage }) => stage)).toHaveLength(5);
  });

  test('A signal ends a call before anything is changed', async () => {
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(fromArrays(copies), { ...weightwise, granularity: { nm: [2, 4] } });
    const controller = new AbortController();
    const onProgress = ({ stage }: Progress) => stage === 'mask' && controller.abort(new Error('enough'));
    const call = sparsifier.sparsifyModel(undefined, {
      signal: controller.signal,
      onProgress: (each) => void onProgress(each),
    });
    await expect(call).rejects.toThrow('enough');
    expectSame(copies, layers);
    await expectNoMemoryInUse();
  });
});
