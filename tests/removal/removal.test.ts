import { loadEngine, Sparsifier } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { planRemoval, removeChannels, type PlanRemovalOptions, type RemoveChannelsOptions } from 'sparsifier/removal';
import { describe, expect, test } from 'vitest';
import { channelsGraph, channelsModel, withoutRows, type ChannelsOptions } from '../support/dead-channels.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';
import { withModel } from '../support/onnx-model.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// What `planRemoval` says and what `removeChannels` makes. That outputs stay the same is tested with ONNX Runtime.

const dead = { first: [1, 4, 5, 15], second: [0, 7, 8] } as const;

/** The plan of a network. */
const planned = (options: ChannelsOptions, asked?: PlanRemovalOptions) =>
  withModel(channelsModel(options), (read) => planRemoval(read, asked));

/** The new model of a network with its report, which closes with the old one. */
async function removed<Result>(
  bytes: Uint8Array,
  use: (small: FileModel, made: Awaited<ReturnType<typeof removeChannels>>) => Result | Promise<Result>,
  { flushSubnormals, ...asked }: PlanRemovalOptions & RemoveChannelsOptions = { roundTo: 1 },
): Promise<Result> {
  return withModel(bytes, async (read) => {
    const made = await removeChannels(read, await planRemoval(read, asked), { flushSubnormals });
    using small = made.model;
    return await use(small, made);
  });
}

describe('a plan', () => {
  test('A plan counts the channels of each group, and says which go', async () => {
    const { groups, parameters, touchable, blocked, notes } = await planned(dead, { roundTo: 1 });
    expect(groups).toMatchObject([
      { name: 'conv1', layers: ['conv1'], channels: 16, dead: 4, exact: 4, kept: 12, removed: [1, 4, 5, 15] },
      { name: 'conv2', layers: ['conv2'], channels: 24, dead: 3, exact: 3, kept: 21, removed: [0, 7, 8] },
    ]);
    // Of each layer: the outputs that stay times the inputs that do, and the biases.
    expect(parameters).toEqual({
      before: 16 * 28 + 24 * 145 + 5 * 25,
      after: 12 * 28 + 21 * (12 * 9 + 1) + 5 * 22,
    });
    // All but the bias of the last layer.
    expect(touchable).toBeCloseTo(1 - 5 / parameters.before, 12);
    expect(blocked).toEqual([{ by: 'an output of the model', layers: ['dense'], channels: 5, dead: 0, parameters: 0 }]);
    expect(notes).toEqual([]);
  });

  test.each([
    [8, [16, 24], 0],
    [4, [12, 24], 4],
    [3, [12, 21], 7],
    [100, [16, 24], 0],
  ])('With roundTo %i a multiple of it stays, or all channels', async (roundTo, kept, count) => {
    const { groups } = await planned(dead, { roundTo });
    expect(groups.map((group) => group.kept)).toEqual(kept);
    expect(groups.flatMap((group) => group.removed)).toHaveLength(count);
    for (const { channels, dead, exact, kept, reasons } of groups) {
      expect(exact).toBe(dead);
      expect(reasons.reduce((sum, each) => sum + each.channels, 0)).toBe(kept);
      const rounded = reasons.find(({ reason }) => reason.includes('rounding'))?.channels ?? 0;
      expect(rounded).toBe(dead - (channels - kept));
    }
  });

  test('By default eights of channels stay', async () => {
    expect(await planned(dead)).toMatchObject({ options: { inputShapes: {}, protect: [], roundTo: 8 } });
  });

  test('A constant that padding keeps from being folded is carried by one channel, which stays', async () => {
    const { groups } = await planned({ ...dead, biases: false }, { roundTo: 1 });
    // Of the biases of the four dead filters, Relu makes those below 0 to 0.
    const biases = new Float32Array(mixedNumbers(16, 2).buffer);
    const constants = dead.first.filter((index) => biases[index]! > 0).length;
    expect(constants).toBeGreaterThan(1);
    expect(groups[0]).toMatchObject({ dead: 4, exact: 3, kept: 13 });
    expect(groups[0]!.reasons).toContainEqual({
      reason: 'they carry the constants of others into a padded convolution',
      channels: 1,
      isDead: true,
    });
    expect(groups[1]).toMatchObject({ dead: 3, exact: 3, kept: 21 });
  });

  test('One channel of a layer stays even if all are dead', async () => {
    const all = Array.from({ length: 16 }, (_, index) => index);
    const { groups } = await planned({ first: all }, { roundTo: 1 });
    expect(groups[0]).toMatchObject({ dead: 16, exact: 15, kept: 1 });
    expect(groups[0]!.reasons).toEqual([{ reason: 'one channel has to stay', channels: 1, isDead: true }]);
  });

  test.each([
    ['a layer', 'conv1'],
    ['a tensor', 'b1'],
    ['a value', 'r1'],
    ['a glob', '*1'],
  ])('The channels of %s that is protected stay', async (_, protect) => {
    const { groups, blocked } = await planned(dead, { roundTo: 1, protect });
    expect(groups.map(({ name }) => name)).toEqual(['conv2']);
    expect(blocked[0]).toEqual({ by: 'it is protected', layers: ['conv1'], channels: 16, dead: 4, parameters: 4 * 27 });
  });

  test('Channels of constants that are inputs stay, and a note says so', async () => {
    const graph = channelsGraph(dead);
    const inputs = { ...graph.inputs, w1: [16, 3, 3, 3], b1: [16] };
    const plan = await withModel(model({ ...graph, inputs }, 13), (read) => planRemoval(read, { roundTo: 1 }));
    expect(plan.notes).toEqual([
      'the channels of w1 and 1 more stay: callers may give other numbers, since they are inputs of the model. ' +
        'They may go once the file no longer lists them as inputs',
    ]);
    expect(plan.groups).toMatchObject([{ name: 'conv2' }]);
  });

  test('What would pay most if it were lifted comes first', async () => {
    const graph = channelsGraph(dead);
    const nodes = [...graph.nodes, node('Softmax', 'r1', 's'), node('MyOwn', 'r2', 'o', { domain: 'my.own' })];
    const plan = await withModel(model({ ...graph, nodes }, 13), (read) => planRemoval(read, { roundTo: 1 }));
    // Three filters of 144 weights, and none of another layer: Softmax goes over the last axis, not over channels.
    expect(plan.blocked[0]).toEqual({
      by: 'my.own.MyOwn',
      layers: ['conv2'],
      channels: 24,
      dead: 3,
      parameters: 3 * 144,
    });
    expect(plan.groups).toMatchObject([{ name: 'conv1', kept: 12 }]);
    expect(plan.notes).toEqual(['channels that my.own.MyOwn touches stay: there is no rule for it']);
  });

  test('A plan prints its groups and what stays', async () => {
    const plan = await planned(dead, { roundTo: 4 });
    expect(plan.table()).toBe(
      [
        '4 of 40 channels in 2 groups go, 4,053 -> 3,077 parameters (75.92 %)',
        '',
        'channels of  layers  channels  dead  exact  kept',
        '------------------------------------------------',
        'conv1             1        16     4      4    12',
        'conv2             1        24     3      3    24',
        '',
        'dead channels that stay:',
        '  3 channels of conv2: rounding keeps them',
        '',
        'channels that cannot go:',
        '  an output of the model keeps 5 channels of dense',
        '',
        '99.88 % of the parameters lie on channels that can go',
      ].join('\n'),
    );
    expect(String(plan)).toBe(plan.table());
    expect(plan.table({ layers: false })).not.toContain('conv1');
  });

  test('A plan leaves the model as it is', async () => {
    const bytes = channelsModel(dead);
    await withModel(bytes, async (read) => {
      const plan = await planRemoval(read, { roundTo: 1 });
      expect(await read.bytes()).toEqual(bytes);
      expect(await planRemoval(read, { roundTo: 1 })).toEqual(plan);
    });
  });
});

describe('a new model', () => {
  test('The old model stays as it is, and the new one has the weights that stay', async () => {
    const bytes = channelsModel(dead);
    await withModel(bytes, async (read) => {
      const { model: small } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
      using closing = small;
      expect(await read.bytes()).toEqual(bytes);
      expect(closing.tensors.map(({ name, shape }) => [name, shape])).toEqual([
        ['conv1', [12, 3, 3, 3]],
        ['conv2', [21, 12, 3, 3]],
        ['dense', [21, 5]],
      ]);
      const numbers = async (of: FileModel, layer: number) => {
        const copied = await of.copy(of.tensors[layer]!.values);
        return new Float32Array(copied.buffer, copied.byteOffset, copied.length / 4);
      };
      const [before, after] = [await numbers(read, 1), await numbers(closing, 1)];
      const keeps = (gone: readonly number[], size: number) =>
        Array.from({ length: size }, (_, index) => index).filter((index) => !gone.includes(index));
      const expected = keeps(dead.second, 24).flatMap((out) =>
        keeps(dead.first, 16).flatMap((input) => [
          ...before.subarray((out * 16 + input) * 9, (out * 16 + input + 1) * 9),
        ]),
      );
      expect([...after]).toEqual(expected);
    });
    await expectNoMemoryInUse();
  });

  test('The report says which indices of each tensor stayed', async () => {
    await removed(channelsModel(dead), (_, { report }) => {
      const kept1 = [0, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14];
      const kept2 = Array.from({ length: 24 }, (_, index) => index).filter((index) => ![0, 7, 8].includes(index));
      expect(report.indexMap).toEqual([
        {
          tensor: 'w1',
          from: 'w1',
          before: [16, 3, 3, 3],
          after: [12, 3, 3, 3],
          kept: [kept1, undefined, undefined, undefined],
        },
        { tensor: 'b1', from: 'b1', before: [16], after: [12], kept: [kept1] },
        {
          tensor: 'w2',
          from: 'w2',
          before: [24, 16, 3, 3],
          after: [21, 12, 3, 3],
          kept: [kept2, kept1, undefined, undefined],
        },
        { tensor: 'b2', from: 'b2', before: [24], after: [21], kept: [kept2] },
        { tensor: 'w3', from: 'w3', before: [24, 5], after: [21, 5], kept: [kept2, undefined] },
      ]);
    });
  });

  test('The report gives the bytes of all files, and what they take compressed', async () => {
    const bytes = channelsModel(dead);
    await removed(bytes, async (small, { report }) => {
      const after = (await small.bytes()).length;
      expect(report.bytes).toEqual({ before: bytes.length, after });
      expect((await report.sizes()).raw).toBe(after);
      expect(report.table()).toContain('7 of 40 channels in 2 groups go');
      expect(report).toMatchObject({
        folded: 0,
        carriers: 0,
        copies: 0,
        frozen: 0,
        subnormals: 0,
        verification: undefined,
      });
    });
  });

  test('Constants go to the bias of the next layer, and the report counts it', async () => {
    await removed(channelsModel({ second: dead.second, biases: false }), (_, { report }) => {
      expect(report.groups.map(({ kept }) => kept)).toEqual([16, 21]);
      expect(report).toMatchObject({ folded: 1, carriers: 0 });
    });
  });

  test('A model without dead channels gives the same bytes', async () => {
    const bytes = channelsModel();
    await removed(bytes, async (small, { report }) => {
      expect(await small.bytes()).toEqual(bytes);
      expect(report.indexMap).toEqual([]);
      expect(report.table()).toContain('nothing goes: no channel is dead');
    });
  });

  test('A second removal changes nothing', async () => {
    const once = await removed(channelsModel({ ...dead, biases: false }), (small) => small.bytes());
    const twice = await removed(once, (small) => small.bytes());
    expect(twice).toEqual(once);
  });

  test('Masks in memory count as those of a file', async () => {
    await withModel(channelsModel(), async (read) => {
      await new Sparsifier(read, { granularity: 'filter', context: 'local' }).sparsifyModel({ conv1: 25, conv2: 25 });
      const { model: small, report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
      using closing = small;
      expect(report.groups.map(({ kept }) => kept)).toEqual([12, 18]);
      expect(await closing.bytes()).toEqual(await removed(await read.bytes(), (other) => other.bytes()));
    });
  });

  test('Data in another file stay there', async () => {
    const graph = channelsGraph(dead);
    const weights = withoutRows(16, 27, 1, dead.first);
    const external = tensor('w1', [16, 3, 3, 3], {
      external: { location: 'w.bin', offset: 0, length: weights.length },
    });
    const bytes = model({ ...graph, initializers: [external, ...graph.initializers.slice(1)] }, 13);
    using read = await readOnnx(bytes, { external: () => new Blob([weights]) });
    const { model: small, report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
    using closing = small;
    const files = await closing.toFiles();
    expect(Array.from(files, ([name, { length }]) => [name, length]).slice(1)).toEqual([['w.bin', 12 * 27 * 4]]);
    expect(report.bytes.after).toBe([...files.values()].reduce((sum, { length }) => sum + length, 0));
    // The other numbers are those of a model with all data in one file.
    const whole = await removed(channelsModel(dead), (other) => other.copy(other.tensors[0]!.values));
    expect(await closing.copy(closing.tensors[0]!.values)).toEqual(whole);
  });

  test('Subnormal weights are counted, and become 0 only if asked for', async () => {
    const numbers = new Float32Array(withoutRows(16, 27, 1, dead.first).buffer);
    numbers.set([1e-40, -1e-45, 2 ** -126], 0);
    const graph = channelsGraph(dead);
    const first = tensor('w1', [16, 3, 3, 3], { data: new Uint8Array(numbers.buffer) });
    const bytes = model({ ...graph, initializers: [first, ...graph.initializers.slice(1)] }, 13);
    const startOf = async (small: FileModel) => [
      ...new Float32Array((await small.copy(small.tensors[0]!.values)).slice(0, 12).buffer),
    ];
    await removed(bytes, async (small, { report }) => {
      expect(report.subnormals).toBe(2);
      expect(report.notes.join()).toContain('2 weights are not 0 but below the smallest normal float');
      expect(await startOf(small)).toEqual([...numbers.subarray(0, 3)]);
    });
    await removed(
      bytes,
      async (small, { report }) => {
        expect(report).toMatchObject({ subnormals: 0, notes: [] });
        expect(await startOf(small)).toEqual([0, 0, 2 ** -126]);
      },
      { roundTo: 1, flushSubnormals: true },
    );
  });
});

describe('axes of any size', () => {
  const shape = ['batch', 3, 'height', 'width'];

  test('A network is followed for two sizes of each, none of which the file has', async () => {
    const { followed, groups, notes } = await planned({ ...dead, shape }, { roundTo: 1 });
    // 3, 5, 9, 16 and 24 are sizes of the file.
    expect(followed).toEqual([{ x: [2, 3, 128, 192] }, { x: [4, 3, 320, 256] }]);
    expect(groups.map(({ kept }) => kept)).toEqual([12, 21]);
    expect(notes.join()).toContain('x [2, 3, 128, 192] and as x [4, 3, 320, 256]');
  });

  test('Shapes that are given are used alone', async () => {
    const options = { roundTo: 1, inputShapes: { x: [1, 3, 10, 12] } };
    const { followed, groups, notes } = await planned({ ...dead, shape }, options);
    expect(followed).toEqual([{ x: [1, 3, 10, 12] }]);
    expect(groups.map(({ kept }) => kept)).toEqual([12, 21]);
    expect(notes).toEqual([]);
  });

  test('A network that is not for the sizes that were tried asks for those of its inputs', async () => {
    // The dense layer fits only inputs of 6 x 6.
    const bytes = model(
      {
        nodes: [node('Conv', 'x w', 'c'), node('Flatten', 'c', 'f'), node('Gemm', 'f v', 'y')],
        initializers: [tensor('w', [8, 3, 3, 3]), tensor('v', [128, 5])],
        inputs: { x: { shape: [1, 3, 'h', 'w'] } },
        outputs: { y: { shape: [1, 5] } },
      },
      13,
    );
    await withModel(bytes, async (read) => {
      const error = await errorOf(() => planRemoval(read));
      expect(error).toMatchObject({ code: 'usage' });
      expect(error.message).toBe(
        'the channels cannot be followed without the sizes of the inputs. found: x [1, 3, h, w]; Gemm: its factors do not fit. ' +
          'Give the shapes of the inputs with `inputShapes`.',
      );
      expect((await planRemoval(read, { inputShapes: { x: [1, 3, 6, 6] } })).groups).toMatchObject([{ channels: 8 }]);
    });
  });

  test.each<[string, PlanRemovalOptions['inputShapes'], string]>([
    ['an unknown input', { z: [1] }, 'the model has no such input. given: z. allowed: x [batch, 3, height, width].'],
    [
      'another number of axes',
      { x: [1, 3, 10] },
      'x: the shape does not fit. given: [1, 3, 10]. allowed: x [batch, 3, height, width].',
    ],
    [
      'another size of a fixed axis',
      { x: [1, 4, 10, 10] },
      'x: the shape does not fit. given: [1, 4, 10, 10]. allowed: x [batch, 3, height, width].',
    ],
    [
      'a size that is none',
      { x: [1, 3, 0, 10] },
      'x: `inputShapes` are lists of sizes by the names of inputs. given: [1,3,0,10]. Give each input a list of sizes of at least 1.',
    ],
  ])('Shapes of %s are refused', async (_, inputShapes, message) => {
    const error = await errorOf(() => planned({ ...dead, shape }, { inputShapes }));
    expect({ code: error.code, message: error.message }).toEqual({ code: 'usage', message });
  });
});

describe('what is refused', () => {
  test.each<[string, unknown, string]>([
    [
      'an unknown option',
      { round: 8 },
      'unknown option. given: round. allowed: inputShapes, protect, roundTo, signal, onProgress. Did you mean roundTo?',
    ],
    ['a rounding of 0', { roundTo: 0 }, '`roundTo` is a whole number above 0. given: 0. found: Number.'],
    [
      'a rounding that is not whole',
      { roundTo: 1.5 },
      '`roundTo` is a whole number above 0. given: 1.5. found: Number.',
    ],
    ['a number to protect', { protect: 3 }, '`protect` is a name or a glob, or a list of them. given: 3.'],
  ])('A plan refuses %s', async (_, options, message) => {
    const error = await errorOf(() => planned(dead, options as object));
    expect({ code: error.code, message: error.message }).toEqual({ code: 'usage', message });
  });

  test('A plan refuses to protect what is not there', async () => {
    const error = await errorOf(() => planned(dead, { protect: 'conv3' }));
    expect({ code: error.code, message: error.message }).toEqual({
      code: 'layer',
      message:
        'no layer, tensor or value has this name or matches this glob. given: conv3. allowed: conv1, conv2, dense. Did you mean conv1 or conv2?',
    });
  });

  test('Other formats are refused', async () => {
    using stored = await readSafetensors(safetensorsFile({ w: [4, 4] }));
    const arrays = fromArrays({ w: { kind: 'dense', roles: ['out', 'in'], shape: [1, 1], data: new Float32Array(1) } });
    for (const [read, found] of [
      [stored, 'safetensors model'],
      [arrays as unknown as FileModel, 'a model that was not read from files'],
    ] as const) {
      const message = `channels can be removed from ONNX and TensorFlow.js models that were read from files. found: ${found}. allowed: ONNX, TensorFlow.js.`;
      expect(await errorOf(() => planRemoval(read))).toMatchObject({ code: 'usage', message });
      expect(await errorOf(() => removeChannels(read))).toMatchObject({ code: 'usage', message });
    }
  });

  test('Options in place of a plan are refused', async () => {
    await withModel(channelsModel(dead), async (read) => {
      const error = await errorOf(() => removeChannels(read, { roundTo: 1 } as never));
      expect(error).toMatchObject({ code: 'usage' });
      expect(error.message).toContain('the second argument must be a plan. found: Object.');
      expect(await errorOf(() => removeChannels(read, undefined, { verify: {} as never }))).toMatchObject({
        code: 'usage',
        message: expect.stringContaining('`verify` needs a function `createSession`') as string,
      });
    });
  });

  test('The plan of a model that has changed since is refused', async () => {
    await withModel(channelsModel(dead), async (read) => {
      const plan = await planRemoval(read, { roundTo: 1 });
      await new Sparsifier(read, { granularity: 'filter', context: 'local' }).sparsifyModel({ conv1: 50 });
      const error = await errorOf(() => removeChannels(read, plan));
      expect({ code: error.code, message: error.message }).toEqual({
        code: 'usage',
        message:
          'the plan is not that of the model as it is now. Make a new plan once all weights are as they should be.',
      });
    });
    await expectNoMemoryInUse();
  });

  test('So is one that was made while weights were in use that have changed since', async () => {
    await withModel(channelsModel(dead), async (read) => {
      const engine = await loadEngine();
      const conv = read.tensors.find(({ name }) => name === 'conv1')!;
      const region = await read.load(engine, conv.values);
      const plan = await planRemoval(read, { roundTo: 1 });
      await region.block.write(new Uint8Array(region.bytes).fill(1), region.offset);
      expect(await errorOf(() => removeChannels(read, plan))).toMatchObject({ code: 'usage' });
      region.release();
      expect(await errorOf(() => removeChannels(read, plan))).toMatchObject({ code: 'usage' });
    });
    await expectNoMemoryInUse();
  });

  test('A plan holds after calls that change nothing', async () => {
    await withModel(channelsModel(dead), async (read) => {
      const plan = await planRemoval(read, { roundTo: 1 });
      const engine = await loadEngine();
      (await read.load(engine, read.tensors[0]!.values)).release();
      await new Sparsifier(read, { granularity: 'weight', context: 'local' }).sparsifyModel(0);
      const { model: small, report } = await removeChannels(read, plan);
      using made = small;
      expect(made.weights).toBeLessThan(read.weights);
      expect(report.groups.map(({ removed }) => removed)).toEqual(plan.groups.map(({ removed }) => removed));
    });
  });

  test('A call ends with the reason of its signal, and says how far it has come', async () => {
    await withModel(channelsModel(dead), async (read) => {
      const reason = new Error('enough');
      await expect(planRemoval(read, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const controller = new AbortController();
      const stages: string[] = [];
      const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }) => {
        stages.push(stage);
        expect(done).toBeLessThanOrEqual(total);
        if (stage === 'write') controller.abort(reason);
      };
      await expect(removeChannels(read, undefined, { signal: controller.signal, onProgress })).rejects.toBe(reason);
      expect(new Set(stages)).toEqual(new Set(['load', 'write']));
    });
    await expectNoMemoryInUse();
  });
});

describe('verification', () => {
  /** Sessions whose output is `values`, one for each session in turn. */
  const sessionsOf = (...values: readonly (readonly number[])[]) => {
    const options: unknown[] = [];
    const createSession = async (_: Uint8Array, files: object) => {
      const data = Float32Array.from(values[options.length]!);
      options.push((files as { graphOptimizationLevel?: string }).graphOptimizationLevel);
      return {
        inputMetadata: [{ name: 'x', isTensor: true, type: 'float32', shape: [1, 3, 10, 10] }],
        run: async () => ({ y: { type: 'float32', dims: [1, data.length], data } }),
      };
    };
    return { createSession, options };
  };
  const verified = (...values: readonly (readonly number[])[]) => {
    const { createSession, options } = sessionsOf(...values);
    return withModel(channelsModel(dead), async (read) => {
      const { model: small, report } = await removeChannels(read, undefined, { verify: { createSession } });
      small.close();
      return { ...report.verification, options };
    });
  };

  test('The limit is twice the noise of the runtime, or a millionth of the largest number', async () => {
    // With optimisations, without them, and the new model without them.
    expect(await verified([4, 1.25], [4, 1], [4, 1.5])).toEqual({
      runs: 1,
      outputs: [{ name: 'y', difference: 0.5, limit: 0.5, noise: 0.25 }],
      options: [undefined, 'disabled', 'disabled'],
    });
    expect((await verified([4, 1], [4, 1], [4, 1])).outputs).toEqual([
      { name: 'y', difference: 0, limit: 4e-6, noise: 0 },
    ]);
  });

  test.each([
    ['differs by more', [4, 1.5 + 2 ** -20]],
    ['is not finite', [4, NaN]],
    ['has another shape', [4]],
  ])('A new model whose output %s is an error', async (_, values) => {
    const error = await errorOf(() => verified([4, 1.25], [4, 1], values));
    expect(error).toMatchObject({ code: 'format' });
    expect(error.message).toContain('the model without its channels is wrong: its output y differs');
    await expectNoMemoryInUse();
  });
});
