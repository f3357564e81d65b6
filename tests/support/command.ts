import { spawn, type SpawnOptions } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export const command = fileURLToPath(new URL('../../packages/sparsifier/dist/cli/main.js', import.meta.url));

export interface Ended {
  /** A signal's name where one ended the process. */
  readonly code: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Where stdout goes: to a file descriptor, to the answer, or to a reader that is gone before the first byte. */
  readonly stdout?: number | 'read' | 'closed';
  /** After how many milliseconds a process that hangs is ended. */
  readonly timeout?: number;
}

/** Runs a program with words as they are, without a shell. */
export function run(
  program: string,
  words: readonly string[],
  { cwd, stdout = 'read', timeout = 120_000 }: RunOptions = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const options: SpawnOptions = { stdio: ['ignore', typeof stdout === 'number' ? stdout : 'pipe', 'pipe'], timeout };
    const child = spawn(program, words, cwd === undefined ? options : { ...options, cwd });
    const ended = { stdout: '', stderr: '' };
    if (stdout === 'closed') child.stdout!.destroy();
    else child.stdout?.setEncoding('utf8').on('data', (text: string) => (ended.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (ended.stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code: code ?? signal, ...ended }));
  });
}

/** All names in a folder and in those below it. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).map((name) => name.replaceAll('\\', '/')).sort();
}
