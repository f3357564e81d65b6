import { realpath, stat } from 'node:fs/promises';
import * as path from 'node:path';
import { SparsifyError } from '../errors.js';
import type { TargetOptions } from './host.js';
import { notWritten } from './node-errors.js';
import { namesAbove, recover } from './node-recovery.js';
import { found, ifMissing } from './node-staging.js';
import { asPath } from './node-worker.js';

/** A file that is to be written. */
export interface Target {
  /** The path that was given. */
  readonly given: string;
  /** The nearest folder that exists, with links resolved. */
  readonly folder: string;
  /** The path in that folder. */
  readonly name: string;
  /** The permissions of the file that is replaced. */
  readonly mode: number | undefined;
}

/**
 * Says before any work is done that files could not be written. What runs that were killed left unfinished in the same
 * folders is undone first.
 * @throws SparsifyError `file` where one is read, or exists and `force` is not set, or is no file; `usage` where two are
 *   the same file, or one is no path
 */
export async function checkTargets(
  paths: readonly string[],
  { force = false, sourceFiles = [] }: TargetOptions = {},
): Promise<readonly Target[]> {
  const address = paths.find((target) => target === '' || /^(file|https?):/i.test(target));
  if (address !== undefined) {
    throw new SparsifyError('usage', 'a file is written to a path', {
      given: address === '' ? 'an empty one' : address,
      hint: 'Give a path rather than an address. `fileURLToPath` makes one of a file: address',
    });
  }
  await recoverAll(paths);
  const places: Place[] = [];
  for (const given of paths) places.push(await placeOf(given));
  const read = new Set<string>();
  for (const file of sourceFiles) read.add(await identityOf(await placeOf(asPath(file))));
  const written = new Set<string>();
  for (const place of places) {
    const { given: subject } = place;
    const identity = await identityOf(place);
    if (read.has(identity)) {
      throw new SparsifyError('file', 'an input file cannot be overwritten', {
        subject,
        hint: 'Write to another path, then move the file',
      });
    }
    if (written.has(identity)) throw sameFile(subject);
    written.add(identity);
  }
  const targets: Target[] = [];
  for (const place of places) {
    const { folder, name, given } = place;
    // Of folders that do not exist, only the first could be a link, which then leads nowhere.
    targets.push({ ...place, mode: await checkFree(folder, firstOf(name), force, given) });
  }
  return targets;
}

/** @throws SparsifyError `usage` */
export const sameFile = (subject: string): SparsifyError =>
  new SparsifyError('usage', 'two outputs would be the same file', { subject, hint: 'Give each output its own path' });

/**
 * Checks that a file can get a name in a folder. If there is a link, it is the link that is replaced, never the file that
 * it leads to.
 * @param subject the file, for errors
 * @returns the permissions of the file that is replaced; undefined if there is none
 * @throws SparsifyError `file` if it cannot
 */
export async function checkFree(
  folder: string,
  name: string,
  force: boolean,
  subject: string,
): Promise<number | undefined> {
  const place = path.join(folder, name);
  const entry = await found(place).catch((cause) => {
    throw notWritten(subject, cause);
  });
  if (entry === undefined) return undefined;
  const file = await stat(place).catch(() => undefined);
  if (file === undefined) {
    throw new SparsifyError('file', 'there is a link that leads nowhere', {
      subject,
      found: place,
      hint: 'Remove the link, or write to another path',
    });
  }
  if (!force) {
    throw new SparsifyError('file', 'already exists', {
      subject,
      hint: 'Choose another name, or overwrite it with `force: true`',
    });
  }
  if (!file.isFile()) throw new SparsifyError('file', 'exists and is not a file', { subject });
  return file.mode & 0o7777;
}

/** Undoes what runs that were killed began in the folders of files, which may remove some of these. */
async function recoverAll(paths: readonly string[]): Promise<void> {
  const namesIn = new Map<string, Set<string>>();
  for (const given of paths) {
    const { folder, name } = await placeOf(given);
    for (const each of namesAbove(path.join(folder, firstOf(name)))) {
      namesIn.set(each.folder, (namesIn.get(each.folder) ?? new Set()).add(each.name));
    }
  }
  for (const [folder, names] of namesIn) {
    await recover(folder, [...names]).catch((cause) => {
      throw notWritten(folder, cause);
    });
  }
}

const firstOf = (name: string): string => name.split(path.sep)[0]!;

type Place = Omit<Target, 'mode'>;

async function placeOf(given: string): Promise<Place> {
  try {
    const { folder, name } = await folderOf(path.dirname(given));
    return { given, folder, name: path.join(name, path.basename(given)) };
  } catch (cause) {
    throw notWritten(given, cause);
  }
}

/** The nearest folder that exists, with links resolved, and the path in it. */
async function folderOf(name: string): Promise<Pick<Place, 'folder' | 'name'>> {
  const parent = path.dirname(name);
  try {
    return { folder: await realpath(name), name: '' };
  } catch (error) {
    // The working folder itself may have been removed.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === name) throw error;
  }
  const above = await folderOf(parent);
  // Folders that do not exist are no links, so `..` behind them is what they are in.
  const place = path.join(above.folder, above.name, path.basename(name));
  const folder = await realpath(place).catch(() => undefined);
  return folder ? { folder, name: '' } : { ...above, name: path.relative(above.folder, place) };
}

/** Equal for two places that lead to the same file, through links or not, even if the file does not exist yet. */
async function identityOf({ folder, name, given }: Place): Promise<string> {
  const place = path.join(folder, name);
  const file = await stat(place, { bigint: true })
    .catch(ifMissing)
    .catch((cause) => {
      throw notWritten(given, cause);
    });
  if (file) return `${file.dev}:${file.ino}`;
  return (await ignoresCase(folder)) ? path.join(folder, name.normalize().toLowerCase()) : place;
}

/** Whether names that differ in their case are the same name in a folder, as on most disks of macOS and Windows. */
async function ignoresCase(folder: string): Promise<boolean> {
  const name = path.basename(folder);
  const parent = path.dirname(folder);
  const other = name === name.toLowerCase() ? name.toUpperCase() : name.toLowerCase();
  if (other === name) return parent !== folder && ignoresCase(parent);
  const identities = await Promise.all(
    [folder, path.join(parent, other)].map((each) => stat(each, { bigint: true }).catch(() => undefined)),
  );
  const [own, same] = identities;
  return own !== undefined && own.dev === same?.dev && own.ino === same.ino;
}
