import type { Stats } from 'node:fs';
import * as path from 'node:path';

/** What tells a file that was written from one that someone else wrote to the same place. */
export interface Stamp {
  /** Its inode. */
  readonly file: number;
  readonly size: number;
  /** In milliseconds. */
  readonly time: number;
}

export const stampOf = ({ ino, size, mtimeMs }: Stats): Stamp => ({ file: ino, size, time: mtimeMs });

/**
 * Whether a file is one of those that were written.
 * @param isLater whether they were written by another process: some file systems give a file another inode each time they
 *   are mounted. Right afterwards only the inode is sure, since clocks of file systems are coarse
 */
export const isOne = ({ ino, size, mtimeMs }: Stats, stamps: readonly Stamp[], isLater: boolean): boolean =>
  stamps.some((stamp) => stamp.size === size && stamp.time === mtimeMs && (isLater || stamp.file === ino));

/** A name that a new file or folder gets. */
export interface Entry {
  /** A name in the folder, not a path. */
  readonly name: string;
  /** Whether it takes the place of another file. */
  readonly replaces: boolean;
  /** Of the file, or of all files in the folder. */
  readonly stamps: readonly Stamp[];
}

/** What a transaction changes in one folder. Other folders are relative paths. */
export interface Journal {
  readonly version: typeof version;
  /** The folder whose journal counts. */
  readonly leader: string;
  /** The further folders. */
  readonly others: readonly string[];
  readonly entries: readonly Entry[];
}

export const version = 1;

/** A journal from its text; undefined if it is none of this version. It may have come with a folder from anywhere. */
export function parsedJournal(text: string): Journal | undefined {
  let journal: Partial<Journal> | null;
  try {
    journal = JSON.parse(text) as typeof journal;
  } catch {
    return undefined;
  }
  if (typeof journal !== 'object' || journal?.version !== version) return undefined;
  const { leader, others, entries } = journal;
  const isValid =
    typeof leader === 'string' &&
    isList(others, (folder) => typeof folder === 'string') &&
    isList(
      entries,
      ({ name, replaces, stamps }: Partial<Entry>) =>
        typeof name === 'string' &&
        path.basename(name) === name &&
        !name.includes('\0') &&
        !['', '.', '..'].includes(name) &&
        typeof replaces === 'boolean' &&
        isList(stamps, ({ file, size, time }: Partial<Stamp>) =>
          [file, size, time].every((number) => typeof number === 'number'),
        ),
    );
  return isValid ? (journal as Journal) : undefined;
}

const isList = <Item>(list: unknown, isItem: (item: Item) => boolean): boolean =>
  Array.isArray(list) && list.every((item) => item !== null && item !== undefined && isItem(item as Item));
