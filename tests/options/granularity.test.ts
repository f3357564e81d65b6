import fc from 'fast-check';
import { Granularity, Sparsifier, type GranularityName, type Kind, type Role, type UnitRole } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import {
  anyLayout,
  errorOf,
  expectSame,
  layerOf,
  layoutOf,
  layouts,
  permuted,
  product,
  refusal,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  type Layout,
} from '../support/layers.js';
import {
  areChannels,
  coordinates,
  copyOf,
  differences,
  granularities,
  removal,
  spanned,
  unitsOf,
  without,
  type Layers,
} from '../support/oracle.js';

/** The granularities of a kind; `layer` compares layers and is another matter. */
const granularitiesOf = (kind: Kind): GranularityName[] =>
  granularities.filter((granularity) => granularity !== 'layer' && spanned(kind, granularity));
const cases = layouts.flatMap((layout) =>
  granularitiesOf(layout.kind).map((granularity) => ({ ...layout, granularity })),
);

const anyCase = anyLayout().chain((layout) =>
  fc.record({
    layout: fc.constant(layout),
    granularity: fc.constantFrom(...granularitiesOf(layout.kind)),
    seed: fc.nat(10_000),
    magnitudes: fc.constantFrom(1, 2, 4, 2000),
    sparsity: fc.nat(100),
  }),
);

/**
 * A tensor with so many axes of any roles, one of them about as long as a buffer or a chunk of the kernels, and any set
 * of roles inside a unit.
 */
const anySpanning = (rank: number) =>
  fc
    .record({
      others: fc.shuffledSubarray<Role>(['multiplier', 'in', 'depth', 'height', 'width'], {
        minLength: rank - 1,
        maxLength: rank - 1,
      }),
      out: fc.nat(rank - 1),
      long: fc.nat(rank - 1),
      length: fc.tuple(fc.constantFrom(2, 8, 32, 128, 256, 512, 1024, 4096), fc.constantFrom(-1, 0, 1)),
      sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: rank, maxLength: rank }),
      spanned: fc.subarray<UnitRole>(['out', 'in', 'depth', 'height', 'width']),
      seed: fc.nat(10_000),
      magnitudes: fc.constantFrom(1, 3, 2000),
      sparsity: fc.nat(100),
    })
    .map(({ others, out, long, length: [length, off], sizes, spanned, seed, magnitudes, sparsity }) => {
      const roles = [...others.slice(0, out), 'out' as const, ...others.slice(out)];
      const shape = roles.map((_, axis) => (axis === long ? length + off : 1));
      // The other axes, as far as the oracle's patience goes.
      for (const [axis, size] of sizes.entries())
        if (axis !== long && product(shape) * size <= 10_000) shape[axis] = size;
      const layer = weightsOnly({ kind: 'conv3d', roles, shape }, seed, magnitudes);
      return { layer, granularity: Granularity.spanning(...spanned), sparsity };
    });

describe('units', () => {
  const counts: Partial<Record<string, Partial<Record<GranularityName, number>>>> = {
    conv1d: { weight: 60, vector: 12, kernel: 12, filter: 4 },
    conv2d: { weight: 72, vector: 24, kernel: 12, filter: 4 },
    'grouped conv2d': { weight: 72, vector: 36, kernel: 12, filter: 6 },
    conv3d: { weight: 72, vector: 24, kernel: 6, filter: 3 },
    convTranspose2d: { weight: 72, vector: 36, kernel: 12, filter: 4 },
    'grouped convTranspose2d': { weight: 72, vector: 36, kernel: 12, filter: 6 },
    'depthwise conv2d of tfjs': { weight: 36, vector: 12, kernel: 6, filter: 6 },
    dense: { weight: 35, vector: 5, filter: 5 },
    'dense of tfjs': { weight: 35, vector: 5, filter: 5 },
    embedding: { weight: 36, vector: 9, filter: 9 },
    lstm: { weight: 24, vector: 8, filter: 8 },
    gru: { weight: 18, vector: 6, filter: 6 },
  };

  test.each(Object.entries(counts))('The units of %s are as many as counted by hand', async (title, expected) => {
    const layer = layerOf(layoutOf(title));
    for (const [granularity, units] of Object.entries(expected!)) {
      const { report } = await sparsified({ layer }, 0, { granularity: granularity as GranularityName });
      expect([granularity, report.layers[0]!.units]).toEqual([granularity, units]);
    }
  });

  test('A vector is a column of a kernel, a row of a matrix, or the kernel of a conv1d', async () => {
    const ones = (kind: Kind, roles: Role[], shape: number[], smaller: number[]): Layers => {
      const data = new Float32Array(product(shape)).fill(1);
      for (const position of smaller) data[position] = 0.5;
      return { layer: { kind, roles, shape, data } };
    };
    const gone = async (layers: Layers) => {
      const { layers: after } = await sparsified(layers, { remove: 1 }, { granularity: 'vector' });
      return [...after.layer!.data.keys()].filter((position) => after.layer!.data[position] === 0);
    };
    expect(await gone(ones('conv2d', ['out', 'in', 'height', 'width'], [1, 1, 3, 2], [1, 3, 5]))).toEqual([1, 3, 5]);
    expect(await gone(ones('conv2d', ['out', 'in', 'height', 'width'], [1, 1, 3, 2], [2, 3]))).toEqual([0, 2, 4]);
    expect(await gone(ones('dense', ['out', 'in'], [3, 2], [2]))).toEqual([2, 3]);
    expect(await gone(ones('dense', ['in', 'out'], [2, 3], [1]))).toEqual([1, 4]);
    expect(await gone(ones('conv1d', ['out', 'in', 'width'], [1, 3, 2], [4]))).toEqual([4, 5]);
  });
});

describe('all granularities of all kinds', () => {
  test.each(cases)('$granularity of $title agrees with the oracle', async ({ granularity, ...layout }) => {
    for (const magnitudes of [2000, 3]) {
      const layers = { layer: layerOf(layout, 7, magnitudes) };
      for (const sparsity of [0, 10, 50, 75, 100]) {
        const { layers: after } = await sparsified(layers, sparsity, { granularity });
        expectSame(
          after,
          without(layers, removal(layers, sparsity, { ...weightwise, granularity }), granularity),
          `${sparsity}`,
        );
      }
    }
  });

  test(
    'All granularities agree with the oracle for any shape, stored order and number of ties',
    { timeout: 120_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(anyCase, async ({ layout, granularity, seed, magnitudes, sparsity }) => {
          const layers = { layer: layerOf(layout, seed, magnitudes) };
          const { layers: after } = await sparsified(layers, sparsity, { granularity });
          expectSame(after, without(layers, removal(layers, sparsity, { ...weightwise, granularity }), granularity));
        }),
        { numRuns: 150 },
      );
    },
  );

  test(
    'Granularities agree with the oracle for tensors larger than the buffers and tasks of the kernels',
    { timeout: 120_000 },
    async () => {
      const large: Omit<Layout, 'title'>[] = [
        { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [33, 129, 3, 5] },
        { kind: 'conv2d', roles: ['height', 'width', 'in', 'out'], shape: [3, 5, 129, 33] },
        { kind: 'dense', roles: ['in', 'out'], shape: [9001, 3] },
        { kind: 'dense', roles: ['out', 'in'], shape: [3, 9001] },
        { kind: 'convTranspose2d', roles: ['in', 'out', 'height', 'width'], shape: [130, 17, 3, 3], groups: 2 },
      ];
      for (const layout of large) {
        const some: GranularityName[] = ['weight', 'vector', 'kernel', 'filter', 'sharedRow'];
        for (const granularity of some.filter((name) => spanned(layout.kind, name))) {
          const layers = { layer: layerOf(layout, 3, granularity === 'weight' ? 9 : 2000) };
          const { layers: after } = await sparsified(layers, 55, { granularity });
          const expected = without(layers, removal(layers, 55, { ...weightwise, granularity }), granularity);
          expectSame(after, expected, `${granularity} of ${layout.roles} [${layout.shape}]`);
        }
      }
    },
  );
});

describe('any spanned roles', () => {
  test.each([1, 2, 3, 4, 5, 6])(
    'Any spanned roles of %i axes of any length agree with the oracle',
    { timeout: 120_000 },
    async (rank) => {
      await fc.assert(
        fc.asyncProperty(anySpanning(rank), async ({ layer, granularity, sparsity }) => {
          const layers = { layer };
          const { layers: after } = await sparsified(layers, sparsity, { granularity });
          expectSame(after, without(layers, removal(layers, sparsity, { ...weightwise, granularity }), granularity));
        }),
        { numRuns: 30 },
      );
    },
  );
});

describe('a tensor with its axes in another order', () => {
  test(
    'A tensor with its axes in another order has the mask with its axes in that order, ties included',
    { timeout: 120_000 },
    async () => {
      const permutedCase = fc.integer({ min: 2, max: 6 }).chain((rank) =>
        fc.record({
          each: anySpanning(rank),
          order: fc.shuffledSubarray([...new Array(rank).keys()], { minLength: rank }),
          context: fc.constantFrom('local' as const, 'global' as const),
        }),
      );
      await fc.assert(
        fc.asyncProperty(permutedCase, async ({ each: { layer, granularity, sparsity }, order, context }) => {
          const maskOf = async (layer: ArrayLayer) => {
            // Ranked together with another layer of the same weights, the layer has ties in it and across it.
            const twin: ArrayLayer = { ...layer, data: layer.data.slice() };
            const sparsifier = new Sparsifier(fromArrays({ layer, twin }), { ...weightwise, granularity, context });
            await sparsifier.sparsifyModel(sparsity);
            return sparsifier.mask('layer');
          };
          const moved = permuted(layer, order);
          const { shape, data } = await maskOf(layer);
          const expected = permuted({ ...layer, shape, data: Float32Array.from(data) }, order);
          const mask = await maskOf(moved);
          expect(mask.shape).toEqual(expected.shape);
          expect(differsAt(mask.data, Uint8Array.from(expected.data))).toBe(-1);
        }),
        { numRuns: 80 },
      );
    },
  );

  test(
    'A tensor with its axes in another order loses the same weights and partners, ties included',
    { timeout: 120_000 },
    async () => {
      const permutedCase = anyCase.chain((each) =>
        fc.record({
          each: fc.constant(each),
          order: fc.shuffledSubarray([...each.layout.shape.keys()], { minLength: each.layout.shape.length }),
        }),
      );
      await fc.assert(
        fc.asyncProperty(permutedCase, async ({ each: { layout, granularity, seed, magnitudes, sparsity }, order }) => {
          const layer = layerOf(layout, seed, magnitudes);
          const [stored, moved] = await Promise.all([
            sparsified({ layer }, sparsity, { granularity }),
            sparsified({ layer: permuted(layer, order) }, sparsity, { granularity }),
          ]);
          expectSame(moved.layers, { layer: permuted(stored.layers.layer!, order) });
        }),
        { numRuns: 150 },
      );
    },
  );

  test.each<{ title: string; layout: Omit<Layout, 'title'>; order: number[] }>([
    {
      title: 'OIHW and HWIO',
      layout: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [8, 6, 3, 3] },
      order: [2, 3, 1, 0],
    },
    { title: 'Linear and MatMul', layout: { kind: 'dense', roles: ['out', 'in'], shape: [30, 20] }, order: [1, 0] },
  ])('$title lose the same weights where all of them are equal', async ({ layout, order }) => {
    for (const granularity of granularitiesOf(layout.kind)) {
      const layer = { ...layerOf(layout), data: new Float32Array(product(layout.shape)).fill(-0.25) };
      const stored = await sparsified({ layer }, 37, { granularity });
      const moved = await sparsified({ layer: permuted(layer, order) }, 37, { granularity });
      expectSame(moved.layers, { layer: permuted(stored.layers.layer!, order) }, granularity);
      const first = unitsOf(layer, granularity).findIndex(
        ({ positions }) => stored.layers.layer!.data[positions[0]!] !== 0,
      );
      expect(first, 'equal scores go in canonical order').toBe(
        stored.report.layers[0]!.units - stored.report.layers[0]!.keptUnits,
      );
    }
  });

  test('A depthwise kernel of TensorFlow.js loses the same weights as that of ONNX', async () => {
    const onnx = layerOf(
      { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [6, 1, 3, 2], groups: 3 },
      5,
      3,
    );
    const tfjs: ArrayLayer = {
      ...onnx,
      roles: ['height', 'width', 'out', 'multiplier'],
      shape: [3, 2, 3, 2],
      data: Float32Array.from(
        { length: 36 },
        (_, position) => onnx.data[(position % 6) * 6 + Math.floor(position / 6)]!,
      ),
    };
    for (const granularity of granularitiesOf('conv2d')) {
      const [a, b] = [await sparsified({ onnx }, 40, { granularity }), await sparsified({ tfjs }, 40, { granularity })];
      expect(Array.from(b.layers.tfjs!.data)).toEqual(
        Array.from(
          { length: 36 },
          (_, position) => a.layers.onnx!.data[(position % 6) * 6 + Math.floor(position / 6)]!,
        ),
      );
      expect(b.layers.tfjs!.bias).toEqual(a.layers.onnx!.bias);
    }
  });
});

describe('granularities that a kind does not have', () => {
  const matrices = layouts.filter(({ kind }) => !kind.startsWith('conv'));
  const allowed = (kind: Kind) =>
    expect.arrayContaining(granularities.filter((granularity) => spanned(kind, granularity)));

  test.each(layouts)('A granularity that $title does not have is an error that lists those it has', async (layout) => {
    const has = granularities.filter((granularity) => spanned(layout.kind, granularity));
    for (const granularity of granularities.filter((each) => !has.includes(each))) {
      const error = await refusal({ layer: layerOf(layout) }, 50, { granularity, context: 'global' });
      expect(error.code).toBe('granularity');
      expect([...error.details.allowed!].sort(), granularity).toEqual([...has].sort());
    }
  });

  test.each(matrices)('The error for kernel of $title names the layer and lists its granularities', async (layout) => {
    const error = await refusal({ layer: layerOf(layout) }, 50, { granularity: 'kernel' });
    expect(error.code).toBe('granularity');
    expect(error.details).toMatchObject({ subject: 'layer', allowed: allowed('dense') });
    for (const word of ['layer', layout.kind, 'kernel', 'weight', 'vector', 'filter'])
      expect(error.message).toContain(word);
  });

  test('The error for several layers names those concerned, and nothing is changed', async () => {
    const layers = Object.fromEntries(layouts.map((layout) => [layout.title, layerOf(layout)]));
    for (const context of ['local', 'global'] as const) {
      const error = await refusal(layers, 50, { granularity: 'kernel', layerType: 'all', context });
      expect(error.code).toBe('granularity');
      for (const { title } of matrices) expect(error.message).toContain(title);
      expect(error.message).not.toContain('conv3d');
      expect(error.details.allowed).toEqual(allowed('dense'));
    }
  });

  test('Layers without the granularity that are left out are no error', async () => {
    const layers = { conv: layerOf(layoutOf('conv2d')), dense: layerOf(layoutOf('dense')) };
    const { report } = await sparsified(layers, { conv: 50 }, { granularity: 'kernel' });
    expect(report.layers.map(({ name, keptUnits }) => [name, keptUnits])).toEqual([['conv', 6]]);
  });

  test('sparsifyLayer gives the same error', async () => {
    const layers = { dense: layerOf(layoutOf('dense')) };
    const sparsifier = new Sparsifier(fromArrays(copyOf(layers)), { ...weightwise, granularity: 'kernel' });
    expect((await errorOf(() => sparsifier.sparsifyLayer('dense', 50))).details.allowed).toEqual(allowed('dense'));
  });

  test.each(['kernels', 'Filter', '', 'constructor', 'toString', 'spanning', null, 3, {}, []])(
    '%j is not a granularity',
    async (granularity) => {
      const error = await errorOf(
        () => new Sparsifier(fromArrays({}), { ...weightwise, granularity: granularity as 'weight' }),
      );
      expect(error.code).toBe('granularity');
      expect([...error.details.allowed!].sort()).toEqual([...granularities].sort());
    },
  );
});

describe('bias and batch normalisation', () => {
  const changed = (before: Layers, after: Layers) =>
    [
      ...new Set(
        Object.keys(before).flatMap((name) => differences({ [name]: after[name]! }, { [name]: before[name]! })),
      ),
    ].map((each) => each.replace(/.*: (\w+)\[.*/, '$1'));

  test.each(cases)(
    'With $granularity of $title, partners go with whole output channels only',
    async ({ granularity, ...layout }) => {
      const layers = { layer: layerOf(layout, 11) };
      const { layers: after } = await sparsified(layers, { remove: 1 }, { granularity, allowEmpty: true });
      const isChannel = areChannels(layers.layer, unitsOf(layers.layer, granularity));
      expect(changed(layers, after)).toEqual(isChannel ? ['data', 'bias', 'gamma', 'beta'] : ['data']);
      if (!isChannel) return;
      const zeroChannels = new Set(
        [...after.layer!.data.keys()]
          .filter((position) => after.layer!.data[position] === 0)
          .map((position) => coordinates(after.layer!, position)[0]!),
      );
      for (const partner of [after.layer!.bias!, after.layer!.batchNorm!.gamma!, after.layer!.batchNorm!.beta!]) {
        expect(new Set([...partner.keys()].filter((channel) => partner[channel] === 0))).toEqual(zeroChannels);
      }
    },
  );

  test.each<{ granularity: GranularityName; layout: Omit<Layout, 'title'> }>([
    { granularity: 'kernel', layout: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [5, 1, 3, 3] } },
    { granularity: 'kernel', layout: { kind: 'conv1d', roles: ['out', 'in', 'width'], shape: [5, 1, 3] } },
    { granularity: 'vector', layout: { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [5, 1, 3, 1] } },
    { granularity: 'vector', layout: { kind: 'dense', roles: ['out', 'in'], shape: [5, 4] } },
    { granularity: 'weight', layout: { kind: 'dense', roles: ['out', 'in'], shape: [5, 1] } },
    { granularity: 'weight', layout: { kind: 'conv2d', roles: ['height', 'width', 'in', 'out'], shape: [1, 1, 1, 5] } },
  ])(
    '$granularity of [$layout.shape] is a whole channel, so that partners go with it',
    async ({ granularity, layout }) => {
      const layers = { layer: layerOf(layout) };
      const { layers: after } = await sparsified(layers, { remove: 2 }, { granularity });
      expect(after.layer!.bias!.filter((each) => each === 0)).toHaveLength(2);
      expectSame(after, without(layers, removal(layers, { remove: 2 }, { ...weightwise, granularity }), granularity));
    },
  );

  test('Partners of 16 bits are zeroed, too', async () => {
    const layer: ArrayLayer = {
      kind: 'dense',
      roles: ['out', 'in'],
      shape: [2, 1],
      dtype: 'bfloat16',
      data: Uint16Array.of(0xbf80, 0x4000),
      bias: Uint16Array.of(0x8000, 0x3f80),
    };
    const { layers } = await sparsified({ layer }, 50, { granularity: 'filter' });
    expect([[...layers.layer!.data], [...layers.layer!.bias!]]).toEqual([
      [0, 0x4000],
      [0, 0x3f80],
    ]);
  });

  test('An array that is the partner of two layers is left alone, and the report warns of it', async () => {
    const bias = values(4, 9);
    const gamma = values(4, 10);
    const layers: Layers = {
      first: {
        kind: 'dense',
        roles: ['out', 'in'],
        shape: [4, 3],
        data: values(12, 1),
        bias,
        batchNorm: { gamma, beta: values(4, 11) },
      },
      second: { kind: 'dense', roles: ['out', 'in'], shape: [4, 3], data: values(12, 2), bias },
      third: { kind: 'dense', roles: ['out', 'in'], shape: [4, 3], data: values(12, 3), batchNorm: { gamma } },
    };
    const { layers: after, report } = await sparsified(layers, 50, { granularity: 'filter' });
    expect(changed({ first: layers.first! }, after)).toEqual(['data', 'beta']);
    expect(changed({ second: layers.second! }, after)).toEqual(['data']);
    expect(changed({ third: layers.third! }, after)).toEqual(['data']);
    const leak = (part: string, other: string) => ({ name: part, reason: `it is also the array of '${other}'` });
    const warning = {
      code: 'channels-not-silent',
      details: {
        layers: [
          { name: 'first', leaks: [leak('bias', 'second'), leak('gamma', 'third')] },
          { name: 'second', leaks: [leak('bias', 'first')] },
          { name: 'third', leaks: [leak('gamma', 'first')] },
        ],
      },
    };
    expect(report.warnings).toContainEqual(expect.objectContaining(warning));
    const single = await sparsified(layers, 50, { granularity: 'weight' });
    expect(single.report.warnings.filter(({ code }) => code === warning.code)).toEqual([]);
  });

  test('A bias that two layers share is no leak before a gamma and beta that are removed', async () => {
    const bias = values(4, 9);
    const batchNorm = { gamma: values(4, 10), beta: values(4, 11) };
    const layer = (seed: number) =>
      ({ kind: 'dense', roles: ['out', 'in'], shape: [4, 3], data: values(12, seed), bias }) as const;
    const { report } = await sparsified({ first: { ...layer(1), batchNorm }, second: layer(2) }, 50, {
      granularity: 'filter',
    });
    const leaks = [{ name: 'bias', reason: "it is also the array of 'first'" }];
    expect(report.warnings).toContainEqual(
      expect.objectContaining({ code: 'channels-not-silent', details: { layers: [{ name: 'second', leaks }] } }),
    );
  });

  test('An array that is two partners of one layer is zeroed once', async () => {
    const both = values(4, 9);
    const layers: Layers = {
      layer: {
        kind: 'dense',
        roles: ['out', 'in'],
        shape: [4, 3],
        data: values(12, 1),
        bias: both,
        batchNorm: { beta: both },
      },
    };
    const { layers: after, report } = await sparsified(layers, 50, { granularity: 'filter' });
    expect(after.layer!.bias!.filter((each) => each === 0)).toHaveLength(2);
    expect(report.notes).toEqual([]);
  });

  test('Where two layers share weights, the partners of both go', async () => {
    const data = values(12, 1);
    const tied = (seed: number): ArrayLayer => ({
      kind: 'dense',
      roles: ['out', 'in'],
      shape: [4, 3],
      data,
      bias: values(4, seed),
    });
    const { layers, report } = await sparsified({ first: tied(2), second: tied(3) }, 50, { granularity: 'filter' });
    expect(report.layers.map(({ name }) => name)).toEqual(['first']);
    const zeros = (name: string) =>
      [...layers[name]!.bias!.keys()].filter((channel) => layers[name]!.bias![channel] === 0);
    expect(zeros('first')).toHaveLength(2);
    expect(zeros('second')).toEqual(zeros('first'));
  });
});
