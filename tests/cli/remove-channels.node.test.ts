import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { Sparsifier } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { channelsGraph, channelsModel } from '../support/dead-channels.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { model, node } from '../support/onnx-builder.js';
import { filesOf, floats, jsonOf, textOf } from '../support/tfjs.js';

// Removal of channels on the command line gives what the library gives.

const dead = { first: [1, 4, 5, 15], second: [0, 7, 8], biases: false } as const;
const masked = channelsModel(dead);
const graph = channelsGraph(dead);
/** A model that onnxruntime does not load. */
const strange = model({ ...graph, nodes: [...graph.nodes, node('MyOwn', 'y', 'z', { domain: 'my.own' })] }, 13);
const unsized = channelsModel({ shape: ['batch', 'channels', 'height', 'width'] });
const inFolder = foldersWith({
  'model.onnx': masked,
  'dense.onnx': channelsModel(),
  'open.onnx': channelsModel({ ...dead, shape: ['batch', 3, 'height', 'width'] }),
  'strange.onnx': strange,
  'unsized.onnx': unsized,
});
const bytesIn = async (name: string) => new Uint8Array(await readFile(at(name)));
const inJson = (value: unknown) => JSON.parse(JSON.stringify(value)) as object;

/** What the library makes of the model. */
async function made(roundTo: number) {
  using read = await readOnnx(masked);
  const plan = await planRemoval(read, { roundTo });
  const { model: small, report } = await removeChannels(read, plan);
  using closing = small;
  return { bytes: await closing.bytes(), plan, report };
}

test(
  'The command writes what the library makes, and compares it with the input',
  inFolder(async () => {
    const { bytes, report } = await made(4);
    const text = await printed('remove-channels', 'model.onnx', '-o', 'small.onnx', '--round-to', '4');
    expect(await bytesIn('small.onnx')).toEqual(bytes);
    const [start, end] = text.split('\n\nverified:\n');
    expect(start).toBe(report.table());
    expect(end).toMatch(
      /^ {2}output y differs by at most [\d.e-]+; up to [\d.e-]+ is rounding\n\nwritten: small\.onnx\n$/,
    );
  }),
);

test(
  'The new model computes what the model computes',
  inFolder(async () => {
    await printed('remove-channels', 'model.onnx', '-o', 'small.onnx', '--round-to', '1');
    const data = Float32Array.from({ length: 600 }, (_, index) => Math.sin(index));
    const outputs = await Promise.all(
      ['model.onnx', 'small.onnx'].map(async (name) => {
        const session = await ort.InferenceSession.create(at(name), { logSeverityLevel: 3 });
        return (await session.run({ x: new ort.Tensor('float32', data.subarray(0, 300), [1, 3, 10, 10]) }))['y']!.data;
      }),
    );
    const [before, after] = outputs as [Float32Array, Float32Array];
    const largest = Math.max(...before.map(Math.abs));
    expect(largest).toBeGreaterThan(0.01);
    for (const [index, number] of before.entries())
      expect(Math.abs(number - after[index]!)).toBeLessThan(1e-5 * largest);
    expect((await bytesIn('small.onnx')).length).toBeLessThan(0.8 * masked.length);
  }),
);

test(
  'As JSON the command prints the report of the library',
  inFolder(async () => {
    const { report } = await made(1);
    const words = ['remove-channels', 'model.onnx', '-o', 'small.onnx', '--round-to', '1', '--json'];
    const found = JSON.parse(await printed(...words, '--sizes')) as { verification: { outputs: { name: string }[] } };
    expect(found).toMatchObject({ ...inJson(report), out: 'small.onnx', sizes: { raw: report.bytes.after } });
    expect(found.verification.outputs.map(({ name }) => name)).toEqual(['y']);
    const unverified = JSON.parse(await printed(...words, '--force', '--no-verify')) as object;
    expect(unverified).toEqual({ ...inJson(report), notVerified: 'it was not asked for', out: 'small.onnx' });
  }),
);

test(
  'A dry run prints the plan and writes nothing',
  inFolder(async () => {
    const { plan } = await made(4);
    const words = ['remove-channels', 'model.onnx', '--dry-run', '--round-to', '4'];
    expect(await printed(...words, '-o', 'small.onnx')).toBe(`${plan.table()}\n`);
    expect(JSON.parse(await printed(...words, '--json'))).toEqual(inJson(plan));
    await expect(bytesIn('small.onnx')).rejects.toThrow('ENOENT');
  }),
);

test(
  'If nothing can go, the command says why and writes the model as it is',
  inFolder(async () => {
    const text = await printed('remove-channels', 'dense.onnx', '-o', 'small.onnx');
    expect(text).toContain('0 of 40 channels in 2 groups go');
    expect(text).toContain('nothing goes: no channel is dead');
    expect(await bytesIn('small.onnx')).toEqual(await bytesIn('dense.onnx'));
  }),
);

test(
  'Shapes of inputs and layers to protect are given on the command line',
  inFolder(async () => {
    const words = ['remove-channels', 'open.onnx', '--dry-run', '--json', '--round-to', '1'];
    const inputShapes = { x: [1, 3, 10, 12] };
    const plan = JSON.parse(
      await printed(...words, '--input', 'x:1,3,10,12', '--protect', 'conv1', '--protect', 'r2'),
    ) as object;
    expect(plan).toMatchObject({
      options: { inputShapes, protect: ['conv1', 'r2'], roundTo: 1 },
      groups: [],
      followed: [inputShapes],
    });
    const open = await printed('remove-channels', 'open.onnx', '--dry-run');
    expect(open).toContain('more may go for inputs of one shape, given with --input');
  }),
);

test(
  'Without onnxruntime-node the model is not compared, unless that is asked for',
  inFolder(async () => {
    const text = await printed('remove-channels', 'model.onnx', '-o', 'small.onnx');
    expect(text).toContain('not verified: for that, run npm install onnxruntime-node in this folder\n');
    const { code, stderr } = await sparsifier('remove-channels', 'model.onnx', '-o', 'other.onnx', '--verify');
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr:
        'sparsifier: --verify needs the package onnxruntime-node. Run npm install onnxruntime-node in this folder.\n',
    });
    await expect(bytesIn('other.onnx')).rejects.toThrow('ENOENT');
  }, []),
);

test(
  'A model that cannot be run is only an error if it was to be compared',
  inFolder(async () => {
    const text = await printed('remove-channels', 'strange.onnx', '-o', 'small.onnx');
    expect(text).toContain('not verified: strange.onnx: onnxruntime-node cannot load the model.');
    const { code, stderr } = await sparsifier('remove-channels', 'strange.onnx', '-o', 'other.onnx', '--verify');
    expect(code).toBe(1);
    expect(stderr).toContain('onnxruntime-node cannot load the model');
  }),
);

test.each<[string, string[], number, string]>([
  [
    'no output',
    [],
    2,
    '-o, --out <file> must be given. Such as: sparsifier remove-channels pruned.onnx -o small.onnx.',
  ],
  ['the input as output', ['-o', 'model.onnx', '--force'], 1, 'model.onnx'],
  [
    'a rounding of 0',
    ['--dry-run', '--round-to', '0'],
    2,
    '--round-to is a whole number above 0. given: 0. found: Number.',
  ],
  [
    'an unknown input',
    ['--dry-run', '--input', 'z:1'],
    2,
    'the model has no such input. given: z. allowed: x [1, 3, 10, 10].',
  ],
  [
    'nothing to protect',
    ['--dry-run', '--protect', 'z'],
    1,
    'no layer, tensor or value has this name or matches this glob. given: z.',
  ],
])('%s is refused', (_, words, code, message) =>
  inFolder(async () => {
    const ended = await sparsifier('remove-channels', 'model.onnx', ...words);
    expect(ended.code).toBe(code);
    expect(ended.stderr).toContain(message);
    expect(await bytesIn('model.onnx')).toEqual(masked);
  })(),
);

test(
  'A model of another format is refused',
  inFolder(async () => {
    await writeFile(at('w.safetensors'), Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')]));
    const { code, stderr } = await sparsifier('remove-channels', 'w.safetensors', '--dry-run');
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr:
        'sparsifier: channels can be removed from ONNX and TensorFlow.js models that were read from files. found: safetensors model. ' +
        'allowed: ONNX, TensorFlow.js.\n',
    });
  }),
);

test(
  'A TensorFlow.js model gets smaller, too, and is compared where TensorFlow.js is found',
  inFolder(async () => {
    const numbers = (count: number, dead: readonly number[], size: number) =>
      floats(...Array.from({ length: count }, (_, at) => (dead.includes(at % size) ? 0 : Math.sin(at + 1))));
    const layers = [
      { class_name: 'Dense', config: { name: 'a', units: 8, activation: 'relu', batch_input_shape: [null, 5] } },
      { class_name: 'Dense', config: { name: 'b', units: 2 } },
    ];
    const { json, shards } = filesOf({ class_name: 'Sequential', config: { name: 's', layers } }, [
      { name: 'a/kernel', shape: [5, 8], dtype: 'float32', bytes: numbers(40, [1, 6], 8) },
      { name: 'a/bias', shape: [8], dtype: 'float32', bytes: numbers(8, [], 8) },
      { name: 'b/kernel', shape: [8, 2], dtype: 'float32', bytes: numbers(16, [], 2) },
      { name: 'b/bias', shape: [2], dtype: 'float32', bytes: numbers(2, [], 2) },
    ]);
    await mkdir(at('small'));
    await writeFile(at('model.json'), textOf(json));
    for (const [name, bytes] of shards) await writeFile(at(name), bytes);
    const words = ['remove-channels', 'model.json', '-o', 'small/', '--round-to', '1'];
    const text = await printed(...words);
    expect(text).toContain('2 of 8 channels in 1 group go, 66 -> 50 parameters');
    expect(text).toMatch(/verified:\n {2}output b differs by at most [\d.e-]+; up to [\d.e-]+ is rounding/);
    const { modelTopology } = jsonOf(await bytesIn('small/model.json')) as unknown as { modelTopology: object };
    expect(JSON.stringify(modelTopology)).toBe(
      JSON.stringify({ class_name: 'Sequential', config: { name: 's', layers } }).replace('"units":8', '"units":6'),
    );
    await rm(at('node_modules'), { recursive: true });
    expect(await printed(...words, '--force')).toContain(
      'not verified: for that, run npm install @tensorflow/tfjs in this folder',
    );
    const { code, stderr } = await sparsifier(...words, '--force', '--verify');
    expect([code, stderr]).toEqual([2, expect.stringContaining('--verify needs the package @tensorflow/tfjs')]);
  }, ['@tensorflow/tfjs']),
);

/** Inputs for `model.onnx`, as a module. */
const samples = `
const of = (seed) => Float32Array.from({ length: 300 }, (_, index) => Math.sin(seed * 7 + index * (1 + seed / 3)));
export default () => [1, 2, 3, 4].map((seed) => ({ x: { type: 'float32', data: of(seed), dims: [1, 3, 10, 10] } }));
`;

describe('channels that the command chooses', () => {
  test(
    'prune --coupled takes the shapes of inputs, without which an open graph cannot be followed',
    inFolder(async () => {
      const words = ['prune', 'unsized.onnx', '-s', '50', '-g', 'filter', '--coupled', '-o', 'out.onnx', '--force'];
      const inputShapes = { x: [1, 3, 10, 10] };
      using model = await readOnnx(unsized);
      await new Sparsifier(model, { granularity: 'filter', coupled: { inputShapes } }).sparsifyModel(50);
      const expected = await model.bytes();
      expect(await sparsifier(...words)).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/with --input/) as string,
      });
      for (const more of [[], ['--verify']]) {
        await printed(...words, '--input', 'x:1,3,10,10', ...more);
        expect(await bytesIn('out.onnx')).toEqual(expected);
      }
      const alone = words.filter((word) => word !== '--coupled');
      expect(await sparsifier(...alone, '--input', 'x:1,3,10,10')).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/Add --verify/) as string,
      });
    }),
  );

  test(
    'With -s it chooses what the library chooses, and removes it',
    inFolder(async () => {
      using model = await readOnnx(channelsModel());
      const sparsifier = new Sparsifier(model, { granularity: 'filter', coupled: true });
      const chosen = await sparsifier.sparsifyModel({ 'conv*': 50 }, { roundTo: 4 });
      const { model: small, report } = await removeChannels(model, await planRemoval(model, { roundTo: 4 }));
      using closing = small;
      const words = ['dense.onnx', '-s', 'conv*=50', '-o', 'small.onnx', '--round-to', '4'];
      const text = await printed('remove-channels', ...words);
      expect(await bytesIn('small.onnx')).toEqual(await closing.bytes());
      expect(text.startsWith(`${chosen.table({ layers: false }).split('\n')[0]}\n`)).toBe(true);
      expect(text).toContain(report.table());
      expect(text).toMatch(/verified:\n {2}output y differs by at most/);
      const told = JSON.parse(await printed('remove-channels', ...words, '--force', '--json')) as Record<
        string,
        unknown
      >;
      expect(told['chosen']).toMatchObject({ groups: inJson(chosen.groups), total: inJson(chosen.total) });
      expect(told['groups']).toEqual(inJson(report.groups));
    }),
  );

  test(
    'With --repair the layers that read them are repaired, and the new model is compared with the repaired one',
    inFolder(async () => {
      await writeFile(at('samples.mjs'), samples);
      const words = ['dense.onnx', '-s', '25', '--round-to', '1', '--criteria', 'flap', '--calibrate', 'samples.mjs'];
      const told = JSON.parse(
        await printed('remove-channels', ...words, '--repair', 'solve', '-o', 'small.onnx', '--json'),
      ) as {
        readonly repair: { readonly layers: readonly { readonly name: string; readonly isRepaired: boolean }[] };
        readonly groups: readonly { readonly channels: number; readonly kept: number }[];
        readonly verification: { readonly outputs: readonly unknown[] };
      };
      expect(told.repair.layers.map(({ name }) => name)).toEqual(['conv1', 'conv2', 'dense']);
      expect(told.repair.layers.filter(({ isRepaired }) => isRepaired).map(({ name }) => name)).toContain('conv2');
      expect(told.groups.map(({ channels, kept }) => [channels, kept])).toEqual([
        [16, 12],
        [24, 18],
      ]);
      expect(told.verification.outputs).toHaveLength(1);
      const text = await printed('remove-channels', ...words, '--repair', 'bias', '-o', 'biased.onnx');
      expect(text).toContain('error before');
    }),
  );

  test(
    'A dry run says what would be chosen and what would go, and writes nothing',
    inFolder(async () => {
      const text = await printed('remove-channels', 'dense.onnx', '-s', '50', '--dry-run');
      expect(text).toContain('16 of 40 channels removed');
      expect(text).toMatch(/^16 of 40 channels in 2 groups go/m);
    }),
  );

  test.each<[string[], RegExp, number?]>([
    [['--criteria', 'flap'], /--criteria is for choosing channels\. Add -s 50/],
    [['--no-add-bias'], /--no-add-bias is for choosing channels/],
    [['-s', '50', '--criteria', 'flap'], /needs statistics of the inputs of layers\. Give inputs with --calibrate/],
    [['-s', '50', '--repair', 'solve'], /--repair needs statistics/],
    [['-s', '50', '--criteria', 'movement'], /compares weights with initial ones/],
    [['-s', '50', '--protect', 'conv*'], /no group of channels that can be pruned/, 1],
    [['-s', 'dense=50'], /its output channels have to stay: an output of the model/, 1],
  ])('%j: what is missing or wrong is said', (words, message, expected = 2) =>
    inFolder(async () => {
      const { code, stderr } = await sparsifier('remove-channels', 'dense.onnx', ...words, '-o', 'small.onnx');
      expect(code).toBe(expected);
      expect(stderr).toMatch(message);
    })(),
  );
});
