// Writes files and is killed at a step. Its words: the number of the step, the folder, and the names of the files.
import { join } from 'node:path';
import { writeFiles } from '../../packages/sparsifier/dist/host/node-writing.js';
import { onEachStep } from './file-steps.mjs';

const [last, folder, ...names] = process.argv.slice(2);
let steps = 0;
onEachStep(() => {
  if (++steps <= Number(last)) return undefined;
  process.kill(process.pid, 'SIGKILL');
  // The process may still run for a moment.
  return new Promise(() => {});
  // A run that is killed before it only looks is like one that is killed before its next change.
}, false);
await writeFiles(
  names.map((name) => ({ path: join(folder, name), chunks: () => [Buffer.from('new '), Buffer.from(name)] })),
  { force: true },
);
