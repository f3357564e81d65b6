// Installs the Python libraries that benchmarks compare with into the cache folder. Those of `npm run bench` take about
// 5.5 GB, mostly GPU libraries that torch does not start without, those of `npm run bench -- recovery` 0.3 GB, and those of
// `npm run bench -- quantise` 0.4 GB, with a transformer.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keep } from './cache.mjs';
import { ask, cache, Failure, fingerprint, root, run, step } from './steps.mjs';

/** The libraries of each benchmark: a list of requirements, and one whose own requirements are not installed. */
const libraries = {
  // What fasterai requires is for training: of the sparsifier's requirements, the list has all.
  peers: { requirements: join(root, 'bench', 'engines', 'requirements.txt'), alone: 'fasterai==0.4.1' },
  recovery: { requirements: join(root, 'bench', 'recovery', 'requirements.txt'), alone: '' },
  quantise: { requirements: join(root, 'bench', 'quantise', 'requirements.txt'), alone: '' },
};
const folderOf = ({ requirements, alone }) => join(cache, `peers-${fingerprint([requirements], alone).slice(0, 8)}`);
const pythonIn = (folder) =>
  process.platform === 'win32' ? join(folder, 'Scripts', 'python.exe') : join(folder, 'bin', 'python');

/** The path of the Python that has the libraries of a benchmark, if they are installed. */
export function findPeers(benchmark) {
  const python = pythonIn(folderOf(libraries[benchmark]));
  return existsSync(python) ? python : undefined;
}

export async function setUpPeers(benchmark) {
  if (!Object.hasOwn(libraries, benchmark))
    throw new Failure(`The benchmark ${benchmark} has no libraries for Python.`);
  if (findPeers(benchmark)) return;
  const python = await findPython();
  if (!python) throw new Failure('The libraries to compare with need Python 3.11 or newer, with venv.');
  const { requirements, alone } = libraries[benchmark];
  const versions = `${readFileSync(requirements, 'utf8').trim().split('\n').join(' ')} ${alone}`.trim();
  await step(`Python: pip install ${versions}`, () =>
    keep(folderOf(libraries[benchmark]), async (temporary) => {
      await run(python, ['-m', 'venv', temporary]);
      const install = (...what) =>
        run(pythonIn(temporary), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...what], {
          minutes: 30,
        });
      await install('--requirement', requirements);
      if (alone) await install('--no-deps', alone);
    }),
  );
}

async function findPython() {
  for (const python of ['python3', 'python', 'py']) {
    if ((await ask(python, ['-c', 'import sys, venv; assert sys.version_info >= (3, 11)'])) !== undefined)
      return python;
  }
}
