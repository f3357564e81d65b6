// npm run check: all checks that do not run the code. npm run check -- oxlint knip: only these checks.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkApi } from './api.mjs';
import { build, buildStd, wasmEnvironment } from './build.mjs';
import { findNpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { checkSupply } from './supply.mjs';
import { environmentWith, Failure, main, packageFolder, root, run, seconds, step } from './steps.mjs';
import { setUpLinters } from './toolchain.mjs';

// Including the feature for benchmarks.
const clippyOptions = ['--all-features', '--', '-D', 'warnings'];

/** Each check prints nothing, and throws a Failure with its findings. */
const checks = {
  prettier: () => node('prettier/bin/prettier.cjs', '--check', '--cache', '--log-level', 'warn', '.'),
  // Mistakes, import cycles, and the order of the folders in src: .oxlintrc.json, floors.mjs.
  oxlint: () => node('oxlint/bin/oxlint'),
  // Files, exports and dependencies that nothing uses: knip.config.js.
  knip: () => node('knip/bin/knip.js'),
  rustfmt: (tools) => cargo(tools, 'fmt', '--all', '--check'),
  clippy: (tools) => cargo(tools, 'clippy', '--workspace', '--all-targets', ...clippyOptions),
  // With the target and flags of the package's build.
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
  // Licences and sources of all that the package contains or needs, and packages/sparsifier/THIRD-PARTY-NOTICES.
  supply: checkSupply,
  // packages/sparsifier/api.md is up to date.
  api: checkApi,
  // Mistakes in package.json, and entry points without types. Both check the tarball.
  publint: () => withTarball((tarball) => node('publint/src/cli.js', 'run', tarball, '--strict')),
  attw: () =>
    withTarball((tarball) =>
      node(
        '@arethetypeswrong/cli/dist/index.js',
        ...[tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color', '--no-emoji'],
        // A wasm file has no types.
        ...['--exclude-entrypoints', 'sparsifier.wasm'],
      ),
    ),
};
/** Work that some of the checks need first. If it fails, they fail too. */
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

/** Runs a script of an installed package. */
function node(script, ...parameters) {
  return run(process.execPath, [join(root, 'node_modules', script), ...parameters]);
}

/**
 * Runs the cargo of the toolchain that builds the wasm, since the results of clippy and rustfmt depend on the version.
 */
function cargo({ toolchain }, ...parameters) {
  return run('cargo', parameters, { environment: environmentWith([toolchain.bin]) });
}

/** Runs the tests in tests/package/docs.node.test.ts that follow the links in README and docs. */
async function checkLinks() {
  const report = await node(
    'vitest/vitest.mjs',
    ...['run', '--config', join(root, 'tests', 'vitest.config.ts'), '--project', 'node'],
    ...['docs.node.test', '--testNamePattern', '^links ', '--reporter=json'],
  );
  // vitest does not fail if the pattern matches no test.
  if (JSON.parse(report).numPassedTests === 0) throw new Failure('The tests of links were not found.');
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
