// Every reader of files, given inputs to begin with, all that was ever found, and some of what becomes of these at random.
// `npm run fuzz -- <name> --minutes <n>` runs one of them for longer.
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Coverage, type Covered } from '../support/fuzz/coverage.js';
import type { Finding, Fuzzed } from '../support/fuzz/fuzzing.js';
import { read, written, type Input } from '../support/fuzz/input.js';
import { watch } from '../support/fuzz/watch.js';

const { FUZZ_TARGET, FUZZ_MINUTES, FUZZ_SEED = '1' } = process.env;
const minutes = Number(FUZZ_MINUTES ?? 0);
/** How many runs tests make of what they change at random. */
const fewRuns = 60;

// Before the package is loaded: see Coverage.
const coverage = new Coverage();
const { fuzz, nameOf } = await import('../support/fuzz/fuzzing.js');
const { targets } = await import('../support/fuzz/targets.js');
const { loadEngine } = await import('sparsifier');
await loadEngine();

const findings = fileURLToPath(new URL('findings/', import.meta.url));
const out = fileURLToPath(new URL('../../out/fuzz/', import.meta.url));

/** The inputs that were found before, by the names of their files. */
async function found(name: string): Promise<Record<string, Input>> {
  const folder = join(findings, name);
  const files = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith('.json')).sort();
  const inputs = files.map(async (file) => [file, read(await readFile(join(folder, file), 'utf8'))] as const);
  return Object.fromEntries(await Promise.all(inputs));
}

const described = ({ error, input }: Finding): string =>
  `${nameOf(input)}: ${(error.stack ?? error.message).split('\n').slice(0, 6).join('\n')}`;

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} % of ${whole}`;
const inWords = ({ lines, linesRun, branches, branchesRun }: Covered): string =>
  `lines ${percent(linesRun, lines)}, branches ${percent(branchesRun, branches)}`;

/** A run of some minutes, which keeps what it finds in `out/fuzz`. */
async function long(name: string, seeds: readonly Input[]): Promise<Fuzzed> {
  const folder = join(out, name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const { next, stop } = watch();
  const begun = performance.now();
  let reported = begun;
  const fuzzed = await fuzz(targets[name]!, seeds, coverage, {
    seed: Number(FUZZ_SEED),
    isGuided: true,
    mostSeconds: 3,
    goesOn: (runs) => {
      const now = performance.now();
      if (now - reported > 60_000) {
        reported = now;
        console.log(
          `${Math.round((now - begun) / 1000)} s: ${runs} runs, ${inWords(coverage.of(targets[name]!.files))}`,
        );
      }
      return runs < seeds.length || now - begun < minutes * 60_000;
    },
    before: (input) => {
      next();
      writeFileSync(join(folder, 'current'), written(input));
    },
    found: (finding) => {
      writeFileSync(join(folder, `${nameOf(finding.input)}.json`), written(finding.input));
      console.log(described(finding));
    },
  });
  await stop();
  await rm(join(folder, 'current'));
  const { runs, read, kept, covered, most } = fuzzed;
  writeFileSync(join(folder, 'missed.txt'), covered.missed.join('\n'));
  console.log(`${name}: ${runs} runs, ${read} of them read, ${kept} reached new code; ${inWords(covered)}`);
  console.log(`at most ${Math.ceil(most.steps)} steps and ${Math.ceil(most.bytes)} bytes for each byte`);
  return fuzzed;
}

const names = FUZZ_TARGET === undefined ? Object.keys(targets) : [FUZZ_TARGET];

test.each(names)('Damaged inputs of %s are read or refused', async (name) => {
  const target = targets[name];
  if (target === undefined) throw new Error(`there is no reader ${name} among ${Object.keys(targets).join(', ')}`);
  const known = { ...(await target.seeds()), ...(await found(name)) };
  const seeds = Object.values(known);
  const { findings, read, runs } =
    minutes > 0
      ? await long(name, seeds)
      : await fuzz(target, seeds, coverage, {
          seed: Number(FUZZ_SEED),
          isGuided: false,
          goesOn: (runs) => runs < seeds.length + fewRuns,
        });
  const titles = new Map(Object.entries(known).map(([title, input]) => [input, title]));
  expect(findings.map((finding) => `${titles.get(finding.input) ?? 'random'}, ${described(finding)}`)).toEqual([]);
  // Both ends were reached.
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(runs);
});
