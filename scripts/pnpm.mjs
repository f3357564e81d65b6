// Runs pnpm in the version that package.json pins, and installs the packages of pnpm-lock.yaml. To run pnpm directly:
// node scripts/pnpm.mjs <arguments>
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ask, cache, contentOf, Failure, fingerprint, main, root, run, show, step } from './steps.mjs';
import { keep } from './cache.mjs';

/** Brings node_modules up to date. Does nothing if the lock file and the package.json files have not changed. */
export async function installPackages() {
  const stamp = join(root, 'node_modules', '.sparsifier-set-up');
  const members = readFileSync(join(root, 'pnpm-lock.yaml'), 'utf8')
    .match(/^importers:$([^]*?)^packages:$/m)[1]
    .match(/^ {2}\S+(?=:)/gm)
    .map((line) => join(root, line.trim(), 'package.json'));
  const inputs = [...members, join(root, 'pnpm-lock.yaml'), join(root, 'pnpm-workspace.yaml')];
  const wanted = fingerprint(inputs, process.platform, process.arch);
  if (contentOf(stamp) === wanted) return;
  const pnpm = await anyPnpm();
  await step('packages: pnpm install', () =>
    run(pnpm[0], [...pnpm.slice(1), 'install', '--frozen-lockfile'], { minutes: 10 }).catch((error) => {
      throw new Failure(
        `${error.message}\n\nIf a package.json was changed, run: node scripts/pnpm.mjs install --no-frozen-lockfile`,
      );
    }),
  );
  writeFileSync(stamp, wanted);
}

/** Runs pnpm quietly and returns what it prints. */
export async function askPnpm(...parameters) {
  const [command, ...first] = await anyPnpm();
  return run(command, [...first, ...parameters]);
}

const anyPnpm = async () => (await findPnpm()) ?? (await fetchPnpm());

const version = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).packageManager.split('@')[1];
const folder = join(cache, `pnpm-${version}`);
const cached = [process.execPath, join(folder, 'node_modules', 'pnpm', 'bin', 'pnpm.cjs')];

async function findPnpm() {
  if (existsSync(cached[1])) return cached;
  const command = process.platform === 'win32' ? 'pnpm.cmd' : 'pnpm';
  // Runs outside the repository, so that neither pnpm nor Corepack fetches the version that package.json names.
  mkdirSync(cache, { recursive: true });
  const found = await ask(command, ['--version'], {
    cwd: cache,
    environment: { ...process.env, COREPACK_ENABLE_NETWORK: '0' },
  });
  return found === version ? [command] : undefined;
}

async function fetchPnpm() {
  const [npm, ...script] = findNpm();
  await step(`pnpm ${version}: npm install into the cache folder`, () =>
    keep(folder, (temporary) =>
      run(npm, [...script, 'install', '--no-audit', '--no-fund', '--prefix', temporary, `pnpm@${version}`], {
        cwd: cache,
        minutes: 5,
      }),
    ),
  );
  return cached;
}

/** The command that runs npm, and its first arguments. */
export function findNpm() {
  const started = process.env.npm_execpath;
  if (started && basename(started) === 'npm-cli.js') return [process.execPath, started];
  return [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
}

await main(import.meta, async (parameters) => {
  const [command, ...first] = await anyPnpm();
  process.exitCode = await show(command, [...first, ...parameters]);
});
