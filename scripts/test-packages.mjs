// npm run test:packages: packs the package, and uses it in a fresh project of each runtime, compiler, bundler and browser. With
// names it runs only these rows: npm run test:packages -- vite5 webpack. The rows are in tests/packages/rows, the versions in
// tests/packages/versions.json, and the table of what passed in docs/bundlers.md.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { guide, withFiles, withResults } from '../tests/packages/docs.mjs';
import { expectedBytes } from '../tests/packages/expected.mjs';
import { Project } from '../tests/packages/project.mjs';
import { build } from './build.mjs';
import { findNpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { Failure, main, packageFolder, root, run, seconds, step } from './steps.mjs';

const folder = join(root, 'tests', 'packages');
const versions = JSON.parse(readFileSync(join(folder, 'versions.json'), 'utf8'));

/** All rows, in the order of the table. */
async function allRows() {
  const files = readdirSync(join(folder, 'rows'));
  const modules = await Promise.all(files.map((name) => import(pathToFileURL(join(folder, 'rows', name)).href)));
  const order = Object.keys(versions);
  const rows = modules.flatMap((module) => module.default);
  return rows.sort((one, other) => order.indexOf(one.name) - order.indexOf(other.name));
}

/** The rows with these names, which need not end with a version; without words, all of them. */
function chosenOf(all, words) {
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

/** Runs a row in a new project. @returns its line of the table */
async function resultOf(row, packed) {
  const packages = versions[row.name];
  const project = await Project.make({ ...packed, packages, files: row.files });
  try {
    await row.run(project);
    const threads = [...new Set(project.outcomes.map((outcome) => outcome.threads))];
    const version = row.version ? await row.version() : Object.values(packages)[0];
    return { version, threads: threads.join(', ') || 'only types' };
  } finally {
    await project.close();
  }
}

await main(import.meta, async (words) => {
  const all = await allRows();
  const rows = chosenOf(all, words);
  await build(await setUp({ chromium: true }));
  const temporary = mkdtempSync(join(tmpdir(), 'sparsifier-packed-'));
  const results = new Map();
  const failed = [];
  const start = performance.now();
  try {
    const packed = { tarball: await pack(temporary), bytes: await expectedBytes() };
    for (const row of rows) {
      try {
        results.set(row.name, await step(row.name, () => resultOf(row, packed)));
      } catch (error) {
        console.log(`${error instanceof Failure ? error.message : error.stack}\n`);
        results.set(row.name, { version: Object.values(versions[row.name])[0], threads: 'fails' });
        failed.push(row.name);
      }
      // At once, so that a run that is ended keeps what it found.
      writeFileSync(guide, withResults(withFiles(readFileSync(guide, 'utf8')), all, results));
    }
  } finally {
    rmSync(temporary, { recursive: true });
  }
  const sum = failed.length > 0 ? `${failed.length} failed: ${failed.join(', ')}` : `${rows.length} passed`;
  console.log(`\n${sum} ... ${seconds(start)}`);
  if (failed.length > 0) process.exitCode = 1;
});
