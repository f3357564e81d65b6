import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Sparsifier, type Model, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { calibrate, readStatistics, type Statistics } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { command, namesIn, run } from '../support/command.js';
import { errorOf } from '../support/layers.js';
import { severalFiles } from '../support/several-files.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);

const inFolder = <Folder extends string, File extends string>(
  name: Folder,
  files: Readonly<Record<File, Uint8Array>>,
) =>
  Object.fromEntries(Object.entries(files).map(([file, bytes]) => [`${name}/${file}`, bytes])) as Record<
    `${Folder}/${File}`,
    Uint8Array
  >;
/** Models, each of several files in a folder of its own. */
const onnx = inFolder('onnx', severalFiles.onnx);
const models = {
  'onnx/model.onnx': onnx,
  'safetensors/model.safetensors.index.json': inFolder('safetensors', severalFiles.safetensors),
  'tfjs/model.json': inFolder('tfjs', severalFiles.tfjs),
};
type Name = keyof typeof models;
const names = Object.keys(models) as Name[];
const stored: Readonly<Record<string, Uint8Array>> = Object.assign({}, ...Object.values(models));
const furtherFiles = names.flatMap((name) => Object.keys(models[name]).map((file) => [name, file] as const));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
  for (const [name, bytes] of Object.entries(stored)) {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), bytes);
  }
});
afterEach(() => rm(folder, { recursive: true }));

const read = (name: string): Promise<Model & Disposable & { write(path: string, options?: object): Promise<void> }> =>
  name.endsWith('.onnx')
    ? readOnnx(at(name))
    : name.endsWith('.index.json')
      ? readSafetensors(at(name))
      : readTfjs(at(name));

/** Other ways to say the path of a file, all made. */
async function waysTo(file: string): Promise<string[]> {
  await symlink(at(file), at('symbolic'));
  await symlink('symbolic', at('twice'));
  await link(at(file), at('hard'));
  await symlink(dirname(at(file)), at('linked'));
  return [
    at(file),
    `${folder}/./${dirname(file)}/../${basename(dirname(file))}/${basename(file)}`,
    // Folders that do not exist are made.
    `${folder}/missing/folder/../../${file}`,
    at('symbolic'),
    at('twice'),
    at('hard'),
    at('linked', basename(file)),
  ];
}

async function expectAllStored(): Promise<void> {
  for (const [name, bytes] of Object.entries(stored)) {
    expect(Buffer.compare(await readFile(at(name)), bytes), name).toBe(0);
  }
}

const options: SparsifierOptions = {
  granularity: 'weight',
  context: 'local',
  criteria: 'largeFinal',
  layerType: 'all',
};
const refused = { code: 'file', message: expect.stringMatching(/input file cannot be overwritten/) };

describe('input files, in the library', () => {
  test.each(furtherFiles)('The masks of the model %s are not written over its file %s', async (name, file) => {
    using model = await read(name);
    const sparsifier = new Sparsifier(model, options);
    await sparsifier.sparsifyModel(50);
    for (const way of await waysTo(file)) {
      expect(await errorOf(() => sparsifier.saveMasks(way, { force: true })), way).toMatchObject(refused);
      expect(await errorOf(() => sparsifier.saveMasks(way)), way).toMatchObject(refused);
    }
    await expectAllStored();
  });

  test('Masks are not written over a file that was read by a file URL or from outside the working folder', async () => {
    const before = process.cwd();
    process.chdir(at('onnx'));
    try {
      for (const source of [pathToFileURL(at('onnx', 'model.onnx')), 'model.onnx']) {
        using model = await readOnnx(source);
        const sparsifier = new Sparsifier(model, options);
        await sparsifier.sparsifyModel(50);
        process.chdir(before);
        const file = at('onnx', 'parts', 'w.bin');
        expect(await errorOf(() => sparsifier.saveMasks(file, { force: true }))).toMatchObject(refused);
        process.chdir(at('onnx'));
      }
    } finally {
      process.chdir(before);
    }
    await expectAllStored();
  });

  test.each(furtherFiles)(
    'If a model is compared with %s, its masks are not written over the file %s',
    async (name, file) => {
      using initial = await read(name);
      using model = await readOnnx(onnx['onnx/model.onnx'], { external: () => onnx['onnx/parts/w.bin'] });
      for (const compared of [{ initial }, { previous: initial }]) {
        const sparsifier = new Sparsifier(model, { ...options, ...compared });
        await sparsifier.sparsifyModel(50);
        expect(await errorOf(() => sparsifier.saveMasks(at(file), { force: true }))).toMatchObject(refused);
      }
      await expectAllStored();
    },
  );

  test.each(furtherFiles)(
    'If a model is compared with %s, sparsifyFile does not write over the file %s',
    async (name, file) => {
      using initial = await read(name);
      for (const [other, bytes] of Object.entries(onnx)) {
        await mkdir(dirname(at('other', other)), { recursive: true });
        await writeFile(at('other', other), bytes);
      }
      // Under a name that ends as those of ONNX models may.
      await link(at(file), at('other', 'same'));
      const call = { ...options, initial, sparsity: 50, force: true };
      const target = at('other', 'same');
      expect(await errorOf(() => sparsifyFile(at('other', 'onnx', 'model.onnx'), target, call))).toMatchObject(refused);
      await expectAllStored();
    },
  );

  test('A streamed TensorFlow.js model is not written over files that it is compared with', async () => {
    await mkdir(at('other'));
    for (const [other, bytes] of Object.entries(models['tfjs/model.json'])) {
      await writeFile(at('other', other.replace('tfjs/', '')), bytes);
    }
    using initial = await read('tfjs/model.json');
    const onProgress = () => {
      throw new Error('too late');
    };
    const call = { ...options, initial, sparsity: 50, force: true, onProgress };
    expect(await errorOf(() => sparsifyFile(at('other', 'model.json'), at('tfjs/'), call))).toMatchObject(refused);
    await expectAllStored();
  });

  /** Statistics of the ONNX model. */
  const measured = async (name = 'onnx/model.onnx'): Promise<Statistics> => {
    using model = await readOnnx(at(name));
    const value = { type: 'float32', dims: [1, 3], data: Float32Array.of(1, 2, 3) };
    return await calibrate(model, {
      createSession: async () => ({
        run: async (_, names) => Object.fromEntries(names.map((name) => [name, value])),
      }),
      batches: () => [{}],
    });
  };

  /** Each writes to a path, after it has read a file of masks or statistics. */
  const writers: Readonly<Record<string, (read: string, to: string) => Promise<unknown>>> = {
    'masks over the masks that were loaded': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      const sparsifier = new Sparsifier(model, options);
      await sparsifier.loadMasks(read);
      await sparsifier.saveMasks(to, { force: true });
    },
    'a model over masks that were loaded for it': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      await new Sparsifier(model, options).loadMasks(pathToFileURL(read));
      await model.write(to, { force: true });
    },
    'a quantised model over masks of the model that it was made of': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      await new Sparsifier(model, options).loadMasks(read);
      using small = (await quantize(model)).model;
      await small.write(to, { force: true });
    },
    'statistics over those that were read': async (read, to) => (await readStatistics(read)).write(to, { force: true }),
    'merged statistics over those that were read': async (read, to) => {
      const statistics = (await measured()).merge(await readStatistics(read));
      await statistics.write(to, { force: true });
    },
    'masks over the statistics of a Sparsifier': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      const sparsifier = new Sparsifier(model, { ...options, statistics: await readStatistics(read) });
      await sparsifier.sparsifyModel(50);
      await sparsifier.saveMasks(to, { force: true });
    },
    'a model over the statistics of a Sparsifier': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      void new Sparsifier(model, { ...options, statistics: await readStatistics(read) });
      await model.write(to, { force: true });
    },
    'a quantised model over the statistics that it was made with': async (read, to) => {
      using model = await readOnnx(at('onnx/model.onnx'));
      using small = (await quantize(model, { statistics: await readStatistics(read) })).model;
      await small.write(to, { force: true });
    },
    'a streamed model over statistics': async (read, to) => {
      const call = { ...options, sparsity: 50, force: true, statistics: await readStatistics(read) };
      await sparsifyFile(at('onnx/model.onnx'), to, call);
    },
  };

  test.each(Object.keys(writers))('The library does not write %s', async (name) => {
    const [masks, statistics] = [at('masks'), at('statistics')];
    using model = await readOnnx(at('onnx/model.onnx'));
    const sparsifier = new Sparsifier(model, options);
    await sparsifier.sparsifyModel(50);
    await sparsifier.saveMasks(masks);
    await (await measured()).write(statistics);
    const read = / masks (that|of)/.test(name) ? masks : statistics;
    const before = await readFile(read);
    await link(read, at('hard'));
    await symlink(read, at('symbolic'));
    for (const to of [read, at('hard'), at('symbolic')]) {
      expect(await errorOf(() => writers[name]!(read, to)), to).toMatchObject(refused);
    }
    expect(Buffer.compare(await readFile(read), before)).toBe(0);
    await expectAllStored();
    // Elsewhere it is written.
    await writers[name]!(read, at('elsewhere'));
    await readFile(at('elsewhere'));
  });

  test.each(Object.keys(onnx))(
    'Statistics, and models that are compared or quantised, are not written over %s',
    async (file) => {
      const statistics = await measured();
      expect(await errorOf(() => statistics.write(at(file), { force: true }))).toMatchObject(refused);
      using initial = await readOnnx(at('onnx/model.onnx'));
      using model = await readOnnx(onnx['onnx/model.onnx'], { external: () => onnx['onnx/parts/w.bin'] });
      using small = (await quantize(initial)).model;
      void new Sparsifier(model, { ...options, initial });
      // Under a name that ends as those of ONNX models may.
      await link(at(file), at('same'));
      for (const each of [model, small]) {
        expect(await errorOf(() => each.write(at('same'), { force: true }))).toMatchObject(refused);
      }
      await expectAllStored();
    },
  );

  test('Masks can be written next to a model and over earlier masks', async () => {
    using model = await read('onnx/model.onnx');
    const sparsifier = new Sparsifier(model, options);
    await sparsifier.sparsifyModel(50);
    await sparsifier.saveMasks(at('onnx', 'masks.safetensors'));
    await sparsifier.saveMasks(at('onnx', 'masks.safetensors'), { force: true });
    await expectAllStored();
    expect(await namesIn(at('onnx'))).toEqual(['masks.safetensors', 'model.onnx', 'parts', 'parts/w.bin']);
  });
});

describe('input files, on the command line', () => {
  const prune = (...words: string[]) =>
    run(process.execPath, [command, 'prune', ...words, '-s', '50', '--layer-type', 'all', '--force'], { cwd: folder });
  const masks = ['--save-masks', 'masks.safetensors'];

  async function expectRefused(words: string[], code: number, message: RegExp): Promise<void> {
    const before = await namesIn(folder);
    expect(await prune(...words), words.join(' ')).toMatchObject({ code, stderr: expect.stringMatching(message) });
    expect(await namesIn(folder), words.join(' ')).toEqual(before);
    await expectAllStored();
  }

  test.each(furtherFiles)(
    'With --save-masks, the masks of the model %s are not written over its file %s',
    async (name, file) => {
      const [, , missing, , , hard] = await waysTo(file);
      for (const way of [file, missing!, hard!]) {
        await expectRefused([name, '-o', 'sparse/', '--save-masks', way], 1, /input file cannot be overwritten/);
      }
    },
  );

  test.each([['onnx/model.onnx'], ['onnx/parts/w.bin']])(
    'With --initial, a model is not written over the file %s',
    async (file) => {
      await mkdir(at('other', 'parts'), { recursive: true });
      await writeFile(at('other', 'model.onnx'), stored['onnx/model.onnx']!);
      await writeFile(at('other', 'parts', 'w.bin'), stored['onnx/parts/w.bin']!);
      const words = ['other/model.onnx', '--initial', 'onnx/model.onnx', '--criteria', 'movement'];
      await expectRefused([...words, '-o', file], 1, /input file cannot be overwritten/);
      await expectRefused([...words, '-o', file, ...masks], 1, /input file cannot be overwritten/);
      await expectRefused([...words, '-o', 'sparse.onnx', '--save-masks', file], 1, /input file cannot be overwritten/);
      await expectRefused([...words, '-o', 'onnx/'], 1, /input file cannot be overwritten/);
      await expectRefused([...words, '-o', 'onnx/', ...masks], 1, /input file cannot be overwritten/);
    },
  );

  test('With --load-masks, neither the model nor masks are written over the masks', async () => {
    expect((await prune('onnx/model.onnx', '-o', 'first/', ...masks)).code).toBe(0);
    const bytes = await readFile(at('masks.safetensors'));
    await link(at('masks.safetensors'), at('hard'));
    const words = ['onnx/model.onnx', '--load-masks', 'masks.safetensors'];
    for (const way of ['masks.safetensors', './first/../masks.safetensors', 'hard']) {
      // Its name says that it is no ONNX file.
      if (way === 'hard') await expectRefused([...words, '-o', way], 1, /input file cannot be overwritten/);
      await expectRefused([...words, '-o', 'second/', '--save-masks', way], 1, /input file cannot be overwritten/);
    }
    const byAddress = ['onnx/model.onnx', '--load-masks', pathToFileURL(at('masks.safetensors')).href];
    await expectRefused([...byAddress, '-o', 'hard'], 1, /input file cannot be overwritten/);
    expect(Buffer.compare(await readFile(at('masks.safetensors')), bytes)).toBe(0);
  });

  test.each([
    [['prune', '-s', '50', '--layer-type', 'all', '--verify', '--inputs', 'inputs.mjs']],
    [['prune', '-s', '50', '--layer-type', 'all', '--verify', '--inputs', 'inputs.mjs', ...masks]],
    [['quantize', '--verify', '--inputs', 'inputs.mjs']],
    [['quantize', '--calibrate', 'inputs.mjs']],
    [['prune', '-s', '50', '--layer-type', 'all', '--calibrate', 'inputs.mjs']],
    [['calibrate', 'inputs.mjs']],
  ])('A module with inputs is not written over: %j', async ([name, ...words]) => {
    const text = 'export default [{ x: { data: new Float32Array(3), dims: [1, 3] } }];';
    await writeFile(at('inputs.mjs'), text);
    await link(at('inputs.mjs'), at('same'));
    const before = await namesIn(folder);
    const all = [command, name!, 'onnx/model.onnx', ...words, '-o', 'same', '--force'];
    expect(await run(process.execPath, all, { cwd: folder })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/same: an input file cannot be overwritten/),
    });
    expect(await readFile(at('inputs.mjs'), 'utf8')).toBe(text);
    expect(await namesIn(folder)).toEqual(before);
  });

  test.skipIf(process.platform === 'win32')(
    'In a working folder that was removed, what could not be written is an error',
    async () => {
      await mkdir(at('gone'));
      const words = [at('onnx/model.onnx'), '-s', '50', '--layer-type', 'all'];
      for (const [out, more] of [
        ['sparse.onnx', []],
        [at('sparse.onnx'), masks],
        [at('sparse.onnx'), ['--calibrate', at('missing.npz')]],
        [at('sparse.onnx'), ['--load-masks', 'masks.safetensors']],
        [at('sparse.onnx'), ['--initial', 'model.onnx', '--criteria', 'movement']],
      ] as const) {
        const line = [process.execPath, command, 'prune', ...words, '-o', out, ...more]
          .map((word) => `'${word}'`)
          .join(' ');
        await mkdir(at('gone'), { recursive: true });
        const { code, stderr } = await run('/bin/sh', ['-c', `rmdir ../gone && ${line}`], { cwd: at('gone') });
        expect(stderr, line).toMatch(/^sparsifier: .*could not be (written|opened)/);
        expect(code, line).toBe(1);
      }
      expect(await namesIn(folder)).not.toContain('sparse.onnx');
      await expectAllStored();
    },
  );

  test.each([
    ['onnx/model.onnx', 'new/', 'new/model.onnx'],
    ['onnx/model.onnx', 'new/', 'new/parts/./w.bin'],
    ['onnx/model.onnx', 'new.onnx', 'new.onnx.data'],
    ['onnx/model.onnx', 'new.onnx', 'linked/new.onnx'],
    ['safetensors/model.safetensors.index.json', 'new/', 'new/parts/b.safetensors'],
    ['tfjs/model.json', 'new/', './new/group1-shard1of1.bin'],
  ])('Two outputs cannot have the same path: the model %s to %s, the masks to %s', async (name, out, saved) => {
    await symlink(folder, at('linked'));
    await expectRefused([name, '-o', out, '--save-masks', saved], 2, /two outputs would be the same file/);
  });
});
