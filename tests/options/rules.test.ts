import fc from 'fast-check';
import {
  Granularity,
  Sparsifier,
  type CallOptions,
  type Explanation,
  type Kind,
  type Model,
  type Role,
  type Rule,
  type SparsifierOptions,
  type Sparsity,
} from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import {
  errorOf,
  expectNoMemoryInUse,
  expectSame,
  layerOf,
  layoutOf,
  line,
  refusal,
  sparsified,
  values,
  weightsOnly,
  weightwise,
  zerosOf,
} from '../support/layers.js';
import { copyOf, removal, without, type Layers } from '../support/oracle.js';

const layers: Layers = {
  'stem/conv': weightsOnly(layoutOf('conv2d'), 1),
  'block.1/conv': weightsOnly(layoutOf('conv2d of tfjs'), 2),
  'block.1/lstm': weightsOnly(layoutOf('lstm'), 3),
  'block.2/conv': weightsOnly(layoutOf('grouped conv2d'), 4),
  head: weightsOnly(layoutOf('dense'), 5),
};
const names = Object.keys(layers);
const byDefault = { granularity: 'weight', context: 'local', criteria: 'largeFinal' } as const;

/** A model that has tensors which cannot be pruned, too. */
const modelOf = (layers: Layers): Model => ({
  ...fromArrays(layers),
  skipped: [
    { name: 'block.3/conv', reason: 'its weight is computed by Relu', shape: [], weights: 0 },
    { name: 'odd', reason: 'its type is int8', shape: [], weights: 0 },
  ],
});

/** The layers that a call on the whole model takes; one list for `sparsifyModel` and for `explain`. */
async function taken(options: Partial<SparsifierOptions>): Promise<string[]> {
  const copies = copyOf(layers);
  const sparsifier = new Sparsifier(modelOf(copies), { ...byDefault, ...options });
  const explained = (await sparsifier.explain()).filter(({ selected }) => selected).map(({ name }) => name);
  const report = await sparsifier.sparsifyModel(50);
  const changed = names.filter((name) => zerosOf(copies)[name]! > 0);
  expect(report.layers.map(({ name }) => name)).toEqual(changed);
  expect(explained).toEqual(changed);
  return changed;
}

const refused = (options: Partial<SparsifierOptions>) =>
  errorOf(() => new Sparsifier(modelOf(copyOf(layers)), { ...byDefault, ...options }));

const convolutions = ['stem/conv', 'block.1/conv', 'block.2/conv'];

describe('include and exclude', () => {
  test.each<{ rules: Partial<SparsifierOptions>; takes: string[] }>([
    { rules: {}, takes: convolutions },
    { rules: { layerType: 'all' }, takes: names },
    { rules: { include: 'head' }, takes: ['head'] },
    { rules: { include: ['head', 'stem/conv'] }, takes: ['stem/conv', 'head'] },
    { rules: { include: 'block*' }, takes: ['block.1/conv', 'block.1/lstm', 'block.2/conv'] },
    { rules: { include: 'block.?/conv' }, takes: ['block.1/conv', 'block.2/conv'] },
    { rules: { include: '*' }, takes: names },
    { rules: { include: /conv$/ }, takes: convolutions },
    { rules: { include: /^BLOCK\.1/i }, takes: ['block.1/conv', 'block.1/lstm'] },
    { rules: { include: { kind: 'lstm' } }, takes: ['block.1/lstm'] },
    { rules: { include: [{ kind: 'dense' }, /lstm/, 'stem*'] }, takes: ['stem/conv', 'block.1/lstm', 'head'] },
    { rules: { include: 'block*', layerType: 'conv2d' }, takes: ['block.1/conv', 'block.2/conv'] },
    { rules: { include: 'block*', layerType: ['lstm', 'dense'] }, takes: ['block.1/lstm'] },
    { rules: { exclude: 'stem/conv' }, takes: ['block.1/conv', 'block.2/conv'] },
    { rules: { exclude: 'head' }, takes: convolutions },
    { rules: { exclude: ['head', 'block*'], layerType: 'all' }, takes: ['stem/conv'] },
    { rules: { exclude: /\.\d/, layerType: 'all' }, takes: ['stem/conv', 'head'] },
    { rules: { exclude: { kind: 'conv2d' }, layerType: 'all' }, takes: ['block.1/lstm', 'head'] },
    { rules: { include: 'block*', exclude: '*lstm' }, takes: ['block.1/conv', 'block.2/conv'] },
    { rules: { include: ['head', 'stem/conv'], exclude: { kind: 'dense' } }, takes: ['stem/conv'] },
    { rules: { include: 'head', exclude: ['stem/conv', 'block*'] }, takes: ['head'] },
    { rules: { exclude: 'odd' }, takes: convolutions },
    { rules: { exclude: ['block.3*', 'block.1*'] }, takes: ['stem/conv', 'block.2/conv'] },
  ])('$rules selects the right layers', async ({ rules, takes }) => {
    expect(await taken(rules)).toEqual(takes);
  });

  test('An expression with the flag g or y gives the same answer each time', async () => {
    for (const flags of ['g', 'gi', 'y', 'gu']) {
      const rule = new RegExp('conv', flags);
      rule.lastIndex = 7;
      expect(await taken({ include: rule })).toEqual(convolutions);
      expect(await taken({ include: rule })).toEqual(convolutions);
      expect(await taken({ exclude: rule, layerType: 'all' })).toEqual(['block.1/lstm', 'head']);
      expect(rule.lastIndex, 'which is the caller’s').toBe(7);
    }
  });

  test('A layer that shares its array is selected by either name', async () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const tied = { first: { ...line(data), data }, second: { ...line(data), data }, other: line([1, 2]) };
    for (const rule of ['first', 'second', 'sec*', /ond/]) {
      const included = await sparsified(tied, 50, { ...byDefault, layerType: 'all', include: rule });
      expect(included.report.layers.map(({ name }) => name)).toEqual(['first']);
      const excluded = await sparsified(tied, 50, { ...byDefault, layerType: 'all', exclude: rule });
      expect(excluded.report.layers.map(({ name }) => name)).toEqual(['other']);
    }
  });

  test('A rule that is the name of a layer selects that layer alone, even with a star', async () => {
    const starred: Layers = { 'conv*': line([1, 2]), 'conv?': line([1, 2]), conv1: line([1, 2]) };
    const included = async (include: string) =>
      (await sparsified(starred, 50, { include })).report.layers.map(({ name }) => name);
    expect(await included('conv*')).toEqual(['conv*']);
    expect(await included('conv?')).toEqual(['conv?']);
    expect(await included('con*')).toEqual(['conv*', 'conv?', 'conv1']);
    expect((await sparsified(starred, 50, { exclude: 'conv*' })).report.layers).toHaveLength(2);
  });

  test('include and exclude have no effect on sparsifyLayer', async () => {
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(fromArrays(copies), { ...byDefault, include: 'stem*', exclude: 'head' });
    await sparsifier.sparsifyLayer('head', 40);
    const own = { head: layers.head! };
    expectSame(copies, { ...layers, ...without(own, removal(own, 40, weightwise), 'weight') });
  });

  test('A ranking consists of the selected layers', async () => {
    const chosen = Object.fromEntries(Object.entries(layers).filter(([name]) => name.startsWith('block')));
    const options = { ...byDefault, context: 'global', include: 'block*' } as const;
    const { layers: after } = await sparsified(layers, 50, { ...options, layerType: 'all' });
    expectSame(after, {
      ...layers,
      ...without(chosen, removal(chosen, 50, { ...weightwise, context: 'global' }), 'weight'),
    });
  });

  test('A list of amounts has one for each selected layer', async () => {
    const zeros = async (sparsity: Sparsity, rules: Partial<SparsifierOptions>) =>
      Object.values(zerosOf((await sparsified(layers, sparsity, { ...byDefault, layerType: 'all', ...rules })).layers));
    expect(await zeros([{ remove: 1 }, { remove: 2 }], { include: ['head', 'block.1/lstm'] })).toEqual([0, 0, 1, 0, 2]);
    expect(await zeros([0, { remove: 3 }, { remove: 4 }], { exclude: ['head', /lstm/] })).toEqual([0, 3, 0, 4, 0]);
    const error = await refusal(layers, [50, 50, 50, 50, 50], { ...byDefault, layerType: 'all', exclude: 'head' });
    expect(error.code).toBe('sparsity');
    expect(error.message).toMatch(/4 in all.*list of 5/);
    expect(error.message).not.toContain('head');
  });

  test('An amount for a layer that is left out is an error that says so', async () => {
    for (const rules of [{ include: 'block*' }, { exclude: 'head', layerType: 'all' }] as const) {
      const error = await refusal(layers, { head: 50 }, { ...byDefault, layerType: 'all', ...rules });
      expect([error.code, error.details.given]).toEqual(['layer', 'head']);
      expect(error.message).toMatch(/it is left out: (no include rule matches it|excluded by 'head')\.$/);
    }
  });
});

describe('rules about what a layer is', () => {
  const of = (roles: Role[], shape: number[], groups: number, kind: Kind = 'conv2d') =>
    weightsOnly({ kind, roles, shape, groups }, 7);
  const mobile: Layers = {
    stem: of(['out', 'in', 'height', 'width'], [8, 3, 3, 3], 1),
    depthwise: of(['out', 'in', 'height', 'width'], [8, 1, 3, 3], 8),
    // Two outputs for each of four channels, in the layout of TensorFlow.js.
    multiplied: of(['height', 'width', 'out', 'multiplier'], [3, 3, 4, 2], 4),
    grouped: of(['out', 'in', 'height', 'width'], [8, 2, 3, 3], 4),
    'one channel': of(['out', 'in', 'height', 'width'], [8, 1, 3, 3], 1),
    transposed: of(['in', 'out', 'height', 'width'], [4, 2, 2, 2], 4, 'convTranspose2d'),
    'transposed, grouped': of(['in', 'out', 'height', 'width'], [8, 2, 2, 2], 4, 'convTranspose2d'),
    signal: of(['out', 'in', 'width'], [6, 1, 5], 6, 'conv1d'),
    head: of(['out', 'in'], [2, 8], 1, 'dense'),
  };
  const takenOf = async (rules: Partial<SparsifierOptions>) =>
    (await new Sparsifier(fromArrays(copyOf(mobile)), { layerType: 'all', ...rules }).explain())
      .filter(({ selected }) => selected)
      .map(({ name }) => name);
  const depthwise = ['depthwise', 'multiplied', 'transposed', 'signal'];
  const sizes = Object.entries(mobile).map(([name, { data }]) => [name, data.length] as const);

  test('A convolution is depthwise if it has groups of one input channel each, in every layout', async () => {
    expect(await takenOf({ include: { depthwise: true } })).toEqual(depthwise);
    expect(await takenOf({ exclude: { depthwise: true } })).toEqual(
      Object.keys(mobile).filter((name) => !depthwise.includes(name)),
    );
  });

  test.each([16, 17, 72, 73, 1000])('The rule smallerThan %i selects layers of fewer weights', async (smallerThan) => {
    const smaller = sizes.filter(([, size]) => size < smallerThan).map(([name]) => name);
    if (smaller.length > 0) expect(await takenOf({ include: { smallerThan } })).toEqual(smaller);
    expect(await takenOf({ exclude: { smallerThan } })).toEqual(
      Object.keys(mobile).filter((name) => !smaller.includes(name)),
    );
  });

  test('The rules depthwise and smallerThan may exclude nothing, but must include something', async () => {
    const model = () => fromArrays({ conv: of(['out', 'in', 'height', 'width'], [8, 3, 3, 3], 1) });
    for (const [rule, shown] of [
      [{ depthwise: true }, 'depthwise'],
      [{ smallerThan: 216 }, 'fewer than 216 weights'],
    ] as const) {
      expect((await new Sparsifier(model(), { exclude: rule }).explain())[0]!.selected).toBe(true);
      const error = await errorOf(() => new Sparsifier(model(), { include: rule }));
      expect([error.code, error.details.given]).toEqual(['layer', shown]);
    }
  });

  test('The method explain gives rules about what a layer is as data and in words', async () => {
    const sparsifier = new Sparsifier(fromArrays(copyOf(mobile)), {
      exclude: [{ depthwise: true }, { smallerThan: 100 }],
      layerType: 'all',
    });
    const explained = new Map((await sparsifier.explain()).map((each) => [each.name, each]));
    expect(explained.get('signal')).toMatchObject({
      rule: { name: 'exclude', value: { depthwise: true } },
      reason: 'excluded by depthwise',
    });
    expect(explained.get('head')).toMatchObject({
      rule: { name: 'exclude', value: { smallerThan: 100 } },
      reason: 'excluded by fewer than 100 weights',
    });
  });

  test.each<[unknown, RegExp]>([
    [{ depthwise: false }, /\{ depthwise: true \}/],
    [{ depthwise: 'yes' }, /\{ depthwise: true \}/],
    [{ smallerThan: 0 }, /above 0/],
    [{ smallerThan: -1 }, /above 0/],
    [{ smallerThan: NaN }, /above 0/],
    [{ smallerThan: '1000' }, /above 0/],
    [{ smallerThen: 1000 }, /Did you mean smallerThan\?/],
    [{ depthWise: true }, /Did you mean depthwise\?/],
    [{ depthwise: true, smallerThan: 3 }, /unknown form of rule/],
  ])('The rule %j is refused', async (rule, message) => {
    for (const options of [{ include: [rule] }, { exclude: [rule] }]) {
      const error = await errorOf(() => new Sparsifier(fromArrays({}), options as Partial<SparsifierOptions>));
      expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
    }
  });
});

describe('tables of fixed numbers', () => {
  const reason = 'it holds the numbers 0 to 3';
  /** The weights of two layers, of which the second is a fixed table. */
  const copies = () => ({ conv: line([4, 3, 2, 1]), 'dfl.conv': line([0, 1, 2, 3]) });
  const modelOf = (arrays: Layers): Model => {
    const model = fromArrays(arrays);
    const [conv, dfl] = model.tensors;
    return { ...model, tensors: [conv!, { ...dfl!, aliases: ['table'], fixed: reason }] };
  };
  const removedFrom = async (rules: Partial<SparsifierOptions>, sparsity: Sparsity = 50) => {
    const arrays = copies();
    const report = await new Sparsifier(modelOf(arrays), { layerType: 'all', ...rules }).sparsifyModel(sparsity);
    expect(report.layers.map(({ name }) => name)).toEqual(
      Object.entries(arrays).flatMap(([name, { data }], index) =>
        [...data].filter((each) => each === 0).length > index ? [name] : [],
      ),
    );
    return report.layers.map(({ name }) => name);
  };

  test('Rules leave a table of fixed numbers out, except for an include rule with its exact name', async () => {
    for (const rules of [{}, { layerType: 'dense' }, { include: '*' }, { include: /conv/ }])
      expect(await removedFrom(rules as Partial<SparsifierOptions>)).toEqual(['conv']);
    expect(await removedFrom({ include: [{ kind: 'dense' }, { smallerThan: 100 }] })).toEqual(['conv']);
    expect(await removedFrom({ include: 'dfl.conv' })).toEqual(['dfl.conv']);
    expect(await removedFrom({ include: 'table' })).toEqual(['dfl.conv']);
    expect(await removedFrom({ include: ['*', 'dfl.conv'] })).toEqual(['conv', 'dfl.conv']);
    expect(await removedFrom({ include: ['*', 'dfl.conv'], exclude: 'dfl*' })).toEqual(['conv']);
    expect(await removedFrom({}, [50])).toEqual(['conv']);
    expect(await removedFrom({}, { '*': 50 })).toEqual(['conv']);
  });

  test('The method explain says why a table of fixed numbers is left out', async () => {
    const [, dfl] = await new Sparsifier(modelOf(copies()), { layerType: 'all' }).explain(50);
    expect(dfl).toMatchObject({ selected: false, rule: { name: 'fixed', value: undefined }, reason, removedUnits: 0 });
  });

  test('The method sparsifyLayer takes a table of fixed numbers', async () => {
    const arrays = copies();
    await new Sparsifier(modelOf(arrays)).sparsifyLayer('dfl.conv', 50);
    expect([...arrays['dfl.conv'].data]).toEqual([0, 0, 2, 3]);
  });

  test('An include rule that matches nothing else, and an amount by its name, are errors that give the reason', async () => {
    for (const include of ['dfl*', /^dfl/]) {
      const error = await errorOf(() => new Sparsifier(modelOf(copies()), { include }));
      expect(error.code).toBe('layer');
      expect(error.message).toContain(
        `'dfl.conv' is left alone, since ${reason}. Its exact name includes it nevertheless.`,
      );
    }
    const error = await errorOf(() =>
      new Sparsifier(modelOf(copies()), { layerType: 'all' }).sparsifyModel({ 'dfl.conv': 50 }),
    );
    expect(error.code).toBe('layer');
    expect(error.message).toContain(`it is left out: ${reason}. \`include\` takes it by its exact name.`);
  });

  test('A model of fixed tables alone is an error of the call that points to explain', async () => {
    const arrays = { 'a table': line([0, 1, 2, 3]) };
    const all = fromArrays(arrays);
    const model: Model = { ...all, tensors: [{ ...all.tensors[0]!, fixed: reason }] };
    const error = await errorOf(() => new Sparsifier(model, { layerType: 'all' }).sparsifyModel(50));
    expect([error.code, error.message]).toEqual(['kind', expect.stringContaining('explain()')]);
  });
});

describe('rules that match nothing', () => {
  const rules: { rule: Rule; shown: string }[] = [
    { rule: 'tail', shown: `'tail'` },
    { rule: 'block', shown: `'block'` },
    { rule: 'Head', shown: `'Head'` },
    { rule: 'h?d', shown: `'h?d'` },
    { rule: '', shown: `''` },
    { rule: /^conv/, shown: '/^conv/' },
    { rule: { kind: 'gru' }, shown: 'kind gru' },
  ];

  test.each(rules)('The rule $shown, which matches nothing, is an error', async ({ rule, shown }) => {
    for (const options of [
      { include: rule },
      { include: ['head', rule] },
      { exclude: rule },
      { exclude: [rule, 'head'] },
    ]) {
      const error = await refused(options);
      expect([error.code, error.details.given]).toEqual(['layer', shown]);
      expect(error.details.allowed).toEqual(names);
    }
  });

  test('The error for a rule that matches only layers of other kinds says so', async () => {
    const error = await refused({ include: 'head', layerType: 'conv2d' });
    expect([error.code, error.details.given]).toEqual(['layer', `'head'`]);
    expect(error.details.allowed).toEqual(convolutions);
    expect(error.message).toContain('`layerType` excludes');
  });

  test('The error for a rule that includes a tensor which cannot be pruned gives the reason', async () => {
    const error = await refused({ include: 'odd' });
    expect(error.code).toBe('layer');
    expect(error.message).toMatch(/'odd' cannot be pruned: its type is int8/);
  });

  test.each<[unknown]>([[3], [null], [{}], [{ kind: 'dense', name: 'head' }], [{ name: 'head' }], [['head']]])(
    '%j is not a rule',
    async (rule) => {
      for (const options of [{ include: [rule] }, { exclude: [rule] }]) {
        const error = await refused(options as Partial<SparsifierOptions>);
        expect(error.code).toBe('usage');
        expect(error.message).toMatch(
          /a name, a glob, a regular expression, \{ kind \}, \{ depthwise \}, \{ smallerThan \}/,
        );
      }
    },
  );

  test.each(['conv', 'Conv2d', '', null])('%j is not a kind of layer', async (kind) => {
    const error = await refused({ exclude: { kind: kind as 'conv2d' } });
    expect(error.code).toBe('kind');
    expect(error.details.allowed).toEqual(expect.arrayContaining(['conv2d', 'dense', 'gru']));
  });

  test('Rules that leave no layer are an error of the call', async () => {
    const error = await refusal(layers, 50, { ...byDefault, layerType: 'conv2d', exclude: '*conv' });
    expect(error.code).toBe('kind');
    expect(error.message).toMatch(/conv2d, without those excluded/);
    expect(error.message).toContain('explain()');
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(fromArrays(copies), { ...byDefault, include: 'head', exclude: 'head' });
    expect((await errorOf(() => sparsifier.sparsifyModel(50))).details.given).toBe('all, without those excluded');
  });
});

describe('what explain says', () => {
  const explained = (options: Partial<SparsifierOptions>, sparsity?: Sparsity, call?: CallOptions) =>
    new Sparsifier(modelOf(copyOf(layers)), { ...byDefault, ...options }).explain(sparsity, call);
  const reasonsOf = (list: readonly Explanation[]) =>
    Object.fromEntries(list.map(({ name, reason }) => [name, reason]));

  test('explain says for each tensor which rule decides', async () => {
    expect(
      reasonsOf(await explained({ layerType: ['conv2d', 'dense'], include: ['block*', /st/], exclude: '*.2/*' })),
    ).toEqual({
      'stem/conv': 'included by /st/; ranked by itself',
      'block.1/conv': `included by 'block*'; ranked by itself`,
      'block.1/lstm': 'only conv2d and dense layers are pruned',
      'block.2/conv': `excluded by '*.2/*'`,
      head: 'no include rule matches it',
      'block.3/conv': 'its weight is computed by Relu',
      odd: 'its type is int8',
    });
    expect(reasonsOf(await explained({ exclude: { kind: 'conv2d' } }))).toMatchObject({
      'stem/conv': 'excluded by kind conv2d',
      head: 'only conv2d layers are pruned',
    });
  });

  test('explain gives the rule that decides as data', async () => {
    const rulesOf = async (options: Partial<SparsifierOptions>, sparsity?: Sparsity) =>
      Object.fromEntries((await explained(options, sparsity)).map(({ name, rule }) => [name, rule]));
    expect(await rulesOf({ layerType: ['conv2d', 'dense'], include: ['block*', /st/], exclude: '*.2/*' })).toEqual({
      'stem/conv': { name: 'include', value: '/st/' },
      'block.1/conv': { name: 'include', value: 'block*' },
      'block.1/lstm': { name: 'layerType', value: ['conv2d', 'dense'] },
      'block.2/conv': { name: 'exclude', value: '*.2/*' },
      head: { name: 'include', value: undefined },
      'block.3/conv': { name: 'skipped', value: undefined },
      odd: { name: 'skipped', value: undefined },
    });
    expect(await rulesOf({ exclude: { kind: 'conv2d' } })).toMatchObject({
      'stem/conv': { name: 'exclude', value: { kind: 'conv2d' } },
    });
    expect(await rulesOf({ layerType: 'all' }, { head: 50 })).toMatchObject({
      'stem/conv': { name: 'sparsity', value: undefined },
      head: { name: 'layerType', value: ['all'] },
    });
  });

  test('explain says what a layer is ranked with', async () => {
    const global = { context: 'global', layerType: 'all' } as const;
    const rankTogether = { body: ['block*'] };
    const rest = async (options: Partial<SparsifierOptions>, sparsity?: Sparsity) => {
      const reasons = reasonsOf(await explained(options, sparsity));
      return ['block.1/conv', 'head'].map((name) => reasons[name]!.replace(/^.*?; /, ''));
    };
    expect(await rest({ layerType: 'all' })).toEqual(['ranked by itself', 'ranked by itself']);
    expect(await rest(global)).toEqual(Array(2).fill('ranked with 4 others of the network'));
    expect(await rest({ ...global, rankTogether })).toEqual([
      'ranked with 2 others of ranking body',
      'ranked by itself',
    ]);
    expect(await rest({ ...global, rankTogether, budget: 'lamp' })).toEqual([
      'ranked with 2 others of ranking body by lamp',
      'ranked by itself',
    ]);
    expect(await rest({ ...global, budget: 'erk' })).toEqual(Array(2).fill('its part of the network is given by erk'));
    expect(await rest({ ...global, budget: 'uniform', rankTogether })).toEqual([
      'its part of ranking body is given by uniform',
      'ranked by itself',
    ]);
    expect(await rest({ layerType: 'all', granularity: Granularity.nm(2, 4) })).toEqual(
      Array(2).fill('2:4 along its input channels'),
    );
    expect(await rest({ layerType: 'all' }, { head: 50 })).toEqual([
      'the sparsity does not name it',
      'ranked by itself',
    ]);
  });

  test('Without a sparsity, explain gives no counts and fails for no layer', async () => {
    const list = await explained({ layerType: 'all', granularity: 'kernel' });
    expect(list.map(({ name }) => name)).toEqual([...names, 'block.3/conv', 'odd']);
    expect(list.map(({ units }) => units)).toEqual([12, 12, undefined, 12, undefined, undefined, undefined]);
    expect(list.every(({ removedUnits }) => removedUnits === undefined)).toBe(true);
    expect(list[0]).toEqual({
      name: 'stem/conv',
      kind: 'conv2d',
      shape: [4, 3, 3, 2],
      selected: true,
      rule: { name: 'layerType', value: ['all'] },
      reason: 'of any kind; ranked by itself',
      units: 12,
      removedUnits: undefined,
    });
    expect(list.at(-1)).toEqual({
      name: 'odd',
      kind: undefined,
      shape: undefined,
      selected: false,
      rule: { name: 'skipped', value: undefined },
      reason: 'its type is int8',
      units: undefined,
      removedUnits: undefined,
    });
    expect(
      (await explained({ layerType: 'gru' })).some(({ selected }) => selected),
      'of no layer',
    ).toBe(false);
  });

  test('explain refuses wrong options, with and without a sparsity', async () => {
    for (const sparsity of [undefined, 50]) {
      const wrong = async (call: object) => (await errorOf(() => explained({}, sparsity, call as CallOptions))).code;
      expect(await wrong({ roundTo: 0 })).toBe('sparsity');
      expect(await wrong({ roundto: 4 })).toBe('usage');
      await expect(explained({}, sparsity, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
        'enough',
      );
    }
  });

  test('explain fails with the same error as sparsifyModel', async () => {
    const cases: { options: Partial<SparsifierOptions>; sparsity: unknown; bad?: boolean }[] = [
      { options: {}, sparsity: 101 },
      { options: {}, sparsity: [50] },
      { options: {}, sparsity: { head: 50 } },
      { options: { context: 'global' }, sparsity: [50, 50] },
      { options: { layerType: 'gru' }, sparsity: 50 },
      { options: { layerType: 'all', granularity: 'kernel' }, sparsity: 50 },
      { options: { granularity: 'layer' }, sparsity: 50 },
      { options: { criteria: 'taylor' }, sparsity: 50 },
      { options: {}, sparsity: 50, bad: true },
    ];
    for (const { options, sparsity, bad } of cases) {
      const copies = copyOf(layers);
      if (bad) copies['block.1/conv']!.data[7] = NaN;
      const sparsifier = new Sparsifier(modelOf(copies), { ...byDefault, ...options });
      const [explained, done] = [
        await errorOf(() => sparsifier.explain(sparsity as Sparsity)),
        await errorOf(() => sparsifier.sparsifyModel(sparsity as Sparsity)),
      ];
      expect([explained.code, explained.message]).toEqual([done.code, done.message]);
    }
    await expectNoMemoryInUse();
  });
});

describe('what explain predicts', () => {
  /** Explains each call, then makes it: the counts agree, and explaining changes nothing. */
  async function check(
    options: Partial<SparsifierOptions>,
    calls: readonly (readonly [sparsity?: Sparsity, call?: CallOptions])[],
  ): Promise<void> {
    const copies = copyOf(layers);
    const sparsifier = new Sparsifier(modelOf(copies), { ...byDefault, layerType: 'all', ...options });
    for (const [sparsity, call] of calls) {
      const before = copyOf(copies);
      const masks = sparsifier.masks();
      const list = await sparsifier.explain(sparsity, call);
      expect(await sparsifier.explain(sparsity, call), 'the second time').toEqual(list);
      expectSame(copies, before, 'explain changes nothing');
      expect(sparsifier.masks()).toEqual(masks);
      await expectNoMemoryInUse();
      const report = await sparsifier.sparsifyModel(sparsity, call);
      const what = JSON.stringify([options, sparsity, call]);
      expect(
        list
          .filter(({ selected }) => selected)
          .map(({ name, kind, shape, units, removedUnits }) => [name, kind, shape, units, removedUnits]),
        what,
      ).toEqual(
        report.layers.map(({ name, kind, shape, units, removedUnits }) => [name, kind, shape, units, removedUnits]),
      );
      for (const { name, selected, kind, removedUnits } of list) {
        if (!selected) expect([name, removedUnits]).toEqual([name, kind && 0]);
      }
    }
  }
  const rankTogether = { body: ['block*'], ends: ['stem*', 'head'] };

  test.each<{ options: Partial<SparsifierOptions>; calls: [Sparsity?, CallOptions?][] }>([
    { options: {}, calls: [[30], [60], [20], [100], [0]] },
    { options: { granularity: 'filter' }, calls: [[{ keep: 2 }], [{ remove: 1 }, { roundTo: 3 }]] },
    { options: {}, calls: [[[10, 20, 30, 40, 50]], [{ head: 50 }], [{ 'block*': 40, head: { keep: 3 } }], [{}]] },
    { options: { include: 'block*', exclude: /lstm/ }, calls: [[50], [[10, 90]]] },
    { options: { context: 'global' }, calls: [[50], [{ remove: 3 }], [90, { roundTo: 16 }], [100]] },
    { options: { context: 'global', minKeep: 20, maxSparsity: { head: 10 } }, calls: [[70], [100]] },
    { options: { context: 'global', granularity: 'layer' }, calls: [[50], [100]] },
    { options: { context: 'global', rankTogether }, calls: [[50], [{ body: 20 }], [{ '*': { keep: 9 } }]] },
    {
      options: { context: 'global', rankTogether: { body: ['block*'] } },
      calls: [[{ head: 50 }], [70, { roundTo: 8 }]],
    },
    { options: { context: 'global', budget: 'uniform' }, calls: [[33], [{ keep: 50 }], [100]] },
    { options: { context: 'global', budget: 'erk' }, calls: [[33], [{ keep: 50 }], [90, { roundTo: 7 }]] },
    { options: { context: 'global', budget: 'lamp', minKeep: 9 }, calls: [[33], [{ keep: 50 }], [100]] },
    { options: { context: 'global', budget: 'erk', rankTogether }, calls: [[{ body: 50 }], [60]] },
    { options: { granularity: Granularity.nm(1, 2) }, calls: [[], []] },
    { options: { granularity: Granularity.nm(2, 3), include: 'block*' }, calls: [[]] },
    { options: { granularity: Granularity.block({ out: 2, in: 2 }) }, calls: [[50], [70, { roundTo: 5 }]] },
    { options: { criteria: 'random', seed: 3, context: 'global' }, calls: [[50], [60]] },
    { options: { criteria: 'updatingMovement' }, calls: [[20], [40], [60]] },
    { options: { criteria: ({ weights }) => weights.map((each) => -each) }, calls: [[40], [50]] },
    { options: { restorable: true, granularity: 'filter' }, calls: [[40], [20], [70]] },
  ])('explain predicts the calls $calls with $options', ({ options, calls }) => check(options, calls));

  test('explain predicts any calls', async () => {
    const amount = fc.oneof(fc.nat(100), fc.record({ keep: fc.nat(60) }), fc.record({ remove: fc.nat(60) }));
    const options = fc.record({
      context: fc.constantFrom('local' as const, 'global' as const),
      granularity: fc.constantFrom('weight' as const, 'vector' as const, 'filter' as const, {
        block: { out: 3, in: 2 },
      }),
      minKeep: fc.nat(4),
      maxSparsity: fc.integer({ min: 40, max: 100 }),
      exclude: fc.subarray([...names, /lstm/, { kind: 'conv2d' as const }], { maxLength: 2 }),
    });
    const call = fc.record({ roundTo: fc.constantFrom(undefined, 1, 3) });
    await fc.assert(
      fc.asyncProperty(options, fc.array(fc.tuple(amount, call), { minLength: 1, maxLength: 3 }), check),
      { numRuns: 50 },
    );
  });

  test('explain takes into account the call that it waits for', async () => {
    const copies = copyOf({ a: line(values(10)), b: layerOf(layoutOf('dense')) });
    const sparsifier = new Sparsifier(fromArrays(copies), { ...weightwise, minKeep: { a: 4 } });
    const [, list, report] = await Promise.all([
      sparsifier.sparsifyModel(50),
      sparsifier.explain(90),
      sparsifier.sparsifyModel(90),
    ]);
    expect(list.map(({ removedUnits }) => removedUnits)).toEqual(report.layers.map(({ removedUnits }) => removedUnits));
  });
});
