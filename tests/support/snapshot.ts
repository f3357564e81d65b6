import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What is in a folder and those below it: permissions and content by name. */
export async function snapshot(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(folder, { recursive: true })).sort();
  const all = await Promise.all(
    names.map(async (name) => {
      const place = join(folder, name);
      const status = await lstat(place);
      const content = status.isSymbolicLink()
        ? `-> ${await readlink(place)}`
        : status.isFile()
          ? (await readFile(place)).toString('base64')
          : '';
      return [name.replaceAll('\\', '/'), `${(status.mode & 0o777).toString(8)} ${content}`] as const;
    }),
  );
  return Object.fromEntries(all);
}
