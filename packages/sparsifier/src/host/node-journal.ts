import type { Stats } from 'node:fs';
import * as path from 'node:path';

/** What tells a file that was written from one that someone else wrote to the same place later. */
export interface Stamp {
  readonly size: number;
  /** In milliseconds. */
  readonly time: number;
}

export const stampOf = ({ size, mtimeMs }: Stats): Stamp => ({ size, time: mtimeMs });

/** Whether a file is one of those that were written. */
export const isOne = (file: Stats, stamps: readonly Stamp[]): boolean =>
  stamps.some(({ size, time }) => file.size === size && file.mtimeMs === time);

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
        !['', '.', '..'].includes(name) &&
        typeof replaces === 'boolean' &&
        isList(stamps, ({ size, time }: Partial<Stamp>) => typeof size === 'number' && typeof time === 'number'),
    );
  return isValid ? (journal as Journal) : undefined;
}

const isList = <Item>(list: unknown, isItem: (item: Item) => boolean): boolean =>
  Array.isArray(list) && list.every((item) => item !== null && item !== undefined && isItem(item as Item));
