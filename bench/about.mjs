// What records of benchmarks say about where their results come from.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { packageFolder, root } from '../scripts/steps.mjs';

const versionIn = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;

/**
 * @param packages npm packages, whose versions matter
 * @param versions those of other programs
 */
export function about(packages, versions = {}) {
  const installed = packages.map((name) => [name, versionIn(join(root, 'node_modules', name))]);
  const own = { sparsifier: versionIn(packageFolder), Node: process.versions.node };
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0].model,
    cores: availableParallelism(),
    versions: { ...own, ...Object.fromEntries(installed), ...versions },
  };
}
