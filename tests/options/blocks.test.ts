import fc from 'fast-check';
import { Granularity, Sparsifier, type Kind, type Reducer, type Role, type SparsifierOptions } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  anyLayout,
  errorOf,
  expectSame,
  in16Bits,
  layerOf,
  layoutOf,
  layouts,
  line,
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
  count,
  removal,
  unitsOf,
  without,
  type Asked,
  type Layers,
} from '../support/oracle.js';

type Sizes = Readonly<Partial<Record<'out' | 'in' | 'depth' | 'height' | 'width', number>>>;

const inBlocks = (block: Sizes, more: Partial<Asked> = {}): Asked => ({
  ...weightwise,
  granularity: Granularity.block(block),
  ...more,
});

async function check(layers: Layers, sparsity: number, asked: Asked, what = ''): Promise<void> {
  const { roundTo, ...options } = asked;
  const { layers: after } = await sparsified(layers, sparsity, options, roundTo === undefined ? {} : { roundTo });
  expectSame(after, without(layers, removal(layers, sparsity, asked), asked.granularity), what);
}

/** The spatial roles of a kind. */
function rolesOf(kind: Kind): (keyof Sizes)[] {
  const spatial = ['depth', 'height', 'width'] as const;
  const rank = Number(/(\d)d$/.exec(kind)?.[1] ?? 0);
  return ['out', 'in', ...spatial.slice(spatial.length - rank)];
}

/** How many output channels a layout stores in one part, and how many such parts there are. */
function partsOf({ kind, roles, shape, groups = 1 }: Omit<Layout, 'title'>): readonly [parts: number, each: number] {
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  return kind.startsWith('convTranspose') ? [groups, sizeOf('out')] : [sizeOf('out'), sizeOf('multiplier')];
}

/** Whether no block of so many output channels begins in one stored part and ends within another. */
function fits(layout: Omit<Layout, 'title'>, size: number): boolean {
  const [parts, each] = partsOf(layout);
  return parts === 1 || size >= parts * each || each % size === 0 || size % each === 0;
}

describe('blocks', () => {
  const layer: ArrayLayer = {
    kind: 'dense',
    roles: ['out', 'in'],
    shape: [3, 5],
    data: Float32Array.of(/**/ 9, 1, 8, 8, 3, /**/ 1, 1, 8, 8, 3, /**/ 7, 7, 2, 2, 6),
  };

  test('A block has the given number of neighbours along each role, fewer at the edge', async () => {
    // Means of the blocks of 2 x 2: 3, 8, 3 and, below, 7, 2, 6.
    const granularity = Granularity.block({ out: 2, in: 2 });
    const gone = async (remove: number) => {
      const { layers, report } = await sparsified({ layer }, { remove }, { granularity });
      expect(report.layers[0]).toMatchObject({ units: 6, keptUnits: 6 - remove });
      return [...layers.layer!.data];
    };
    expect(await gone(1)).toEqual([9, 1, 8, 8, 3, 1, 1, 8, 8, 3, 7, 7, 0, 0, 6]);
    expect(await gone(2)).toEqual([0, 0, 8, 8, 3, 0, 0, 8, 8, 3, 7, 7, 0, 0, 6]);
    expect(await gone(3)).toEqual([0, 0, 8, 8, 0, 0, 0, 8, 8, 0, 7, 7, 0, 0, 6]);
    expect(await gone(5)).toEqual([0, 0, 8, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0]);
  });

  test.each<{ reducer: Reducer; order: number[] }>([
    // Of the blocks 2 2 2, 3 3 0 and 5: the means are 2, 2, 5, the sums 6, 6, 5, the norms 3.5, 4.2, 5.
    { reducer: 'mean', order: [0, 1, 2] },
    { reducer: 'sum', order: [2, 0, 1] },
    { reducer: 'l2', order: [0, 1, 2] },
    { reducer: 'max', order: [0, 1, 2] },
  ])('A block at the edge is scored by its own weights only, with the reducer $reducer', async ({ reducer, order }) => {
    for (let remove = 1; remove <= 3; remove++) {
      const { layers } = await sparsified(
        { layer: line([2, 2, 2, 3, 3, 0, 5]) },
        { remove },
        { granularity: Granularity.block({ in: 3 }), reducer, allowEmpty: true },
      );
      const left = [0, 1, 2].filter((unit) => layers.layer!.data[unit * 3] !== 0);
      expect(left).toEqual([0, 1, 2].filter((unit) => !order.slice(0, remove).includes(unit)));
    }
  });

  test('A block of one is a weight, one of a whole channel is a filter, and one of two channels is not a channel', async () => {
    const layers = { layer: layerOf(layoutOf('conv2d')) };
    const all = { in: 9, height: 9, width: 9 };
    for (const [block, named] of [
      [{ out: 1 }, 'weight'],
      [{ out: 1, ...all }, 'filter'],
      [{ height: 3 }, 'column'],
      [{ out: 4, in: 3 }, 'sharedChannel'],
    ] as const) {
      const cut = await sparsified(layers, 50, { granularity: Granularity.block(block) });
      const same = await sparsified(layers, 50, { granularity: named });
      expectSame(cut.layers, same.layers, named);
      expect(cut.report, named).toEqual(same.report);
    }
    const two = await sparsified(layers, 50, { granularity: Granularity.block({ out: 2, ...all }) });
    expect(two.report.layers[0]).toMatchObject({ units: 2, keptUnits: 1, zeros: 36 });
    expect([two.layers.layer!.bias, two.layers.layer!.batchNorm]).toEqual([layers.layer.bias, layers.layer.batchNorm]);
  });
});

describe('all kinds and layouts', () => {
  const blocks: Sizes[] = [
    { out: 2 },
    { in: 2 },
    { out: 2, in: 3 },
    { height: 2, width: 2 },
    { out: 3, in: 2, width: 2 },
    { depth: 2, width: 3 },
    { out: 100, in: 2 },
  ];
  const cases = layouts.flatMap((layout) =>
    blocks
      .filter((block) => rolesOf(layout.kind).some((role) => role in block) && fits(layout, block.out ?? 1))
      .map((block) => ({ layout, block, title: layout.title })),
  );

  test.each(cases)('Blocks of $block in $title agree with the oracle', async ({ layout, block }) => {
    for (const magnitudes of [2000, 2]) {
      const layers = { layer: layerOf(layout, 5, magnitudes) };
      for (const reducer of ['mean', 'sum'] as const) {
        for (const sparsity of [15, 60]) {
          await check(layers, sparsity, inBlocks(block, { reducer }), `${reducer}, ${sparsity} percent`);
        }
      }
    }
  });

  const anyBlock = fc.record(
    Object.fromEntries(['out', 'in', 'depth', 'height', 'width'].map((role) => [role, fc.integer({ min: 1, max: 5 })])),
    { requiredKeys: ['out', 'in'] },
  ) as fc.Arbitrary<Sizes>;
  const anyCase = fc.record({
    layout: anyLayout(6),
    block: anyBlock,
    seed: fc.nat(1000),
    magnitudes: fc.constantFrom(1, 3, 2000),
    sparsity: fc.nat(100),
    reducer: fc.constantFrom('mean' as const, 'sum' as const, 'max' as const),
    context: fc.constantFrom('local' as const, 'global' as const),
    criteria: fc.constantFrom('largeFinal' as const, 'random' as const),
    roundTo: fc.constantFrom(undefined, 1, 2, 3),
  });

  test('Blocks of any size agree with the oracle for any shape and stored order', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(anyCase, async ({ layout, block, seed, magnitudes, sparsity, roundTo, ...more }) => {
        const layers = { layer: layerOf(layout, seed, magnitudes), other: layerOf(layoutOf('dense'), seed) };
        const asked = inBlocks(block, { ...more, ...(roundTo && { roundTo }) });
        if (fits(layout, block.out!)) return check(layers, sparsity, asked);
        const error = await refusal(layers, sparsity, { ...more, granularity: asked.granularity });
        expect([error.code, error.details.subject]).toEqual(['granularity', 'layer']);
      }),
      { numRuns: 200 },
    );
  });

  test('A tensor with its axes in another order loses the same blocks, ties included', async () => {
    const permutedCase = anyCase.chain((each) =>
      fc.record({
        each: fc.constant(each),
        order: fc.shuffledSubarray([...each.layout.shape.keys()], { minLength: each.layout.shape.length }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        permutedCase,
        async ({ each: { layout, block, seed, magnitudes, sparsity, reducer }, order }) => {
          fc.pre(fits(layout, block.out!));
          const layer = layerOf(layout, seed, magnitudes);
          const asked = { granularity: Granularity.block(block), reducer };
          const stored = await sparsified({ layer }, sparsity, asked);
          const moved = await sparsified({ layer: permuted(layer, order) }, sparsity, asked);
          expectSame(moved.layers, { layer: permuted(stored.layers.layer!, order) });
        },
      ),
      { numRuns: 100 },
    );
  });

  test('A depthwise kernel of TensorFlow.js loses the same blocks as that of ONNX', async () => {
    const shape = [6, 1, 3, 2];
    const onnx = weightsOnly({ kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape, groups: 3 }, 5, 4);
    const at = (position: number) => (position % 6) * 6 + Math.floor(position / 6);
    const tfjs: ArrayLayer = {
      ...onnx,
      roles: ['height', 'width', 'out', 'multiplier'],
      shape: [3, 2, 3, 2],
      data: Float32Array.from({ length: 36 }, (_, position) => onnx.data[at(position)]!),
    };
    for (const block of [{ out: 2 }, { out: 4, height: 2 }, { height: 2, width: 2 }, { out: 1, in: 4, height: 9 }]) {
      const granularity = Granularity.block(block);
      const [a, b] = [await sparsified({ onnx }, 40, { granularity }), await sparsified({ tfjs }, 40, { granularity })];
      const moved = Float32Array.from({ length: 36 }, (_, position) => a.layers.onnx!.data[at(position)]!);
      expect(b.layers.tfjs!.data).toEqual(moved);
    }
  });

  test.each(['float16', 'bfloat16'] as const)('Blocks of %s numbers agree with the oracle', async (dtype) => {
    for (const { layout, block } of cases.filter((_, index) => index % 3 === 0)) {
      await check({ layer: in16Bits(layerOf(layout), dtype) }, 40, inBlocks(block), `${layout.title}`);
    }
  });

  test(
    'Blocks agree with the oracle for tensors larger than the buffers and tasks of the kernels',
    { timeout: 120_000 },
    async () => {
      const large: Omit<Layout, 'title'>[] = [
        { kind: 'conv2d', roles: ['height', 'width', 'in', 'out'], shape: [3, 5, 65, 33] },
        { kind: 'dense', roles: ['out', 'in'], shape: [5, 9001] },
      ];
      for (const layout of large) {
        for (const block of [{ out: 4, in: 4 }, { in: 5000 }]) {
          await check({ layer: layerOf(layout, 3) }, 55, inBlocks(block), `${layout.roles}`);
        }
      }
    },
  );
});

describe('blocks of output channels that are stored on two axes', () => {
  const grouped: Layout = {
    title: 'three groups of four',
    kind: 'convTranspose2d',
    roles: ['in', 'out', 'height', 'width'],
    shape: [6, 4, 1, 2],
    groups: 3,
  };
  const depthwise: Layout = {
    title: 'three channels, four multipliers',
    kind: 'conv2d',
    roles: ['height', 'width', 'out', 'multiplier'],
    shape: [1, 2, 3, 4],
    groups: 3,
  };

  test.each([grouped, depthwise])(
    'Block sizes that divide a group or are a multiple of it work for $title',
    async (layout) => {
      for (const [out, units] of [
        [1, 12],
        [2, 6],
        [4, 3],
        [8, 2],
        [12, 1],
        [13, 1],
        [100, 1],
      ] as const) {
        const layers = { layer: layerOf(layout) };
        const asked = inBlocks({ out, in: 9, height: 9, width: 9 }, { allowEmpty: true });
        const { report } = await sparsified(layers, 0, asked);
        expect(report.layers[0]!.units, `blocks of ${out}`).toBe(units);
        for (const sparsity of [30, 60, 100]) await check(layers, sparsity, asked, `blocks of ${out}`);
      }
    },
  );

  test.each([grouped, depthwise])(
    'Other block sizes are an error for $title that says which sizes work',
    async (layout) => {
      for (const out of [3, 5, 6, 7, 9, 10, 11]) {
        const error = await refusal({ layer: layerOf(layout) }, 50, { granularity: Granularity.block({ out }) });
        expect(error.code).toBe('granularity');
        expect(error.details).toMatchObject({ subject: 'layer', given: `blocks of ${out}` });
        expect(error.message).toMatch(/3 groups of 4.*divisor or a multiple of 4/);
      }
    },
  );

  test.each<Layout>([
    { title: 'one group', kind: 'convTranspose2d', roles: ['in', 'out', 'height', 'width'], shape: [2, 5, 1, 2] },
    { title: 'one channel', kind: 'conv2d', roles: ['height', 'width', 'out', 'multiplier'], shape: [1, 2, 1, 5] },
  ])('Block sizes need not divide the channels of $title', async (layout) => {
    for (const out of [2, 3, 4, 5, 6]) {
      const layers = { layer: layerOf(layout) };
      const { report } = await sparsified(layers, 0, inBlocks({ out }));
      expect(report.layers[0]!.units).toBe((layers.layer.data.length / 5) * Math.ceil(5 / out));
      for (const sparsity of [30, 60]) await check(layers, sparsity, inBlocks({ out }), `blocks of ${out}`);
    }
  });
});

describe('amounts and limits in blocks', () => {
  const layers: Layers = { a: line(values(22, 1)), b: line(values(9, 2)) };
  const granularity = Granularity.block({ in: 4 });
  const kept = async (
    ...[sparsity, options, call]: Parameters<typeof sparsified> extends [unknown, ...infer Rest] ? Rest : never
  ) =>
    (await sparsified(layers, sparsity, { granularity, ...options }, call)).report.layers.map(
      (layer) => layer.keptUnits,
    );

  test('Amounts and roundTo count blocks', async () => {
    expect(await kept(0)).toEqual([6, 3]);
    expect(await kept(50)).toEqual([3, 1]);
    expect(await kept({ keep: 2 })).toEqual([2, 2]);
    expect(await kept({ remove: 1 })).toEqual([5, 2]);
    expect(await kept(90, {}, { roundTo: 4 })).toEqual([4, 3]);
    expect(await kept({ remove: 5 }, { context: 'global' })).toEqual(
      Object.values(removal(layers, { remove: 5 }, { ...weightwise, granularity, context: 'global' })).map(
        (flags) => flags.length - count(flags),
      ),
    );
  });

  test('One block stays, or as many as a limit keeps', async () => {
    expect(await kept(100)).toEqual([1, 1]);
    expect(await kept(100, { allowEmpty: true })).toEqual([0, 0]);
    expect(await kept(100, { minKeep: 2 })).toEqual([2, 2]);
    expect(await kept(100, { maxSparsity: 50 })).toEqual([3, 2]);
  });

  test('A further call removes more blocks, and none comes back', async () => {
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(fromArrays(copies), { ...weightwise, granularity });
    await sparsifier.sparsifyModel({ remove: 1 });
    const first = removal(layers, { remove: 1 }, { ...weightwise, granularity });
    const trained = copyOf(copies);
    for (const { data } of Object.values(trained))
      data.forEach((weight, place) => (data[place] = weight && 3000 - weight));
    for (const [name, { data }] of Object.entries(trained)) copies[name]!.data.set(data);
    const second = removal(trained, { remove: 2 }, { ...weightwise, granularity }, first);
    await sparsifier.sparsifyModel({ remove: 2 });
    expectSame(copies, without(trained, second, granularity));
  });
});

describe('masks of blocks', () => {
  test('A mask has one entry per block along each axis, in stored order', async () => {
    for (const title of ['conv2d', 'conv2d of tfjs', 'conv3d', 'dense of tfjs', 'grouped conv2d']) {
      const layer = layerOf(layoutOf(title), 3);
      const block: Sizes = { out: 3, in: 2, height: 2, width: 2 };
      const model = fromArrays({ layer });
      const sparsifier = new Sparsifier(model, { ...weightwise, granularity: Granularity.block(block) });
      const sizes = layer.roles.map((role) => block[role as keyof Sizes] ?? 1);
      const shape = layer.shape.map((size, axis) => Math.ceil(size / sizes[axis]!));
      expect(sparsifier.mask('layer')).toEqual({ shape, data: new Uint8Array(product(shape)).fill(1) });
      await sparsifier.sparsifyModel(50);
      const mask = sparsifier.mask('layer');
      expect(mask.shape).toEqual(shape);
      layer.data.forEach((weight, position) => {
        let [rest, unit, step] = [position, 0, 1];
        for (let axis = shape.length - 1; axis >= 0; axis--) {
          unit += Math.floor((rest % layer.shape[axis]!) / sizes[axis]!) * step;
          rest = Math.floor(rest / layer.shape[axis]!);
          step *= shape[axis]!;
        }
        expect(mask.data[unit], `${title}, position ${position}`).toBe(weight === 0 ? 0 : 1);
      });
    }
  });

  test('The mask of a grouped transposed convolution has groups and input channels on one axis', () => {
    const layout = layoutOf('grouped convTranspose2d');
    const shapeOf = (block: Sizes) =>
      new Sparsifier(fromArrays({ layer: layerOf({ ...layout, shape: [9, 2, 2, 3] }) }), {
        ...weightwise,
        granularity: Granularity.block(block),
      }).mask('layer').shape;
    expect(shapeOf({ in: 2 })).toEqual([6, 2, 2, 3]);
    expect(shapeOf({ in: 2, out: 2 })).toEqual([6, 1, 2, 3]);
    expect(shapeOf({ in: 2, out: 4, width: 2 })).toEqual([4, 1, 2, 2]);
  });
});

describe('bias and batch normalisation', () => {
  test('Partners go with a block that is all weights of one output channel, and with no other', async () => {
    for (const layout of layouts) {
      for (const block of [
        { out: 1, in: 9, depth: 9, height: 9, width: 9 },
        { out: 1, in: 2, depth: 9, height: 9, width: 9 },
        { out: 2, in: 9, depth: 9, height: 9, width: 9 },
        { in: 9 },
      ]) {
        if (!fits(layout, block.out ?? 1)) continue;
        const layers = { layer: layerOf(layout) };
        const granularity = Granularity.block(block);
        const isChannel = areChannels(layers.layer, unitsOf(layers.layer, granularity));
        const { layers: after } = await sparsified(layers, { remove: 1 }, { granularity });
        const gone = [...after.layer!.bias!.keys()].filter((channel) => after.layer!.bias![channel] === 0);
        expect(gone, `${layout.title} in blocks of ${JSON.stringify(block)}`).toHaveLength(isChannel ? 1 : 0);
        if (!isChannel) continue;
        const emptied = [...after.layer!.data.keys()].filter((position) => after.layer!.data[position] === 0);
        expect(new Set(emptied.map((position) => coordinates(after.layer!, position)[0]))).toEqual(new Set(gone));
      }
    }
  });

  test('Partners of the only output channel go with a block that is larger than the channel', async () => {
    const layer = layerOf({ kind: 'dense', roles: ['out', 'in'], shape: [1, 4] });
    const options = { granularity: Granularity.block({ out: 2, in: 8 }), allowEmpty: true };
    const { layers } = await sparsified({ layer }, 100, options);
    expect([...layers.layer!.bias!, ...layers.layer!.batchNorm!.gamma!]).toEqual([0, 0]);
  });
});

describe('invalid blocks', () => {
  test.each<[unknown]>([
    [{}],
    [{ out: 0 }],
    [{ out: -1 }],
    [{ out: 1.5 }],
    [{ out: NaN }],
    [{ out: Infinity }],
    [{ out: '2' }],
    [{ out: undefined }],
    [{ channels: 2 }],
    [{ multiplier: 2 }],
    [{ in: 2, batch: 1 }],
    [[2, 2]],
  ])('%j are not the sizes of a block', async (block) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, granularity: { block } as never }),
    );
    expect(error.code).toBe('granularity');
    expect(error.message).toMatch(/a whole number above 0 for some of the roles out, in, depth, height, width/);
  });

  test.each<[unknown]>([
    [{ block: { out: 2 }, nm: [2, 4] }],
    [{ block: { out: 2 }, spanning: ['in'] }],
    [{ block: 4 }],
    [{ block: null }],
    [{ tile: { out: 2 } }],
    [{ nm: 4 }],
  ])('%j is not a granularity', async (granularity) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, granularity } as SparsifierOptions),
    );
    expect(error.code).toBe('granularity');
    expect(error.message).toMatch(/unknown granularity.*filter.*block\(\{ role: size \}\)/);
  });

  test('A kind with none of the roles is an error that lists its roles; other kinds are divided along the roles that they have', async () => {
    const layers = { conv: layerOf(layoutOf('conv2d')), line: layerOf(layoutOf('conv1d')), dense: line([1, 2, 3]) };
    const error = await refusal({ dense: layers.dense }, 50, {
      granularity: Granularity.block({ height: 2, width: 2 }),
    });
    expect(error.code).toBe('granularity');
    expect(error.message).toMatch(/dense: .*kind dense.*2 height x 2 width.*roles out, in/);
    const both = await refusal(layers, 50, { granularity: Granularity.block({ height: 2 }) });
    expect(both.message).toMatch(/2 layers.*2 height.*line, dense/);
    await check({ conv: layers.conv, line: layers.line }, 50, inBlocks({ height: 2, width: 2 }));
  });
});
