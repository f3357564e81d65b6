// The modules that package.json exports, and where each is written.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from './steps.mjs';

const { exports } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));

/** The files of src behind `exports`, by their paths in it without `.ts`; a file for Node and one for pages count each. */
export const exportedModules = [
  ...new Set([...JSON.stringify(exports).matchAll(/"\.\/dist\/([\w/-]+)\.js"/g)].map(([, path]) => path)),
];

/** Those that are imported by name, so that they have types. */
export const entryPoints = Object.values(exports)
  .filter(({ types }) => types !== undefined)
  .map(({ types }) => types.slice('./dist/'.length, -'.d.ts'.length));
