import { printable } from '../printable.js';

/** Text that is printable already. */
export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Where a command wrote its result. */
export const writtenTo = (out: string): string => `written: ${printable(out)}`;
