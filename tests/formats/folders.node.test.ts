import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { sparsifyFile } from 'sparsifier/file';
import { readModel } from 'sparsifier/formats';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';

const model = fileURLToPath(new URL('../cases/tfjs_foreign_bias', import.meta.url));

test('The folder of a model.json is read by path and by URL, and streamed', async () => {
  using file = await readModel(join(model, 'model.json'));
  const whole = await file.toFiles();
  const address = pathToFileURL(model);
  for (const folder of [model, `${model}/`, address, new URL(`${address}/`), address.href, `${address.href}/`]) {
    for (const read of [readModel, readTfjs]) {
      using found = await read(folder);
      expect(await found.toFiles()).toEqual(whole);
      expect(found.sourceFiles).toEqual(file.sourceFiles);
    }
  }
});

test('The folder of a model.json is streamed as its model.json is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-folder-'));
  try {
    const [first, second] = [join(folder, 'first/'), join(folder, 'second/')];
    await sparsifyFile(model, first, { layerType: 'all', sparsity: 50 });
    await sparsifyFile(join(model, 'model.json'), second, { layerType: 'all', sparsity: 50 });
    const names = await readdir(second);
    expect(await readdir(first)).toEqual(names);
    for (const name of names) expect(await readFile(join(first, name))).toEqual(await readFile(join(second, name)));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('JSON that is too long to be a string is an error of the format', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-json-'));
  try {
    const path = join(folder, 'model.json');
    await writeFile(path, `{"weightsManifest":[{"paths":["${'a'.repeat(100)}`);
    // The file takes no room on the disk.
    await truncate(path, 5 * 2 ** 30);
    const tooLong = await errorOf(() => readModel(folder));
    expect(tooLong).toMatchObject({ code: 'format', message: expect.stringMatching(/found: 5368709120 bytes/) });
    const unlimited = await errorOf(() => readModel(folder, { limits: { headerBytes: Infinity } }));
    expect(unlimited).toMatchObject({ code: 'format', message: expect.stringMatching(/JSON of 5368709120 bytes/) });
  } finally {
    await rm(folder, { recursive: true });
  }
});
