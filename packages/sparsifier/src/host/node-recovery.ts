import { readdir, realpath } from 'node:fs/promises';
import * as path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { SparsifyError } from '../errors.js';
import { reason } from './node-errors.js';
import { isGone, isStagingName } from './node-owner.js';
import { Staging } from './node-staging.js';

/** A place, and all folders that it is in: a new folder is staged beside it, and gets its name with all that is in it. */
export function* namesAbove(place: string): Generator<{ readonly folder: string; readonly name: string }> {
  const folder = path.dirname(place);
  if (folder === place) return;
  yield { folder, name: path.basename(place) };
  yield* namesAbove(folder);
}

/**
 * Undoes what runs that were killed had begun in a folder, and removes what they left.
 * @param names those that are going to be written, or what these are in
 * @param own the name of staging folders that are left alone
 * @throws SparsifyError `file` if another run is writing one of them, or began to and it could not be undone
 */
export async function recover(folder: string, names: readonly string[], own?: string): Promise<void> {
  for (const staging of await stagingsIn(folder)) {
    if (staging.name === own) continue;
    let failure: unknown;
    try {
      const changed = await staging.changed();
      if (changed !== undefined && (await isGone(staging.name, changed))) await undoAll(staging, true);
    } catch (cause) {
      // It may be someone else's, and then only matters if it is about the same files.
      failure = cause;
    }
    const name = await unfinishedOf(staging, names);
    if (name === undefined) continue;
    throw new SparsifyError(
      'file',
      failure === undefined ? 'another run is writing it' : 'was not written to its end, which could not be undone',
      {
        subject: path.join(folder, name),
        found: failure === undefined ? staging.path : `${staging.path}: ${reason(failure)}`,
        hint: 'Wait until that run has ended. What a run that was killed on another host began is undone after 24 hours',
      },
      { cause: failure },
    );
  }
}

/** How long a file is waited for that a running process is changing, which takes milliseconds. */
const patience = 2000;

/**
 * Refuses a file that a run was changing when it was killed: other files of the same model may not belong to it.
 * @throws SparsifyError `file`
 */
export async function checkFinished(file: string): Promise<void> {
  // A link may be what is replaced, or lead to it.
  const folder = await realpath(path.dirname(file)).catch(() => undefined);
  const places = [folder && path.join(folder, path.basename(file)), await realpath(file).catch(() => undefined)];
  for (const place of new Set(places)) {
    if (place === undefined) continue;
    for (const { folder, name } of namesAbove(place)) {
      for (const staging of await stagingsIn(folder)) {
        const until = Date.now() + patience;
        while ((await unfinishedOf(staging, [name])) !== undefined) {
          const changed = await staging.changed().catch(() => undefined);
          if (changed !== undefined && !(await isGone(staging.name, changed)) && Date.now() < until) {
            await wait(10);
            continue;
          }
          throw new SparsifyError('file', 'was not written to its end', {
            subject: file,
            found: staging.path,
            hint: 'Run the command that writes it again: it first brings back what was there before',
          });
        }
      }
    }
  }
}

/**
 * Undoes what a transaction has changed, unless it is complete, and removes its staging folders.
 * @param isLater whether it is that of another process
 */
export async function undoAll(staging: Staging, isLater: boolean): Promise<void> {
  const all = await staging.all();
  // Each must be known before the first is undone.
  const changes = await Promise.all(all.map(async (each) => ({ each, entries: await each.unfinished() })));
  for (const { each, entries } of changes) await each.undo(entries, isLater);
  const [leader, ...others] = all;
  await leader?.forget();
  for (const each of others) await each.remove();
  await leader?.remove();
}

/** The first of the names that a transaction may have changed and has not completed. */
async function unfinishedOf(staging: Staging, names: readonly string[]): Promise<string | undefined> {
  // What cannot be read, or is of another version, is not known to be about these files.
  const entries = await staging.unfinished().catch(() => []);
  return names.find((name) => entries.some((entry) => entry.name === name));
}

async function stagingsIn(folder: string): Promise<Staging[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    // A folder may be written to that cannot be listed.
    if (!['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(error.code ?? '')) throw error;
    return [];
  });
  return names.filter(isStagingName).map((name) => new Staging(folder, name));
}
