import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFolder, root } from '../support/install.js';
import { values } from '../support/layers.js';
import { run } from '../support/command.js';

// CONTRIBUTING.md says what a new criterion and a new granularity take. These tests do it, in copies.

const criterion = `squaredInit: { element: element.squaredProduct, needs: 'initial' },`;
const granularity = `pillar: { ...inConvolutions('out', 'in', 'height'), matrix: ['out'] },`;

/** Puts a row in front of the first one of the table that begins with `start`. */
async function addRow(path: string, row: string, start = 'const table = {'): Promise<void> {
  const content = await readFile(path, 'utf8');
  expect(content.split(start)).toHaveLength(2);
  await writeFile(path, content.replace(start, `${start}\n    ${row}`));
}

describe('the built package with one more row in a table', () => {
  let folder: string;
  let extended: typeof import('sparsifier');
  let arrays: typeof import('sparsifier/formats/arrays');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sparsifier-extended-'));
    await cp(join(packageFolder, 'dist'), join(folder, 'dist'), { recursive: true });
    await cp(join(packageFolder, 'package.json'), join(folder, 'package.json'));
    await symlink(join(packageFolder, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await addRow(join(folder, 'dist', 'options', 'criteria.js'), criterion);
    await addRow(join(folder, 'dist', 'options', 'granularity.js'), granularity);
    const imported = (file: string) => import(/* @vite-ignore */ pathToFileURL(join(folder, 'dist', file)).href);
    extended = (await imported('index.js')) as typeof extended;
    arrays = (await imported('arrays.js')) as typeof arrays;
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const dense = (data: Float32Array) =>
    arrays.fromArrays({ fc: { kind: 'dense', roles: ['in', 'out'], shape: [4, 5], data } });
  const options = { granularity: 'weight', context: 'local', layerType: 'dense' } as const;

  test('A new criterion receives the state that it needs', async () => {
    const [data, initial] = [values(20, 1), values(20, 2)];
    const model = dense(data);
    const given = { fc: initial };
    const Criteria: Record<string, string> = extended.Criteria;
    expect(Criteria['squaredInit']).toBe('squaredInit');
    const products = data.map((w, index) => (w * initial[index]!) ** 2);
    const sorted = [...products].sort((a, b) => a - b);
    const criteria = Criteria['squaredInit'] as 'taylor';
    await new extended.Sparsifier(model, { ...options, criteria, initial: given }).sparsifyModel({ remove: 5 });
    products.forEach((product, index) => expect(data[index] === 0).toBe(product <= sorted[4]!));
    expect(sorted[4]).toBeLessThan(sorted[5]!);
  });

  test('A new granularity is also known to the command line', async () => {
    const data = values(20, 3);
    const granularity = 'pillar' as 'column';
    const model = dense(data);
    const report = await new extended.Sparsifier(model, {
      ...options,
      granularity,
      criteria: 'largeFinal',
    }).sparsifyModel(50);
    expect(report.total).toMatchObject({ units: 4, keptUnits: 2, zeros: 10 });
    expect([...data].map((w) => w === 0)).toEqual([0, 1, 2, 3].flatMap((row) => Array(5).fill(data[row * 5] === 0)));
    const { stdout } = await run(process.execPath, [join(folder, 'dist', 'cli', 'main.js'), 'prune', '--help'], {
      cwd: folder,
    });
    expect(stdout).toMatch(/pillar/);
  });
});

describe('the sources with one more row in a table', () => {
  let folder: string;
  const source = (...names: string[]) => join(folder, 'packages', 'sparsifier', 'src', ...names);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sparsifier-sources-'));
    const own = join(folder, 'packages', 'sparsifier');
    await cp(join(root, 'tsconfig.base.json'), join(folder, 'tsconfig.base.json'));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
    for (const name of ['src', 'tsconfig.json', 'package.json']) {
      await cp(join(packageFolder, name), join(own, name), { recursive: true });
    }
    for (const name of ['wasm', 'node_modules']) {
      await symlink(join(packageFolder, name), join(own, name), 'junction');
    }
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** The files in which the compiler finds errors, and what it says. */
  async function errors(): Promise<{ files: string[]; text: string }> {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const words = [tsc, '--noEmit', '--pretty', 'false', '-p', join('packages', 'sparsifier')];
    const { stdout: text } = await run(process.execPath, words, { cwd: folder });
    const found = [...text.matchAll(/^(\S+)\(\d+,\d+\): error/gm)].map(([, file]) => file!.replaceAll('\\', '/'));
    return { files: [...new Set(found)], text };
  }

  test(
    'A new granularity compiles immediately, and a new criterion once the catalogue describes it',
    { timeout: 120_000 },
    async () => {
      await addRow(source('options', 'granularity.ts'), granularity);
      expect(await errors()).toEqual({ files: [], text: '' });
      await addRow(source('options', 'criteria.ts'), criterion);
      const { files, text } = await errors();
      expect(files).toEqual(['packages/sparsifier/src/options/catalogue.ts']);
      expect(text).toContain('squaredInit');
      const entry = `squaredInit: { sentence: 'Keeps something.', formula: '(w w0) (w w0)', source: 'this test' },`;
      await addRow(source('options', 'catalogue.ts'), entry, 'const texts = {');
      expect(await errors()).toEqual({ files: [], text: '' });
    },
  );
});

/** A model is the word `TOY!`, a number of rows and one of columns (32 bits each), and a matrix of 32-bit floats. */
const toyFormat = `
import { StoredValues } from '../format.js';
import { isFolder } from '../sources.js';
import * as host from '#host';

export const toy = {
  name: 'toy',
  options: [],
  endings: ['.toy'],
  matches: ({ head }) => String.fromCharCode(...head.subarray(0, 4)) === 'TOY!',
  open: async (files) => {
    const { source, name = 'model.toy' } = files.main;
    files.add(name, source);
    const sizes = new Uint8Array(8);
    await source.read(sizes, 4);
    const shape = [...new Uint32Array(sizes.buffer)];
    const values = new StoredValues('float32', shape[0] * shape[1], name, 12);
    const tensor = { name: 'matrix', aliases: [], kind: 'dense', roles: ['out', 'in'], shape, groups: 1, values, partners: [], notes: [] };
    const outputs = async (path, current) => [
      { path: path === undefined ? name : (await isFolder(path)) ? host.join(path, name) : path, from: name, size: () => current.sizeOf(name), chunks: () => current.chunks(name) },
    ];
    return { tensors: [tensor], skipped: [], outputs };
  },
};
`;

describe('the built package with one more format', () => {
  let folder: string;
  const at = (...names: string[]) => join(folder, ...names);
  const toyFile = (numbers: readonly number[]) =>
    new Uint8Array([
      ...new TextEncoder().encode('TOY!'),
      ...new Uint8Array(Uint32Array.of(2, 3).buffer),
      ...new Uint8Array(Float32Array.from(numbers).buffer),
    ]);
  const [before, after] = [toyFile([5, -1, 2, 0.5, 3, -4]), toyFile([5, 0, 0, 0, 3, -4])];
  const imported = (file: string) => import(/* @vite-ignore */ pathToFileURL(at('dist', file)).href);
  const command = (...words: string[]) =>
    run(process.execPath, [at('dist', 'cli', 'main.js'), ...words], { cwd: folder });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sparsifier-format-'));
    await cp(join(packageFolder, 'dist'), at('dist'), { recursive: true });
    await cp(join(packageFolder, 'package.json'), at('package.json'));
    await symlink(join(packageFolder, 'node_modules'), at('node_modules'), 'junction');
    await mkdir(at('dist', 'formats', 'toy'));
    await writeFile(at('dist', 'formats', 'toy', 'format.js'), toyFormat);
    const list = await readFile(at('dist', 'formats', 'all.js'), 'utf8');
    if (list.split('const formats = [').length !== 2) throw new Error('the list of formats was not found');
    const line = `import { toy } from './toy/format.js';\n`;
    await writeFile(
      at('dist', 'formats', 'all.js'),
      line + list.replace('const formats = [', 'const formats = [toy, '),
    );
    await writeFile(at('model.bin'), before);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('A new format is read and written in memory', async () => {
    const { readModel } = (await imported('formats.js')) as typeof import('sparsifier/formats');
    const { Sparsifier } = (await imported('index.js')) as typeof import('sparsifier');
    using model = await readModel(at('model.bin'));
    expect(model.format).toBe('toy');
    await new Sparsifier(model, { layerType: 'dense' }).sparsifyModel(50);
    expect(await model.bytes()).toEqual(after);
    await model.write(at('memory.toy'));
    expect(new Uint8Array(await readFile(at('memory.toy')))).toEqual(after);
  });

  test('A new format is streamed, and is also known to the command line', async () => {
    const words = ['prune', 'model.bin', '-s', '50', '--layer-type', 'dense'];
    expect(await command(...words, '-o', 'streamed.toy')).toMatchObject({ code: 0, stderr: '' });
    expect(new Uint8Array(await readFile(at('streamed.toy')))).toEqual(after);
    expect((await command('inspect', 'streamed.toy')).stdout).toContain('matrix');
    expect(await command(...words, '-o', 'model.onnx')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/\.toy/),
    });
    expect(await command('inspect', 'model.bin', '--layer', 'matrix=none')).toMatchObject({ code: 2 });
    expect(await command('quantize', 'model.bin', '-o', 'small.toy')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('the numbers of toy models cannot be stored in another form'),
    });
    await writeFile(at('other.bin'), 'words');
    expect((await command('inspect', 'other.bin')).stderr).toMatch(/toy, safetensors, TensorFlow\.js, ONNX/);
  });
});
