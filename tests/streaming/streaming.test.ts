import fc from 'fast-check';
import {
  Granularity,
  loadEngine,
  type CallOptions,
  type Progress,
  type Sparsity,
  type SparsifierOptions,
} from 'sparsifier';
import { sparsifyFile, type SparsifyFileOptions } from 'sparsifier/file';
import { describe, expect, test } from 'vitest';
import { formatOf, formats, openModel, stream } from '../support/internal.js';
import { differsAt } from '../support/bytes.js';
import { errorOf, expectNoMemoryInUse, in16Bits, line, product, values, weightwise } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { concat, model as onnxModel, node, tensor as onnxTensor } from '../support/onnx-builder.js';
import {
  safetensorsFile,
  shardedFiles,
  type TensorsToStore,
  type TensorToStore,
} from '../support/safetensors-builder.js';
import { inMemory, keeping, reading, type Kept, type Source } from '../support/streams.js';

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** A tensor with whole numbers of few magnitudes. */
function tensorOf(shape: readonly number[], seed: number, dtype = 'F32', magnitudes = 40): TensorToStore {
  const numbers = line(values(product(shape), seed, magnitudes));
  const types = { F16: 'float16', BF16: 'bfloat16' } as const;
  const data = dtype in types ? in16Bits(numbers, types[dtype as keyof typeof types]).data : numbers.data;
  return { dtype, shape, data: bytesOf(data) };
}

/** Biases before and after their weights, all types, and what is not pruned in between. */
const tensors = (magnitudes?: number): TensorsToStore => ({
  ids: { dtype: 'I64', shape: [3] },
  'conv1.bias': tensorOf([8], 1),
  'conv1.weight': tensorOf([8, 4, 3, 3], 2, 'F32', magnitudes),
  'conv2.weight': tensorOf([6, 8, 3, 3], 3, 'F32', magnitudes),
  'norm.weight': tensorOf([8], 4),
  'fc1.bias': tensorOf([10], 5, 'F16'),
  'fc1.weight': tensorOf([10, 16], 6, 'F16', magnitudes),
  'conv2.bias': tensorOf([6], 7),
  'fc2.weight': tensorOf([9, 12], 8, 'BF16', magnitudes),
  'embed.weight': tensorOf([12, 8], 9, 'F32', magnitudes),
  'fc1.count': { dtype: 'I64', shape: [5] },
});

const one: Source = { bytes: safetensorsFile(tensors()) };
const few: Source = { bytes: safetensorsFile(tensors(3)) };

/** So little room that each search takes a sample, misses, and narrows its bracket down. */
const rooms = [
  { scores: 1, runs: 3, run: 2 },
  { scores: 40, runs: 16, run: 4 },
  { scores: 200, runs: 64, run: 3 },
] as const;

interface Setting extends Partial<SparsifierOptions> {
  readonly roundTo?: number;
}

/** Compares what becomes of a model on its way with what becomes of it in memory. */
async function check(source: Source, { roundTo, ...rest }: Setting, sparsity?: Sparsity): Promise<void> {
  const options: SparsifierOptions = { ...weightwise, ...rest };
  const expected = await inMemory(source, options, sparsity, roundTo);
  const { bytes } = source;
  const given = reading(source);
  const expectSame = (kept: ReadonlyMap<string, Kept>, report: unknown, what: string) => {
    expect(report, what).toEqual(expected.report);
    expect([...kept.keys()].sort(), what).toEqual(Object.keys(expected.files).sort());
    for (const [name, { bytes, isClosed }] of kept) {
      expect(isClosed).toBe(true);
      expect(differsAt(bytes(), expected.files[name]!), `${name}, ${what}`).toBe(-1);
    }
  };
  const targets = () => {
    const kept = new Map<string, Kept>();
    const target = (name: string) => {
      kept.set(name, keeping());
      return kept.get(name)!.stream;
    };
    return { kept, target };
  };
  const { kept, target } = targets();
  const asked = { ...options, ...given, sparsity, roundTo };
  expectSame(kept, await sparsifyFile(new Blob([bytes]), target, asked), 'in the usual room');
  if (options.context === 'global') {
    for (const room of rooms) {
      const { kept, target } = targets();
      const open = await openModel(new Blob([bytes]), (file) => formatOf(formats, file, given), given);
      try {
        let looks = 0;
        const onProgress = ({ stage }: Progress) => void (looks += stage === 'score' ? 1 : 0);
        const report = await stream(open, target, options, { sparsity, roundTo, onProgress, room });
        expectSame(kept, report, JSON.stringify(room));
        expect(looks).toBeLessThanOrEqual(4 * report.layers.length);
      } finally {
        await open.close();
      }
    }
  }
  await expectNoMemoryInUse();
}

describe('the same bits and the same report as in memory', () => {
  const global = { context: 'global' } as const;
  const filters = { granularity: 'filter', layerType: ['conv2d', 'dense'] } as const;
  const cases: [title: string, sparsity: Sparsity | undefined, setting: Setting][] = [
    ['weights of each layer', 50, {}],
    ['weights of the network', 50, global],
    ['little', 1, global],
    ['nothing', 0, global],
    ['everything that limits allow', 100, global],
    ['everything', 100, { ...global, allowEmpty: true }],
    ['one amount per layer', [0, 50, 100, 33, 7], {}],
    ['amounts by name, which do not name all layers', { 'conv*': 60, embed: { keep: 3 } }, {}],
    ['numbers of units', { remove: 500 }, global],
    ['more units than there are', { keep: 100_000 }, global],
    ['a multiple of units', 50, { roundTo: 7 }],
    ['a multiple of units, in the network', 80, { ...global, roundTo: 50 }],
    ['limits that take effect', 70, { ...global, minKeep: { 'conv*': 200, embed: 96 }, maxSparsity: { 'fc*': 20 } }],
    ['limits close to the amount', 95, { ...global, maxSparsity: 90, minKeep: 30 }],
    ['the largest weights', 30, { ...global, criteria: 'smallFinal' }],
    ['squared weights', 30, { ...global, criteria: 'squaredFinal' }],
    ['at random', 50, { ...global, criteria: 'random', seed: 7 }],
    ['at random, each layer separately', 50, { criteria: 'random' }],
    ['normalised scores', 50, { ...global, normalizer: 'mean' }],
    ['scores with a reducer that changes single scores', 50, { ...global, reducer: 'l2', criteria: 'smallFinal' }],
    ['the budget uniform', 50, { ...global, budget: 'uniform' }],
    ['the budget erk', 80, { ...global, budget: 'erk' }],
    ['the budget lamp', 50, { ...global, budget: 'lamp' }],
    ['groups', { stem: 60, fc: 20, embed: 50 }, { ...global, rankTogether: { stem: ['conv*'], fc: ['fc1', 'fc2'] } }],
    ['groups with one amount', 40, { ...global, rankTogether: { stem: ['conv1', 'embed'], fc: ['fc*'] } }],
    ['filters, with their biases', 50, filters],
    ['filters of the network, with their biases', 50, { ...filters, ...global, normalizer: 'sum' }],
    ['a multiple of filters', 60, { ...filters, roundTo: 4 }],
    ['filters that may all be removed', 100, { ...filters, allowEmpty: true }],
    ['kernels', 50, { ...global, granularity: 'kernel', layerType: 'conv2d' }],
    ['whole layers', 40, { ...global, granularity: 'layer' }],
    ['tiles', 50, { ...global, granularity: Granularity.block({ out: 2, in: 3 }), layerType: 'dense' }],
    ['a pattern', undefined, { granularity: Granularity.nm(2, 4) }],
    ['a pattern with a remainder', undefined, { granularity: Granularity.nm(1, 5) }],
    ['few layers', 50, { ...global, include: ['conv1', 'fc2'] }],
    ['only the last layer', 50, { include: 'embed' }],
  ];
  test.each(cases)('Streaming gives the same bits and report as in memory: %s', async (_, sparsity, setting) => {
    await check(one, setting, sparsity);
  });

  test.each([1, 10, 33, 50, 67, 90, 99])(
    'Streaming gives the same bits and report if values repeat, at %i percent',
    async (sparsity) => {
      await check(few, global, sparsity);
      await check(few, { ...global, maxSparsity: { conv1: 10, fc2: 60 } }, sparsity);
    },
  );

  test('Streaming an already sparse model gives the same bits and report at a higher, equal and lower sparsity', async () => {
    const { files } = await inMemory(one, { ...weightwise, ...global }, 60);
    const sparse: Source = { bytes: files['model.safetensors'] as Uint8Array<ArrayBuffer> };
    for (const sparsity of [30, 60, 80]) {
      await check(sparse, global, sparsity);
      await check(sparse, {}, sparsity);
    }
  });

  test('Streaming a model of zeros gives the same bits and report', async () => {
    const zeros = (shape: number[]): TensorToStore => ({ shape, data: new Uint8Array(4 * product(shape)) });
    const source = { bytes: safetensorsFile({ 'a.weight': zeros([7, 9]), 'b.weight': zeros([11, 5]) }) };
    for (const setting of [{}, global, { ...global, maxSparsity: { a: 10 } }]) await check(source, setting, 50);
  });

  test('Streaming gives the same bits and report for adjacent floating-point values', async () => {
    const neighbours = (shape: number[], seed: number): TensorToStore => {
      const keys = values(product(shape), seed, 30).map(Math.abs);
      const data = Uint32Array.from(keys, (key) => 0x3f80_0000 + key);
      return { shape, data: bytesOf(data) };
    };
    const bytes = safetensorsFile({ 'a.weight': neighbours([9, 11], 1), 'b.weight': neighbours([11, 13], 2) });
    for (let sparsity = 3; sparsity < 100; sparsity += 8) await check({ bytes }, global, sparsity);
  });

  test('Streaming gives the same bits and report for described layers', async () => {
    const layers = {
      conv1: { kind: 'convTranspose2d' },
      fc1: { kind: 'dense', roles: ['in', 'out'] },
      fc2: false,
    } as const;
    for (const setting of [{}, global, { ...filters, layerType: 'all' } as const])
      await check({ ...one, layers }, setting, 50);
  });

  test('Streaming gives the same bits and report for criteria that are functions or need arrays', async () => {
    const score = ({ weights }: { weights: Float32Array }) => weights.map((each) => Math.sin(each));
    await check(one, { ...global, criteria: score }, 50);
    await check(one, { criteria: score }, 50);
    const gradient = Object.fromEntries(
      [
        ['conv1', 288],
        ['conv2', 432],
        ['fc1', 160],
        ['fc2', 108],
        ['embed', 96],
      ].map(([name, length]) => [name, values(length as number, 77)]),
    );
    await check(one, { ...global, criteria: 'taylor', gradient }, 50);
    await check(one, { criteria: 'movement', initial: gradient }, 50);
    await check(one, { ...global, criteria: 'updatingMovmag', previous: gradient }, 50);
    const activations = Object.fromEntries(
      [
        ['conv1', 4],
        ['conv2', 8],
        ['fc1', 16],
        ['fc2', 12],
        ['embed', 8],
      ].map(([name, length]) => [name, values(length as number, 5).map(Math.abs)]),
    );
    await check(one, { ...global, criteria: 'wanda', activations }, 50);
    await check(one, { criteria: 'wanda', activations, granularity: 'weight' }, 50);
    const sizes = { conv1: [8, 36], conv2: [6, 72], fc1: [10, 16], fc2: [9, 12], embed: [12, 8] } as const;
    const statistics = statisticsOf(
      Object.fromEntries(
        Object.entries(sizes).map(([name, [outputs, columns]]) => [
          name,
          {
            ...layerStatistics(
              {
                kind: 'dense',
                roles: ['out', 'in'],
                shape: [outputs, columns],
                data: new Float32Array(outputs * columns),
              },
              rowsFor({ groups: 1, outputs, columns }, 7),
            ),
            norm: activations[name],
          },
        ]),
      ),
    );
    const chosen = { exclude: ['embed'], statistics };
    await check(one, { ...global, ...chosen, criteria: 'fluctuation' }, 50);
    await check(one, { ...chosen, criteria: 'fluctuation', granularity: 'weight' }, 50);
    await check(one, { ...global, criteria: 'wanda', statistics }, 50);
  });

  test('Streaming shards gives the same bits and report if biases are in other shards than their weights', async () => {
    const all = Object.entries(tensors());
    const { index, shards } = shardedFiles({
      'c.safetensors': Object.fromEntries(all.slice(0, 3)),
      'a.safetensors': Object.fromEntries(all.slice(3, 6)),
      'b.safetensors': Object.fromEntries(all.slice(6)),
    });
    const source = { bytes: index, further: shards as Record<string, Uint8Array<ArrayBuffer>> };
    for (const setting of [{}, global, filters, { ...filters, ...global }]) await check(source, setting, 50);
  });

  test('Streaming gives the same bits and report for random checkpoints', async () => {
    const layer = fc.record({
      shape: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 4 }),
      dtype: fc.constantFrom('F32', 'F16', 'BF16'),
      magnitudes: fc.constantFrom(1, 2, 5, 100),
      bias: fc.constantFrom('before', 'after', 'none'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { minLength: 1, maxLength: 5 }),
        fc.record({
          context: fc.constantFrom('local', 'global'),
          granularity: fc.constantFrom('weight', 'weight', 'filter'),
          criteria: fc.constantFrom('largeFinal', 'smallFinal', 'random'),
          maxSparsity: fc.constantFrom(100, 60),
          allowEmpty: fc.boolean(),
        } as const),
        fc.double({ min: 0, max: 100, noNaN: true }),
        fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
        async (layers, options, sparsity, roundTo) => {
          const tensors: Record<string, TensorToStore> = {};
          for (const [index, { shape, dtype, magnitudes, bias }] of layers.entries()) {
            const biasOf = tensorOf([shape[0]!], index + 50, 'F32');
            if (bias === 'before') tensors[`l${index}.bias`] = biasOf;
            tensors[`l${index}.weight`] = tensorOf(shape, index + 1, dtype, magnitudes);
            if (bias === 'after') tensors[`l${index}.bias`] = biasOf;
          }
          const setting = { ...options, ...(roundTo !== undefined && { roundTo }) };
          await check({ bytes: safetensorsFile(tensors) }, setting, sparsity);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('ONNX', () => {
  const convolution = (name: string, weight: string, bias: string, input: string, output: string) =>
    node('Conv', `${input} ${weight} ${bias}`, output, { name });
  const data = concat(
    ...[tensorOf([6], 1), tensorOf([6, 4, 3, 3], 2), tensorOf([5, 6, 3, 3], 3), tensorOf([5], 4)].map(
      ({ data }) => data!,
    ),
  );
  const external = (offset: number, length: number, location = 'weights.bin') => ({
    external: { location, offset, length },
  });
  const bytes = onnxModel({
    nodes: [
      convolution('one', 'w1', 'b1', 'x', 'y'),
      convolution('two', 'w2', 'b2', 'y', 'z'),
      convolution('three', 'w3', 'b3', 'z', 'end'),
    ],
    initializers: [
      onnxTensor('b1', [6], external(0, 24)),
      onnxTensor('w1', [6, 4, 3, 3], external(24, 864)),
      onnxTensor('w2', [5, 6, 3, 3], external(888, 1080)),
      onnxTensor('b2', [5], external(1968, 20)),
      onnxTensor('w3', [4, 5, 2, 2], { storage: 'unpacked' }),
      onnxTensor('b3', [4], external(0, 16, 'biases.bin')),
    ],
  });
  const further = { 'weights.bin': data, 'biases.bin': tensorOf([4], 9).data as Uint8Array<ArrayBuffer> };
  const source: Source = { bytes, further, give: 'external' };

  test.each([
    ['weights', 50, {}],
    ['weights of the network', 50, { context: 'global' }],
    ['filters whose biases come before and after, in the same and in other files', 50, { granularity: 'filter' }],
    ['filters of the network', 50, { granularity: 'filter', context: 'global' }],
    ['one layer', 50, { granularity: 'filter', include: 'three' }],
  ] as const)('Streaming external data gives the same bits and report: %s', async (_, sparsity, setting) => {
    await check(source, setting, sparsity);
  });

  test('An ONNX model without external data gets the same bits and report as in memory', async () => {
    const bytes = onnxModel({
      nodes: [convolution('one', 'w1', 'b1', 'x', 'y'), node('Conv', 'y w1', 'z', { name: 'tied' })],
      initializers: [onnxTensor('b1', [4]), onnxTensor('w1', [4, 4, 3, 3])],
    });
    for (const setting of [{}, { context: 'global' }, { granularity: 'filter' }] as const)
      await check({ bytes, give: 'external' }, setting, 50);
  });

  test('External data that tensors share are not changed', async () => {
    const bytes = onnxModel({
      nodes: ['w1', 'w2', 'w3'].map((weight) => node('Conv', `x ${weight}`, `y${weight}`, { name: weight })),
      initializers: [
        onnxTensor('w1', [2, 2, 2, 2], external(0, 64)),
        onnxTensor('w2', [2, 2, 2, 2], external(32, 64)),
        onnxTensor('w3', [2, 2, 2, 2], external(96, 64)),
      ],
    });
    await check({ bytes, further: { 'weights.bin': data }, give: 'external' }, {}, 50);
  });
});

describe('a call', () => {
  const run = (options: Partial<SparsifyFileOptions> = {}, source = one) => {
    const kept = keeping();
    const input = new Blob([source.bytes]);
    return { kept, outcome: sparsifyFile(input, kept.stream, { ...weightwise, sparsity: 50, ...options }) };
  };

  test('One file is written to a stream, which is then closed', async () => {
    const { kept, outcome } = run();
    await outcome;
    const expected = await inMemory(one, weightwise, 50);
    expect(kept.isClosed).toBe(true);
    expect(differsAt(kept.bytes(), expected.files['model.safetensors']!)).toBe(-1);
  });

  test.each(['local', 'global'] as const)('A call reports its progress, in context %s', async (context) => {
    const told: Progress[] = [];
    await run({ context, onProgress: (progress) => void told.push(progress) }).outcome;
    const stages = [...new Set(told.map(({ stage }) => stage))];
    expect(stages).toEqual(context === 'local' ? ['store'] : ['score', 'store']);
    for (const stage of stages) {
      const done = told.filter((each) => each.stage === stage);
      expect(done.map((each) => each.done)).toEqual(done.map((each) => each.done).sort((a, b) => a - b));
      expect(done.at(-1)).toEqual({ stage, done: 1084, total: 1084 });
    }
  });

  test.each(['local', 'global'] as const)('One layer at a time is in memory, in context %s', async (context) => {
    const engine = await loadEngine();
    const shape = [64, 64];
    const names = Array.from({ length: 20 }, (_, index) => `l${index}.weight`);
    const source = {
      bytes: safetensorsFile(Object.fromEntries(names.map((name, index) => [name, tensorOf(shape, index)]))),
    };
    let most = 0;
    const chunks: number[] = [];
    const target = new WritableStream<Uint8Array>({
      write: ({ length }) => {
        most = Math.max(most, engine.memory.bytes);
        chunks.push(length);
      },
    });
    await sparsifyFile(new Blob([source.bytes]), target, { ...weightwise, context, sparsity: 50 });
    expect(chunks.length).toBeGreaterThan(20);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(2 * 4 * product(shape));
  });

  test.each([
    ['before it begins', 'local', 0],
    ['between layers', 'local', 2],
    ['in the first pass', 'global', 2],
    ['between layers', 'global', 7],
  ] as const)('A call can be aborted %s, in context %s', async (_, context, after) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    let calls = 0;
    if (after === 0) controller.abort(reason);
    const onProgress = () => {
      if (++calls === after) controller.abort(reason);
    };
    const { kept, outcome } = run({ context, signal: controller.signal, onProgress });
    await expect(outcome).rejects.toBe(reason);
    expect(kept).toMatchObject({ isClosed: false, reason });
    await expectNoMemoryInUse();
  });

  const inline = onnxModel({
    nodes: [node('Conv', 'x w', 'y', { name: 'conv' })],
    initializers: [onnxTensor('w', [4, 3, 2, 2])],
  });
  test.each(['ONNX', 'safetensors'])('A call can be aborted while a file of %s is written', async (format) => {
    const source: Source = format === 'ONNX' ? { bytes: inline, give: 'external' } : one;
    const controller = new AbortController();
    const reason = new Error('enough');
    const kept = keeping();
    const target = () => {
      controller.abort(reason);
      return kept.stream;
    };
    const call = { ...weightwise, sparsity: 50, signal: controller.signal };
    await expect(sparsifyFile(new Blob([source.bytes]), target, call)).rejects.toBe(reason);
    expect(kept).toMatchObject({ isClosed: false, reason });
    await expectNoMemoryInUse();
  });

  test.each(['local', 'global'] as const)(
    'A call ends with the error of a progress listener, in context %s',
    async (context) => {
      const error = new Error('listener');
      const { kept, outcome } = run({
        context,
        onProgress: () => {
          throw error;
        },
      });
      await expect(outcome).rejects.toBe(error);
      expect(kept).toMatchObject({ isClosed: false, reason: error });
      await expectNoMemoryInUse();
    },
  );

  test.each([
    ['local', 'weight', NaN],
    ['global', 'weight', NaN],
    ['global', 'weight', -Infinity],
    ['local', 'filter', Infinity],
    ['global', 'filter', NaN],
  ] as const)(
    'A weight that cannot be ranked is an error: context %s, granularity %s, %d',
    async (context, granularity, odd) => {
      const data = values(84, 3);
      data[50] = odd;
      const source = {
        bytes: safetensorsFile({ ...tensors(), 'head.weight': { shape: [7, 12], data: bytesOf(data) } }),
      };
      const { kept, outcome } = run({ context, granularity, layerType: ['conv2d', 'dense'] }, source);
      const error = await errorOf(() => outcome);
      expect(error).toMatchObject({ code: 'weights', details: { subject: 'head' } });
      expect(error.message).toMatch(/index 50/);
      // All layers are looked at before one is written.
      if (context === 'global') expect(kept.bytes()).toHaveLength(0);
      expect(kept).toMatchObject({ isClosed: false, reason: error });
      await expectNoMemoryInUse();
    },
  );

  test('A stream that fails is an error', async () => {
    const error = new Error('disk full');
    const target = new WritableStream<Uint8Array>({
      write: () => {
        throw error;
      },
    });
    const failed = await errorOf(() => sparsifyFile(new Blob([one.bytes]), target, { ...weightwise, sparsity: 50 }));
    expect(failed).toMatchObject({ code: 'file', cause: error });
    await expectNoMemoryInUse();
  });

  test('A locked stream is refused', async () => {
    const { stream } = keeping();
    stream.getWriter();
    const error = await errorOf(() => sparsifyFile(new Blob([one.bytes]), stream, { ...weightwise, sparsity: 50 }));
    expect(error.code).toBe('file');
    expect(error.message).toMatch(/locked/);
  });

  test('One stream for several files is refused', async () => {
    const { index, shards } = shardedFiles({ a: { 'a.weight': [2, 2] }, b: { 'b.weight': [2, 2] } });
    const give = (name: string) => shards[name]!;
    const { kept, outcome } = run({ shards: give }, { bytes: index });
    const error = await errorOf(() => outcome);
    expect(error).toMatchObject({ code: 'usage' });
    expect(error.message).toMatch(/model\.safetensors\.index\.json, a, b/);
    expect(kept.reason).toBe(error);
  });

  test.each([
    ['movement', 'initial'],
    ['updatingMovement', 'previous'],
  ] as const)('The criterion %s without %s weights is refused with a reason', async (criteria, needed) => {
    const { kept, outcome } = run({ criteria });
    const error = await errorOf(() => outcome);
    expect(error.code).toBe('criteria');
    expect(error.message).toMatch(new RegExp(`while a model is streamed.*one layer in memory.*${needed}`, 's'));
    expect(kept.bytes()).toHaveLength(0);
  });

  test('A criterion whose arrays are missing for a layer is refused before anything is written', async () => {
    const { kept, outcome } = run({ criteria: 'taylor', gradient: { conv1: new Float32Array(288) } });
    const error = await errorOf(() => outcome);
    expect(error).toMatchObject({ code: 'criteria', details: { subject: 'conv2' } });
    expect(kept.bytes()).toHaveLength(0);
  });

  test.each<[Partial<SparsifyFileOptions> & Record<string, unknown>, string]>([
    [{ restorable: true }, 'usage'],
    [{ sparsty: 50 }, 'usage'],
    [{ sparsity: 101 }, 'sparsity'],
    [{ sparsity: undefined }, 'sparsity'],
    [{ roundTo: 0 }, 'sparsity'],
    [{ layerType: 'gru' }, 'kind'],
    [{ granularity: 'kernel' }, 'granularity'],
    [{ granularity: 'layer' }, 'granularity'],
  ])('A call with %j is refused', async (options, code) => {
    const { kept, outcome } = run(options as CallOptions);
    expect((await errorOf(() => outcome)).code).toBe(code);
    expect(kept.bytes()).toHaveLength(0);
    await expectNoMemoryInUse();
  });

  test.each([undefined, null, 7, {}])('%j is refused as an output', async (output) => {
    const target = output as unknown as WritableStream<Uint8Array>;
    for (const given of [target, () => target]) {
      const error = await errorOf(() => sparsifyFile(new Blob([one.bytes]), given, { ...weightwise, sparsity: 50 }));
      expect(error).toMatchObject({ code: 'usage', message: expect.stringMatching(/WritableStream/) });
      await expectNoMemoryInUse();
    }
  });

  test('A file of an unsupported format is refused with the name of its format', async () => {
    const error = await errorOf(() =>
      sparsifyFile(new Blob(['PK\u0003\u0004']), keeping().stream, { ...weightwise, sparsity: 50 }),
    );
    expect(error).toMatchObject({ code: 'format' });
    expect(error.message).toMatch(/zip archive/);
  });
});
