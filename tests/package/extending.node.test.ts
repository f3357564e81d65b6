import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFolder } from '../support/install.js';
import { values } from '../support/layers.js';
import { run } from '../support/command.js';

/** CONTRIBUTING.md promises that a row in a table is all that a criterion and a granularity need. A copy proves it. */
describe('one more row', () => {
  let folder: string;
  let extended: typeof import('sparsifier');
  let arrays: typeof import('sparsifier/formats/arrays');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sparsifier-extended-'));
    await cp(join(packageFolder, 'dist'), join(folder, 'dist'), { recursive: true });
    await cp(join(packageFolder, 'package.json'), join(folder, 'package.json'));
    await symlink(join(packageFolder, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await addRow('options/criteria.js', `squaredInit: { element: element.squaredProduct, needs: 'initial' },`);
    await addRow('options/granularity.js', `pillar: { ...inConvolutions('out', 'in', 'height'), matrix: ['out'] },`);
    const imported = (file: string) => import(/* @vite-ignore */ pathToFileURL(join(folder, 'dist', file)).href);
    extended = (await imported('index.js')) as typeof extended;
    arrays = (await imported('arrays.js')) as typeof arrays;
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Puts a row in front of the first one of the file's `table`. */
  async function addRow(file: string, row: string): Promise<void> {
    const path = join(folder, 'dist', file);
    const content = await readFile(path, 'utf8');
    expect(content.split('const table = {')).toHaveLength(2);
    await writeFile(path, content.replace('const table = {', `const table = {\n    ${row}`));
  }

  const dense = (data: Float32Array) =>
    arrays.fromArrays({ fc: { kind: 'dense', roles: ['in', 'out'], shape: [4, 5], data } });
  const options = { granularity: 'weight', context: 'local', layerType: 'dense' } as const;

  test('is a criterion, with the state that it needs', async () => {
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

  test('is a granularity, known to errors and to the command line', async () => {
    const data = values(20, 3);
    const granularity = 'pillar' as 'column';
    const model = dense(data);
    const report = await new extended.Sparsifier(model, {
      ...options,
      granularity,
      criteria: 'largeFinal',
    }).sparsifyModel(50);
    expect(report.total).toMatchObject({ units: 4, kept: 2, zeros: 10 });
    expect([...data].map((w) => w === 0)).toEqual([0, 1, 2, 3].flatMap((row) => Array(5).fill(data[row * 5] === 0)));
    const { stdout } = await run(process.execPath, [join(folder, 'dist', 'cli', 'main.js'), 'prune', '--help'], {
      cwd: folder,
    });
    expect(stdout).toMatch(/pillar/);
  });
});
