import { printable } from '../printable.js';

/** Text that is printable already. */
export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Where a command wrote its results; undefined for those that it did not write. */
export const writtenTo = (...paths: readonly (string | undefined)[]): string =>
  paths.flatMap((path) => (path === undefined ? [] : [`written: ${printable(path)}`])).join('\n');
