import { mkdtemp, readFile, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const packageFolder = join(root, 'packages', 'sparsifier');

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}

export interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string; readonly size: number }[];
}

export const manifestIn = async (folder: string): Promise<Manifest> =>
  JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;

/** Runs npm, in a shell on Windows, where it is a script. */
async function npm(cwd: string, ...words: string[]): Promise<string> {
  const isWindows = process.platform === 'win32';
  const [program, before] = isWindows ? ['cmd.exe', ['/d', '/c', 'npm']] : ['npm', []];
  const { code, stdout, stderr } = await run(program, [...before, ...words], { cwd, timeout: 120_000 });
  if (code !== 0) throw new Error(`npm ${words.join(' ')} ended with ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** Packs the package and installs the tarball into a new folder, as a user would. */
export async function installTarball(): Promise<{ folder: string; packed: Packed }> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'sparsifier-installed-')));
  const [packed] = JSON.parse(await npm(packageFolder, 'pack', '--json', '--pack-destination', folder)) as Packed[];
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'fresh', private: true, type: 'module' }));
  await npm(folder, 'install', join(folder, packed!.filename), '--prefer-offline', '--no-audit', '--no-fund');
  return { folder, packed: packed! };
}
