import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadEngine } from 'sparsifier';
import { readSafetensors, type FileModel } from 'sparsifier/formats/safetensors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errorOf } from '../../support/layers.js';
import { indexOf, safetensorsFile, shardedFiles } from '../../support/safetensors-builder.js';
import { serve } from '../../support/site.js';
import { furtherFiles } from '../../support/model-files.js';

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-'));
});
afterEach(() => rm(folder, { recursive: true }));

const contentOf = async (...names: string[]) => new Uint8Array(await readFile(at(...names)));
const codeOf = async (work: () => unknown) => (await errorOf(work)).code;

async function using(
  source: Parameters<typeof readSafetensors>[0],
  use: (read: FileModel) => Promise<unknown>,
): Promise<void> {
  using read = await readSafetensors(source);
  await use(read);
}

/** Sets all numbers of a tensor to zero. */
async function zero(read: FileModel, name: string): Promise<void> {
  const engine = await loadEngine();
  const { values } = read.tensors.find((tensor) => tensor.name === name)!;
  const region = await read.load(engine, values);
  await region.block.write(new Uint8Array(region.bytes), region.offset);
  await read.store(engine, values, region);
  region.release();
}

describe('a model in one file', () => {
  const bytes = safetensorsFile({ 'a.weight': [3, 2], 'a.bias': [3] }, { metadata: { format: 'pt' }, padding: 3 });
  const zeroed = safetensorsFile(
    { 'a.weight': { shape: [3, 2], data: new Uint8Array(24) }, 'a.bias': [3] },
    { metadata: { format: 'pt' }, padding: 3 },
  );
  beforeEach(() => writeFile(at('model.safetensors'), bytes));

  test.each([
    (path: string) => path,
    (path: string) => pathToFileURL(path),
    (path: string) => pathToFileURL(path).href,
  ])('A model is read from a path or a file URL and written unchanged', async (source) => {
    await using(source(at('model.safetensors')), (read) => read.write(at('out.safetensors')));
    expect(await contentOf('out.safetensors')).toEqual(bytes);
  });

  test('A model is written to a folder under its own name', async () => {
    await mkdir(at('there'));
    await using(at('model.safetensors'), async (read) => {
      await read.write(at('there'));
      await read.write(at('new') + '/');
    });
    expect(await contentOf('there', 'model.safetensors')).toEqual(bytes);
    expect(await contentOf('new', 'model.safetensors')).toEqual(bytes);
  });

  test('Only the output file is changed, not the input', async () => {
    await using(at('model.safetensors'), async (read) => {
      await zero(read, 'a');
      await read.write(at('out.safetensors'));
    });
    expect(await contentOf('out.safetensors')).toEqual(zeroed);
    expect(await contentOf('model.safetensors')).toEqual(bytes);
  });

  test('An existing file is overwritten only with force', async () => {
    await writeFile(at('out.safetensors'), 'precious');
    await using(at('model.safetensors'), async (read) => {
      expect(await codeOf(() => read.write(at('out.safetensors')))).toBe('file');
      expect(await readFile(at('out.safetensors'), 'utf8')).toBe('precious');
      await read.write(at('out.safetensors'), { force: true });
    });
    expect(await contentOf('out.safetensors')).toEqual(bytes);
  });

  test('The file that a model was read from is never overwritten', async () => {
    await symlink(at('model.safetensors'), at('link.safetensors'));
    const path = at('model.safetensors');
    for (const source of [path, pathToFileURL(path), pathToFileURL(path).href]) {
      await using(source, async (read) => {
        for (const target of [path, at('.', 'x', '..', 'model.safetensors'), at('link.safetensors'), folder]) {
          expect(await codeOf(() => read.write(target, { force: true }))).toBe('file');
        }
      });
    }
    expect(await contentOf('model.safetensors')).toEqual(bytes);
    expect((await readdir(folder)).sort()).toEqual(['link.safetensors', 'model.safetensors']);
  });

  test('A safetensors file can have any name', async () => {
    await writeFile(at('pytorch_model.bin'), bytes);
    await using(at('pytorch_model.bin'), (read) => read.write(at('out')));
    expect(await contentOf('out')).toEqual(bytes);
  });

  test.each([['missing.safetensors'], ['.']])('Reading %s is an error', async (name) => {
    expect(await codeOf(() => readSafetensors(at(name)))).toBe('file');
  });
});

describe('a model with shards', () => {
  const index = 'model.safetensors.index.json';
  const [first, second] = ['model-00001-of-00002.safetensors', 'more/model-00002-of-00002.safetensors'] as const;
  const parts = {
    [first]: { 'a.weight': [3, 2], 'b.weight': [2, 2] },
    [second]: { 'b.bias': [2], 'c.weight': [2, 2] },
  };
  const whole = shardedFiles(parts);
  const write = async (...names: string[]) => {
    for (const [name, bytes] of [[index, whole.index] as const, ...Object.entries(whole.shards)]) {
      await mkdir(dirname(at(...names, name)), { recursive: true });
      await writeFile(at(...names, name), bytes);
    }
  };
  beforeEach(() => write('in'));

  test.each([
    (path: string) => path,
    (path: string) => pathToFileURL(path),
    (path: string) => pathToFileURL(path).href,
  ])('A model with shards is written to a folder under its own names', async (source) => {
    await mkdir(at('there'));
    await using(source(at('in', index)), async (read) => {
      await read.write(at('there'));
      await read.write(at('new') + '/');
    });
    for (const out of ['there', 'new']) {
      expect(await contentOf(out, index)).toEqual(whole.index);
      expect(await contentOf(out, first)).toEqual(whole.shards[first]);
      expect(await contentOf(out, second)).toEqual(whole.shards[second]);
    }
  });

  test('Shards are written next to an index of another name', async () => {
    await using(at('in', index), (read) => read.write(at('out', 'sparse.safetensors.index.json')));
    expect((await readdir(at('out'))).sort()).toEqual([first, 'more', 'sparse.safetensors.index.json']);
    await using(at('out', 'sparse.safetensors.index.json'), async ({ tensors }) => {
      expect(tensors.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    });
  });

  test('A model with shards cannot be written to one file', async () => {
    await using(at('in', index), async (read) => {
      const { code, message } = await errorOf(() => read.write(at('out.safetensors')));
      expect(code).toBe('usage');
      expect(message).toMatch(/folder.*out\.safetensors.*ends with \//);
    });
    expect(await readdir(folder)).toEqual(['in']);
  });

  test('Changes are written to the shard', async () => {
    await using(at('in', index), async (read) => {
      await zero(read, 'c');
      await read.write(at('out') + '/');
    });
    const zeroed = { 'b.bias': [2], 'c.weight': { shape: [2, 2], data: new Uint8Array(16) } };
    expect(await contentOf('out', second)).toEqual(safetensorsFile(zeroed));
    expect(await contentOf('out', first)).toEqual(whole.shards[first]);
    expect(await contentOf('in', second)).toEqual(whole.shards[second]);
  });

  test('The files that a model was read from are never overwritten', async () => {
    await symlink(at('in'), at('link'));
    for (const source of [at('in', index), pathToFileURL(at('in', index))]) {
      await using(source, async (read) => {
        for (const target of [at('in'), at('link') + '/', at('in', 'sparse.safetensors.index.json')]) {
          expect(await codeOf(() => read.write(target, { force: true }))).toBe('file');
        }
      });
    }
    expect(await contentOf('in', first)).toEqual(whole.shards[first]);
    expect((await readdir(at('in'))).sort()).toEqual([first, index, 'more']);
  });

  test('Nothing is written if one of the files exists', async () => {
    await mkdir(at('out', 'more'), { recursive: true });
    await writeFile(at('out', second), 'precious');
    await using(at('in', index), async (read) => {
      expect(await codeOf(() => read.write(at('out')))).toBe('file');
      expect(await readdir(at('out'))).toEqual(['more']);
      await read.write(at('out'), { force: true });
    });
    expect(await contentOf('out', second)).toEqual(whole.shards[second]);
  });

  test('A shard that is missing or outside of the folder is an error', async () => {
    await rm(at('in', second));
    const error = await errorOf(() => readSafetensors(at('in', index)));
    expect(error).toMatchObject({ code: 'file', message: expect.stringMatching(/00002-of-00002.*no such file/) });
    await writeFile(at('outside.safetensors'), safetensorsFile({ 'a.weight': [2, 2] }));
    await writeFile(at('in', index), indexOf({ 'a.weight': '../outside.safetensors' }));
    expect(await codeOf(() => readSafetensors(at('in', index)))).toBe('file');
  });

  test('An index and its shards are fetched from a URL', async () => {
    const site = await serve(at('in'));
    try {
      await using(new URL(index, site.address), async (read) => {
        expect(Object.fromEntries(await furtherFiles(read))).toEqual(whole.shards);
      });
      await rm(at('in', second));
      expect(await codeOf(() => readSafetensors(new URL(index, site.address)))).toBe('file');
    } finally {
      await site.close();
    }
  });
});

describe('memory', () => {
  test('The memory of a model that was garbage-collected is freed', { timeout: 20_000 }, async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    await (async () => void (await readSafetensors(safetensorsFile({ 'a.weight': [2, 2] }))))();
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    await expect.poll(() => (collect(), engine.memory.blocks), { timeout: 10_000 }).toBe(blocks);
  });
});
