import type { Stats } from 'node:fs';
import {
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  type FileHandle,
} from 'node:fs/promises';
import * as path from 'node:path';
import { SparsifyError } from '../errors.js';
import { flushed } from './node-flush.js';
import { isOne, parsedJournal, stampOf, version, type Entry, type Journal } from './node-journal.js';

// New files are complete in a staging folder beside their targets before the first target changes:
//
//   new/<name>    a new file, or a new folder with all of its files
//   old/<n>       what the n-th entry of the journal replaces
//   journal.json  from just before the first target changes until all have changed
//   done.json     the journal under another name, which commits the transaction
//
// A journal means that targets may have changed, and that all of them must change back. Without one either none has
// changed yet or all have, so the staging folder can be removed. Targets in several folders have a staging folder of the
// same name in each. One of them leads: its journal is written last and renamed first, and it is removed last. Only its
// journal counts.

const [journalName, doneName] = ['journal.json', 'done.json'];

/** In bytes; a file takes about a hundred. */
const longestJournal = 2 ** 28;

/** The staging folder of a transaction in one folder. */
export class Staging {
  readonly folder: string;
  readonly name: string;
  readonly path: string;

  constructor(folder: string, name: string) {
    this.folder = folder;
    this.name = name;
    this.path = path.join(folder, name);
  }

  /** Where something new is until it gets its name. */
  new(name = ''): string {
    return path.join(this.path, 'new', name);
  }

  #old(index: number | string = ''): string {
    return path.join(this.path, 'old', String(index));
  }

  /** A staging folder of the same transaction. @param folder a relative path */
  #in(folder: string): Staging {
    return new Staging(path.join(this.folder, folder), this.name);
  }

  async begin(): Promise<void> {
    await mkdir(this.path);
    await mkdir(this.new());
    await mkdir(this.#old());
  }

  /** Opens a new file. */
  async create(name: string): Promise<FileHandle> {
    const folder = path.dirname(name);
    if (folder !== '.') await mkdir(this.new(folder), { recursive: true });
    return open(this.new(name), 'wx');
  }

  /** Says what {@link place} is going to do. The one that leads does so last. */
  async record(leader: Staging, others: readonly Staging[], entries: readonly Entry[]): Promise<void> {
    const to = (other: Staging) => path.relative(this.folder, other.folder);
    const journal: Journal = { version, leader: to(leader), others: others.map(to), entries };
    const [begun, file] = [path.join(this.path, 'journal.new'), path.join(this.path, journalName)];
    const handle = await open(begun, 'wx');
    try {
      await handle.writeFile(JSON.stringify(journal));
      await flushed(handle);
    } finally {
      await handle.close();
    }
    for (const folder of await foldersIn(this.new())) await flush(folder);
    await rename(begun, file);
    for (const folder of [this.#old(), this.path, this.folder]) await flush(folder);
  }

  /** Gives what is new its names. */
  async place(entries: readonly Entry[]): Promise<void> {
    for (const [index, { name, replaces }] of entries.entries()) {
      const [staged, target] = [this.new(name), path.join(this.folder, name)];
      if (replaces) {
        await setAside(target, this.#old(index));
        await rename(staged, target);
      } else await placeNew(staged, target);
    }
    await flush(this.folder);
  }

  /** Commits the transaction that this one leads. */
  async commit(): Promise<void> {
    await rename(path.join(this.path, journalName), path.join(this.path, doneName));
    // It cannot be undone any more.
    await flush(this.path).catch(() => {});
  }

  /**
   * Changes targets back. What others have written there since stays. A second call does nothing.
   * @param isLater whether another process has changed them
   */
  async undo(entries: readonly Entry[], isLater: boolean): Promise<void> {
    if (entries.length === 0) return;
    for (const [index, { name, replaces, stamps }] of [...entries.entries()].reverse()) {
      const [old, target] = [this.#old(index), path.join(this.folder, name)];
      const placed = await found(target);
      const isOwn = (file: Stats) => isOne(file, stamps, isLater);
      if (!replaces) await removeOwn(target, isOwn);
      else if ((await found(old)) && (placed === undefined || isOwn(placed))) await rename(old, target);
    }
    await flush(this.folder).catch(() => {});
  }

  /** The journal no longer counts, since it was undone. */
  async forget(): Promise<void> {
    await rm(path.join(this.path, journalName), { force: true });
  }

  async remove(): Promise<void> {
    const attempt = () => rm(this.path, { recursive: true, force: true }).catch(ifMissing);
    // Another program, such as a virus scanner, may hold a file for a moment.
    await attempt().catch(attempt);
  }

  /** All staging folders of the transaction that are there, the one that leads first. */
  async all(): Promise<readonly Staging[]> {
    const own = await this.#readJournal();
    const leader = this.#in(own?.leader ?? '');
    const others = (await leader.#readJournal())?.others ?? [];
    const all = [leader, ...others.map((folder) => leader.#in(folder)), this];
    const byPath = new Map(all.map((staging) => [staging.path, staging]));
    const there = await Promise.all(
      [...byPath.values()].map(async (staging) => ((await found(staging.path)) ? staging : [])),
    );
    return there.flat();
  }

  /** What may have changed, if the transaction was neither completed nor undone. */
  async unfinished(): Promise<readonly Entry[]> {
    const own = await this.#journalIn(journalName);
    if (own === undefined) return [];
    const leader = this.#in(own.leader);
    // Someone may have removed the folder of the one that leads.
    const counts = (await leader.#journalIn(journalName)) !== undefined || !(await found(leader.path));
    return counts ? own.entries : [];
  }

  /**
   * When something in it changed last, in milliseconds; undefined if it is no folder, or someone else's: in a folder such as
   * /tmp, only its owner may have what others have written there undone.
   */
  async changed(): Promise<number | undefined> {
    const own = await found(this.path);
    if (!own?.isDirectory()) return undefined;
    if (own.uid !== process.getuid?.() && own.uid !== (await stat(this.folder)).uid) return undefined;
    const files = await filesIn(this.new());
    return Math.max(own.mtimeMs, ...files.map(({ mtimeMs }) => mtimeMs));
  }

  async #readJournal(): Promise<Journal | undefined> {
    return (await this.#journalIn(journalName)) ?? this.#journalIn(doneName);
  }

  async #journalIn(name: string): Promise<Journal | undefined> {
    const file = path.join(this.path, name);
    const status = await found(file);
    if (status === undefined) return undefined;
    // Someone else may have put there a pipe, or a link to a device, of which reading does not end.
    const isReadable = status.isFile() && status.size <= longestJournal;
    const text = isReadable ? await readFile(file, 'utf8').catch(ifMissing) : '';
    if (text === undefined) return undefined;
    const journal = parsedJournal(text);
    if (journal) return journal;
    throw new SparsifyError('file', 'this is not a journal of a known version', { subject: file });
  }
}

/** Undefined for what is not there. */
export const ifMissing = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
};

/** What is at a place, a link itself rather than what it leads to. */
export const found = (place: string): Promise<Stats | undefined> => lstat(place).catch(ifMissing);

/** The entry for something new. */
export async function entryFor(staging: Staging, name: string, replaces: boolean): Promise<Entry> {
  return { name, replaces, stamps: (await filesIn(staging.new(name))).map(stampOf) };
}

/** A file itself, or all files in a folder. */
async function filesIn(place: string): Promise<Stats[]> {
  const status = await found(place);
  if (!status?.isDirectory()) return status ? [status] : [];
  const names = await readdir(place);
  return (await Promise.all(names.map((name) => filesIn(path.join(place, name))))).flat();
}

/** A folder and those in it. */
async function foldersIn(folder: string): Promise<string[]> {
  const inside = (await readdir(folder, { withFileTypes: true })).filter((each) => each.isDirectory());
  return [...(await Promise.all(inside.map(({ name }) => foldersIn(path.join(folder, name))))).flat(), folder];
}

/** Keeps a file that another takes the name of. */
async function setAside(target: string, old: string): Promise<void> {
  const status = await lstat(target);
  if (status.isDirectory()) throw new SparsifyError('file', 'exists and is not a file', { subject: target });
  // With a link to the file, its name is there all the time. Some file systems have none, and links to links are not
  // what they are everywhere.
  if (status.isFile() && (await isDone(link(target, old)))) return;
  await rename(target, old);
}

/** Gives a file or folder its name, which no other may have. */
async function placeNew(staged: string, target: string): Promise<void> {
  if ((await found(target)) !== undefined) throw appeared(target);
  if ((await lstat(staged)).isDirectory()) return rename(staged, target);
  try {
    // A link, unlike a renaming, refuses a target that came into being meanwhile.
    await link(staged, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw appeared(target);
    // Some file systems have no links.
    return rename(staged, target);
  }
  await rm(staged);
}

const appeared = (subject: string): SparsifyError =>
  new SparsifyError('file', 'was written by someone else meanwhile', {
    subject,
    hint: 'Choose another name, or write again with `force: true`',
  });

/** Removes what was placed, and folders that are empty then. @returns whether there was something of it */
async function removeOwn(place: string, isOwn: (file: Stats) => boolean): Promise<boolean> {
  const status = await found(place);
  if (status === undefined) return false;
  if (!status.isDirectory()) {
    if (!isOwn(status)) return false;
    await rm(place);
    return true;
  }
  let isRemoved = false;
  for (const name of await readdir(place)) isRemoved = (await removeOwn(path.join(place, name), isOwn)) || isRemoved;
  // Others may have put files there.
  if (isRemoved && (await readdir(place)).length === 0) await rmdir(place);
  return isRemoved;
}

const isDone = (call: Promise<void>): Promise<boolean> =>
  call.then(
    () => true,
    () => false,
  );

/** Writes the names in a folder to the disk, where the system can do that. */
async function flush(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await flushed(handle);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!unsupported.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** What systems answer that cannot flush a folder, or that let it be written to but not read. */
const unsupported: readonly string[] = ['EINVAL', 'EPERM', 'EACCES', 'EISDIR', 'EBADF', 'ENOTSUP', 'ENOSYS'];
