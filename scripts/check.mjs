// npm run check: what can be said of the code without running it. npm run check -- oxlint knip: only these checks.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkApi } from './api.mjs';
import { build, buildStd, wasmEnvironment } from './build.mjs';
import { findNpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { environmentWith, Failure, main, packageFolder, root, run, seconds, step } from './steps.mjs';
import { setUpLinters } from './toolchain.mjs';

// The feature of the benchmarks included.
const clippyOptions = ['--all-features', '--', '-D', 'warnings'];

/** Each is quiet, and throws a Failure that tells what was found. */
const checks = {
  prettier: () => node('prettier/bin/prettier.cjs', '--check', '--cache', '--log-level', 'warn', '.'),
  // Mistakes, import cycles, and the order of the folders in src: .oxlintrc.json, floors.mjs.
  oxlint: () => node('oxlint/bin/oxlint'),
  // Files, exports and dependencies that nothing uses: knip.config.js.
  knip: () => node('knip/bin/knip.js'),
  rustfmt: (tools) => cargo(tools, 'fmt', '--all', '--check'),
  clippy: (tools) => cargo(tools, 'clippy', '--workspace', '--all-targets', ...clippyOptions),
  // As it is built for the package.
  'clippy-wasm': (tools) =>
    run(
      'cargo',
      ['clippy', ...buildStd, '--target', 'wasm32-unknown-unknown', '--workspace', '--lib', ...clippyOptions],
      {
        environment: wasmEnvironment(tools),
      },
    ),
  tsc: async () => {
    const folders = [packageFolder, join(root, 'tests'), join(root, 'examples')];
    for (const folder of folders) await node('typescript/bin/tsc', '--noEmit', '-p', folder);
  },
  links: checkLinks,
  // The public API is what packages/sparsifier/api.md says.
  api: checkApi,
  // Mistakes in package.json, and what is imported from the package has types: both of the tarball.
  publint: () => withTarball((tarball) => node('publint/src/cli.js', 'run', tarball, '--strict')),
  attw: () =>
    withTarball((tarball) =>
      node(
        '@arethetypeswrong/cli/dist/index.js',
        ...[tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color', '--no-emoji'],
        // A binary has no types.
        ...['--exclude-entrypoints', 'sparsifier.wasm'],
      ),
    ),
};
/** What some of them need first: where that fails, they fail, too. */
const preparations = [
  { name: 'build', work: build, users: ['tsc', 'links', 'api', 'publint', 'attw'] },
  { name: 'setup of the linters', work: setUpLinters, users: ['rustfmt', 'clippy', 'clippy-wasm'] },
];

await main(import.meta, async (asked) => {
  const unknown = asked.find((name) => !(name in checks));
  if (unknown) throw new Failure(`${unknown} is not a check: ${Object.keys(checks).join(', ')}`);
  const names = asked.length > 0 ? asked : Object.keys(checks);

  const start = performance.now();
  const tools = await setUp();
  const failed = [];
  const passes = async (work) => {
    try {
      await work();
      return true;
    } catch (error) {
      console.log(`${error instanceof Failure ? error.message : error.stack}\n`);
      return false;
    }
  };
  for (const { name, work, users } of preparations) {
    const waiting = users.filter((user) => names.includes(user));
    if (waiting.length > 0 && !(await passes(() => work(tools)))) {
      console.log(`Not run, because the ${name} failed: ${waiting.join(', ')}\n`);
      failed.push(...waiting);
    }
  }
  for (const name of names.filter((each) => !failed.includes(each))) {
    if (!(await passes(() => step(name, () => checks[name](tools))))) failed.push(name);
  }
  console.log(
    failed.length > 0
      ? `\n${failed.length} failed: ${failed.join(', ')} ... ${seconds(start)}`
      : `\n${names.length} passed ... ${seconds(start)}`,
  );
  if (failed.length > 0) process.exitCode = 1;
});

/** Runs the command of an installed package. */
function node(script, ...parameters) {
  return run(process.execPath, [join(root, 'node_modules', script), ...parameters]);
}

/** Runs cargo of the toolchain that builds the wasm: clippy and rustfmt of other versions say other things. */
function cargo({ toolchain }, ...parameters) {
  return run('cargo', parameters, { environment: environmentWith([toolchain.bin]) });
}

/** The tests of tests/docs.node.test.ts that follow the links of README and docs. */
async function checkLinks() {
  const report = await node(
    'vitest/vitest.mjs',
    ...['run', '--config', join(root, 'tests', 'vitest.config.ts'), '--project', 'node'],
    ...['docs.node.test', '--testNamePattern', '^links ', '--reporter=json'],
  );
  // A name that no test has is no error to vitest.
  if (JSON.parse(report).numPassedTests === 0) throw new Failure('There are no tests of links.');
}

async function withTarball(work) {
  const folder = mkdtempSync(join(tmpdir(), 'sparsifier-packed-'));
  try {
    const [npm, ...script] = findNpm();
    await run(npm, [...script, 'pack', '--pack-destination', folder], { cwd: packageFolder });
    await work(join(folder, readdirSync(folder)[0]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
