import fc from 'fast-check';
import { Sparsifier, type Amount, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { readModel } from 'sparsifier/formats';
import { sensitivity } from 'sparsifier/sensitivity';
import { describe, expect, test } from 'vitest';
import {
  columnOf,
  coupledModel,
  groups,
  layerNames,
  numbersOf,
  rowOf,
  shapes,
  type CoupledGroup,
  type CoupledNetwork,
  type LayerName,
} from '../support/coupled-network.js';
import { errorOf, line } from '../support/layers.js';
import { layerStatistics, rowsFor, sizesOf, statisticsOf } from '../support/naive-repair.js';
import { numbersOf as bytesOf, withModel } from '../support/onnx-model.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// Channels of a network that are chosen in groups. That they then leave it without a difference is tested with ONNX Runtime.

const coupled = { granularity: 'filter', coupled: true } as const;
const asked = (options: SparsifierOptions = {}): SparsifierOptions => ({ ...coupled, ...options });

/** Prunes the network, and gives what is used of the Sparsifier afterwards. */
const pruned = <Result>(
  options: SparsifierOptions,
  use: (sparsifier: Sparsifier) => Result | Promise<Result>,
  network?: CoupledNetwork,
) => withModel(coupledModel(network), (model) => use(new Sparsifier(model, asked(options))));

/** The channels that each group of a network has lost. */
const lostIn = (sparsifier: Sparsifier): number[][] =>
  groups.map(({ name, channels }) => {
    const { data } = sparsifier.mask(name);
    return Array.from({ length: channels }, (_, channel) => channel).filter((channel) => data[channel] === 0);
  });

/** The numbers of the model by layer: the weights and the bias. */
async function numbersIn({ model }: Sparsifier): Promise<CoupledNetwork> {
  const found = { weights: {}, biases: {} } as {
    weights: Record<string, Float32Array>;
    biases: Record<string, Float32Array>;
  };
  for (const { name, values, bias } of model.tensors) {
    found.weights[name] = new Float32Array((await bytesOf(model as never, values)).buffer);
    found.biases[name] = new Float32Array((await bytesOf(model as never, bias!.values)).buffer);
  }
  return found as CoupledNetwork;
}

/** The network without channels: those that make them, pass them on and read them are 0, and so are their biases. */
function without(network: CoupledNetwork, lost: readonly (readonly number[])[]): CoupledNetwork {
  const copy = (of: CoupledNetwork['weights']) =>
    Object.fromEntries(layerNames.map((name) => [name, of[name].slice()])) as Record<LayerName, Float32Array>;
  const [weights, biases] = [copy(network.weights), copy(network.biases)];
  for (const [place, { producers, followers, readers }] of groups.entries()) {
    for (const channel of lost[place]!) {
      for (const name of [...producers, ...followers]) {
        rowOf(name, weights[name], channel).fill(0);
        biases[name][channel] = 0;
      }
      for (const name of readers) {
        const [, inputs] = shapes[name];
        const inner = shapes[name].slice(2).reduce((product: number, size) => product * size, 1);
        for (const at of weights[name].keys()) if (Math.floor(at / inner) % inputs === channel) weights[name][at] = 0;
      }
    }
  }
  return { weights, biases };
}

describe('the groups of a network', () => {
  test('Channels that are added up are one group, named after the first layer that makes them', async () => {
    await pruned({}, async (sparsifier) => {
      const { groups: found, total, layers } = await sparsifier.sparsifyModel(50);
      expect(found).toEqual([
        { name: 'stem', layers: ['stem', 'c'], units: 8, removedUnits: 4, keptUnits: 4 },
        { name: 'a', layers: ['a'], units: 6, removedUnits: 3, keptUnits: 3 },
      ]);
      expect(total).toMatchObject({ units: 14, removedUnits: 7, keptUnits: 7 });
      expect(layers.map(({ name, units, removedUnits }) => [name, units, removedUnits])).toEqual([
        ['stem', 8, 4],
        ['a', 6, 3],
        ['d', 6, 3],
        ['c', 8, 4],
        ['fc', 5, 0],
      ]);
    });
  });

  test('All that makes, follows or reads a removed channel is zero, and all else keeps its bits', async () => {
    await pruned({}, async (sparsifier) => {
      const before = await numbersIn(sparsifier);
      await sparsifier.sparsifyModel(50);
      expect(await numbersIn(sparsifier)).toEqual(without(before, lostIn(sparsifier)));
    });
  });

  test('The masks are those of the layers that make channels or pass them on', async () => {
    await pruned({}, async (sparsifier) => {
      await sparsifier.sparsifyModel(50);
      const masks = sparsifier.masks();
      expect([...masks.keys()]).toEqual(['stem', 'a', 'd', 'c']);
      expect(masks.get('c')).toEqual({ shape: [8, 1, 1, 1], data: masks.get('stem')!.data });
      expect(masks.get('d')!.data).toEqual(masks.get('a')!.data);
    });
  });

  test('The report is printed by group', async () => {
    await pruned({ exclude: 'c' }, async (sparsifier) => {
      const table = (await sparsifier.sparsifyModel(50)).table();
      expect(table).toContain('3 of 6 channels removed');
      expect(table).toMatch(/^channels of +layers +channels +removed +of channels$/m);
      expect(table).toMatch(/^a +1 +6 +3 +50\.00 %$/m);
      expect(table).toMatch(/groups that are held back:\n {2}stem: c: excluded by 'c'/);
    });
  });

  test('Masks are saved and loaded', async () => {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    const [lost, numbers] = await pruned({}, async (sparsifier) => {
      await sparsifier.sparsifyModel(50);
      await sparsifier.saveMasks(
        new WritableStream({ write: (chunk: Uint8Array<ArrayBuffer>) => void chunks.push(chunk) }),
      );
      return [lostIn(sparsifier), await numbersIn(sparsifier)];
    });
    await pruned({}, async (sparsifier) => {
      await sparsifier.loadMasks(new Blob(chunks));
      await sparsifier.apply();
      expect(lostIn(sparsifier)).toEqual(lost);
      expect(await numbersIn(sparsifier)).toEqual(numbers);
    });
  });

  test('What was removed comes back, and nothing is left of the masks', async () => {
    await pruned({ restorable: true }, async (sparsifier) => {
      const before = await numbersIn(sparsifier);
      await sparsifier.sparsifyModel(50);
      await sparsifier.sparsifyModel(70);
      await sparsifier.restore();
      expect(await numbersIn(sparsifier)).toEqual(before);
      expect(sparsifier.masks().size).toBe(0);
      await sparsifier.sparsifyModel(50);
      sparsifier.clear();
      expect((await errorOf(() => sparsifier.restore())).code).toBe('layer');
    });
  });

  test('Channels that earlier calls removed stay removed, and a lower amount brings the last ones back as zeros', async () => {
    await pruned({ criteria: 'random' }, async (sparsifier) => {
      const before = await numbersIn(sparsifier);
      await sparsifier.sparsifyModel(25);
      const first = lostIn(sparsifier);
      await sparsifier.sparsifyModel(75);
      const second = lostIn(sparsifier);
      for (const [place, lost] of first.entries()) expect(second[place]).toEqual(expect.arrayContaining(lost));
      await sparsifier.sparsifyModel(25);
      expect(lostIn(sparsifier)).toEqual(first);
      expect(await numbersIn(sparsifier)).toEqual(without(before, second));
    });
  });
});

describe('amounts', () => {
  test.each<[string, Amount | Amount[] | Record<string, Amount>, number[]]>([
    ['a list has one for each group', [25, { keep: 1 }], [2, 5]],
    ['an object names a group by any layer that makes it', { c: { remove: 3 } }, [3, 0]],
    ['a glob gives all groups that it matches', { '*': 50, a: 0 }, [4, 0]],
    ['two names of one group may give the same amount', { stem: 50, c: 50 }, [4, 0]],
  ])('Of amounts by group, %s', async (_, sparsity, expected) => {
    await pruned({}, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel(sparsity);
      expect(found!.map(({ removedUnits }) => removedUnits)).toEqual(expected);
    });
  });

  test('Two amounts for one group are an error that names both layers', async () => {
    await pruned({}, async (sparsifier) => {
      const { code, details } = await errorOf(() => sparsifier.sparsifyModel({ stem: 50, c: 30 }));
      expect([code, details.subject, details.given]).toEqual(['sparsity', 'stem', 'stem and c']);
      expect(sparsifier.masks().size).toBe(0);
    });
  });

  test('An amount for what is no group is an error that says why', async () => {
    await pruned({ exclude: 'a' }, async (sparsifier) => {
      const reasons = async (name: string) => (await errorOf(() => sparsifier.sparsifyModel({ [name]: 50 }))).message;
      expect(await reasons('fc')).toContain('its output channels have to stay: an output of the model');
      expect(await reasons('a')).toContain("its group a is held back by a: excluded by 'a'");
      expect(await reasons('other')).toContain('no layer has this name');
    });
  });

  test('sparsifyLayer takes the group of a layer, also of one that passes channels on, whatever the rules say', async () => {
    await pruned({ exclude: '*' }, async (sparsifier) => {
      await sparsifier.sparsifyLayer('c', 50);
      expect(lostIn(sparsifier).map(({ length }) => length)).toEqual([4, 0]);
      await sparsifier.sparsifyLayer('d', { remove: 2 });
      expect(lostIn(sparsifier).map(({ length }) => length)).toEqual([4, 2]);
      const { code, details } = await errorOf(() => sparsifier.sparsifyLayer('fc', 50));
      expect([code, details.found, details.allowed]).toEqual([
        'layer',
        'an output of the model keeps them',
        ['stem', 'a'],
      ]);
    });
  });

  test('Rounding and limits hold for groups', async () => {
    await pruned({}, async (sparsifier) => {
      const { groups: found, warnings } = await sparsifier.sparsifyModel(60, { roundTo: 4 });
      expect(found!.map(({ keptUnits }) => keptUnits)).toEqual([4, 4]);
      expect(warnings.map(({ code }) => code)).toContain('amount-changed');
    });
    await pruned({ minKeep: { c: 7 }, maxSparsity: { a: 20 } }, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel(60);
      expect(found!.map(({ keptUnits }) => keptUnits)).toEqual([7, 5]);
    });
    await pruned({}, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel(100);
      expect(found!.map(({ keptUnits }) => keptUnits)).toEqual([1, 1]);
    });
  });

  test('In the context global the total is exact, and rankings are of groups', async () => {
    await pruned({ context: 'global', normalizer: 'max' }, async (sparsifier) => {
      expect((await sparsifier.sparsifyModel({ remove: 5 })).total.removedUnits).toBe(5);
    });
    await pruned({ context: 'global', rankTogether: { block: ['a'] } }, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel({ block: { remove: 4 }, c: { remove: 1 } });
      expect(found!.map(({ removedUnits }) => removedUnits)).toEqual([1, 4]);
    });
    await pruned({ context: 'global', budget: 'lamp' }, async (sparsifier) => {
      expect((await sparsifier.sparsifyModel(50)).total.removedUnits).toBe(7);
    });
  });
});

describe('rules', () => {
  test('A group is pruned only if the rules select all layers that make its channels; those that pass them on do not matter', async () => {
    await pruned({ exclude: [{ depthwise: true }, 'c'] }, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel(50);
      expect(found!.map(({ name, removedUnits, heldBack }) => [name, removedUnits, heldBack])).toEqual([
        ['stem', 0, "c: excluded by 'c'"],
        ['a', 3, undefined],
      ]);
      expect(sparsifier.mask('d').data).toEqual(sparsifier.mask('a').data);
    });
  });

  test('Without a group that the rules leave, the error says what holds back the first one', async () => {
    await pruned({ include: ['c', 'fc'] }, async (sparsifier) => {
      const { code, details } = await errorOf(() => sparsifier.sparsifyModel(50));
      expect([code, details.found]).toEqual(['kind', '2 groups; stem: stem: no include rule matches it']);
    });
  });

  test('explain says for each layer which group it is, or what keeps its channels', async () => {
    await pruned({ exclude: 'a' }, async (sparsifier) => {
      const explained = await sparsifier.explain(50);
      expect(explained.map(({ name, selected, units, removedUnits }) => [name, selected, units, removedUnits])).toEqual(
        [
          ['stem', true, 8, 4],
          ['a', false, 6, 0],
          ['d', false, 6, 0],
          ['c', true, 8, 4],
          ['fc', false, 5, 0],
        ],
      );
      const [stem, a, d, , last] = explained.map(({ reason, rule }) => [reason, rule.name]);
      expect(stem).toEqual(['of any kind; group stem', 'layerType']);
      expect(a).toEqual(["excluded by 'a'; its group a is held back by a: excluded by 'a'", 'exclude']);
      expect(d).toEqual(['of any kind; its channels go with those of a', 'coupled']);
      expect(last).toEqual(['of any kind; its output channels have to stay: an output of the model', 'coupled']);
      expect(sparsifier.masks().size).toBe(0);
      expect((await sparsifier.explain())[0]).toMatchObject({ selected: true, removedUnits: undefined });
    });
  });

  test('Layers that are protected keep their groups', async () => {
    await pruned({ coupled: { protect: 'c' } }, async (sparsifier) => {
      expect((await sparsifier.sparsifyModel(50)).groups!.map(({ name }) => name)).toEqual(['a']);
    });
  });
});

/** What a reducer makes of scores, in 64 bits. */
const reducers = {
  mean: (scores: readonly number[]) => scores.reduce((sum, score) => sum + score, 0) / scores.length,
  sum: (scores: readonly number[]) => scores.reduce((sum, score) => sum + score, 0),
  l2: (scores: readonly number[]) => Math.sqrt(scores.reduce((sum, score) => sum + score ** 2, 0)),
  max: (scores: readonly number[]) => Math.max(...scores),
};
/** Scores of single weights. */
const criteria = {
  largeFinal: Math.abs,
  squaredFinal: (weight: number) => weight * weight,
  smallFinal: (weight: number) => -Math.abs(weight),
};

/** The channels of lowest score, in order. */
function lowest(scores: readonly number[], count: number): number[] {
  const order = [...scores.keys()].sort((one, other) => scores[one]! - scores[other]! || one - other);
  return order.slice(0, count).sort((one, other) => one - other);
}

/** Statistics of made-up inputs of all layers. */
function statisticsFor({ weights }: CoupledNetwork, seed: number) {
  const layers = layerNames.map((name) => {
    const isDense = name === 'fc';
    const layer: ArrayLayer = {
      kind: isDense ? 'dense' : 'conv2d',
      roles: isDense ? ['out', 'in'] : ['out', 'in', 'height', 'width'],
      ...{ shape: shapes[name], data: weights[name], groups: name === 'd' ? 6 : 1 },
    };
    return [name, layerStatistics(layer, rowsFor(sizesOf(layer), 20, seed))] as const;
  });
  return statisticsOf(Object.fromEntries(layers));
}

/** The score of a channel by `flap`. */
function flapOf(
  { readers }: CoupledGroup,
  channel: number,
  { weights }: CoupledNetwork,
  { layers }: ReturnType<typeof statisticsFor>,
): number {
  let sum = 0;
  for (const name of readers) {
    const { moment, mean, columns } = layers.get(name)!;
    const [outputs, inputs] = shapes[name];
    const taps = columns / inputs;
    for (let tap = 0; tap < taps; tap++) {
      const column = channel * taps + tap;
      const variance = moment[column * columns + column]! - mean[column]! ** 2;
      for (let output = 0; output < outputs; output++) sum += weights[name][output * columns + column]! ** 2 * variance;
    }
  }
  return sum;
}

describe('scores', () => {
  test('Groups lose the channels of lowest score over all weights of the layers that make them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1000),
        fc.constantFrom(...(Object.keys(reducers) as (keyof typeof reducers)[])),
        fc.constantFrom(...(Object.keys(criteria) as (keyof typeof criteria)[])),
        fc.integer({ min: 0, max: 5 }),
        async (seed, reducer, criterion, count) => {
          const network = numbersOf(seed);
          const expected = groups.map(({ channels, producers }) => {
            const scores = Array.from({ length: channels }, (_, channel) =>
              reducers[reducer](
                producers.flatMap((name) =>
                  Array.from(rowOf(name, network.weights[name], channel), (weight) =>
                    Math.fround(criteria[criterion](weight)),
                  ),
                ),
              ),
            );
            return lowest(scores, count);
          });
          const lost = await pruned(
            { reducer, criteria: criterion },
            async (sparsifier) => {
              await sparsifier.sparsifyModel({ remove: count });
              return lostIn(sparsifier);
            },
            network,
          );
          expect(lost).toEqual(expected);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('flap removes the channels that add least that varies to the outputs of all layers that read them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1000), fc.integer({ min: 1, max: 5 }), async (seed, count) => {
        const network = numbersOf(seed);
        const statistics = statisticsFor(network, seed + 1);
        const expected = groups.map((group) => {
          const all = Array.from({ length: group.channels }, (_, channel) =>
            flapOf(group, channel, network, statistics),
          );
          return lowest(all, count);
        });
        await pruned(
          { criteria: 'flap', statistics },
          async (sparsifier) => {
            await sparsifier.sparsifyModel({ remove: count });
            expect(lostIn(sparsifier)).toEqual(expected);
          },
          network,
        );
      }),
      { numRuns: 40 },
    );
  });

  test('In the context global flap compares scores that are standardised within each group', async () => {
    const network = numbersOf(3);
    const statistics = statisticsFor(network, 4);
    const standard = groups.flatMap((group, place) => {
      const all = Array.from({ length: group.channels }, (_, channel) => flapOf(group, channel, network, statistics));
      const mean = all.reduce((sum, each) => sum + each, 0) / all.length;
      const deviation = Math.sqrt(all.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (all.length - 1));
      return all.map((score, channel) => ({ place, channel, score: (score - mean) / deviation }));
    });
    const least = standard.sort((one, other) => one.score - other.score).slice(0, 6);
    const expected = groups.map((_, place) =>
      least
        .filter((each) => each.place === place)
        .map(({ channel }) => channel)
        .sort((one, other) => one - other),
    );
    await pruned(
      { criteria: 'flap', statistics, context: 'global' },
      async (sparsifier) => {
        await sparsifier.sparsifyModel({ remove: 6 });
        expect(lostIn(sparsifier)).toEqual(expected);
      },
      network,
    );
  });

  test('A group whose channels no layer with statistics reads is held back by flap', async () => {
    const network = numbersOf();
    const all = statisticsFor(network, 1);
    const statistics = { ...all, layers: new Map([...all.layers].filter(([name]) => name !== 'c')) };
    await pruned({ criteria: 'flap', statistics }, async (sparsifier) => {
      const { groups: found } = await sparsifier.sparsifyModel(50);
      expect(found!.map(({ heldBack }) => heldBack)).toEqual([
        undefined,
        'there are no statistics of the layers that read its channels',
      ]);
    });
  });

  test.each(['largeFinal', 'flap'] as const)(
    'A weight that is not finite is an error by %s, and nothing is changed',
    async (criteria) => {
      const network = numbersOf();
      network.weights.c[3] = Infinity;
      await pruned(
        { criteria, ...(criteria === 'flap' ? { statistics: statisticsFor(numbersOf(), 1) } : {}) },
        async (sparsifier) => {
          const { code, details } = await errorOf(() => sparsifier.sparsifyModel(50));
          expect([code, details.subject]).toEqual(['weights', 'c']);
          expect(await numbersIn(sparsifier)).toEqual(network);
        },
        network,
      );
    },
  );

  test('Random channels are the same ones for the same seed', async () => {
    const lost = (seed: number) =>
      pruned({ criteria: 'random', seed }, async (sparsifier) => {
        await sparsifier.sparsifyModel(50);
        return lostIn(sparsifier);
      });
    expect(await lost(1)).toEqual(await lost(1));
    expect(await lost(1)).not.toEqual(await lost(2));
  });
});

describe('a repair', () => {
  /** What a layer adds to its outputs on average through removed channels. */
  const means = (
    name: LayerName,
    lost: readonly number[],
    { weights }: CoupledNetwork,
    statistics: ReturnType<typeof statisticsFor>,
  ) => {
    const [outputs, inputs] = shapes[name];
    const { mean, columns } = statistics.layers.get(name)!;
    const taps = columns / inputs;
    return Array.from({ length: outputs }, (_, output) =>
      lost.reduce((sum, channel) => {
        const own = columnOf(name, weights[name].subarray(output * columns, (output + 1) * columns), channel);
        return own.reduce((total, weight, tap) => total + weight * mean[channel * taps + tap]!, sum);
      }, 0),
    );
  };

  test('The means of removed channels go into the biases of the layers that read them', async () => {
    const network = numbersOf(5);
    const statistics = statisticsFor(network, 6);
    await pruned(
      { criteria: 'flap', statistics },
      async (sparsifier) => {
        await sparsifier.sparsifyModel(50);
        const report = await sparsifier.repair({ method: 'bias' });
        const lost = lostIn(sparsifier);
        const { weights, biases } = await numbersIn(sparsifier);
        const expected = without(network, lost);
        expect(weights).toEqual(expected.weights);
        for (const [place, { readers }] of groups.entries()) {
          for (const name of readers) {
            const isRepaired = report.layers.find((layer) => layer.name === name)!.isRepaired;
            expect(isRepaired).toBe(true);
            const shift = means(name, lost[place]!, network, statistics);
            for (const [output, before] of network.biases[name].entries()) {
              const isGone = groups.some(
                ({ producers }, at) => producers.some((each) => each === name) && lost[at]!.includes(output),
              );
              expect(biases[name][output]).toBeCloseTo(isGone ? 0 : before + shift[output]!, 4);
            }
          }
        }
        // Layers that read no removed channel have nothing to make up for.
        for (const name of ['stem', 'd'] as const) expect(biases[name]).toEqual(expected.biases[name]);
      },
      network,
    );
  });

  test('Weights are solved for the inputs that are left, removed ones stay zero, and errors get smaller', async () => {
    const network = numbersOf(7);
    const statistics = statisticsFor(network, 8);
    await pruned(
      { criteria: 'flap', statistics },
      async (sparsifier) => {
        await sparsifier.sparsifyModel(50);
        const { layers } = await sparsifier.repair();
        expect(layers.map(({ name }) => name)).toEqual([...layerNames]);
        for (const { name, masked, repaired } of layers) {
          if (['a', 'c', 'fc'].includes(name)) expect(repaired).toBeLessThan(masked!);
          else expect([masked, repaired]).toEqual([0, 0]);
        }
        const after = await numbersIn(sparsifier);
        expect(after).toEqual(without(after, lostIn(sparsifier)));
        expect(after.weights.c).not.toEqual(without(network, lostIn(sparsifier)).weights.c);
        await sparsifier.restore();
        expect(await numbersIn(sparsifier)).toEqual(network);
      },
      network,
    );
  });
});

describe('what cannot be coupled', () => {
  const file = safetensorsFile({ w: { shape: [4, 4], dtype: 'F32' } });
  test.each<[string, () => unknown, string, RegExp]>([
    [
      'single weights',
      () => new Sparsifier(fromArrays({ layer: line([1]) }), { coupled: true }),
      'usage',
      /Use `granularity: 'filter'`/,
    ],
    [
      'plain arrays',
      () => new Sparsifier(fromArrays({ layer: line([1]) }), coupled),
      'usage',
      /network whose channels can be followed.*ONNX/,
    ],
    [
      'safetensors',
      async () =>
        new Sparsifier(await readModel(file, { layers: { w: { kind: 'dense', roles: ['out', 'in'] } } }), coupled),
      'usage',
      /found: safetensors model.*allowed: ONNX/,
    ],
    ['the budget erk', () => pruned({ context: 'global', budget: 'erk' }, () => {}), 'usage', /allowed: uniform, lamp/],
    [
      'the budget error',
      () => pruned({ context: 'global', budget: 'error', statistics: statisticsOf({}) }, () => {}),
      'usage',
      /allowed: uniform, lamp/,
    ],
    [
      'a model that is streamed',
      () => sparsifyFile(new Blob([coupledModel()]), new WritableStream(), { ...coupled, sparsity: 50 }),
      'usage',
      /Read the model with `readModel`/,
    ],
    [
      'flap without coupled',
      () => withModel(coupledModel(), (model) => new Sparsifier(model, { criteria: 'flap', granularity: 'filter' })),
      'usage',
      /`coupled: true`/,
    ],
    [
      'flap without statistics',
      () => pruned({ criteria: 'flap' }, (sparsifier) => sparsifier.sparsifyModel(50)),
      'criteria',
      /statistics/,
    ],
    [
      'options that are none',
      () => pruned({ coupled: 'yes' as never }, () => {}),
      'usage',
      /true or false, or options/,
    ],
    [
      'shapes of inputs that there are not',
      () => pruned({ coupled: { inputShapes: { z: [1] } } }, (sparsifier) => sparsifier.sparsifyModel(50)),
      'usage',
      /z/,
    ],
  ])('%s: an error says what would work', async (_, call, code, message) => {
    const error = await errorOf(async () => call());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

test('Sensitivity is measured by group, and its targets are amounts of groups', async () => {
  await withModel(coupledModel(), async (model) => {
    const before = await model.bytes();
    // The more weights are zero, the worse.
    const evaluate = async () => {
      let zeros = 0;
      for (const { values } of model.tensors)
        zeros += new Float32Array((await bytesOf(model, values)).buffer).filter((weight) => weight === 0).length;
      return 1000 - zeros;
    };
    const { layers, baseline, toTargets } = await sensitivity(model, evaluate, { ...coupled, levels: [25, 50] });
    expect(baseline).toBe(1000);
    expect(layers.map(({ name }) => name)).toEqual(['stem', 'a']);
    for (const { points } of layers) {
      expect(points.map(({ level }) => level)).toEqual([25, 50]);
      expect(points[1]!.drop).toBeGreaterThan(points[0]!.drop);
      expect(points[0]!.drop).toBeGreaterThan(0);
    }
    expect(await model.bytes()).toEqual(before);
    const targets = toTargets(layers[0]!.points[0]!.drop);
    const { groups: found } = await new Sparsifier(model, coupled).sparsifyModel(targets);
    expect(found![0]).toMatchObject({ name: 'stem', removedUnits: 2 });
  });
});
