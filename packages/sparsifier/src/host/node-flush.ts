import { fdatasync, fsync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';

const ofSystem = { sync: promisify(fsync), datasync: promisify(fdatasync) };

/**
 * Waits until what was written to a file is on the disk; with `datasync` not for its times. Yarn's Plug'n'Play opens files
 * as handles of its own, whose methods for this only throw, but whose descriptors are real.
 */
export async function flushed(handle: FileHandle, how: keyof typeof ofSystem = 'sync'): Promise<void> {
  try {
    await handle[how]();
  } catch (error) {
    // What the system answers has a code.
    if ((error as NodeJS.ErrnoException).code !== undefined) throw error;
    await ofSystem[how](handle.fd);
  }
}
