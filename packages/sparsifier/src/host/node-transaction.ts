import { rmSync } from 'node:fs';
import { readdir, rename, stat, type FileHandle } from 'node:fs/promises';
import * as path from 'node:path';
import type { Entry } from './node-journal.js';
import { newName, running } from './node-owner.js';
import { recover, undoAll } from './node-recovery.js';
import { entryFor, found, Staging } from './node-staging.js';
import { checkFree, sameFile, type Target } from './node-targets.js';

/** Those that have begun and not ended. */
const begun = new Set<Transaction>();

/** Files that are all written, or none. Its end is {@link commit} or {@link rollBack}. */
export class Transaction {
  readonly #name = newName();
  readonly #force: boolean;
  /** By their folders. The first one leads. */
  readonly #stagings = new Map<string, Staging>();
  /** Whether targets may be changing. */
  #isChanging = false;
  #end!: () => void;
  readonly #ended = new Promise<void>((resolve) => (this.#end = resolve));

  constructor(force: boolean) {
    this.#force = force;
    running.add(this.#name);
    begun.add(this);
  }

  /** Opens a new file, which gets its name when all are complete. */
  async create({ folder, name, mode, given }: Target): Promise<FileHandle> {
    const staging = await this.#stagingIn(folder);
    const handle = await staging.create(name).catch((error: NodeJS.ErrnoException) => {
      // In a file system that takes two names for the same.
      throw error.code === 'EEXIST' ? sameFile(given) : error;
    });
    try {
      // A private file stays private, also while it is written. Some file systems have no permissions to change.
      if (mode !== undefined && ((await handle.stat()).mode & 0o7777) !== mode) await handle.chmod(mode);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return handle;
  }

  /**
   * Gives all files their names, in place of those that have them.
   * @throws SparsifyError `file`, or what the file system does; then it must be rolled back
   */
  async commit(): Promise<void> {
    this.#isChanging = true;
    const changes: { readonly staging: Staging; readonly entries: readonly Entry[] }[] = [];
    // Staging folders may be added meanwhile.
    for (const staging of this.#stagings.values()) changes.push({ staging, entries: await this.#entriesOf(staging) });
    const [leader, ...others] = [...this.#stagings.values()];
    for (const { staging, entries } of [...changes].reverse()) await staging.record(leader!, others, entries);
    for (const { staging, entries } of changes) {
      // Of two runs that change the same files at the same time, at least one sees the journal of the other.
      await recover(
        staging.folder,
        entries.map(({ name }) => name),
        this.#name,
      );
    }
    for (const { staging, entries } of changes) await staging.place(entries);
    await leader!.commit();
    try {
      for (const other of others) await other.remove();
      await leader!.remove();
    } catch {
      // The next run removes it.
    }
    this.#ends();
  }

  /**
   * Brings back what was there before. A second call, or one after {@link commit}, does nothing.
   * @throws what the file system does; then the next run tries again
   */
  async rollBack(): Promise<void> {
    try {
      const stagings = [...this.#stagings.values()];
      if (stagings[0]) await undoAll(stagings[0], false);
      for (const staging of stagings) await staging.remove();
    } finally {
      this.#ends();
    }
  }

  /**
   * Removes what was begun, at once; or if targets are changing, waits until they have changed, or changed back.
   * @returns what is waited for
   */
  abandon(): Promise<void> | undefined {
    if (this.#isChanging) return this.#ended;
    for (const staging of this.#stagings.values()) {
      try {
        rmSync(staging.path, { recursive: true, force: true });
      } catch {
        // The next run removes it.
      }
    }
    return undefined;
  }

  #ends(): void {
    running.delete(this.#name);
    begun.delete(this);
    this.#end();
  }

  async #stagingIn(folder: string): Promise<Staging> {
    const made = this.#stagings.get(folder);
    if (made) return made;
    const staging = new Staging(folder, this.#name);
    this.#stagings.set(folder, staging);
    await staging.begin();
    return staging;
  }

  /** What is going to change in a folder. */
  async #entriesOf(staging: Staging): Promise<readonly Entry[]> {
    const { folder } = staging;
    const entries: Entry[] = [];
    for (const name of await readdir(staging.new())) {
      const target = path.join(folder, name);
      const isFolder = (await found(staging.new(name)))!.isDirectory();
      if (isFolder && (await stat(target).catch(() => undefined))?.isDirectory()) {
        // Someone made the folder meanwhile, so the files are placed in it one by one.
        const inner = await this.#stagingIn(target);
        for (const each of await readdir(staging.new(name))) {
          await rename(path.join(staging.new(name), each), inner.new(each));
        }
      } else {
        const mode = await checkFree(folder, name, this.#force && !isFolder, target);
        entries.push(await entryFor(staging, name, mode !== undefined));
      }
    }
    return entries;
  }
}

/**
 * Removes what transactions of this process have begun, for a process that is about to end. None must be continued.
 * @returns a promise for those that are changing files, which takes milliseconds; undefined if there are none
 */
export function abandonAll(): Promise<unknown> | undefined {
  const waiting = [...begun].flatMap((transaction) => transaction.abandon() ?? []);
  return waiting.length === 0 ? undefined : Promise.all(waiting);
}
