// Shared by the scripts: one line per step with its time, tools that run quietly, and failures without a stack trace.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const packageFolder = join(root, 'packages', 'sparsifier');

/** A folder in the user's cache, so that several clones share the tools. */
export const cache = join(
  process.platform === 'win32'
    ? (process.env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'))
    : process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Caches')
      : process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
  'sparsifier',
);

/** An error whose message is printed without a stack trace. */
export class Failure extends Error {}

/** Runs the body of a script if the file is the main module. A Failure is printed, and the exit code is then 1. */
export async function main(meta, body) {
  // Node resolves links in import.meta.url, but not in argv. On macOS, /tmp is a link.
  if (meta.url !== pathToFileURL(realpathSync(process.argv[1])).href) return;
  try {
    await body(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(`\n${error.message}`);
    process.exitCode = 1;
  }
}

export const seconds = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

export async function step(title, work) {
  const start = performance.now();
  process.stdout.write(`${title} ... `);
  try {
    const result = await work();
    console.log(seconds(start));
    return result;
  } catch (error) {
    console.log(`failed after ${seconds(start)}`);
    throw error;
  }
}

/** Runs a tool quietly and returns its stdout. All of its output is shown if it fails. */
export function run(command, parameters, { cwd = root, environment = process.env, minutes } = {}) {
  return new Promise((resolve, reject) => {
    const child = start(command, parameters, { cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let all = '';
    const fail = (why) => {
      clearTimeout(timer);
      reject(new Failure(`${all.trimEnd()}\n\n${[command, ...parameters].join(' ')}\n${why}`.trimStart()));
    };
    const timer =
      minutes &&
      setTimeout(() => {
        child.kill();
        // Its children may still run and keep these streams open, which would keep this process waiting.
        child.stdout.destroy();
        child.stderr.destroy();
        fail(`did not end within ${minutes} minutes`);
      }, minutes * 60_000);
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
      all += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      all += text;
    });
    child.on('error', (error) => fail(error.message));
    child.on('close', (code, signal) => {
      if (code !== 0) return fail(`ended with ${code ?? signal}`);
      clearTimeout(timer);
      resolve(out);
    });
  });
}

/** Like {@link run}, but returns undefined if the tool is missing or fails. */
export const ask = (command, parameters, options) =>
  run(command, parameters, { minutes: 1, ...options }).then(
    (out) => out.trim(),
    () => undefined,
  );

/** Runs a tool in the foreground and prints its output, which is also passed to `listen`. */
export function show(command, parameters, { environment = process.env, listen } = {}) {
  return new Promise((resolve, reject) => {
    const child = start(command, parameters, {
      cwd: root,
      env: environment,
      stdio: listen ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    });
    for (const name of listen ? ['stdout', 'stderr'] : []) {
      child[name].setEncoding('utf8').on('data', (text) => {
        process[name].write(text);
        listen(text);
      });
    }
    child.on('error', (error) => reject(new Failure(`${command}: ${error.message}`)));
    child.on('close', (code) => resolve(code ?? 1));
  });
}

// Node refuses to start .cmd files without a shell, and the Windows shell splits arguments at spaces.
function start(command, parameters, options) {
  if (!command.endsWith('.cmd')) return spawn(command, parameters, options);
  const line = [command, ...parameters].map((word) => (/[\s&|<>^()]/.test(word) ? `"${word}"` : word)).join(' ');
  return spawn(line, { ...options, shell: true });
}

// Windows spells it Path. With both spellings in an environment, either may be used.
const pathName = Object.keys(process.env).find((key) => key.toUpperCase() === 'PATH') ?? 'PATH';

/** A copy of the environment with `folders` at the front of PATH. */
export const environmentWith = (folders, variables = {}) => ({
  ...process.env,
  ...variables,
  [pathName]: [...folders, process.env[pathName]].join(delimiter),
});

/** The path of a command on PATH. */
export function onPath(command) {
  const file = process.platform === 'win32' ? `${command}.exe` : command;
  return process.env[pathName]
    ?.split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, file))
    .find(existsSync);
}

/** A hash of the names and contents of files and folders in the repository, and of other strings. */
export function fingerprint(paths, ...words) {
  const hash = createHash('sha256').update(JSON.stringify(words));
  for (const path of paths.flatMap(filesIn).sort()) {
    hash.update(`\n${relative(root, path).split(sep).join('/')}\n`).update(readFileSync(path));
  }
  return hash.digest('hex');
}

export function filesIn(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesIn(join(path, name)));
}

export const contentOf = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);
