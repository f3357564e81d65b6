import { Granularity, Sparsifier, type Report } from 'sparsifier';
import { Schedule, sparsifyCallback, type SparsifyCallbackOptions } from 'sparsifier/training';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { readJson } from '../support/files.js';
import { errorOf } from '../support/layers.js';
import { handlerOf, saved, textOf, tf } from '../support/tfjs.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});
afterEach(() => void vi.restoreAllMocks());

const options: SparsifyCallbackOptions = {
  granularity: 'weight',
  context: 'local',
  criteria: 'magnitude',
  layerType: 'all',
  sparsity: 80,
  schedule: 'agp',
};

/** Two layers; the first has a batch normalisation and no bias. */
function network(optimizer: 'sgd' | 'adam' = 'adam') {
  const seed = 7;
  const model = tf.sequential({
    layers: [
      tf.layers.dense({
        inputShape: [6],
        units: 10,
        useBias: false,
        name: 'first',
        kernelInitializer: tf.initializers.randomNormal({ seed }),
      }),
      tf.layers.batchNormalization({ name: 'norm' }),
      tf.layers.activation({ activation: 'relu' }),
      tf.layers.dense({ units: 3, name: 'second', kernelInitializer: tf.initializers.randomNormal({ seed: 8 }) }),
    ],
  });
  model.compile({
    optimizer: optimizer === 'sgd' ? tf.train.momentum(0.05, 0.9) : tf.train.adam(0.05),
    loss: 'meanSquaredError',
  });
  return model;
}
type Network = ReturnType<typeof network>;

const x = () => tf.randomNormal([40, 6], 0, 1, 'float32', 3);
const y = () => tf.randomNormal([40, 3], 0, 1, 'float32', 4);
const weightsOf = async (model: Network) =>
  new Map(
    await Promise.all(
      model.weights.map(async (weight) => [weight.originalName, [...(await weight.read().data())]] as const),
    ),
  );
const zerosOf = async (model: Network) => {
  const weights = await weightsOf(model);
  return ['first', 'second'].map((name) => weights.get(`${name}/kernel`)!.filter((value) => value === 0).length);
};
/** What `round` of the units are, halves to even. */
const share = (percent: number, units: number) => {
  const exact = (percent * units) / 100;
  const low = Math.floor(exact);
  return exact - low === 0.5 ? low + (low % 2) : Math.round(exact);
};

/** Ten batches an epoch. */
const fit = (model: Network, callbacks: object[], epochs = 2, more = {}) =>
  model.fit(x(), y(), { epochs, batchSize: 4, shuffle: false, verbose: 0, callbacks: callbacks as never, ...more });

test('A callback has the defaults of a Sparsifier', async () => {
  const trained = async (given: SparsifyCallbackOptions) => {
    const model = network();
    await fit(model, [sparsifyCallback(tf, given)]);
    return weightsOf(model);
  };
  const { layerType, sparsity, schedule } = options;
  expect(await trained({ layerType, sparsity, schedule } as SparsifyCallbackOptions)).toEqual(await trained(options));
});

/** A callback that does something after each batch. */
function after(work: (step: number) => void | Promise<void>) {
  let step = 0;
  return new (class extends tf.Callback {
    override async onBatchEnd() {
      await work(step++);
    }
  })();
}

interface Event {
  readonly event: string;
  readonly iter: number;
  readonly sparsity?: number;
}
interface Run {
  readonly schedule: string;
  readonly start_pct: number;
  readonly end_pct: number;
  readonly target: number;
  readonly batches: number;
  readonly epochs: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly events: readonly Event[];
}
const { runs } = await readJson<{ runs: readonly Run[] }>('golden/callback.json');
const schedules: Readonly<Record<string, keyof typeof Schedule>> = {
  one_shot: 'oneShot',
  one_cycle: 'oneCycle',
  lin: 'linear',
  iterative: 'iterative',
  agp: 'agp',
  cos: 'cos',
  dsd: 'dsd',
};

describe('events', () => {
  // After training there is one more step at progress 1 (Q34). Weights are saved once, not twice, and what a ticket says
  // is what it holds (Q35). Rewinding brings batch normalisation back as it was (Q26), and layers need no bias (Q27).
  test.each(runs.map((run) => [`${run.schedule} ${JSON.stringify(run.options)}`, run] as const))(
    'The events of %s are those of fasterai',
    async (_, run) => {
      const { lth, rewind_epoch: rewindEpoch, save_tickets: saveTickets, reset_end: resetEnd } = run.options;
      const model = network();
      const calls: [iter: number, sparsity: number][] = [];
      let iter = 0;
      const own = Sparsifier.prototype.sparsifyModel;
      vi.spyOn(Sparsifier.prototype, 'sparsifyModel').mockImplementation(function (this: Sparsifier, ...words) {
        calls.push([iter, words[0] as number]);
        return own.apply(this, words);
      });
      let saved = await weightsOf(model);
      const rewinds: number[] = [];
      const watch = after(async (step) => {
        const weights = await weightsOf(model);
        const isBack = ['norm/moving_mean', 'norm/gamma', 'second/bias'].every(
          (name) => String(weights.get(name)) === String(saved.get(name)),
        );
        if (isBack) rewinds.push(step);
        iter = step + 1;
        if (rewindEpoch !== undefined && iter === (rewindEpoch as number) * run.batches) saved = weights;
      });
      const callback = sparsifyCallback(tf, {
        ...options,
        sparsity: 100 * run.target,
        schedule: Schedule[schedules[run.schedule]!]({ start: run.start_pct, end: run.end_pct }),
        ...(lth ? { lottery: true } : {}),
        ...(rewindEpoch !== undefined ? { rewindEpoch: rewindEpoch as number } : {}),
        ...(saveTickets ? { saveTickets: true } : {}),
        ...(resetEnd ? { resetEnd: true } : {}),
      });
      await fit(model, [callback, watch], run.epochs);

      const expected = run.events
        .filter(({ event }) => event === 'sparsify')
        .map(({ iter, sparsity }) => [iter, 100 * sparsity!]);
      const last = callback.schedule(1) * 100 * run.target;
      if (expected.at(-1)?.[1] !== last) expected.push([run.batches * run.epochs, last]);
      expect(calls.map(([iter]) => iter)).toEqual(expected.map(([iter]) => iter));
      for (const [index, [, sparsity]] of calls.entries()) expect(sparsity).toBeCloseTo(expected[index]![1]!, 9);
      const rewound = run.events.filter(({ event, iter }) => event === 'rewind' && iter < run.batches * run.epochs);
      expect(rewinds).toEqual(rewound.map(({ iter }) => iter));
      expect(callback.report!.layers.map(({ removedUnits }) => removedUnits)).toEqual([
        share(last, 60),
        share(last, 30),
      ]);
      // What comes back does so as zero.
      if (last > 0) expect(await zerosOf(model)).toEqual([share(last, 60), share(last, 30)]);
      const names = run.events
        .filter(({ event }) => event === 'sparsify')
        .map(({ sparsity }) => (100 * sparsity!).toFixed(0));
      if (saveTickets) expect(callback.tickets.map(({ sparsity }) => sparsity.toFixed(0))).toEqual(names);
      if (resetEnd) {
        const weights = await weightsOf(model);
        for (const name of ['norm/moving_mean', 'norm/gamma', 'second/bias'])
          expect(weights.get(name)).toEqual(saved.get(name));
        for (const [at, value] of weights.get('first/kernel')!.entries())
          expect([0, saved.get('first/kernel')![at]]).toContain(value);
      }
    },
  );
});

describe('removed weights', () => {
  test.each(['sgd', 'adam'] as const)(
    'With %s, exactly the requested share of weights is zero after every step, and no tensor leaks',
    async (optimizer) => {
      const model = network(optimizer);
      await fit(model, [], 1);
      const callback = sparsifyCallback(tf, { ...options, schedule: 'linear' });
      const wrong: unknown[] = [];
      let counts = 0;
      const watch = after(async (step) => {
        const expected = [60, 30].map((units) => share((80 * step) / 100, units));
        const zeros = await zerosOf(model);
        if (String(zeros) !== String(expected)) wrong.push([step, zeros, expected]);
        counts++;
      });
      await fit(model, [callback, watch], 10);
      expect(wrong).toEqual([]);
      expect(counts).toBe(100);
      expect(callback.history).toHaveLength(10);
      expect(callback.history.map(({ epoch }) => epoch)).toEqual([...Array(10).keys()]);
      for (const { sparsity, loss, epoch } of callback.history) {
        expect(sparsity).toBeCloseTo(
          (100 * (share((80 * (10 * epoch + 9)) / 100, 60) + share((80 * (10 * epoch + 9)) / 100, 30))) / 90,
          9,
        );
        expect(loss).toBeGreaterThan(0);
      }
      expect(callback.report?.total).toMatchObject({ units: 90, keptUnits: 18, zeros: 72 });
      expect(await callback.plot()).toMatch(/<svg[^]*sparsity \(share\)[^]*loss/);
    },
  );

  test('Masking leaks no tensor in 100 steps', async () => {
    const model = network();
    const counts: number[] = [];
    const watch = after(() => void counts.push(tf.memory().numTensors));
    const [input, target] = [tf.ones([100, 6]), tf.ones([100, 3])];
    const run = (callbacks: object[]) =>
      model.fit(input, target, { epochs: 1, batchSize: 1, verbose: 0, callbacks: callbacks as never });
    await run([]);
    const { numTensors } = tf.memory();
    await run([sparsifyCallback(tf, { ...options, schedule: 'linear', lottery: true }), watch]);
    expect(counts).toHaveLength(100);
    expect(new Set(counts.slice(5)).size).toBe(1);
    // tfjs keeps the logs of an epoch in its history.
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('Removed weights are zeroed after each step, with the biases and batch normalisation of their channels', async () => {
    const model = network();
    await fit(model, [], 1);
    const callback = sparsifyCallback(tf, {
      ...options,
      granularity: 'filter',
      sparsity: 50,
      every: 4,
      schedule: Schedule.oneShot({ start: 0.1 }),
    });
    const seen: string[] = [];
    const watch = after(async (step) => {
      const weights = await weightsOf(model);
      const zero = (name: string) => weights.get(name)!.filter((value) => Object.is(value, 0)).length;
      seen[step] = ['first/kernel', 'norm/gamma', 'norm/beta', 'second/kernel', 'second/bias'].map(zero).join();
    });
    await fit(model, [callback, watch], 2);
    // Step 2 is a tenth of the training, and the first multiple of 4 after that is 4.
    expect(new Set(seen.slice(0, 4))).toEqual(new Set(['0,0,0,0,0']));
    expect(new Set(seen.slice(4))).toEqual(new Set(['30,5,5,20,2']));
  });

  test.each([
    ['blocks', { granularity: Granularity.block({ out: 2, in: 4 }), sparsity: 40 }],
    ['a pattern', { granularity: Granularity.nm(1, 2), sparsity: undefined }],
    ['a list', { sparsity: [0, 50] }],
    ['globs', { sparsity: { 'f*': 50 } }],
    ['a global ranking', { context: 'global' as const, sparsity: 70, criteria: 'movement' as const }],
  ])('Weights can be removed by %s', async (_, more) => {
    const model = network();
    let report: Report | undefined;
    const callback = sparsifyCallback(tf, {
      ...options,
      ...(more as object),
      schedule: Schedule.oneShot({ start: 0 }),
    });
    const wrong: number[] = [];
    const watch = after(async (step) => {
      report = callback.report;
      const zeros = await zerosOf(model);
      if (zeros[0]! + zeros[1]! < report!.total.removedWeights) wrong.push(step);
    });
    await fit(model, [callback, watch], 1);
    expect(wrong).toEqual([]);
    expect(report!.total.removedWeights).toBeGreaterThan(14);
  });

  test('With the schedule dsd, weights come back as zero and are trained again', async () => {
    const model = network();
    const callback = sparsifyCallback(tf, { ...options, schedule: 'dsd' });
    const zeros: number[] = [];
    await fit(model, [callback, after(async () => void zeros.push((await zerosOf(model))[0]!))], 4);
    expect(Math.max(...zeros)).toBe(48);
    expect(callback.report?.total.keptUnits).toBe(90);
    expect(zeros.at(-1)).toBeLessThan(5);
  });

  test('The same weights are removed after the model is saved and loaded', async () => {
    const model = network();
    await fit(model, [sparsifyCallback(tf, options)]);
    const { json, shards } = await saved(model);
    const loaded = (await tf.loadLayersModel(handlerOf(textOf(json), shards))) as Network;
    expect(await zerosOf(loaded)).toEqual([48, 24]);
    const input = x();
    expect([...(await (loaded.predict(input) as typeof input).data())]).toEqual([
      ...(await (model.predict(input) as typeof input).data()),
    ]);
  });
});

test('A custom training loop does the same with three calls', async () => {
  const more = { ...options, lottery: true, saveTickets: true, schedule: 'iterative' as const };
  const [ours, theirs] = [network(), network()];
  const callback = sparsifyCallback(tf, more);
  await fit(theirs, [callback]);
  const own = sparsifyCallback(tf, { ...more, steps: 10, epochs: 2 });
  const [input, target] = [x(), y()];
  await own.begin(ours);
  for (let step = 0; step < 20; step++) {
    const from = 4 * (step % 10);
    await ours.trainOnBatch(tf.slice(input, [from, 0], [4, 6]), tf.slice(target, [from, 0], [4, 3]));
    await own.step();
  }
  await own.end();
  expect(await weightsOf(ours)).toEqual(await weightsOf(theirs));
  expect(own.history.map(({ sparsity }) => sparsity)).toEqual(callback.history.map(({ sparsity }) => sparsity));
  expect(own.tickets).toEqual(callback.tickets);
});

test('Tickets hold the weights of layers of the same name in different models', async () => {
  const inner = (name: string) =>
    tf.sequential({ name, layers: [tf.layers.dense({ inputShape: [6], units: 6, name: 'd' })] });
  const model = tf.sequential({ layers: [inner('a'), inner('b'), tf.layers.dense({ units: 3, name: 'head' })] });
  model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
  const kernels = [0, 1].map((index) => [...model.layers[index]!.weights[0]!.read().dataSync()]);
  const callback = sparsifyCallback(tf, {
    ...options,
    lottery: true,
    saveTickets: true,
    schedule: 'oneShot',
    steps: 1,
  });
  await callback.begin(model);
  await callback.step();
  await callback.end();
  const [{ weights }] = callback.tickets as [(typeof callback.tickets)[0]];
  expect([...weights.keys()].sort()).toEqual([
    'a/d/bias',
    'a/d/kernel',
    'b/d/bias',
    'b/d/kernel',
    'head/bias',
    'head/kernel',
  ]);
  for (const [index, name] of ['a/d/kernel', 'b/d/kernel'].entries()) {
    const numbers = [...weights.get(name)!];
    expect(numbers.filter((value) => value !== 0).length).toBeGreaterThan(0);
    for (const [at, value] of numbers.entries()) if (value !== 0) expect(value).toBe(kernels[index]![at]);
  }
});

test('Tickets are the initial weights with the removed ones zeroed', async () => {
  const model = network();
  const initial = await weightsOf(model);
  const callback = sparsifyCallback(tf, { ...options, lottery: true, saveTickets: true, schedule: 'iterative' });
  await fit(model, [callback]);
  expect(callback.tickets).toHaveLength(3);
  for (const { sparsity, weights } of callback.tickets) {
    let [zeros, all] = [0, 0];
    expect([...weights.keys()]).toEqual([...initial.keys()]);
    for (const [name, numbers] of weights) {
      for (const [at, value] of numbers.entries()) {
        if (name.endsWith('/kernel')) all++;
        if (name.endsWith('/kernel') && value === 0) zeros++;
        else expect(value).toBe(initial.get(name)![at]);
      }
    }
    expect((100 * zeros) / all).toBeCloseTo(sparsity, 9);
  }
});

test('A dataset works if its number of steps is known, and otherwise asks for steps before training', async () => {
  const model = network();
  let size = 10;
  const batches = () => {
    let left = size;
    return { next: async () => ({ done: left-- === 0, value: { xs: tf.ones([4, 6]), ys: tf.ones([4, 3]) } }) };
  };
  // What tf.data gives, as far as fitDataset looks at it.
  const dataset = { size: null, iterator: async () => batches(), batch: () => dataset } as never;
  const before = await weightsOf(model);
  const unknown = await errorOf(() =>
    model.fitDataset(dataset, { epochs: 2, verbose: 0, callbacks: sparsifyCallback(tf, options) }),
  );
  expect([unknown.code, unknown.message]).toEqual(['usage', expect.stringMatching(/steps/)]);
  expect(await weightsOf(model)).toEqual(before);
  await model.fitDataset(dataset, {
    epochs: 2,
    verbose: 0,
    callbacks: sparsifyCallback(tf, { ...options, steps: 10 }),
  });
  expect(await zerosOf(model)).toEqual([48, 24]);
  const told = network();
  size = 20;
  await told.fitDataset(dataset, {
    epochs: 2,
    batchesPerEpoch: 10,
    verbose: 0,
    callbacks: sparsifyCallback(tf, options),
  });
  expect(await zerosOf(told)).toEqual([48, 24]);
});

describe('errors before training', () => {
  test.each<[string, object, string, RegExp]>([
    ['no sparsity', { sparsity: undefined }, 'sparsity', /percentages/],
    ['a sparsity of more than 100 %', { sparsity: 120 }, 'sparsity', /0 to 100/],
    ['a number of units to keep', { sparsity: { keep: 3 } }, 'sparsity', /percentage/],
    ['an unknown schedule', { schedule: 'fast' }, 'usage', /fast.*oneShot/],
    ['an unknown option', { sparsty: 3 }, 'usage', /sparsty/],
    ['a half step', { every: 0.5 }, 'usage', /every/],
    ['no steps', { steps: 0 }, 'usage', /steps/],
    ['a negative epoch', { rewindEpoch: -1 }, 'usage', /rewindEpoch/],
    ['saving tickets without weights to rewind to', { saveTickets: true }, 'usage', /lottery/],
    ['a pattern with an amount', { granularity: Granularity.nm(2, 4) }, 'sparsity', /pattern/],
  ])('The callback refuses %s', async (_, more, code, message) => {
    const error = await errorOf(() => sparsifyCallback(tf, { ...options, ...more } as SparsifyCallbackOptions));
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
  });

  test.each<[string, object, string, RegExp]>([
    ['a layer that does not exist', { sparsity: { nobody: 50 } }, 'layer', /nobody/],
    ['rewinding to an epoch after the first removal', { lottery: true, rewindEpoch: 1 }, 'usage', /rewindEpoch 1/],
    ['a schedule with shares above 1', { schedule: () => 1.5 }, 'usage', /1\.5|0 to 1/],
  ])('Training refuses %s before its first step', async (_, more, code, message) => {
    const model = network();
    const before = await weightsOf(model);
    const { numTensors } = tf.memory();
    const error = await errorOf(() =>
      fit(model, [sparsifyCallback(tf, { ...options, ...more } as SparsifyCallbackOptions)]),
    );
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
    expect(await weightsOf(model)).toEqual(before);
    // The batches and targets that fit cut.
    expect(tf.memory().numTensors - numTensors).toBeLessThanOrEqual(4);
  });

  test('The callback refuses anything other than TensorFlow.js', async () => {
    expect((await errorOf(() => sparsifyCallback({} as never, options))).message).toMatch(/without Callback/);
  });
});
