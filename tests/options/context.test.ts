import fc from 'fast-check';
import { Sparsifier, type Kind } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  channelsOf,
  errorOf,
  expectSame,
  layerOf,
  layoutOf,
  layouts,
  line,
  refusal,
  sparsified,
  weightsOnly,
  weightwise,
  zerosOf,
} from '../support/layers.js';
import { copyOf, removal, without, type Layers } from '../support/oracle.js';

const contexts = ['local', 'global'] as const;

const allKinds: Layers = Object.fromEntries(
  layouts.map((layout, index) => [layout.title, weightsOnly(layout, index, 30)]),
);

describe('contexts', () => {
  test('The contexts differ in where units are compared', async () => {
    const layers = { small: line([1, 2, 3, 4]), large: line([10, 20, 30, 40]) };
    expect(zerosOf((await sparsified(layers, 50, { context: 'local' })).layers)).toEqual({ small: 2, large: 2 });
    expect(zerosOf((await sparsified(layers, 50, { context: 'global' })).layers)).toEqual({ small: 3, large: 1 });
    const emptying = await sparsified(layers, 50, { context: 'global', allowEmpty: true });
    expect(zerosOf(emptying.layers)).toEqual({ small: 4, large: 0 });
  });

  test('Of equal scores, those of earlier layers go first, then in canonical order', async () => {
    const layers: Layers = {
      b: line([1, 1, 1, 9]),
      a: { kind: 'dense', roles: ['in', 'out'], shape: [2, 3], data: Float32Array.of(1, 1, 1, 1, 1, 9) },
      c: line([1, -1, 9]),
    };
    const zeros = async (remove: number) => {
      const { layers: after } = await sparsified(layers, { remove }, { context: 'global' });
      return ['b', 'a', 'c'].map((name) =>
        [...after[name]!.data.keys()].filter((place) => after[name]!.data[place] === 0),
      );
    };
    expect(await zeros(2)).toEqual([[0, 1], [], []]);
    expect(await zeros(5)).toEqual([[0, 1, 2], [0, 3], []]);
    expect(await zeros(6)).toEqual([[0, 1, 2], [0, 1, 3], []]);
    expect(await zeros(9)).toEqual([[0, 1, 2], [0, 1, 2, 3, 4], [0]]);
    expect(await zeros(10)).toEqual([
      [0, 1, 2],
      [0, 1, 2, 3, 4],
      [0, 1],
    ]);
  });

  test.each(contexts)('The %s context over all kinds and layouts at once agrees with the oracle', async (context) => {
    for (const granularity of ['weight', 'vector', 'filter'] as const) {
      for (const sparsity of [0, 1, 30, 66.6, 99, 100]) {
        const asked = { ...weightwise, context, granularity };
        const { layers } = await sparsified(allKinds, sparsity, asked);
        expectSame(
          layers,
          without(allKinds, removal(allKinds, sparsity, asked), granularity),
          `${granularity} ${sparsity}`,
        );
      }
    }
  });

  test.each(contexts)(
    'The %s context agrees with the oracle for any layers and any number of ties',
    { timeout: 120_000 },
    async (context) => {
      const layer = fc.tuple(fc.constantFrom(...layouts), fc.nat(1000), fc.constantFrom(1, 2, 5, 2000));
      const granularities = fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const);
      await fc.assert(
        fc.asyncProperty(
          fc.array(layer, { minLength: 1, maxLength: 6 }),
          granularities,
          fc.nat(100),
          async (list, granularity, sparsity) => {
            const layers = Object.fromEntries(
              list.map(([layout, seed, magnitudes], index) => [
                `layer ${index}`,
                weightsOnly(layout, seed, magnitudes),
              ]),
            );
            const asked = { ...weightwise, context, granularity };
            expectSame(
              (await sparsified(layers, sparsity, asked)).layers,
              without(layers, removal(layers, sparsity, asked), granularity),
            );
          },
        ),
        { numRuns: 60 },
      );
    },
  );

  test('A single layer is pruned alike in both contexts', async () => {
    for (const sparsity of [10, 50, 90]) {
      const layers = { layer: layerOf(layoutOf('conv2d')) };
      const [local, global] = await Promise.all(contexts.map((context) => sparsified(layers, sparsity, { context })));
      expectSame(global!.layers, local!.layers);
    }
  });

  test('Hundreds of layers, some of a single unit, agree with the oracle', async () => {
    const layers: Layers = Object.fromEntries(
      Array.from({ length: 300 }, (_, index) => [
        `layer ${index}`,
        layerOf({ kind: 'dense', roles: ['out', 'in'], shape: [1 + (index % 3), 2] }, index, 4),
      ]),
    );
    for (const context of contexts) {
      const asked = { ...weightwise, context, granularity: 'filter' } as const;
      const { layers: after, report } = await sparsified(layers, 40, asked);
      expectSame(after, without(layers, removal(layers, 40, asked), 'filter'));
      expect(report.layers).toHaveLength(300);
    }
  });

  test.each(['Local', '', 'everywhere', null])('%j is not a context', async (context) => {
    const error = await errorOf(() => new Sparsifier(fromArrays({}), { ...weightwise, context: context as 'local' }));
    expect([error.code, error.details.allowed]).toEqual(['usage', ['local', 'global']]);
  });
});

describe('amounts of the global context', () => {
  test.each<[unknown]>([
    [[50, 50]],
    [[50]],
    [{ first: 50 }],
    [{ '*': 50 }],
    [{}],
    [new Map([['first', 50]])],
    [new Map()],
    ['50'],
    [null],
    [-1],
    [101],
    [NaN],
    [{ keep: -1 }],
    [{ keep: 1.5 }],
  ])('The global context refuses %j', async (sparsity) => {
    const error = await refusal({ first: line([1, 2]), second: line([3, 4]) }, sparsity, { context: 'global' });
    expect(error.code).toBe('sparsity');
    if (sparsity && typeof sparsity === 'object' && !('keep' in sparsity))
      expect(error.message).toMatch(/minKeep|maxSparsity|groups/);
  });
});

describe('sparsifyLayer', () => {
  test.each(contexts)(
    'sparsifyLayer ranks its layer alone in the %s context, whatever layerType says',
    async (context) => {
      for (const name of Object.keys(allKinds)) {
        const layers = copyOf(allKinds);
        const model = fromArrays(layers);
        const sparsifier = new Sparsifier(model, {
          granularity: 'filter',
          context,
          criteria: 'largeFinal',
          layerType: 'conv1d',
        });
        const report = await sparsifier.sparsifyLayer(name, 40);
        const alone = { [name]: allKinds[name]! };
        const position = () => model.tensors.findIndex((tensor) => tensor.name === name);
        const gone = removal(alone, 40, { granularity: 'filter', context: 'local' }, {}, position);
        expectSame(layers, { ...allKinds, ...without(alone, gone, 'filter') }, name);
        expect(report.layers.map((layer) => [layer.name, layer.units])).toEqual([[name, channelsOf(layoutOf(name))]]);
      }
    },
  );

  test('sparsifyLayer finds a layer that shares its array by either name', async () => {
    for (const name of ['first', 'second']) {
      const data = Float32Array.of(1, 2, 3, 4);
      const model = fromArrays({ first: { ...line(data), data }, second: { ...line(data), data } });
      const report = await new Sparsifier(model, { ...weightwise, layerType: 'conv2d' }).sparsifyLayer(name, 50);
      expect([...data]).toEqual([0, 0, 3, 4]);
      expect(report.layers.map((layer) => layer.name)).toEqual(['first']);
    }
  });

  test('sparsifyLayer refuses lists and objects of layers', async () => {
    const sparsifier = new Sparsifier(fromArrays({ first: line([1, 2]) }), weightwise);
    for (const amount of [[50], { first: 50 }, { '*': 50 }]) {
      expect((await errorOf(() => sparsifier.sparsifyLayer('first', amount as never))).code).toBe('sparsity');
    }
  });
});

describe('whole layers', () => {
  const asked = { ...weightwise, granularity: 'layer', context: 'global' } as const;

  test('Whole layers are ranked against each other, and one of them stays', async () => {
    for (const sparsity of [0, 10, 50, 90, 100]) {
      for (const allowEmpty of [false, true]) {
        const all = { ...asked, allowEmpty };
        const { layers, report } = await sparsified(allKinds, sparsity, all);
        expectSame(layers, without(allKinds, removal(allKinds, sparsity, all), 'layer'), `${sparsity}`);
        expect(report.total.units).toBe(layouts.length);
      }
    }
  });

  test('Whole layers need the global context', async () => {
    const error = await refusal(allKinds, 50, { ...asked, context: 'local' });
    expect(error.code).toBe('granularity');
    expect(error.message).toContain('global');
    const sparsifier = new Sparsifier(fromArrays(copyOf(allKinds)), asked);
    expect((await errorOf(() => sparsifier.sparsifyLayer('gru', 50))).code).toBe('granularity');
  });
});

describe('layerType', () => {
  const kinds = [...new Set(layouts.map(({ kind }) => kind))];

  test.each(kinds)('layerType %s selects the layers of that kind and no others', async (kind) => {
    for (const layerType of [kind, [kind]]) {
      const { layers, report } = await sparsified(allKinds, 50, { layerType });
      const ofKind = Object.fromEntries(Object.entries(allKinds).filter(([, layer]) => layer.kind === kind));
      expect(report.layers.map(({ name }) => name)).toEqual(Object.keys(ofKind));
      expectSame(layers, { ...allKinds, ...without(ofKind, removal(ofKind, 50, weightwise), 'weight') });
    }
  });

  test('Layers of several kinds are ranked together in the global context', async () => {
    const chosen = Object.fromEntries(
      Object.entries(allKinds).filter(([, { kind }]) => kind === 'dense' || kind === 'gru'),
    );
    const { layers } = await sparsified(allKinds, 50, { layerType: ['gru', 'dense'], context: 'global' });
    expectSame(layers, {
      ...allKinds,
      ...without(chosen, removal(chosen, 50, { ...weightwise, context: 'global' }), 'weight'),
    });
  });

  test('layerType is conv2d by default', async () => {
    const layers = copyOf(allKinds);
    const report = await new Sparsifier(fromArrays(layers), {
      granularity: 'weight',
      context: 'local',
      criteria: 'largeFinal',
    }).pruneModel(50);
    expect(new Set(report.layers.map(({ kind }) => kind))).toEqual(new Set<Kind>(['conv2d']));
  });

  test.each(contexts)('A layerType that no layer of the model has is an error in the %s context', async (context) => {
    for (const sparsity of [50, 0, { '*': 50 }, []]) {
      const error = await refusal({ a: layerOf(layoutOf('dense')), b: layerOf(layoutOf('gru')) }, sparsity, {
        layerType: 'conv2d',
        context,
      });
      expect(error.code).toBe('kind');
      expect(error.details).toMatchObject({ given: 'conv2d', found: 'layers of kind dense, gru' });
    }
    const empty = await refusal({}, 50, { context });
    expect(empty.code).toBe('kind');
  });

  test.each(['conv', 'Conv2D', '', ['conv2d', 'linear']])('%j is not a kind of layer', async (layerType) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({}), { ...weightwise, layerType: layerType as 'conv2d' }),
    );
    expect(error.code).toBe('kind');
    expect(error.details.allowed).toEqual(expect.arrayContaining([...kinds, 'all']));
  });
});
