import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, Sparsifier } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { errorOf, expectNoMemoryInUse } from '../support/layers.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

let folder: string;
const before = process.cwd();
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sparsifier-model-'));
  process.chdir(folder);
});
afterEach(async () => {
  process.chdir(before);
  await rm(folder, { recursive: true });
});

test.each<[what: string, words: unknown[], message: RegExp]>([
  ['no path', [], /written to a path/],
  ['an empty path', [''], /written to a path/],
  ['a path that is a number', [5], /written to a path/],
  ['a misspelt option', ['out.safetensors', { forc: true }], /unknown option.*Did you mean force\?/],
])('Writing a model with %s is an error, and nothing is written', async (_, words, message) => {
  using model = await readModel(safetensorsFile({ 'a.weight': [3, 2] }));
  const write = model.write as (...words: unknown[]) => Promise<void>;
  const error = await errorOf(() => write.apply(model, words));
  expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
  expect(await readdir(folder)).toEqual([]);
});

test('A model that is closed, and pruned, while it is written is written as it was, in full', async () => {
  const file = safetensorsFile({ 'a.weight': [3000, 2000], 'b.weight': [2000, 3000] });
  const model = await readModel(file);
  const sparsifier = new Sparsifier(model, { layerType: 'all' });
  const written = model.write('out.safetensors');
  const pruned = sparsifier.sparsifyModel(50);
  const again = model.write('sparse.safetensors');
  model.close();
  await written;
  expect(differsAt(await readFile('out.safetensors'), file)).toBe(-1);
  await again;
  using sparse = await readModel('sparse.safetensors');
  expect((await inspect(sparse)).total.zeros).toBe((await pruned).total.zeros);
  const { code } = await errorOf(() => model.write('late.safetensors'));
  expect([code, await readdir(folder)]).toEqual(['usage', ['out.safetensors', 'sparse.safetensors']]);
  sparse.close();
  await expectNoMemoryInUse();
});
