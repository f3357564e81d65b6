// Finds or builds wasm-pack and wasm-bindgen, which compile the crate to a wasm module with JavaScript bindings.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { keep } from './cache.mjs';
import { ask, cache, environmentWith, Failure, onPath, root, run, step } from './steps.mjs';

// The version in Cargo.toml: the wasm-bindgen command and the crate must have the same version.
export const wasmBindgenVersion = readFileSync(join(root, 'Cargo.toml'), 'utf8').match(/^wasm-bindgen = "=(.+)"/m)[1];

const tools = [
  { command: 'wasm-pack', crate: 'wasm-pack', version: '0.15.1' },
  { command: 'wasm-bindgen', crate: 'wasm-bindgen-cli', version: wasmBindgenVersion },
];

/** The folders of the two commands. Those that are missing are built by cargo into the cache folder. */
export async function setUpWasmTools(toolchain) {
  const folders = await Promise.all(tools.map(find));
  for (const [index, tool] of tools.entries()) folders[index] ??= await build(tool, toolchain);
  return folders;
}

async function find(tool) {
  for (const path of [onPath(tool.command), join(cachedFolder(tool), 'bin', tool.command)]) {
    if (path && (await ask(path, ['--version']))?.split(' ')[1] === tool.version) return dirname(path);
  }
}

const cachedFolder = ({ command, version }) => join(cache, `${command}-${version}`);

async function build(tool, toolchain) {
  const { crate, version } = tool;
  // Without --locked, because the lock files of these crates may name versions that a mirror does not have yet.
  await step(`${crate} ${version}: cargo install into the cache folder (minutes, once)`, () =>
    keep(cachedFolder(tool), (temporary) =>
      run('cargo', ['install', crate, '--version', version, '--root', temporary], {
        cwd: cache,
        environment: environmentWith([toolchain.bin], toolchain.variables),
      }),
    ),
  );
  const folder = await find(tool);
  if (folder) return folder;
  throw new Failure(`${crate} ${version} was built but does not run`);
}
