// The modules that package.json exports, and their source files.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from './steps.mjs';

const { exports } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));

/**
 * The files behind `exports`, as paths in src without `.ts`. Includes both the files for Node and those for browsers.
 */
export const exportedModules = [
  ...new Set([...JSON.stringify(exports).matchAll(/"\.\/dist\/([\w/-]+)\.js"/g)].map(([, path]) => path)),
];

/** The ones that users import, which have types. */
export const entryPoints = Object.values(exports)
  .filter(({ types }) => types !== undefined)
  .map(({ types }) => types.slice('./dist/'.length, -'.d.ts'.length));
