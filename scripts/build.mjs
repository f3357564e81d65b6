// Builds the package: crates/wasm -> packages/sparsifier/wasm, src -> lib, and both -> dist.
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setUp } from './setup.mjs';
import { contentOf, environmentWith, fingerprint, main, packageFolder, root, run, step } from './steps.mjs';
import { cargoHome } from './toolchain.mjs';

export async function build(tools) {
  await buildWasm(tools);
  await buildPackage();
}

const inRoot = (...names) => join(root, ...names);
const inPackage = (...names) => join(packageFolder, ...names);

/**
 * Builds the wasm into a folder.
 * @param features features of crates/wasm to enable
 */
export async function buildWasm({ toolchain, wasmTools }, out = inPackage('wasm'), features = []) {
  const environment = wasmEnvironment({ toolchain, wasmTools });
  if (!existsSync(inRoot('Cargo.lock'))) await run('cargo', ['generate-lockfile'], { environment });

  const sources = readdirSync(inRoot('crates')).flatMap((crate) => [
    inRoot('crates', crate, 'src'),
    inRoot('crates', crate, 'Cargo.toml'),
  ]);
  const inputs = fingerprint(
    [...sources, inRoot('Cargo.toml'), inRoot('Cargo.lock'), inRoot('scripts', 'build.mjs')],
    toolchain.id,
  );
  const crate = inRoot('crates', 'wasm');
  const options = '--target web --out-name sparsifier_wasm --mode force --no-opt --no-pack --no-gitignore'.split(' ');
  const cargoOptions = [...buildStd, ...features.flatMap((name) => ['--features', name])];
  await unlessCurrent(
    ['wasm: wasm-pack build', ...features].join(' '),
    inputs,
    [out],
    join(out, 'sparsifier_wasm_bg.wasm'),
    () =>
      run('wasm-pack', ['build', crate, '--out-dir', relative(crate, out), ...options, '--', ...cargoOptions], {
        environment,
      }),
  );
}

/** Threads in WebAssembly need a std with atomics, which is built from source. */
export const buildStd = ['-Z', 'build-std=panic_abort,std'];

/** The environment in which cargo builds for WebAssembly. */
export const wasmEnvironment = ({ toolchain, wasmTools }) =>
  environmentWith([toolchain.bin, ...wasmTools], {
    ...toolchain.variables,
    CARGO_ENCODED_RUSTFLAGS: flags(toolchain).join('\x1f'),
    // Separate from native builds, which would otherwise be rebuilt each time the flags change.
    CARGO_TARGET_DIR: inRoot('target', 'wasm'),
  });

function flags({ linker, sources }) {
  const exported = ['__wasm_init_tls', '__tls_size', '__tls_align', '__tls_base', '__heap_base'];
  const linkArguments = [
    '--shared-memory',
    '--import-memory',
    '--max-memory=4294967296',
    ...exported.map((name) => `--export=${name}`),
  ];
  return [
    '-Ctarget-feature=+atomics,+bulk-memory,+mutable-globals,+simd128',
    // As in the profile, which does not apply to packages with their own settings.
    '-Cstrip=symbols',
    ...linkArguments.map((argument) => `-Clink-arg=${argument}`),
    ...(linker ? [`-Clinker=${linker}`] : []),
    // Panic messages contain the paths of source files, which must not be those of this machine.
    ...[
      [root, '.'],
      [cargoHome, 'cargo'],
      [sources, 'rust'],
    ].map(([from, to]) => `--remap-path-prefix=${from}=${to}`),
  ];
}

async function buildPackage() {
  const inputs = fingerprint([
    ...['src', 'wasm', 'tsconfig.json', 'package.json', 'rollup.config.js'].map((name) => inPackage(name)),
    ...['tsconfig.base.json', 'pnpm-lock.yaml'].map((name) => inRoot(name)),
  ]);
  await unlessCurrent(
    'package: tsc, rollup',
    inputs,
    [inPackage('lib'), inPackage('dist')],
    inPackage('dist', 'index.js'),
    async () => {
      await node('typescript/bin/tsc', ['-p', packageFolder]);
      await node('rollup/dist/bin/rollup', ['--config', '--silent'], packageFolder);
    },
  );
}

const node = (script, parameters, cwd) =>
  run(process.execPath, [inRoot('node_modules', script), ...parameters], { cwd });

/** Empties the folders and does the work, unless the inputs have not changed and the product still exists. */
async function unlessCurrent(title, inputs, folders, product, work) {
  const stamp = join(folders[0], '.inputs');
  if (contentOf(stamp) === inputs && existsSync(product)) return;
  await step(title, async () => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    await work();
    writeFileSync(stamp, inputs);
  });
}

await main(import.meta, async () => build(await setUp()));
