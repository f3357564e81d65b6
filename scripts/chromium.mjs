// Finds the Chromium that runs the browser tests. If SPARSIFIER_CHROMIUM is the path of one, that is used.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ask, Failure, onPath, root, run, step } from './steps.mjs';
import { aptInstall, isRoot } from './toolchain.mjs';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const places =
  {
    darwin: ['/Applications', join(homedir(), 'Applications')].flatMap((folder) => [
      join(folder, 'Chromium.app/Contents/MacOS/Chromium'),
      join(folder, 'Google Chrome.app/Contents/MacOS/Google Chrome'),
    ]),
    win32: [process.env.ProgramFiles, process.env['ProgramFiles(x86)'], process.env.LOCALAPPDATA]
      .filter(Boolean)
      .flatMap((folder) => [
        join(folder, 'Chromium/Application/chrome.exe'),
        join(folder, 'Google/Chrome/Application/chrome.exe'),
        join(folder, 'Microsoft/Edge/Application/msedge.exe'),
      ]),
  }[process.platform] ?? [];

/** The path of an installed Chromium, if there is one. */
export async function findChromium() {
  const named = process.env.SPARSIFIER_CHROMIUM;
  if (named) {
    if (existsSync(named)) return named;
    throw new Failure('SPARSIFIER_CHROMIUM is the path of a file that does not exist');
  }
  for (const path of [...names.map(onPath), ...places]) {
    if (path && existsSync(path) && (await runs(path))) return path;
  }
  const own = playwright()?.chromium.executablePath();
  return own && existsSync(own) ? own : undefined;
}

// Ubuntu's chromium-browser is a script that only asks to install the snap. On Windows, --version opens a window.
const runs = (path) => process.platform !== 'linux' || ask(path, ['--version']);

// Absent until the packages are installed.
function playwright() {
  try {
    return createRequire(import.meta.url)('playwright');
  } catch {
    return undefined;
  }
}

export async function setUpChromium() {
  const found = await findChromium();
  if (found) return found;
  let said = '';
  const remember = (error) => {
    said += `${error.message}\n\n`;
  };
  if (isRoot && onPath('apt-get')) {
    await step('Chromium: apt-get install chromium', () => aptInstall(['chromium'])).catch(remember);
  }
  if (!(await findChromium())) {
    await step('Chromium: playwright install chromium', () =>
      run(process.execPath, [join(root, 'node_modules', 'playwright', 'cli.js'), 'install', 'chromium'], {
        minutes: 10,
      }),
    ).catch(remember);
  }
  const chromium = await findChromium();
  if (chromium) return chromium;
  throw new Failure(`${said}There is no Chromium for the browser tests. Install Chromium or Chrome, or pass the path of one:
  SPARSIFIER_CHROMIUM=/path/to/chromium npm test`);
}
