import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The packages that a script imports as soon as it starts, itself or through other scripts. */
async function packagesOf(path: string, seen = new Set<string>()): Promise<string[]> {
  if (seen.has(path)) return [];
  seen.add(path);
  const found: string[] = [];
  const text = await readFile(path, 'utf8');
  for (const [, from] of text.matchAll(/^(?:import|export)\b[^;]*?from '([^']+)';$/gms)) {
    if (from!.startsWith('.')) found.push(...(await packagesOf(join(dirname(path), from!), seen)));
    else if (!from!.startsWith('node:')) found.push(from!);
  }
  return found;
}

test('Every npm script starts in a checkout without installed packages', async () => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const paths = Object.values(scripts).flatMap((command) => /^node (scripts\/\S+)/.exec(command)?.[1] ?? []);
  expect(paths).toContain('scripts/check.mjs');
  const packages = await Promise.all(paths.map(async (path) => [path, await packagesOf(join(root, path))]));
  expect(packages).toEqual(paths.map((path) => [path, []]));
});
