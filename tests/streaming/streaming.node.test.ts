import { mkdirSync, openAsBlob, truncateSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadEngine, Sparsifier, type Progress, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile, type SparsifyFileOptions } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { namesIn } from '../support/command.js';
import { errorOf, expectNoMemoryInUse, values } from '../support/layers.js';
import { mixedNumbers, model as onnxModel, node, tensor as onnxTensor } from '../support/onnx-builder.js';
import { safetensorsFile, shardedFiles } from '../support/safetensors-builder.js';
import { serve } from '../support/site.js';
import { inMemory, keeping, type Source } from '../support/streams.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
});
afterEach(() => rm(folder, { recursive: true }));

const options: SparsifierOptions = {
  granularity: 'weight',
  context: 'global',
  criteria: 'largeFinal',
  layerType: 'all',
};
const asked: SparsifyFileOptions = { ...options, sparsity: 50 };

const mixed = (shape: readonly number[], seed: number) => ({
  shape,
  data: mixedNumbers(
    shape.reduce((product, size) => product * size, 1),
    seed,
  ),
});
const one: Source = {
  bytes: safetensorsFile(
    { 'a.bias': [9], 'a.weight': mixed([9, 7], 1), 'b.weight': mixed([5, 11], 2) },
    { padding: 3 },
  ),
};
const sharded = shardedFiles({
  'model-1.safetensors': { 'a.bias': [9], 'b.weight': mixed([5, 11], 2) },
  'parts/model-2.safetensors': { 'a.weight': mixed([9, 7], 1) },
});
const shards = sharded.shards as Record<string, Uint8Array<ArrayBuffer>>;
const index = 'model.safetensors.index.json';

async function store(files: Readonly<Record<string, Uint8Array>>): Promise<void> {
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), bytes);
  }
}

async function expectFile(path: string, expected: Uint8Array): Promise<void> {
  expect(differsAt(await readFile(path), expected), path).toBe(-1);
}

describe('a safetensors file', () => {
  beforeEach(() => store({ 'model.safetensors': one.bytes }));

  test.each([
    (path: string) => path,
    (path: string) => pathToFileURL(path),
    (path: string) => pathToFileURL(path).href,
  ])('A model is streamed from a path or a file URL to a path, with the same report as in memory', async (source) => {
    const expected = await inMemory(one, options, 50);
    const report = await sparsifyFile(source(at('model.safetensors')), at('new', 'sparse.safetensors'), asked);
    expect(report).toEqual(expected.report);
    await expectFile(at('new', 'sparse.safetensors'), expected.files['model.safetensors']!);
    await expectFile(at('model.safetensors'), one.bytes);
    expect(await namesIn(folder)).toEqual(['model.safetensors', 'new', 'new/sparse.safetensors']);
    await expectNoMemoryInUse();
  });

  test.each(['', 'http://127.0.0.1/x/sparse.safetensors', 'https://127.0.0.1/x/', 'file:///tmp/sparse.safetensors'])(
    'A model is not written to %j, which is not a path, streamed or in memory',
    async (target) => {
      const streamed = await errorOf(() => sparsifyFile(at('model.safetensors'), target, asked));
      using model = await readModel(at('model.safetensors'));
      const error = await errorOf(() => model.write(target, { force: true }));
      expect(error).toMatchObject({ code: 'usage', message: expect.stringMatching(/written to a path/) });
      expect(streamed.message).toBe(error.message);
    },
  );

  test('A model is streamed to a folder under its own name', async () => {
    await sparsifyFile(at('model.safetensors'), at('there') + '/', asked);
    const expected = await inMemory(one, options, 50);
    await expectFile(at('there', 'model.safetensors'), expected.files['model.safetensors']!);
  });

  test('A model is streamed from a URL, from a Blob of a file, and from bytes', async () => {
    const expected = await inMemory(one, options, 50);
    const site = await serve(folder);
    try {
      const sources = [
        new URL('model.safetensors', site.address),
        await openAsBlob(at('model.safetensors')),
        one.bytes,
        one.bytes.buffer,
      ];
      for (const source of sources) {
        await sparsifyFile(source, at('sparse.safetensors'), { ...asked, force: true });
        await expectFile(at('sparse.safetensors'), expected.files['model.safetensors']!);
      }
    } finally {
      await site.close();
    }
  });

  test('Streaming at 0 % gives the same file', async () => {
    await sparsifyFile(at('model.safetensors'), at('same'), { ...asked, sparsity: 0 });
    await expectFile(at('same'), one.bytes);
  });

  test('An existing file is overwritten only with force, and is an error before any weight is read', async () => {
    await writeFile(at('sparse.safetensors'), 'precious');
    const onProgress = () => {
      throw new Error('too late');
    };
    const run = (force: boolean, more = {}) =>
      sparsifyFile(at('model.safetensors'), at('sparse.safetensors'), { ...asked, ...more, force });
    expect(await errorOf(() => run(false, { onProgress }))).toMatchObject({ code: 'file' });
    expect(await readFile(at('sparse.safetensors'), 'utf8')).toBe('precious');
    await run(true);
    const expected = await inMemory(one, options, 50);
    await expectFile(at('sparse.safetensors'), expected.files['model.safetensors']!);
  });

  test('The input file is never overwritten', async () => {
    await symlink(at('model.safetensors'), at('link.safetensors'));
    for (const target of [at('model.safetensors'), at('link.safetensors'), folder]) {
      const error = await errorOf(() => sparsifyFile(at('model.safetensors'), target, { ...asked, force: true }));
      expect(error).toMatchObject({ code: 'file' });
    }
    await expectFile(at('model.safetensors'), one.bytes);
    expect(await namesIn(folder)).toEqual(['link.safetensors', 'model.safetensors']);
  });

  test.each(['local', 'global'] as const)('An aborted call leaves no files behind, in context %s', async (context) => {
    for (const target of ['sparse.safetensors', join('new', 'folders', 'sparse.safetensors')]) {
      const controller = new AbortController();
      const reason = new Error('enough');
      const onProgress = ({ stage, done }: Progress) => {
        if (stage === 'store' && done > 0) controller.abort(reason);
      };
      const call = { ...asked, context, signal: controller.signal, onProgress };
      await expect(sparsifyFile(at('model.safetensors'), at(target), call)).rejects.toBe(reason);
      expect(await namesIn(folder)).toEqual(['model.safetensors']);
    }
    await expectNoMemoryInUse();
  });

  test.each(['local', 'global'] as const)(
    'A call that fails in the last layer leaves no files behind, in context %s',
    async (context) => {
      const data = values(12, 3);
      data[7] = NaN;
      const bytes = new Uint8Array(data.buffer);
      await store({
        'odd.safetensors': safetensorsFile({ 'a.weight': [9, 7], 'z.weight': { shape: [3, 4], data: bytes } }),
      });
      const error = await errorOf(() => sparsifyFile(at('odd.safetensors'), at('sparse'), { ...asked, context }));
      expect(error).toMatchObject({ code: 'weights', details: { subject: 'z' } });
      expect(await namesIn(folder)).toEqual(['model.safetensors', 'odd.safetensors']);
      await expectNoMemoryInUse();
    },
  );

  test('A file that is truncated during the call is an error, and no files are left behind', async () => {
    const onProgress = ({ stage }: Progress) => {
      if (stage === 'score') truncateSync(at('model.safetensors'), 200);
    };
    const error = await errorOf(() => sparsifyFile(at('model.safetensors'), at('sparse'), { ...asked, onProgress }));
    expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/truncated/) });
    expect(await namesIn(folder)).toEqual(['model.safetensors']);
  });
});

describe('shards', () => {
  beforeEach(() => store({ [index]: sharded.index, ...shards }));

  test('Shards are streamed to a folder with the index, or next to an index of another name', async () => {
    const expected = await inMemory({ bytes: sharded.index, further: shards }, options, 50);
    const report = await sparsifyFile(at(index), at('out') + '/', asked);
    expect(report).toEqual(expected.report);
    await sparsifyFile(at(index), at('other', 'sparse.index.json'), asked);
    for (const [name, bytes] of Object.entries(expected.files)) {
      await expectFile(at('out', name), bytes);
      await expectFile(at('other', name === index ? 'sparse.index.json' : name), bytes);
    }
  });

  test('Shards need a folder, and the input shards are never overwritten', async () => {
    expect(await errorOf(() => sparsifyFile(at(index), at('sparse.safetensors'), asked))).toMatchObject({
      code: 'usage',
    });
    for (const target of [folder, at('sparse.index.json')]) {
      const error = await errorOf(() => sparsifyFile(at(index), target, { ...asked, force: true }));
      expect(error).toMatchObject({ code: 'file' });
    }
    for (const [name, bytes] of Object.entries(shards)) await expectFile(at(name), bytes);
    expect(await namesIn(folder)).toEqual(['model-1.safetensors', index, 'parts', 'parts/model-2.safetensors'].sort());
  });

  test('A missing shard is an error', async () => {
    await rm(at('parts', 'model-2.safetensors'));
    expect(await errorOf(() => sparsifyFile(at(index), at('out') + '/', asked))).toMatchObject({ code: 'file' });
    await expectNoMemoryInUse();
  });

  test.each([false, true])(
    'are written all or none where the index cannot take its name at last, with force %s',
    async (force) => {
      await store({ 'out/model-1.safetensors': Uint8Array.of(1, 2, 3) });
      if (!force) await rm(at('out', 'model-1.safetensors'));
      const before = await namesIn(folder);
      // It comes into being after the call has looked whether it is there.
      const onProgress = ({ stage }: Progress) => {
        if (stage === 'store') mkdirSync(at('out', index), { recursive: true });
      };
      const error = await errorOf(() => sparsifyFile(at(index), at('out') + '/', { ...asked, force, onProgress }));
      expect(error).toMatchObject({ code: 'file' });
      expect(await namesIn(folder)).toEqual([...before, `out/${index}`].sort());
      if (force) await expectFile(at('out', 'model-1.safetensors'), Uint8Array.of(1, 2, 3));
      // Without it the call succeeds, and leaves nothing else there.
      await rm(at('out', index), { recursive: true });
      await sparsifyFile(at(index), at('out') + '/', { ...asked, force });
      const written = ['model-1.safetensors', index, 'parts', 'parts/model-2.safetensors'];
      expect(await namesIn(at('out'))).toEqual(written.sort());
      const expected = await inMemory({ bytes: sharded.index, further: shards }, options, 50);
      for (const [name, bytes] of Object.entries(expected.files)) await expectFile(at('out', name), bytes);
    },
  );
});

describe('ONNX', () => {
  const convolution = (name: string) => node('Conv', `${name}x ${name}w ${name}b`, `${name}y`, { name });
  const external = (location: string, offset: number, length: number) => ({ external: { location, offset, length } });
  const bytes = onnxModel({
    nodes: ['p', 'q'].map(convolution),
    initializers: [
      onnxTensor('pw', [4, 3, 2, 2], external('data/p.bin', 16, 192)),
      onnxTensor('pb', [4], external('data/p.bin', 0, 16)),
      onnxTensor('qw', [3, 2, 3, 3], external('q.bin', 0, 216)),
      onnxTensor('qb', [3]),
    ],
  });
  const further = { 'data/p.bin': mixedNumbers(52, 1), 'q.bin': mixedNumbers(60, 2) };
  beforeEach(() => store({ 'model.onnx': bytes, ...further }));

  test.each([
    ['weight', 'global'],
    ['filter', 'local'],
  ] as const)('External data are named after the output file, pruned by %s', async (granularity, context) => {
    const words = { ...options, granularity, context };
    const { report } = await inMemory({ bytes, further, give: 'external' }, words, 50);
    const streamed = await sparsifyFile(at('model.onnx'), at('out', 'sparse.onnx'), { ...words, sparsity: 50 });
    const written = await Promise.all((await namesIn(at('out'))).map((name) => readFile(at('out', name))));
    // The names of the files are in the model, so it has other bytes than in memory.
    expect(streamed).toEqual({ ...report, bytes: written.reduce((sum, { length }) => sum + length, 0) });
    // What the same call in memory writes.
    using model = await readOnnx(at('model.onnx'));
    await new Sparsifier(model, words).sparsifyModel(50);
    await model.write(at('expected', 'sparse.onnx'));
    for (const name of ['sparse.onnx', 'sparse.onnx.data', 'sparse.onnx.2.data'])
      await expectFile(at('out', name), await readFile(at('expected', name)));
    expect(await namesIn(at('out'))).toEqual(await namesIn(at('expected')));
  });

  test('External data keep their names in a folder', async () => {
    const expected = await inMemory({ bytes, further, give: 'external' }, options, 50);
    await sparsifyFile(at('model.onnx'), at('out') + '/', asked);
    for (const [name, each] of Object.entries(expected.files)) await expectFile(at('out', name), each);
  });

  test.each([
    ['truncated', mixedNumbers(51, 1)],
    ['empty', new Uint8Array(0)],
  ])('External data that are %s are an error before anything is written', async (_, data) => {
    await store({ 'data/p.bin': data });
    const error = await errorOf(() => sparsifyFile(at('model.onnx'), at('out') + '/', asked));
    expect(error).toMatchObject({ code: 'format' });
    expect(await namesIn(folder)).not.toContain('out');
    await expectNoMemoryInUse();
  });
});

test('Streaming a model of many layers takes the memory of one layer', async () => {
  const shape = [512, 512];
  const names = Array.from({ length: 24 }, (_, layer) => `l${layer}.weight`);
  await store({
    'model.safetensors': safetensorsFile(Object.fromEntries(names.map((name, seed) => [name, mixed(shape, seed)]))),
  });
  const engine = await loadEngine();
  let most = 0;
  const onProgress = () => void (most = Math.max(most, engine.memory.bytes));
  await sparsifyFile(at('model.safetensors'), at('sparse.safetensors'), { ...asked, context: 'local', onProgress });
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(1.2 * 4 * 512 * 512);
  await expectNoMemoryInUse();
  const { stream, ...kept } = keeping();
  await sparsifyFile(await openAsBlob(at('model.safetensors')), stream, { ...asked, context: 'local' });
  await expectFile(at('sparse.safetensors'), kept.bytes());
});
