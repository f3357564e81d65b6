import { inspect, loadEngine, Sparsifier, type CallOptions, type SparsifierOptions } from 'sparsifier';
import { calibrate } from 'sparsifier/calibration';
import { fromArrays } from 'sparsifier/formats/arrays';
import { sparsifyFile, type SparsifyFileOptions } from 'sparsifier/file';
import { sensitivity, type SensitivityOptions } from 'sparsifier/sensitivity';
import { sparsifyCallback, type SparsifyCallbackOptions, type TrainingTf } from 'sparsifier/training';
import { describe, expect, test } from 'vitest';
import { errorOf, expectSame, layouts, line, weightsOnly } from '../support/layers.js';
import { copyOf, differences, type Layers } from '../support/oracle.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

const layers: Layers = Object.fromEntries(
  layouts.map((layout, index) => [layout.title, weightsOnly(layout, index, 30)]),
);

/** The defaults, as the documentation gives them. */
const documented = {
  granularity: 'weight',
  context: 'local',
  criteria: 'largeFinal',
  layerType: 'conv2d',
  seed: 0,
  reducer: 'mean',
  allowEmpty: false,
  minKeep: 0,
  maxSparsity: 100,
  restorable: false,
} as const satisfies SparsifierOptions;

describe('options without effect', () => {
  const notesOf = async (options: SparsifierOptions) => {
    const model = fromArrays({ a: line([1, 2, 3, 4]) });
    return (await new Sparsifier(model, { layerType: 'all', ...options }).sparsifyModel(50)).notes;
  };
  const numbers = { a: Float32Array.of(1, 2, 3, 4) };

  test.each<[options: SparsifierOptions, note: string]>([
    [{ seed: 3 }, 'seed has no effect: the criterion largeFinal does not use it'],
    [
      { initial: numbers, criteria: 'squaredFinal' },
      'initial has no effect: the criterion squaredFinal does not use it',
    ],
    [
      { gradient: numbers, criteria: ({ weights }) => weights },
      'gradient has no effect: a criterion of your own does not use it',
    ],
    [
      { normalizer: 'max' },
      'normalizer has no effect in the context local: the order of the scores within a layer stays the same',
    ],
    [{ criteria: 'random', reducer: 'max' }, 'reducer has no effect: the criterion random scores whole units'],
    [
      { criteria: 'random', context: 'global', normalizer: 'max' },
      'normalizer has no effect: the criterion random has no scale',
    ],
  ])('The report notes an option that changes nothing: %j', async (options, note) => {
    expect(await notesOf(options)).toEqual([note]);
  });

  test.each<SparsifierOptions>([
    {},
    { seed: undefined },
    { seed: 3, criteria: 'random' },
    { initial: numbers, criteria: 'largeInit' },
    { gradient: numbers, criteria: 'taylor' },
    { normalizer: 'max', context: 'global' },
    { reducer: 'l2', criteria: 'smallFinal' },
  ])('The report has no note about options that are used: %j', async (options) => {
    expect(await notesOf(options)).toEqual([]);
  });
});

describe('suggestions', () => {
  const model = () => fromArrays({ 'p2o.Conv.0': line([1, 2]), 'p2o.Conv.1': line([1, 2]) });
  const messageOf = async (make: () => unknown) => (await errorOf(make)).message;

  test.each<[options: object, hint: string]>([
    [{ exclude: 'is:depthwise' }, 'Did you mean `{ depthwise: true }`?'],
    [{ exclude: 'smaller:1000' }, 'Did you mean `{ smallerThan: 1000 }`?'],
    [{ include: 'kind:dense' }, "Did you mean `{ kind: 'dense' }`?"],
    [{ exclude: { smaller: 1000 } }, 'Did you mean smallerThan?'],
    [{ exclude: 'Conv*' }, 'Did you mean *Conv*?'],
    [{ roundTo: 8 }, 'Did you mean `sparsifyModel(50, { roundTo: 8 })`?'],
  ])('The options %j are an error that suggests what works', async (options, hint) => {
    expect(await messageOf(() => new Sparsifier(model(), { layerType: 'all', ...options }))).toContain(hint);
  });

  test('A glob that matches no layer is an error that suggests one that does', async () => {
    const sparsifier = new Sparsifier(model(), { layerType: 'all' });
    expect(await messageOf(() => sparsifier.sparsifyModel({ 'Conv*': 50 }))).toContain('Did you mean *Conv*?');
  });

  test('A list of another length is an error that names some layers only', async () => {
    const many = fromArrays(Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`fc${index}`, line([1, 2])])));
    const message = await messageOf(() => new Sparsifier(many, { layerType: 'all' }).sparsifyModel([50, 20]));
    expect(message).toContain(
      'one amount per layer, 9 in all. given: a list of 2. found: the layers fc0, fc1, fc2, fc3 and 5 more',
    );
  });

  test('Rules that leave no layer are an error that says so', async () => {
    const message = await messageOf(() => new Sparsifier(model(), { include: '*', exclude: '*' }).sparsifyModel(50));
    expect(message).toContain('the rules leave no layer to prune');
  });

  test.each([
    [undefined, 'found: undefined'],
    [null, 'found: null'],
  ])('Without a model, %s is an error that names it', async (nothing, found) => {
    expect(await messageOf(() => new Sparsifier(nothing as never))).toContain(found);
  });
});

describe('defaults', () => {
  const after = async (options?: SparsifierOptions) => {
    const copies = copyOf(layers);
    const { layers: reported } = await new Sparsifier(fromArrays(copies), options).sparsifyModel(60);
    return { copies, reported };
  };

  test('A Sparsifier without options has the documented ones', async () => {
    const [without, given] = [await after(), await after(documented)];
    expectSame(without.copies, given.copies);
    expect(without.reported).toEqual(given.reported);
    expect(without.reported.map(({ kind }) => kind)).toContain('conv2d');
  });

  test('An option that is undefined has its default', async () => {
    const names = Object.keys(documented);
    const without = await after();
    expectSame((await after(Object.fromEntries(names.map((name) => [name, undefined])))).copies, without.copies);
    for (const name of names) {
      expectSame((await after({ ...documented, [name]: undefined })).copies, without.copies, name);
    }
  });

  test.each<SparsifierOptions>([
    { granularity: 'filter' },
    { context: 'global' },
    { criteria: 'smallFinal' },
    { layerType: 'all' },
    { maxSparsity: 10 },
    { minKeep: 50 },
  ])('Of the defaults, only the given option is replaced: %j', async (options) => {
    const [alone, given] = [await after(options), await after({ ...documented, ...options })];
    expectSame(alone.copies, given.copies);
    expect(differences(alone.copies, (await after()).copies)).not.toEqual([]);
  });

  test('A pattern needs no further option', async () => {
    const copies = copyOf({
      layer: weightsOnly({ kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [4, 8, 1, 1] }),
    });
    const { total } = await new Sparsifier(fromArrays(copies), { granularity: { nm: [2, 4] } }).sparsifyModel();
    expect(total).toMatchObject({ units: 32, keptUnits: 16 });
  });

  test('Sensitivity has them, too', async () => {
    const data = Float32Array.of(4, 1, -3, 2);
    const model = fromArrays({ head: { kind: 'dense', roles: ['out', 'in'], shape: [1, 4], data } });
    const found = await sensitivity(model, () => data.filter((each) => each === 0).length);
    expect(found.layers[0]!.points.map(({ value }) => value)).toEqual([0, 1, 1, 2, 2, 2, 3, 3, 3]);
  });
});

describe('misspelt options', () => {
  const model = () => fromArrays({ a: line([1, 2, 3, 4]), b: line([5, 6]) });
  const sparsifier = () => new Sparsifier(model(), { layerType: 'all', restorable: true });
  const file = safetensorsFile({ 'fc.weight': [2, 2] });
  const sink = () => new WritableStream<Uint8Array>();
  const tf = { Callback: Object } as unknown as TrainingTf;

  test.each<[string, (options: object) => unknown, object, string]>([
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { granularty: 'weight' }, 'granularity'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { criterion: 'largeFinal' }, 'criteria'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { layer_type: 'all' }, 'layerType'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { minkeep: 1 }, 'minKeep'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { sparsity: 50 }, '`sparsifyModel\\(50\\)`'],
    ['new Sparsifier', (options) => new Sparsifier(model(), options), { groups: { all: ['*'] } }, 'rankTogether'],
    ['sparsifyModel', (options: CallOptions) => sparsifier().sparsifyModel(50, options), { roundto: 2 }, 'roundTo'],
    ['sparsifyLayer', (options: CallOptions) => sparsifier().sparsifyLayer('a', 50, options), { sginal: 2 }, 'signal'],
    ['explain', (options: CallOptions) => sparsifier().explain(50, options), { onprogress: 2 }, 'onProgress'],
    ['apply', (options: CallOptions) => sparsifier().apply(options), { singal: 2 }, 'signal'],
    ['restore', (options: CallOptions) => sparsifier().restore(options), { signals: 2 }, 'signal'],
    ['saveMasks', (options) => sparsifier().saveMasks(sink(), options), { forse: true }, 'force'],
    [
      'sparsifyFile',
      (options: SparsifyFileOptions) => sparsifyFile(file, sink(), options),
      { sparsty: 50 },
      'sparsity',
    ],
    [
      'sensitivity',
      (options: SensitivityOptions) => sensitivity(model(), () => 1, options),
      { higherIsBeter: true },
      'higherIsBetter',
    ],
    [
      'sparsifyCallback',
      (options: SparsifyCallbackOptions) => sparsifyCallback(tf, { sparsity: 50, ...options }),
      { scheduel: 'agp' },
      'schedule',
    ],
  ])('A misspelt option of %s is an error that names the right one (%#)', async (_, call, options, meant) => {
    const error = await errorOf(() => call(options));
    expect([error.code, error.details.given]).toEqual(['usage', Object.keys(options)[0]]);
    expect(error.message).toMatch(new RegExp(`^unknown option\\. .* Did you mean ${meant}\\?$`));
    if (!meant.startsWith('`')) expect(error.details.allowed).toContain(meant);
  });

  test('A name that resembles no option has no suggestion, and several names have one each', async () => {
    const none = await errorOf(() => new Sparsifier(model(), { colour: 'red' } as object));
    expect(none.message).toMatch(/^unknown option\. .*colour.*rankTogether.*\.$/);
    expect(none.message).not.toContain('Did you mean');
    const two = await errorOf(() => new Sparsifier(model(), { contxt: 'local', reduser: 'mean' } as object));
    expect(two.message).toMatch(/contxt, reduser.*Did you mean context or reducer\?$/);
  });
});

describe('what is given in place of a model', () => {
  const model = fromArrays({ a: line([1, 2, 3, 4]) });
  const calls: [string, (model: never) => unknown][] = [
    ['new Sparsifier', (given) => new Sparsifier(given)],
    ['inspect', (given) => inspect(given)],
    ['sensitivity', (given) => sensitivity(given, () => 1)],
    [
      'calibrate',
      (given) => calibrate(given, { batches: () => [], createSession: () => Promise.reject(new Error('not reached')) }),
    ],
  ];
  const givens: [string, unknown, RegExp][] = [
    [
      'a promise of a model',
      Promise.resolve(model),
      /found: Promise\. Await it: `await readModel\(path\)` is the model/,
    ],
    ['a path', 'model.onnx', /given: model\.onnx\. found: String\. Read one with `await readModel\(path\)`/],
    ['a URL', new URL('https://example.org/a.onnx'), /given: https:\/\/example\.org\/a\.onnx\. found: URL\. Read one/],
    ['bytes', new Uint8Array(3), /found: Uint8Array\. Read one with/],
    ['nothing', undefined, /found: undefined\. Read one with/],
    ['null', null, /found: null\. Read one with/],
    ['a model of TensorFlow.js', { predict: () => 0, weights: [] }, /through `fromTfjs\(tf, model\)`/],
  ];

  test.each(calls.flatMap(([name, call]) => givens.map((given) => [name, ...given, call] as const)))(
    'To %s, %s is an error that says how to get a model',
    async (_name, _what, given, message, call) => {
      const error = await errorOf(() => call(given as never));
      expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
    },
  );
});

describe('values of the wrong type', () => {
  const sparsifier = () => new Sparsifier(fromArrays({ a: line([1, 2, 3, 4]) }), { layerType: 'all' });
  const calls: [string, (options: never) => unknown][] = [
    ['sparsifyModel', (options) => sparsifier().sparsifyModel(50, options)],
    ['sparsifyLayer', (options) => sparsifier().sparsifyLayer('a', 50, options)],
    ['explain', (options) => sparsifier().explain(50, options)],
    ['sensitivity', (options) => sensitivity(fromArrays({ a: line([1, 2]) }), () => 1, options)],
    [
      'sparsifyFile',
      (options) => sparsifyFile(safetensorsFile({ 'fc.weight': [2, 2] }), new WritableStream(), options),
    ],
  ];
  const values: [string, object, RegExp][] = [
    ['an AbortController as signal', { signal: new AbortController() }, /Pass the `signal` of the controller/],
    ['true as signal', { signal: true }, /`signal` is an AbortSignal\. found: Boolean/],
    ['null as signal', { signal: null }, /`signal` is an AbortSignal\. found: null/],
    ['a number as onProgress', { onProgress: 5 }, /`onProgress` is a function\. given: 5\. found: Number/],
  ];

  test.each(calls.flatMap(([name, call]) => values.map((value) => [name, ...value, call] as const)))(
    'To %s, %s is an error',
    async (_name, _what, options, message, call) => {
      const error = await errorOf(() => call(options as never));
      expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
    },
  );

  test.each([['filter'], [null], [50]])('Options that are no object, such as %j, are an error', async (options) => {
    const error = await errorOf(() => new Sparsifier(fromArrays({}), options as unknown as SparsifierOptions));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/^options are given as an object/)]);
  });

  test('A bigint is an error of this package, too', async () => {
    const error = await errorOf(() => new Sparsifier(fromArrays({}), { include: { smallerThan: 1n } as never }));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/above 0/)]);
  });

  test('A promise of the initial weights is an error that says to await it', async () => {
    const model = fromArrays({ a: line([1, 2]) });
    const initial = Promise.resolve(model) as never;
    const error = await errorOf(() => new Sparsifier(model, { criteria: 'movement', initial }));
    expect([error.code, error.details.hint]).toEqual(['usage', 'Await it']);
  });

  test.each([[4], [null]])('loadEngine refuses %j in place of options', async (options) => {
    expect((await errorOf(() => loadEngine(options as never))).details.hint).toBe(
      'Such as `loadEngine({ threads: 4 })`',
    );
  });

  test('loadEngine refuses an option that does not exist, also when the engine is loaded', async () => {
    for (let time = 0; time < 2; time++) {
      const error = await errorOf(() => loadEngine({ threadz: 1 } as object));
      expect([error.code, error.details.given, error.details.allowed]).toEqual([
        'usage',
        'threadz',
        ['threads', 'wasm', 'thread'],
      ]);
      await loadEngine();
    }
  });

  test('Without a function, sensitivity is an error', async () => {
    const error = await errorOf(() => sensitivity(fromArrays({ a: line([1, 2]) }), 0.5 as never));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(/`evaluate` is a function/)]);
  });
});

describe('the words of other libraries', () => {
  const made = (options: object) => errorOf(() => new Sparsifier(fromArrays({ 'p2o.Conv.0': line([1, 2]) }), options));

  test.each<[option: string, word: string, meant: string]>([
    ...['Linear', 'nn.Linear', 'torch.nn.Linear', 'Dense', 'tf.keras.layers.Dense', 'fc', 'Gemm', 'MatMul'].map(
      (word): [string, string, string] => ['layerType', word, 'dense'],
    ),
    ['layerType', 'MultiheadAttention', 'dense'],
    ['layerType', 'nn.MultiheadAttention', 'dense'],
    ['layerType', 'Conv2d', 'conv2d'],
    ['layerType', 'nn.Conv2d', 'conv2d'],
    ['layerType', 'Conv2D', 'conv2d'],
    ['layerType', 'DepthwiseConv2D', 'conv2d'],
    ['layerType', 'SeparableConv2D', 'conv2d'],
    ['layerType', 'Conv1D', 'conv1d'],
    ['layerType', 'nn.ConvTranspose2d', 'convTranspose2d'],
    ['layerType', 'Conv2DTranspose', 'convTranspose2d'],
    ['layerType', 'Conv', 'conv1d, conv2d, or conv3d'],
    ['layerType', 'Embedding', 'embedding'],
    ['layerType', 'nn.EmbeddingBag', 'embedding'],
    ['layerType', 'LSTM', 'lstm'],
    ['layerType', 'nn.GRUCell', 'gru'],
    ['layerType', 'SimpleRNN', 'rnn'],
    ['granularity', 'unstructured', 'weight'],
    ['granularity', 'structured', 'filter'],
    ['granularity', 'filters', 'filter'],
    ['granularity', 'channels', 'channel'],
    ['granularity', 'out_channels', 'filter'],
    ['granularity', 'n:m', '`granularity: { nm: [2, 4] }`'],
    ['granularity', '2:4', '`granularity: { nm: [2, 4] }`'],
    ['granularity', 'semi_structured', '`granularity: { nm: [2, 4] }`'],
    ['criteria', 'l1', 'largeFinal'],
    ['criteria', 'L1', 'largeFinal'],
    ['criteria', 'l1_norm', 'largeFinal'],
    ['criteria', 'l1_unstructured', "largeFinal with `granularity: 'weight'`"],
    ['criteria', 'l2', "largeFinal with `reducer: 'l2'`"],
    ['criteria', 'prune.ln_structured', "largeFinal with `granularity: 'filter'` and `reducer: 'l2'`"],
    ['criteria', 'random_unstructured', "random with `granularity: 'weight'`"],
    ['criteria', 'Magnitude', 'magnitude'],
    ['criteria', 'gradient', 'taylor'],
  ])('The %s %s is an error that asks for the word here', async (option, word, meant) => {
    const error = await made({ [option]: word });
    expect(error.message).toMatch(/^unknown /);
    expect(error.details.hint).toBe(`Did you mean ${meant}?`);
  });

  test('What the suggestions name exists', async () => {
    expect((await made({ criteria: 'random_structured' })).details.hint).toContain(
      `random with \`granularity: 'filter'\``,
    );
    for (const options of [
      { criteria: 'largeFinal', granularity: 'filter', reducer: 'l2' },
      { criteria: 'random', granularity: 'weight' },
      { granularity: { nm: [2, 4] } },
      { granularity: { block: { out: 1, in: 4 } } },
      { granularity: { spanning: ['in', 'height'] } },
      { criteria: 'largeFinal', context: 'global', budget: 'lamp' },
    ]) {
      expect(new Sparsifier(fromArrays({}), options as SparsifierOptions)).toBeInstanceOf(Sparsifier);
    }
  });

  test.each<[word: string, hint: string | undefined]>([
    ['nn.Linear', "Did you mean `{ kind: 'dense' }`?"],
    ['conv2d', "Did you mean `{ kind: 'conv2d' }`?"],
    ['Conv.O', 'Did you mean p2o.Conv.0?'],
    ['p2o.conv.0', 'Did you mean p2o.Conv.0?'],
    ['P2O.CONV.*', 'Did you mean p2o.Conv.0?'],
    ['Conv', "Did you mean *Conv*, `{ kind: 'conv1d' }`, `{ kind: 'conv2d' }`, or `{ kind: 'conv3d' }`?"],
    ['Con', 'Did you mean *Con*?'],
    ['p2o/Con', 'Did you mean *p2o?Con*?'],
    ['decoder', undefined],
  ])('The rule %s has the hint %s', async (rule, hint) => {
    for (const options of [{ include: rule }, { exclude: rule }]) expect((await made(options)).details.hint).toBe(hint);
  });

  test('A name that is typed wrongly has the nearest names as a hint, wherever it is given', async () => {
    const names = Array.from({ length: 12 }, (_, index) => `model.Conv.${index}`);
    const sparsifier = () =>
      new Sparsifier(fromArrays(Object.fromEntries(names.map((name) => [name, line([1, 2])]))), { layerType: 'all' });
    const hintOf = async (call: () => unknown) => (await errorOf(call)).details.hint;
    expect(await hintOf(() => sparsifier().sparsifyLayer('Conv.O', 50))).toBe('Did you mean model.Conv.0?');
    expect(await hintOf(() => sparsifier().sparsifyModel({ 'model.Conv.l': 50 }))).toBe('Did you mean model.Conv.1?');
    expect(await hintOf(() => sparsifier().mask('model/Conv/11'))).toBe('Did you mean model.Conv.11?');
    expect(await hintOf(() => sparsifier().sparsifyModel({ 'model.Conv.x': 50 }))).toBe(
      'Did you mean model.Conv.0, model.Conv.1, or model.Conv.2?',
    );
    expect(await hintOf(() => sparsifier().sparsifyModel({ Linear: 50 }))).toBe(
      "Kinds of layers are given with `layerType: 'dense'`",
    );
    const limited = () => new Sparsifier(fromArrays({ first: line([1, 2]) }), { minKeep: { frist: 1 } });
    expect(await hintOf(limited)).toBe('Did you mean first?');
    const long = 'x'.repeat(100_000);
    expect(await hintOf(() => sparsifier().sparsifyLayer(long, 50)), 'in no time').toBeUndefined();
  });
});

describe('misspelt values', () => {
  const tf = { Callback: Object } as unknown as TrainingTf;
  const made = (options: object) => new Sparsifier(fromArrays({}), options);

  test.each<[options: object, code: string, meant: string]>([
    [{ granularity: 'filtr' }, 'granularity', 'filter'],
    [{ granularity: 'Filter' }, 'granularity', 'filter'],
    [{ granularity: 'wieght' }, 'granularity', 'weight'],
    [{ criteria: 'largFinal' }, 'criteria', 'largeFinal'],
    [{ criteria: 'LARGEFINAL' }, 'criteria', 'largeFinal'],
    [{ context: 'globall' }, 'usage', 'global'],
    [{ context: 'global', budget: 'unifrom' }, 'usage', 'uniform'],
    [{ reducer: 'mena' }, 'usage', 'mean'],
    [{ normalizer: 'min_max' }, 'usage', 'minmax'],
    [{ layerType: 'Conv2D' }, 'kind', 'conv2d'],
    [{ layerType: ['dense', 'lstn'] }, 'kind', 'lstm'],
    [{ layerType: 'conv' }, 'kind', 'conv1d, conv2d, or conv3d'],
  ])('The misspelt value in %j is an error that names the right one', async (options, code, meant) => {
    const error = await errorOf(() => made(options));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(new RegExp(`^unknown .* Did you mean ${meant}\\?$`));
  });

  test('A misspelt schedule is an error that names the right one', async () => {
    const error = await errorOf(() => sparsifyCallback(tf, { sparsity: 50, schedule: 'one-cycle' as 'oneCycle' }));
    expect(error.code).toBe('usage');
    expect(error.message).toMatch(/^unknown schedule\. .*Did you mean oneCycle\?$/);
  });

  test('A value that resembles none has no suggestion', async () => {
    const error = await errorOf(() => made({ criteria: 'entropy' }));
    expect(error.message).toMatch(/^unknown criterion\. .*entropy.*random\.$/);
  });
});
