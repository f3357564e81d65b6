import { readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Criteria, type CriteriaName } from 'sparsifier';
import { criteria } from 'sparsifier/catalogue';
import { describe, expect, test } from 'vitest';
import { packageFolder, root } from '../support/install.js';

const dist = join(packageFolder, 'dist');

/** The modules that an entry point consists of, which bundlers keep. */
async function modulesOf(entry: string, found = new Set<string>()): Promise<Set<string>> {
  const path = join(dist, entry);
  if (found.has(entry)) return found;
  found.add(entry);
  const content = await readFile(path, 'utf8');
  for (const [, target] of content.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
    await modulesOf(relative(dist, join(dirname(path), target!)).replaceAll('\\', '/'), found);
  }
  return found;
}

test('The main entry point holds nothing of the catalogue, which holds nothing but tables', async () => {
  const main = await modulesOf('index.js');
  expect(main).toContain('options/criteria.js');
  expect(main).not.toContain('options/catalogue.js');
  const catalogue = await modulesOf('catalogue.js');
  expect(catalogue).toContain('options/catalogue.js');
  expect(
    [...catalogue].filter(
      (path) => !/^(catalogue|errors|printable|engine\/codes|(options|model)\/\w+)\.js$/.test(path),
    ),
  ).toEqual([]);
});

describe('the page of criteria', () => {
  const rows = async () => {
    const page = await readFile(join(root, 'docs', 'criteria.md'), 'utf8');
    const [table] = /^\| name \| score \| needs \| source \|\n(\|.*\n)+/m.exec(page)!;
    return table
      .split('\n')
      .slice(2, -1)
      .map((row) => row.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|')));
  };

  test.each(Object.keys(Criteria) as CriteriaName[])(
    'The table of docs/criteria.md agrees with the catalogue about %s',
    async (name) => {
      const row = (await rows()).find(([, cell]) => cell!.includes(`\`${name}\``))!;
      const [, , formula, needs, source] = row;
      const entry = criteria[name];
      expect([formula, needs, source!.replace(/ \[\d\]$/, '')]).toEqual([
        entry.formula,
        entry.needs ? `\`${entry.needs}\`` : '',
        entry.source,
      ]);
    },
  );
});
