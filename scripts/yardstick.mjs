// Builds a copy of the package for benchmarks. Its engine has one more verb: a pass over memory, to compare the others
// with.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildWasm } from './build.mjs';
import { packageFolder, root } from './steps.mjs';

const folder = join(root, 'target', 'yardstick');

/** The folder of the copy's modules. */
export const yardstickModules = join(folder, 'dist');

/** Needs the built package. */
export async function buildYardstick(tools) {
  const wasm = join(folder, 'wasm');
  await buildWasm(tools, wasm, ['yardstick']);
  for (const name of ['dist', 'package.json'])
    cpSync(join(packageFolder, name), join(folder, name), { recursive: true });
  const glue = readFileSync(join(wasm, 'sparsifier_wasm.js'), 'utf8');
  const pool = /'[^']*\/workerHelpers\.js'/;
  writeFileSync(join(yardstickModules, 'wasm', 'sparsifier_wasm.js'), glue.replace(pool, `'../engine/pool.js'`));
  cpSync(join(wasm, 'sparsifier_wasm_bg.wasm'), join(yardstickModules, 'wasm', 'sparsifier_wasm_bg.wasm'));
}
