// The command line in a folder of its own.
import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { command, run } from './command.js';

const packages = fileURLToPath(new URL('../../node_modules', import.meta.url));
const folder = new AsyncLocalStorage<string>();

/** A path in the folder of the test that is running. */
export const at = (...names: string[]): string => join(folder.getStore()!, ...names);

/** Runs tests in folders of their own, with these files. */
export const foldersWith =
  (files: Readonly<Record<string, Uint8Array>>) =>
  /** @param installed packages that the folder has */
  <Words extends readonly unknown[]>(body: (...words: Words) => Promise<void>, installed = ['onnxruntime-node']) =>
  async (...words: Words): Promise<void> => {
    const own = await mkdtemp(join(tmpdir(), 'sparsifier-test-'));
    try {
      for (const [name, bytes] of Object.entries(files)) await writeFile(join(own, name), bytes);
      for (const name of installed) {
        await mkdir(join(own, 'node_modules', name, '..'), { recursive: true });
        await symlink(join(packages, name), join(own, 'node_modules', name), 'junction');
      }
      await folder.run(own, () => body(...words));
    } finally {
      await rm(own, { recursive: true });
    }
  };

export const sparsifier = (...words: string[]): ReturnType<typeof run> =>
  run(process.execPath, [command, ...words], { cwd: at() });

/** What a command prints, which must succeed. */
export async function printed(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await sparsifier(...words);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}
