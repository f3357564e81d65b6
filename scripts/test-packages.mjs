// npm run test:packages: packs the package, and uses it in a fresh project of each runtime, compiler, bundler and browser. With
// names it runs only these rows: npm run test:packages -- vite5 webpack. The rows are in tests/packages/rows, the versions in
// tests/packages/versions.json, and the table of what passed in docs/bundlers.md.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { findNpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { Failure, main, packageFolder, root, run, seconds, step } from './steps.mjs';

const folder = join(root, 'tests', 'packages');
const versions = JSON.parse(readFileSync(join(folder, 'versions.json'), 'utf8'));

/** The rows whose names begin with one of the words; without words, all of them. */
async function rowsOf(words) {
  const files = readdirSync(join(folder, 'rows')).sort();
  const modules = await Promise.all(files.map((name) => import(pathToFileURL(join(folder, 'rows', name)).href)));
  const all = modules.flatMap((module) => module.default);
  const isAsked = (word, { name }) => name === word || name.replace(/\d+$/, '') === word;
  const unknown = words.find((word) => !all.some((row) => isAsked(word, row)));
  if (unknown) throw new Failure(`${unknown} is not a row: ${all.map(({ name }) => name).join(', ')}`);
  return words.length === 0 ? all : all.filter((row) => words.some((word) => isAsked(word, row)));
}

async function pack(to) {
  const [npm, ...script] = findNpm();
  await run(npm, [...script, 'pack', '--pack-destination', to], { cwd: packageFolder });
  return join(to, readdirSync(to)[0]);
}

await main(import.meta, async (words) => {
  const rows = await rowsOf(words);
  await build(await setUp({ chromium: true }));
  const { Project } = await import('../tests/packages/project.mjs');
  const { expectedBytes } = await import('../tests/packages/expected.mjs');
  const temporary = mkdtempSync(join(tmpdir(), 'sparsifier-packed-'));
  const failed = [];
  const start = performance.now();
  try {
    const tarball = await pack(temporary);
    const bytes = await expectedBytes();
    for (const row of rows) {
      await step(row.name, async () => {
        const project = await Project.make({ tarball, bytes, packages: versions[row.name], ...row });
        try {
          await row.run(project);
        } finally {
          await project.close();
        }
      }).catch((error) => {
        console.log(`${error instanceof Failure ? error.message : error.stack}\n`);
        failed.push(row.name);
      });
    }
  } finally {
    rmSync(temporary, { recursive: true });
  }
  const sum = failed.length > 0 ? `${failed.length} failed: ${failed.join(', ')}` : `${rows.length} passed`;
  console.log(`\n${sum} ... ${seconds(start)}`);
  if (failed.length > 0) process.exitCode = 1;
});
