import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';

const host = hostname()
  .replace(/[^\w.]/g, '_')
  .slice(0, 60);

/** Transactions that this process has begun and not ended, by the names of their staging folders. */
export const running = new Set<string>();

/** The name of the staging folders of a new transaction: it tells the host and the process. */
export const newName = (): string => `.sparsifier-${host}-${process.pid}-${randomBytes(6).toString('hex')}`;

const pattern = /^\.sparsifier-([\w.]+)-(\d+)-[0-9a-f]{12}$/;

export const isStagingName = (name: string): boolean => pattern.test(name);

/** Whether other hosts may still work on what they changed last at a time. */
const patience = 24 * 60 * 60 * 1000;
/** Clocks may have been corrected meanwhile. In milliseconds. */
const tolerance = 60_000;

/**
 * Whether the process that made a staging folder is gone. The processes of other hosts cannot be seen: they are taken to
 * be gone after a day.
 * @param changed when the folder changed last, in milliseconds
 */
export async function isGone(name: string, changed: number): Promise<boolean> {
  const [, owner, number] = pattern.exec(name)!;
  if (owner !== host) return Date.now() - changed > patience;
  const pid = Number(number);
  // In a container, a new process often has the number of the last one.
  if (pid === process.pid) return !running.has(name);
  try {
    process.kill(pid, 0);
  } catch (error) {
    // A process of another user is there as well.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return true;
  }
  const started = await startOf(pid);
  return started !== undefined && started > changed + tolerance;
}

/** When a process was started, in milliseconds; undefined where the system does not tell. */
async function startOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The name of the program, in parentheses, may contain anything. Times are in hundredths of a second since the start.
  const ticks = Number(text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
  return Number.isNaN(ticks) ? undefined : Date.now() - 1000 * uptime() + 10 * ticks;
}
