import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What is in a folder and those below it, without packages: permissions and content by name. */
export async function snapshot(folder: string): Promise<Readonly<Record<string, string>>> {
  // In recursive mode, Node follows links, and packages are large.
  const top = (await readdir(folder)).filter((name) => name !== 'node_modules');
  const below = await Promise.all(
    top.map(async (name) =>
      (await lstat(join(folder, name))).isDirectory()
        ? (await readdir(join(folder, name), { recursive: true })).map((each) => join(name, each))
        : [],
    ),
  );
  const names = [...top, ...below.flat()].sort();
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
