// Installs the Python libraries that `npm run bench` compares with into the cache folder. They take about 5.5 GB,
// mostly GPU libraries that torch does not start without.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keep } from './cache.mjs';
import { ask, cache, Failure, fingerprint, root, run, step } from './steps.mjs';

const requirements = join(root, 'bench', 'engines', 'requirements.txt');
/** Its own requirements are for training: of the sparsifier's, the list above has all. */
const fasterai = 'fasterai==0.4.1';
const folder = join(cache, `peers-${fingerprint([requirements], fasterai).slice(0, 8)}`);
const pythonIn = (folder) =>
  process.platform === 'win32' ? join(folder, 'Scripts', 'python.exe') : join(folder, 'bin', 'python');

/** The path of the Python that has them, if they are installed. */
export const findPeers = () => (existsSync(pythonIn(folder)) ? pythonIn(folder) : undefined);

export async function setUpPeers() {
  if (findPeers()) return;
  const python = await findPython();
  if (!python) throw new Failure('The libraries to compare with need Python 3.11 or newer, with venv.');
  const versions = `${readFileSync(requirements, 'utf8').trim().split('\n').join(' ')} ${fasterai}`;
  await step(`Python: pip install ${versions}`, () =>
    keep(folder, async (temporary) => {
      await run(python, ['-m', 'venv', temporary]);
      const install = (...what) =>
        run(pythonIn(temporary), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...what], {
          minutes: 30,
        });
      await install('--requirement', requirements);
      await install('--no-deps', fasterai);
    }),
  );
}

async function findPython() {
  for (const python of ['python3', 'python', 'py']) {
    if ((await ask(python, ['-c', 'import sys, venv; assert sys.version_info >= (3, 11)'])) !== undefined)
      return python;
  }
}
