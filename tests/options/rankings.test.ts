import fc from 'fast-check';
import {
  Granularity,
  Sparsifier,
  type Amount,
  type Budget,
  type CriteriaName,
  type RankTogether,
  type SparsifierOptions,
  type Sparsity,
} from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  channelsOf,
  errorOf,
  expectSame,
  layerOf,
  layoutOf,
  layouts,
  line,
  permuted,
  rankingsChanged,
  refusal,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  zerosOf,
} from '../support/layers.js';
import {
  coordinates,
  copyOf,
  removal,
  removedBy,
  unitsOf,
  without,
  type Asked,
  type Gone,
  type Layers,
} from '../support/oracle.js';

const all: Layers = Object.fromEntries(layouts.map((layout, index) => [layout.title, weightsOnly(layout, index, 40)]));
const globally = { ...weightwise, context: 'global' } as const satisfies Asked;

/** Some of the layers. */
const pick = (layers: Layers, names: readonly string[]): Layers =>
  Object.fromEntries(names.map((name) => [name, layers[name]!]));

const keptOf = async (layers: Layers, sparsity: Sparsity, options: Partial<SparsifierOptions>): Promise<number[]> =>
  (await sparsified(layers, sparsity, { ...globally, ...options })).report.layers.map(({ keptUnits }) => keptUnits);

describe('rankTogether', () => {
  const layers: Layers = {
    'stem/conv': line([1, 2, 30, 40]),
    'block.1/conv': line([3, 4, 5, 60]),
    'block.2/conv': line([7, 8, 9, 10, 11, 12]),
    head: line([6, 1, 2, 3]),
  };
  const rankTogether = { body: ['block*'], ends: ['stem/conv', 'head'] };

  /** What is left when each of these lists of layers is ranked by itself. */
  function apart(
    layers: Layers,
    lists: readonly (readonly string[])[],
    amounts: readonly Amount[],
    asked: Asked = globally,
  ) {
    const positionOf = (name: string) => Object.keys(layers).indexOf(name);
    const gone = lists.map((names, index) => removal(pick(layers, names), amounts[index]!, asked, {}, positionOf));
    return without(layers, Object.assign({}, ...gone) as Gone, asked.granularity);
  }

  test('Each ranking is ranked and counted by itself', async () => {
    const { layers: after, report } = await sparsified(layers, 50, { ...globally, rankTogether });
    expect(Object.values(after).map(({ data }) => [...data])).toEqual([
      [0, 0, 30, 40],
      [0, 0, 0, 60],
      [0, 0, 9, 10, 11, 12],
      [6, 0, 0, 3],
    ]);
    expect(report.layers.map(({ keptUnits }) => keptUnits)).toEqual([2, 1, 4, 2]);
    expect(report.notes).toEqual([]);
  });

  test('A layer that is in no ranking is ranked by itself', async () => {
    const { layers: after } = await sparsified(layers, 50, { ...globally, rankTogether: { body: ['block*'] } });
    expectSame(after, apart(layers, [['stem/conv'], ['block.1/conv', 'block.2/conv'], ['head']], [50, 50, 50]));
    const alone = await sparsified(layers, 50, { ...globally, rankTogether: {} });
    expectSame(alone.layers, (await sparsified(layers, 50, weightwise)).layers);
  });

  test('One ranking of all layers is the same as the global context', async () => {
    for (const sparsity of [10, 50, { keep: 3 }, { remove: 7 }]) {
      const one = await sparsified(all, sparsity, { ...globally, rankTogether: { all: ['*'] } });
      expectSame(one.layers, (await sparsified(all, sparsity, globally)).layers);
    }
  });

  test('Rankings of all kinds and layouts agree with ranking them apart', async () => {
    const names = Object.keys(all);
    const list = (of: number) => names.filter((_, index) => index % 3 === of);
    for (const granularity of ['weight', 'vector', 'filter'] as const) {
      for (const criteria of ['largeFinal', 'random'] as const) {
        for (const amount of [20, 75, { keep: 9 }, { remove: 11 }]) {
          const asked = { ...globally, granularity, criteria };
          const options = { ...asked, rankTogether: { a: list(0), b: list(1), c: list(2) } };
          const { layers: after } = await sparsified(all, amount, options);
          const expected = apart(all, [list(0), list(1), list(2)], [amount, amount, amount], asked);
          expectSame(after, expected, `${granularity} ${criteria} ${JSON.stringify(amount)}`);
        }
      }
    }
  });

  test('A ranking has its layers in model order, whatever the order of its list', async () => {
    const ties = { a: line([1, 1, 1]), b: line([1, 1, 1]), c: line([1, 1, 1]) };
    const zeros = async (list: string[]) =>
      zerosOf((await sparsified(ties, { remove: 3 }, { ...globally, rankTogether: { list } })).layers);
    expect(await zeros(['c', 'b', 'a'])).toEqual({ a: 2, b: 1, c: 0 });
    expect(await zeros(['?'])).toEqual({ a: 2, b: 1, c: 0 });
  });

  test('Amounts are given by names and globs of rankings and of layers in none; all others are left alone', async () => {
    const more = { ...layers, 'tail.1': line([1, 2]), 'tail.2': line([3, 4, 5, 6]) };
    const zeros = async (sparsity: Sparsity) =>
      Object.values(zerosOf((await sparsified(more, sparsity, { ...globally, rankTogether })).layers));
    expect(await zeros({ body: 50 })).toEqual([0, 3, 2, 0, 0, 0]);
    expect(await zeros({ ends: { remove: 3 }, 'tail.2': 50 })).toEqual([2, 0, 0, 1, 0, 2]);
    expect(await zeros({ 'tail*': 50 })).toEqual([0, 0, 0, 0, 1, 2]);
    expect(await zeros({ '*': 50 })).toEqual([2, 3, 2, 2, 1, 2]);
    expect(await zeros({ '*': 50, 'tail.1': 0, body: { remove: 1 } })).toEqual([2, 1, 0, 2, 0, 2]);
    expect(await zeros(new Map<string, Amount>([['b?dy', { keep: 3 }]]))).toEqual([0, 3, 4, 0, 0, 0]);
    expect(await zeros({})).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('The total of a ranking is exact as far as limits allow, and a warning tells where they do not', async () => {
    const keep = { minKeep: { 'block.1/conv': 3, head: 4 } };
    const { layers: after, report } = await sparsified(layers, 50, { ...globally, rankTogether, ...keep });
    expect(Object.values(zerosOf(after))).toEqual([3, 1, 4, 0]);
    const because = { name: 'limits', options: ['minKeep'] };
    expect(rankingsChanged(report)).toEqual([{ name: 'ends', units: 8, asked: 4, removed: 3, because }]);
    const beyond = await sparsified(layers, { body: { keep: 11 } }, { ...globally, rankTogether });
    expect(beyond.report.warnings.map(({ message }) => message)).toContain(
      'nothing was removed from body (10 units), since there are not 11 units',
    );
  });

  test('A ranking names layers by alias, by name before glob, and may have the name of a member', async () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const tied = { first: { ...line(data), data }, second: { ...line(data), data }, third: line([5, 6, 7, 8]) };
    const zeros = async (rankTogether: RankTogether, sparsity: Sparsity = 50) =>
      zerosOf((await sparsified(tied, sparsity, { ...globally, rankTogether })).layers);
    expect(await zeros({ both: ['second', 'third'] })).toEqual({ first: 3, second: 3, third: 1 });
    expect(await zeros({ most: ['*'], one: ['third'] })).toEqual({ first: 2, second: 2, third: 2 });
    expect(await zeros({ third: ['first', 'third'] }, { third: 25 })).toEqual({ first: 2, second: 2, third: 0 });
  });

  test('Rankings consist of the layers that the rules select', async () => {
    const options = { ...globally, exclude: 'head', rankTogether: { body: ['block*', 'stem*'] } };
    const { report } = await sparsified(layers, { body: 50 }, options);
    expect(report.layers.map(({ name }) => name)).toEqual(['stem/conv', 'block.1/conv', 'block.2/conv']);
    const error = await errorOf(
      () => new Sparsifier(fromArrays(copyOf(layers)), { ...options, rankTogether: { ends: ['head'] } }),
    );
    expect([error.code, error.details.given]).toEqual(['layer', 'head']);
  });

  const refused = (rankTogether: unknown, more: Partial<SparsifierOptions> = {}) =>
    errorOf(
      () =>
        new Sparsifier(fromArrays(copyOf(layers)), {
          ...globally,
          rankTogether: rankTogether as RankTogether,
          ...more,
        }),
    );

  test('A name or glob that matches nothing is an error', async () => {
    for (const glob of ['bl?ck', 'tail', '', 'Head', 'block']) {
      const error = await refused({ body: ['block*'], more: [glob] });
      expect([error.code, error.details.given]).toEqual(['layer', glob]);
      expect(error.details.allowed).toEqual(Object.keys(layers));
    }
  });

  test('A layer in two rankings is an error that names the layer and both rankings', async () => {
    for (const rankTogether of [
      { first: ['block*'], second: ['*2/conv'] },
      { first: ['block.2/conv'], second: ['block.2/conv'] },
    ]) {
      const error = await refused(rankTogether);
      expect([error.code, error.details.subject]).toEqual(['usage', 'block.2/conv']);
      expect(error.message).toMatch(/first.*second/);
    }
  });

  test('A ranking with the name of a layer that is not in it is an error', async () => {
    const error = await refused({ head: ['block*'] });
    expect([error.code, error.details.given]).toEqual(['usage', 'head']);
  });

  test('A ranking may have any other name, and layers may have those of methods of objects', async () => {
    const odd = { constructor: line([1, 2]), toString: line([3, 4]), b: line([5, 6, 7, 8]) };
    const zeros = async (rankTogether: RankTogether) =>
      zerosOf((await sparsified(odd, 50, { ...globally, rankTogether })).layers);
    expect(await zeros({ body: ['b'] })).toEqual({ constructor: 1, toString: 1, b: 2 });
    expect(await zeros({ valueOf: ['constructor', 'b'] })).toEqual({ constructor: 1, toString: 1, b: 2 });
    const data = Float32Array.of(1, 2, 3, 4);
    const tied = { first: { ...line(data), data }, second: { ...line(data), data }, third: line([5, 6, 7, 8]) };
    const error = await errorOf(
      () => new Sparsifier(fromArrays(tied), { ...globally, rankTogether: { second: ['third'] } }),
    );
    expect(error.code, 'the other name of a tied layer').toBe('usage');
  });

  test.each<[unknown]>([[{ body: 'block*' }], [{ body: [1] }], [{ body: [['head']] }], [{ body: null }]])(
    '%j is not a value of rankTogether',
    async (rankTogether) => {
      expect((await refused(rankTogether)).code).toBe('usage');
    },
  );

  test('rankTogether needs the global context', async () => {
    const error = await refused(rankTogether, { context: 'local' });
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/rankTogether.*context: 'global'/);
  });

  test.each<[unknown]>([[[50, 50]], [[]], [['50']]])('With rankTogether the list %j is an error', async (sparsity) => {
    const error = await refusal(layers, sparsity, { ...globally, rankTogether });
    expect(error.code).toBe('sparsity');
    expect(error.message).toMatch(/by the name of the ranking/);
  });

  test.each<[Sparsity, string]>([
    [{ head: 50 }, 'head'],
    [{ body: 50, 'block*': 50 }, 'block*'],
    [{ tail: 50 }, 'tail'],
  ])('The sparsity %j is an error, since it names neither a ranking nor a layer in none', async (sparsity, key) => {
    const error = await refusal(layers, sparsity, { ...globally, rankTogether });
    expect([error.code, error.details.given]).toEqual(['layer', key]);
    expect(error.details.allowed).toEqual(['ends', 'body']);
  });
});

/** What a layer claims of the units that stay. */
interface Claim {
  readonly weight: number;
  readonly least: number;
  readonly most: number;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

/** Parts of a whole in proportion to weights, within limits: halves the interval of the factor until it is found. */
function proportional(total: number, claims: readonly Claim[]): number[] {
  const parts = (factor: number) =>
    claims.map(({ weight, least, most }) => Math.min(most, Math.max(least, factor * weight)));
  let [low, high] = [0, Math.max(...claims.map(({ weight, most }) => most / weight))];
  for (let step = 0; step < 100; step++) {
    const middle = (low + high) / 2;
    if (sum(parts(middle)) < total) low = middle;
    else high = middle;
  }
  return parts(high);
}

/** Expects whole numbers that add up, and were rounded up where the remainders are largest. */
function expectLargestRemainders(kept: readonly number[], exact: readonly number[], total: number): void {
  expect(sum(kept)).toBe(total);
  const remainders = { up: [] as number[], down: [] as number[] };
  kept.forEach((count, index) => {
    const part = exact[index]!;
    if (Math.abs(part - Math.round(part)) < 1e-6) return expect(count).toBe(Math.round(part));
    const below = Math.floor(part);
    expect([below, below + 1]).toContain(count);
    remainders[count > below ? 'up' : 'down'].push(part - below);
  });
  expect(Math.min(...remainders.up, 1)).toBeGreaterThanOrEqual(Math.max(...remainders.down, 0) - 1e-6);
}

/** Sum of the dimensions of a layer's weights divided by their product. */
function density(layer: ArrayLayer): number {
  const places = Array.from(layer.data, (_, position) => coordinates(layer, position));
  const count = (axis: number) => new Set(places.map((at) => at[axis])).size;
  const spatial = layer.roles.filter((role) => ['depth', 'height', 'width'].includes(role));
  const dimensions = [count(0), count(1), ...spatial.map((role) => layer.shape[layer.roles.indexOf(role)]!)];
  return sum(dimensions) / dimensions.reduce((a, b) => a * b);
}

describe('the budget uniform', () => {
  const uniform = { ...globally, budget: 'uniform' } as const;

  test('With a percentage, uniform is the same as the local context', async () => {
    for (const sparsity of [0, 12.5, 50, 90, 100]) {
      for (const more of [{}, { minKeep: 3 }, { allowEmpty: true }]) {
        const [shared, local] = [
          await sparsified(all, sparsity, { ...uniform, ...more }, { roundTo: 2 }),
          await sparsified(all, sparsity, { ...weightwise, ...more }, { roundTo: 2 }),
        ];
        expectSame(shared.layers, local.layers, `${sparsity} percent`);
        expect(shared.report.layers).toEqual(local.report.layers);
      }
    }
  });

  test('Warnings tell what limits keep of each layer, as in the local context', async () => {
    const layers = { a: line([1, 2]), b: line(values(100)) };
    for (const sparsity of [80, 100]) {
      const [shared, local] = [await sparsified(layers, sparsity, uniform), await sparsified(layers, sparsity)];
      expect(shared.report.warnings).toEqual(local.report.warnings);
      expect(rankingsChanged(shared.report)).toContainEqual({
        ...{ name: 'a', units: 2, asked: 2, removed: 1 },
        because: { name: 'allowEmpty' },
      });
    }
  });

  test('A number of units is divided exactly by the sizes of the layers', async () => {
    const layers = { a: line(values(10)), b: line(values(30)), c: line(values(61)) };
    expect(await keptOf(layers, { remove: 1 }, uniform)).toEqual([10, 30, 60]);
    expect(await keptOf(layers, { keep: 50 }, uniform)).toEqual([5, 15, 30]);
    expect(await keptOf(layers, { keep: 51 }, uniform)).toEqual([5, 15, 31]);
    expect(await keptOf(layers, { keep: 4 }, uniform)).toEqual([1, 1, 2]);
    expect(await keptOf(layers, { keep: 0 }, uniform)).toEqual([1, 1, 1]);
    expect(await keptOf(layers, { keep: 20 }, { ...uniform, minKeep: { a: 8 } })).toEqual([8, 4, 8]);
  });
});

describe('the budget erk', () => {
  const erk = { ...globally, budget: 'erk' } as const;
  const square = (size: number, seed = 1): ArrayLayer =>
    weightsOnly({ kind: 'dense', roles: ['out', 'in'], shape: [size, size] }, seed);

  test('A layer keeps units in proportion to (out + in) / (out x in), at most all of them', async () => {
    // 16 and 100 weights; their densities are as 1/2 is to 1/5, so that they claim 8 : 20.
    const layers = { small: square(4), large: square(10) };
    expect(await keptOf(layers, { keep: 14 }, erk)).toEqual([4, 10]);
    expect(await keptOf(layers, { keep: 28 }, erk)).toEqual([8, 20]);
    expect(await keptOf(layers, { keep: 56 }, erk)).toEqual([16, 40]);
    // From here on the small layer is whole.
    expect(await keptOf(layers, { keep: 57 }, erk)).toEqual([16, 41]);
    expect(await keptOf(layers, { keep: 115 }, erk)).toEqual([16, 99]);
    expect(await keptOf(layers, 50, erk)).toEqual([16, 42]);
    expect(await keptOf(layers, 0, erk)).toEqual([16, 100]);
    expect(await keptOf(layers, 100, erk)).toEqual([1, 1]);
    expect(await keptOf(layers, 100, { ...erk, allowEmpty: true })).toEqual([0, 0]);
    // 2.86 : 7.14, 3.14 : 7.86 and 3.43 : 8.57
    expect(await keptOf(layers, { keep: 10 }, erk)).toEqual([3, 7]);
    expect(await keptOf(layers, { keep: 11 }, erk)).toEqual([3, 8]);
    expect(await keptOf(layers, { keep: 12 }, erk)).toEqual([3, 9]);
  });

  test('The dimensions of kernels and the input channels of one group count', async () => {
    const conv = (shape: number[], groups = 1) =>
      weightsOnly({ kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape, groups });
    // (8 + 4 + 3 + 3) : (8 + 2 + 3 + 3) : (8 + 1 + 3 + 3) is 18 : 16 : 15.
    const layers = { plain: conv([8, 4, 3, 3]), grouped: conv([8, 2, 3, 3], 2), depthwise: conv([8, 1, 3, 3], 8) };
    expect(await keptOf(layers, { keep: 49 }, erk)).toEqual([18, 16, 15]);
    expect(await keptOf(layers, { keep: 98 }, erk)).toEqual([36, 32, 30]);
  });

  test('Of equal remainders, the first ones are rounded up', async () => {
    const layers = Object.fromEntries([1, 2, 3, 4].map((seed) => [`${seed}`, square(4, seed)]));
    expect(await keptOf(layers, { keep: 18 }, erk)).toEqual([5, 5, 4, 4]);
    expect(await keptOf(layers, { keep: 19 }, erk)).toEqual([5, 5, 5, 4]);
  });

  test('Of equal claims, the first ones are rounded up, whatever the shapes', async () => {
    const matrix = (...shape: number[]) => weightsOnly({ kind: 'dense', roles: ['out', 'in'], shape });
    const claiming15 = { a: matrix(2, 13), b: matrix(1, 14), c: matrix(4, 11), d: matrix(7, 8) };
    expect(await keptOf(pick(claiming15, ['a', 'b']), { keep: 15 }, erk)).toEqual([8, 7]);
    expect(await keptOf(pick(claiming15, ['b', 'a']), { keep: 15 }, erk)).toEqual([8, 7]);
    expect(await keptOf(claiming15, { keep: 30 }, erk)).toEqual([8, 8, 7, 7]);
  });

  test('The lowest scores of each layer are removed, as if it were ranked alone', async () => {
    for (const granularity of ['weight', 'vector', 'filter'] as const) {
      for (const criteria of ['largeFinal', 'random'] as const) {
        const asked = { ...erk, granularity, criteria };
        const { layers: after, report } = await sparsified(all, 60, asked);
        const remove = report.layers.map(({ removedUnits }) => ({ remove: removedUnits }));
        expectSame(after, without(all, removal(all, remove, { ...weightwise, granularity, criteria }), granularity));
      }
    }
  });

  test('Layers are capped repeatedly, as the authors do', async () => {
    const layers = { tiny: square(2), small: square(3), middle: square(6), large: square(9), huge: square(20) };
    const list = Object.values(layers);
    for (const keep of [60, 100, 150, 200, 300, 450, 500, 529]) {
      const whole = new Set<ArrayLayer>();
      let factor = 0;
      for (let isDone = false; !isDone;) {
        const open = list.filter((layer) => !whole.has(layer));
        const rest = keep - sum([...whole].map(({ data }) => data.length));
        factor = rest / sum(open.map((layer) => density(layer) * layer.data.length));
        const over = open.filter((layer) => factor * density(layer) > 1);
        over.forEach((layer) => whole.add(layer));
        isDone = over.length === 0;
      }
      const exact = list.map((layer) => layer.data.length * (whole.has(layer) ? 1 : factor * density(layer)));
      expectLargestRemainders(await keptOf(layers, { keep }, erk), exact, keep);
    }
  });

  test('The result does not depend on the layout', async () => {
    const layouts = ['conv2d', 'conv3d', 'grouped conv2d', 'grouped convTranspose2d', 'dense', 'gru'];
    const stored = pick(all, layouts);
    const moved = Object.fromEntries(
      Object.entries(stored).map(([name, layer]) => [name, permuted(layer, [...layer.shape.keys()].reverse())]),
    );
    for (const sparsity of [20, 50, 80, 95]) {
      expect(await keptOf(moved, sparsity, erk)).toEqual(await keptOf(stored, sparsity, erk));
    }
    const onnx = weightsOnly(layoutOf('depthwise conv2d'));
    const other = line(values(100));
    const names = ['depthwise conv2d of tfjs', 'depthwise conv2d, multipliers first'];
    for (const name of names) {
      for (const sparsity of [30, 60, 90]) {
        expect(await keptOf({ layer: all[name]!, other }, sparsity, erk), name).toEqual(
          await keptOf({ layer: onnx, other }, sparsity, erk),
        );
      }
    }
  });

  test(
    'For any layers and limits the total is exact, no layer exceeds its limits, and each has its share',
    { timeout: 120_000 },
    async () => {
      const limit = fc.record({
        minKeep: fc.nat(6),
        maxSparsity: fc.integer({ min: 30, max: 100 }),
        allowEmpty: fc.boolean(),
      });
      const amount = fc.oneof(
        fc.double({ min: 0, max: 100, noNaN: true }),
        fc.record({ keep: fc.nat(400) }),
        fc.record({ remove: fc.nat(400) }),
      );
      const layer = fc.record({ layout: fc.constantFrom(...layouts), factor: fc.integer({ min: 1, max: 3 }) });
      const granularities = fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const);
      await fc.assert(
        fc.asyncProperty(
          fc.array(layer, { minLength: 1, maxLength: 7 }),
          fc.constantFrom('erk' as const, 'uniform' as const),
          granularities,
          limit,
          fc.oneof(fc.nat(8), fc.dictionary(fc.constantFrom('0', '1'), fc.nat(9))),
          amount,
          async (list, budget, granularity, { maxSparsity, allowEmpty }, minKeep, amount) => {
            fc.pre(budget === 'erk' || typeof amount !== 'number');
            const layers = Object.fromEntries(
              list.map(({ layout, factor }, index) => [
                `${index}`,
                weightsOnly({ ...layout, shape: layout.shape.map((size) => size * factor) }, index),
              ]),
            );
            fc.pre(Object.keys(minKeep).every((name) => name in layers) || typeof minKeep === 'number');
            const claims = Object.entries(layers).map(([name, layer]): Claim => {
              const most = unitsOf(layer, granularity).length;
              const keep = typeof minKeep === 'number' ? minKeep : (minKeep[name] ?? 0);
              const least = Math.min(
                most,
                Math.max(keep, most - Math.floor((maxSparsity * most) / 100), allowEmpty ? 0 : 1),
              );
              return { weight: most * (budget === 'erk' ? density(layer) : 1), least, most };
            });
            const units = sum(claims.map(({ most }) => most));
            const total = Math.max(units - removedBy(amount, units), sum(claims.map(({ least }) => least)));
            const options = { ...globally, budget, granularity, maxSparsity, allowEmpty, minKeep };
            const kept = await keptOf(layers, amount, options);
            kept.forEach((count, index) => {
              expect(count).toBeGreaterThanOrEqual(claims[index]!.least);
              expect(count).toBeLessThanOrEqual(claims[index]!.most);
            });
            expectLargestRemainders(kept, proportional(total, claims), total);
          },
        ),
        { numRuns: 80 },
      );
    },
  );

  test('With rankTogether, the rule divides the amount of each ranking', async () => {
    const layers = { a: square(4), b: square(10), c: square(4), d: square(10), lone: square(4) };
    const rankTogether = { first: ['a', 'b'], second: ['c', 'd'] };
    expect(await keptOf(layers, { first: { keep: 14 }, second: { keep: 28 } }, { ...erk, rankTogether })).toEqual([
      4, 10, 8, 20,
    ]);
    expect(await keptOf(layers, { '*': { keep: 14 } }, { ...erk, rankTogether })).toEqual([4, 10, 4, 10, 14]);
  });

  test('roundTo is applied after the rule, and a further call removes more of the same', async () => {
    const layers = copyOf({ small: square(4), large: square(10) });
    const sparsifier = new Sparsifier(fromArrays(layers), erk);
    await sparsifier.sparsifyModel({ keep: 56 });
    const before = copyOf(layers);
    const report = await sparsifier.sparsifyModel({ keep: 14 }, { roundTo: 8 });
    expect(report.layers.map(({ keptUnits }) => keptUnits)).toEqual([8, 16]);
    for (const [name, { data }] of Object.entries(before)) {
      data.forEach((weight, place) => weight === 0 && expect(layers[name]!.data[place]).toBe(0));
    }
  });
});

describe('the budget lamp', () => {
  const asked = { ...globally, budget: 'lamp' } as const;

  async function check(layers: Layers, amount: Amount, more: Partial<Asked> = {}, what = ''): Promise<void> {
    const { layers: after } = await sparsified(layers, amount, { ...asked, ...more });
    const all = { ...asked, ...more };
    expectSame(after, without(layers, removal(layers, amount, all), all.granularity), what);
  }

  test('The scale of a layer does not matter', async () => {
    // 1/14, 4/13 and 1 in each.
    const layers = { a: line([1, 2, 3]), b: line([3000, -1000, 2000]) };
    const left = async (remove: number) =>
      Object.values((await sparsified(layers, { remove }, asked)).layers).map(({ data }) => [...data]);
    expect(await left(1)).toEqual([
      [0, 2, 3],
      [3000, -1000, 2000],
    ]);
    expect(await left(2)).toEqual([
      [0, 2, 3],
      [3000, 0, 2000],
    ]);
    expect(await left(3)).toEqual([
      [0, 0, 3],
      [3000, 0, 2000],
    ]);
    expect(await left(4)).toEqual([
      [0, 0, 3],
      [3000, 0, 0],
    ]);
  });

  test('Equal scores of a layer have equal values', async () => {
    // 1/3 each, and 36/100 and 1.
    const layers = { a: line([2, -2, 2]), b: line([6, 8]) };
    expect(zerosOf((await sparsified(layers, { remove: 3 }, { ...asked, allowEmpty: true })).layers)).toEqual({
      a: 3,
      b: 0,
    });
    expect(zerosOf((await sparsified(layers, { remove: 4 }, { ...asked, allowEmpty: true })).layers)).toEqual({
      a: 3,
      b: 1,
    });
  });

  test.each(['weight', 'vector', 'filter'] as const)(
    'lamp agrees with its definition for %s of all kinds and layouts',
    async (granularity) => {
      for (const criteria of ['largeFinal', 'squaredFinal'] as const) {
        for (const reducer of ['mean', 'sum', 'max'] as const) {
          for (const amount of [10, 50, 90, { keep: 30 }])
            await check(all, amount, { granularity, criteria, reducer }, `${criteria} ${reducer}`);
        }
      }
    },
  );

  test('lamp agrees with its definition for blocks and kernels', async () => {
    const convolutions = Object.fromEntries(Object.entries(all).filter(([, { kind }]) => kind.startsWith('conv')));
    for (const sparsity of [30, 70]) {
      await check(convolutions, sparsity, { granularity: 'kernel' });
      await check(convolutions, sparsity, { granularity: Granularity.block({ in: 2, width: 2 }) });
    }
  });

  test('lamp agrees with its definition for any layers and limits, call after call', async () => {
    const layer = fc.record({
      title: fc.constantFrom(...layouts.map(({ title }) => title)),
      magnitudes: fc.constantFrom(1, 3, 2000),
      scale: fc.integer({ min: -3, max: 3 }),
    });
    const call = fc.record({
      amount: fc.oneof(fc.nat(100), fc.record({ keep: fc.nat(80) }), fc.record({ remove: fc.nat(80) })),
      seed: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { minLength: 1, maxLength: 5 }),
        fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const),
        fc.nat(3),
        fc.integer({ min: 50, max: 100 }),
        fc.array(call, { minLength: 1, maxLength: 4 }),
        async (list, granularity, minKeep, maxSparsity, calls) => {
          const layers = copyOf(
            Object.fromEntries(
              list.map(({ title, magnitudes, scale }, index) => {
                const layer = weightsOnly(layoutOf(title), index, magnitudes);
                return [`${index}`, { ...layer, data: (layer.data as Float32Array).map((each) => each * 4 ** scale) }];
              }),
            ),
          );
          const own = { ...asked, granularity, minKeep, maxSparsity };
          const sparsifier = new Sparsifier(fromArrays(layers), own);
          let gone: Gone = {};
          for (const { amount, seed } of calls) {
            gone = removal(layers, amount, own, gone);
            const expected = without(layers, gone, granularity);
            await sparsifier.sparsifyModel(amount);
            expectSame(layers, expected);
            // Training moves the weights that are left.
            for (const { data } of Object.values(layers)) {
              const fresh = values(data.length, seed, 50);
              data.forEach((weight, place) => (data[place] = weight && fresh[place]!));
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('A later call leaves out of the sum what an earlier call removed', async () => {
    const layers = { a: line([1, 3, 4, 12]), b: line([5, 6, 7]) };
    const sparsifier = new Sparsifier(fromArrays(layers), asked);
    await sparsifier.sparsifyModel({ remove: 1 });
    expect([...layers.a.data]).toEqual([0, 3, 4, 12]);
    // Had training given the removed weight a value, it would neither count nor come back.
    layers.a.data[0] = 1000;
    // Of 3, 4, 12 and 5, 6, 7: 9/169, 16/160, 1 and 25/110, 36/85, 1.
    await sparsifier.sparsifyModel({ remove: 3 });
    expect([...layers.a.data, ...layers.b.data]).toEqual([0, 0, 0, 12, 5, 6, 7]);
    await sparsifier.sparsifyModel({ remove: 4 });
    expect([...layers.a.data, ...layers.b.data]).toEqual([0, 0, 0, 12, 0, 6, 7]);
  });

  test('With rankTogether, lamp ranks within each ranking', async () => {
    const names = Object.keys(all);
    const [first, second] = [names.slice(0, 9), names.slice(9)];
    const { layers: after } = await sparsified(all, 60, { ...asked, rankTogether: { first, second } });
    const gone = { ...removal(pick(all, first), 60, asked), ...removal(pick(all, second), 60, asked) };
    expectSame(after, without(all, gone, 'weight'));
  });

  test('Zeros score nothing, and a layer of zeros goes first', async () => {
    const layers = { a: line([0, -0, 5]), b: line([0, 0, 0]), c: line([1, 1, 1]) };
    expect(zerosOf((await sparsified(layers, { remove: 4 }, { ...asked, allowEmpty: true })).layers)).toMatchObject({
      c: 0,
    });
    await check(layers, { remove: 5 }, { allowEmpty: true });
  });

  test('Squares may exceed the range of 32 bits', async () => {
    const layers = { a: line([1e-30, 2e-30, 3e-30]), b: line([1e30, 2e30, 3e30]), c: line([1, 2, 3]) };
    for (const remove of [1, 2, 3, 4, 5, 6]) await check(layers, { remove });
  });

  test('Infinite scores share the first place', async () => {
    const layers = { a: line([1, 2, 3, 4]), b: line([1, 2, 3, 4]) };
    const criteria: SparsifierOptions['criteria'] = ({ name, weights }) =>
      name === 'a' ? Float32Array.of(Infinity, 1, 2, Infinity) : weights;
    // 1/2, 0, 0, 1/2 and 1/30, 4/29, 9/25, 1.
    const { layers: after } = await sparsified(layers, { remove: 6 }, { ...asked, criteria });
    expect([...after.a!.data, ...after.b!.data]).toEqual([0, 0, 0, 4, 0, 0, 0, 4]);
    const five = await sparsified(layers, { remove: 5 }, { ...asked, criteria });
    expect([...five.layers.a!.data, ...five.layers.b!.data]).toEqual([1, 0, 0, 4, 0, 0, 0, 4]);
    const squares = { a: line([1e30, 2, 3, 4]), b: line([1, 2, 3, 4]) };
    const { layers: squared } = await sparsified(squares, { remove: 6 }, { ...asked, criteria: 'squaredFinal' });
    expect([...squared.a!.data, ...squared.b!.data]).toEqual([Math.fround(1e30), 0, 0, 0, 0, 0, 0, 4]);
  });

  const cannot: CriteriaName[] = [
    'smallFinal',
    'smallInit',
    'smallInitSmallFinal',
    'magnitudeIncrease',
    'updatingMagnitudeIncrease',
    'random',
  ];
  test.each(cannot)('lamp refuses the criterion %s', async (criteria) => {
    const error = await errorOf(() => new Sparsifier(fromArrays({ a: line([1, 2]) }), { ...asked, criteria }));
    expect(error.code).toBe('criteria');
    expect(error.message).toMatch(/lamp.*largeFinal/);
  });

  test.each<CriteriaName>(['magnitude', 'largeInit', 'movement', 'updatingMovmag', 'largeInitLargeFinal'])(
    'lamp works with the criterion %s',
    async (criteria) => {
      const { report } = await sparsified(pick(all, ['dense', 'gru']), 50, { ...asked, criteria });
      expect(report.total.keptUnits).toBe(report.total.units - removedBy(50, report.total.units));
    },
  );

  test('lamp refuses negative scores of a function, and nothing is changed', async () => {
    const layers = { a: line([1, 2]), b: line([1, 2, 3]) };
    for (const low of [-1e-30, -5, -Infinity]) {
      const criteria: SparsifierOptions['criteria'] = ({ weights }) => weights.map((each) => (each === 3 ? low : each));
      const error = await refusal(layers, 50, { ...asked, criteria });
      expect([error.code, error.details.subject]).toEqual(['criteria', 'b']);
      expect(error.message).toMatch(/lamp.*index 2/);
      expect((await sparsified(layers, 40, { ...globally, criteria })).report.total.keptUnits).toBe(3);
    }
    const zero = await sparsified(layers, { remove: 1 }, { ...asked, criteria: ({ weights }) => weights.fill(-0) });
    expect(zero.report.total.keptUnits).toBe(4);
  });

  test('lamp refuses a normalizer', async () => {
    const error = await errorOf(() => new Sparsifier(fromArrays({ a: line([1, 2]) }), { ...asked, normalizer: 'sum' }));
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/lamp.*normalizer/);
  });
});

describe('budgets', () => {
  const budgets: Budget[] = ['uniform', 'erk', 'lamp'];

  test.each(budgets)('The budget %s needs the global context', async (budget) => {
    const error = await errorOf(() => new Sparsifier(fromArrays({ a: line([1, 2]) }), { ...weightwise, budget }));
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/budget.*context: 'global'/);
  });

  test.each(['ERK', '', 'equal', null])('%j is not a budget', async (budget) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({ a: line([1, 2]) }), { ...globally, budget: budget as Budget }),
    );
    expect([error.code, error.details.allowed]).toEqual(['usage', [...budgets, 'error']]);
  });

  test.each(budgets)('The budget %s is an error where units are whole layers', async (budget) => {
    const error = await errorOf(
      () => new Sparsifier(fromArrays({ a: line([1, 2]) }), { ...globally, budget, granularity: 'layer' }),
    );
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/granularity: 'layer'/);
  });

  test.each(budgets)('The budget %s takes one amount', async (budget) => {
    for (const sparsity of [[50, 50], { dense: 50 }]) {
      expect((await refusal(pick(all, ['dense', 'gru']), sparsity, { ...globally, budget })).code).toBe('sparsity');
    }
  });

  test.each(budgets)('The budget %s has no effect on sparsifyLayer', async (budget) => {
    for (const name of ['conv2d of tfjs', 'gru']) {
      const layers = copyOf(all);
      const sparsifier = new Sparsifier(fromArrays(layers), { ...globally, budget, minKeep: { '*': 2 } });
      await sparsifier.sparsifyLayer(name, 70);
      const gone = removal(pick(all, [name]), 70, { ...weightwise, minKeep: 2 });
      expectSame(layers, { ...all, ...without(pick(all, [name]), gone, 'weight') });
    }
  });

  test.each(budgets)('The budget %s of a single layer is the same as that layer alone', async (budget) => {
    const one = pick(all, ['conv3d']);
    for (const sparsity of [0, 33, 80, 100]) {
      expectSame(
        (await sparsified(one, sparsity, { ...globally, budget })).layers,
        (await sparsified(one, sparsity)).layers,
      );
    }
  });

  test.each(budgets)(
    'With the budget %s each call removes what is asked, also less than the call before',
    async (budget) => {
      const layers = copyOf(pick(all, ['conv2d', 'dense', 'lstm']));
      const units = sum(Object.values(layers).map(({ data }) => data.length));
      const sparsifier = new Sparsifier(fromArrays(layers), { ...globally, budget });
      for (const remove of [20, 90, 60, 100]) {
        const report = await sparsifier.sparsifyModel({ remove });
        expect(report.total.keptUnits).toBe(units - remove);
      }
    },
  );

  test('The channels of every layout are counted once', async () => {
    for (const layout of layouts) {
      const report = (
        await sparsified({ layer: layerOf(layout) }, 50, { ...globally, budget: 'erk', granularity: 'filter' })
      ).report;
      expect(report.total.keptUnits).toBe(
        channelsOf(layout) - Math.min(removedBy(50, channelsOf(layout)), channelsOf(layout) - 1),
      );
    }
  });
});
