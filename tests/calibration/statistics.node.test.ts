import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readStatistics, Statistics } from 'sparsifier/calibration';
import { afterAll, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { errorOf } from '../support/layers.js';

const folder = mkdtempSync(join(tmpdir(), 'statistics-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('Statistics are written to a path, and an existing file only if that is allowed', async () => {
  const [moment, mean, norm] = [4, 2, 3].map((number) => Float32Array.of(number)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const parts = { rows: 3, moment, mean, norm };
  const layer = { ...parts, groups: 1, columns: 1, isDiagonal: false, heldOut: undefined, sha256: undefined };
  const statistics = new Statistics(new Map([['fc', layer]]));
  const path = join(folder, 'statistics.safetensors');
  await statistics.write(path);
  expect(differsAt(readFileSync(path), await statistics.bytes())).toBe(-1);
  expect((await readStatistics(path)).layers).toEqual(statistics.layers);
  expect((await errorOf(() => statistics.write(path))).code).toBe('file');
  const more = statistics.merge(statistics);
  await more.write(path, { force: true });
  expect((await readStatistics(path)).layers.get('fc')!.rows).toBe(6);
  const error = await errorOf(() => readStatistics(join(folder, 'missing.safetensors')));
  expect(error.code).toBe('file');
  expect((await errorOf(() => statistics.write(path, { overwrite: true } as never))).code).toBe('usage');
});
