import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readModel } from 'sparsifier/formats';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
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
