import { Granularity, inspect, Sparsifier, type Model, type SparsifierOptions } from 'sparsifier';
import { compare } from 'sparsifier/compare';
import { fromArrays } from 'sparsifier/formats/arrays';
import type { FileModel } from 'sparsifier/formats/onnx';
import { dequantize, quantize } from 'sparsifier/quantize';
import { sensitivity } from 'sparsifier/sensitivity';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../support/bytes.js';
import { allocations, sweep, type Trial } from '../support/failing.js';
import { expectNoMemoryInUse, layerOf, layouts, values } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { openSmall, smallModelNames, type SmallModel } from '../support/small-models.js';
import { keeping } from '../support/streams.js';

// Each allocation of a call fails once, alone and with those after it.

interface Subject<Own extends Model = FileModel> {
  readonly model: Own;
  readonly sparsifier: Sparsifier;
}

const numbersOf = async (model: Model): Promise<string> => {
  const parts: number[] = [];
  for (const { values, partners } of model.tensors)
    for (const each of [values, ...partners.map((partner) => partner.values)])
      parts.push(digestOf(await model.copy(each)));
  return parts.join();
};

/** The files, or else the numbers, of a model, and the masks. */
async function stateOf({ model, sparsifier }: Subject<Model>): Promise<string> {
  const files = 'toFiles' in model ? [...(await (model as FileModel).toFiles()).values()].map(digestOf) : [];
  const masks = [...sparsifier.masks()].map(([name, { data }]) => [name, digestOf(data)]);
  return JSON.stringify([files, await numbersOf(model), masks]);
}

const trialOf = <Own extends Model>(
  begin: () => Promise<Subject<Own>>,
  call: (subject: Subject<Own>) => Promise<unknown>,
): Trial<Subject<Own>> => ({
  begin,
  call,
  state: stateOf,
  end: ({ model, sparsifier }) => {
    sparsifier.clear();
    if ('close' in model) (model as unknown as FileModel).close();
  },
});

const begun = (name: SmallModel, options: SparsifierOptions) => async (): Promise<Subject> => {
  const model = await openSmall(name);
  return { model, sparsifier: new Sparsifier(model, { layerType: 'all', ...options }) };
};

const variants: readonly (readonly [title: string, options: SparsifierOptions, amount: number | undefined])[] = [
  ['single weights', {}, 50],
  ['filters', { granularity: 'filter' }, 40],
  ['columns', { granularity: 'column' }, 40],
  ['blocks', { granularity: Granularity.block({ out: 2, in: 2 }) }, 50],
  ['a pattern', { granularity: Granularity.nm(2, 4) }, undefined],
  ['filters, global', { granularity: 'filter', context: 'global' }, 40],
  ['a limit and rounding, global', { context: 'global', maxSparsity: 60, reducer: 'l2' }, 50],
  ['lamp', { context: 'global', budget: 'lamp' }, 50],
  ['initial weights', { criteria: 'movement' }, 50],
  ['previous weights', { criteria: 'updatingMovement', granularity: 'filter' }, 50],
  ['a function', { criteria: ({ weights }) => weights.map(Math.abs) }, 50],
  ['values to restore', { granularity: 'filter', restorable: true }, 50],
];
describe.each(smallModelNames)(
  'Without memory for an allocation, a model of %s is as before and no memory is lost',
  (name) => {
    test.each(variants)('sparsifyModel: %s', async (_, options, amount) => {
      const points = await sweep(
        trialOf(begun(name, options), ({ sparsifier }) => sparsifier.sparsifyModel(amount)),
        allocations,
        'memory',
      );
      expect(points).toBeGreaterThan(1);
      await expectNoMemoryInUse();
    });

    const prunedFirst = (options: SparsifierOptions) => async () => {
      const subject = await begun(name, options)();
      await subject.sparsifier.sparsifyModel(60);
      return subject;
    };
    const filters = { granularity: 'filter', restorable: true } as const;
    test.each<[title: string, begin: () => Promise<Subject>, call: (subject: Subject) => Promise<unknown>]>([
      ['a second, lower amount', prunedFirst(filters), ({ sparsifier }) => sparsifier.sparsifyModel(30)],
      ['a second, higher amount', prunedFirst({}), ({ sparsifier }) => sparsifier.sparsifyModel(80)],
      ['apply', prunedFirst({ granularity: 'filter' }), ({ sparsifier }) => sparsifier.apply()],
      ['restore', prunedFirst(filters), ({ sparsifier }) => sparsifier.restore()],
      ['explain', prunedFirst({}), ({ sparsifier }) => sparsifier.explain(70)],
      [
        'sparsifyLayer',
        begun(name, {}),
        ({ model, sparsifier }) => sparsifier.sparsifyLayer(model.tensors[0]!.name, 50),
      ],
      ['inspect', prunedFirst({}), ({ model }) => inspect(model)],
      ['compare', prunedFirst({}), ({ model }) => compare(model, model)],
      ['sensitivity', begun(name, {}), ({ model }) => sensitivity(model, () => 1, { levels: [30, 60] })],
      [
        'saveMasks and loadMasks',
        prunedFirst({}),
        async ({ sparsifier }) => {
          const kept = keeping();
          await sparsifier.saveMasks(kept.stream);
          await sparsifier.loadMasks(kept.bytes());
          await sparsifier.apply();
        },
      ],
      ['quantize', prunedFirst({}), async ({ model }) => (await quantize(model, { weights: 'float16' })).model.close()],
      ['dequantize', prunedFirst({}), async ({ model }) => (await dequantize(model)).model.close()],
      ['reading', prunedFirst({}), async () => (await openSmall(name)).close()],
    ])('%s', async (_, begin, call) => {
      await sweep(trialOf(begin, call), allocations, 'memory');
      await expectNoMemoryInUse();
    });
  },
);

const conv = layouts.find(({ title }) => title === 'conv2d')!;
/** Layers whose inputs are known. */
const arrays = () =>
  ({
    conv: { ...layerOf(conv, 3), bias: values(4, 5) },
    fc: { kind: 'dense', roles: ['out', 'in'], shape: [5, 6], data: values(30, 4), bias: values(5, 6) },
  }) as const;
const known = statisticsOf(
  Object.fromEntries(
    Object.entries(arrays()).map(([name, layer]) => [
      name,
      layerStatistics(layer, rowsFor({ groups: 1, outputs: 1, columns: name === 'conv' ? 18 : 6 }, 60), {
        heldOut: rowsFor({ groups: 1, outputs: 1, columns: name === 'conv' ? 18 : 6 }, 20, 2),
      }),
    ]),
  ),
);

describe('Without memory for an allocation, plain arrays are as before and no memory is lost', () => {
  const begin = (options: SparsifierOptions) => async (): Promise<Subject<Model>> => {
    const model = fromArrays(arrays());
    return { model, sparsifier: new Sparsifier(model, { layerType: 'all', statistics: known, ...options }) };
  };
  const pruned = (options: SparsifierOptions) => async () => {
    const subject = await begin(options)();
    await subject.sparsifier.sparsifyModel(50);
    return subject;
  };
  const repaired = (options: SparsifierOptions) => async () => {
    const subject = await pruned(options)();
    await subject.sparsifier.repair();
    return subject;
  };
  test.each<[title: string, begin: () => Promise<Subject<Model>>, call: (subject: Subject<Model>) => Promise<unknown>]>(
    [
      [
        'sparsifyModel by fluctuation',
        begin({ criteria: 'fluctuation', granularity: 'column' }),
        ({ sparsifier }) => sparsifier.sparsifyModel(50),
      ],
      ['repair', pruned({}), ({ sparsifier }) => sparsifier.repair()],
      ['repair of columns', pruned({ granularity: 'column' }), ({ sparsifier }) => sparsifier.repair()],
      ['repair of biases', pruned({}), ({ sparsifier }) => sparsifier.repair({ method: 'bias' })],
      ['a second repair', repaired({}), ({ sparsifier }) => sparsifier.repair({ steps: 2 })],
      ['more after a repair', repaired({}), ({ sparsifier }) => sparsifier.sparsifyModel(70)],
      ['restore after a repair', repaired({}), ({ sparsifier }) => sparsifier.restore()],
    ],
  )('%s', async (_, begin, call) => {
    expect(await sweep(trialOf(begin, call), allocations, 'memory')).toBeGreaterThan(1);
    await expectNoMemoryInUse();
  });
});
