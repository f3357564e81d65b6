// Finds or installs a Rust toolchain that can rebuild std with atomics, which threads in WebAssembly need: a nightly
// from rustup, or Debian's rustc-web, which is stable but made to accept unstable flags. SPARSIFIER_TOOLCHAIN=rustup or
// =debian allows only that one, to test both.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { ask, environmentWith, Failure, onPath, root, run, step } from './steps.mjs';

const nightly = 'nightly-2026-04-15';
const debianPackages = ['rustc-web', 'cargo-web', 'rust-web-src', 'lld-22'];

export const isRoot = process.platform === 'linux' && process.getuid() === 0;
export const cargoHome = process.env.CARGO_HOME || join(homedir(), '.cargo');

const kinds = [
  {
    name: 'rustup',
    find: findRustup,
    fetchable: async () => Boolean(await ask(rustup(), ['--version'])),
    fetch: fetchRustup,
  },
  { name: 'debian', find: findDebian, fetchable: async () => isRoot && Boolean(onPath('apt-get')), fetch: fetchDebian },
].filter(({ name }) => [undefined, '', name].includes(process.env.SPARSIFIER_TOOLCHAIN));

/** `{ name, id, bin, sources, linker, variables }` of an installed toolchain, or of one that it installs. */
export async function setUpToolchain() {
  for (const kind of kinds) {
    const toolchain = await kind.find();
    if (toolchain) return toolchain;
  }
  let said = '';
  for (const kind of kinds) {
    if (!(await kind.fetchable())) continue;
    try {
      await kind.fetch();
    } catch (error) {
      said += `${error.message}\n\n`;
      continue;
    }
    const toolchain = await kind.find();
    if (toolchain) return toolchain;
  }
  throw new Failure(`${said}There is no Rust toolchain that can rebuild std for WebAssembly threads. Install one of these:
  rustup (https://rustup.rs), then: rustup toolchain install ${nightly} --profile minimal --component rust-src
  on Debian, as root: apt-get install ${debianPackages.join(' ')}`);
}

// The installer of rustup changes PATH only for new shells.
const rustup = () => onPath('rustup') ?? join(cargoHome, 'bin', process.platform === 'win32' ? 'rustup.exe' : 'rustup');

async function findRustup() {
  const rustc = await ask(rustup(), ['which', '--toolchain', nightly, 'rustc'], {
    environment: { ...process.env, RUSTUP_AUTO_INSTALL: '0' },
  });
  if (!rustc) return;
  const bin = dirname(rustc);
  const sources = join(dirname(bin), 'lib', 'rustlib', 'src', 'rust');
  if (!existsSync(join(sources, 'library'))) return;
  return {
    name: 'rustup',
    id: `rustup's ${nightly}`,
    bin,
    sources,
    linker: undefined,
    variables: {},
    addLinters: addRustupLinters,
  };
}

function fetchRustup() {
  return step(`Rust ${nightly}: rustup toolchain install`, () =>
    run(
      rustup(),
      ['toolchain', 'install', nightly, '--profile', 'minimal', '--component', 'rust-src', '--no-self-update'],
      {
        environment: { ...process.env, RUST_BACKTRACE: '0' },
        minutes: 5,
      },
    ),
  );
}

async function findDebian() {
  const sources = '/usr/lib/rustlib/src/rust';
  if (!['/usr/bin/cargo', '/usr/bin/wasm-ld-22', `${sources}/library`].every(existsSync)) return;
  const version = (await ask('/usr/bin/rustc', ['--version']))?.match(/^rustc (\d+\.(\d+)\.\d+)/);
  if (!version || Number(version[2]) < 88) return;
  return {
    name: 'debian',
    id: `Debian's rustc ${version[1]}`,
    bin: '/usr/bin',
    sources,
    linker: 'wasm-ld-22',
    variables: { RUSTC_BOOTSTRAP: '1' },
    addLinters: addDebianLinters,
  };
}

function fetchDebian() {
  return step(`Rust: apt-get install ${debianPackages.join(' ')}`, () => aptInstall(debianPackages));
}

const wasi = 'wasm32-wasip1';
const wasiLibrary = '/usr/lib/wasm32-wasi';

/**
 * What cargo needs to build and test the kernels for wasm in Node: `{ environment, parameters }`, or undefined where that
 * cannot be had. rustup has std for the target as a rule; else it is built, with Debian's C library below it.
 */
export async function setUpWasi({ name, bin, linker, sources, variables }) {
  const hasStd = () => existsSync(join(dirname(bin), 'lib', 'rustlib', wasi, 'lib'));
  if (name === 'rustup' && !hasStd()) {
    await ask(rustup(), ['target', 'add', wasi, '--toolchain', nightly], { minutes: 5 });
  }
  const hasLibrary = () => [join(sources, 'library'), join(wasiLibrary, 'libc.a')].every(existsSync);
  if (!hasStd() && !hasLibrary() && isRoot && onPath('apt-get')) {
    await step('Rust: apt-get install wasi-libc', () => aptInstall(['wasi-libc'])).catch(() => {});
  }
  if (!hasStd() && !hasLibrary()) return;

  const flags = ['-Ctarget-feature=+simd128'];
  if (linker) flags.push(`-Clinker=${linker}`);
  if (!hasStd()) {
    flags.push('-Clink-self-contained=no', `-Clink-arg=${wasiLibrary}/crt1-command.o`, `-Lnative=${wasiLibrary}`);
    // What an older library lacks is up to the runner.
    flags.push('-Clink-arg=--allow-undefined');
  }
  // V8 drops the bytecode of a function that was not called for long, and in Node 20 crashes where wasm then calls it.
  const runner = [process.execPath, '--no-warnings', '--no-flush-bytecode', join(root, 'scripts', 'wasi.mjs')];
  return {
    environment: environmentWith([bin], {
      ...variables,
      CARGO_ENCODED_RUSTFLAGS: flags.join('\x1f'),
      CARGO_TARGET_DIR: join(root, 'target', 'wasi'),
      // The sources, beside which failed cases are noted, are not seen from inside.
      PROPTEST_DISABLE_FAILURE_PERSISTENCE: 'true',
    }),
    parameters: [
      ...['-p', 'sparsifier-kernels', '--target', wasi],
      ...['--config', `target.${wasi}.runner=${JSON.stringify(runner)}`],
      ...(hasStd() ? [] : ['-Z', 'build-std=std,panic_abort']),
    ],
  };
}

/** Adds clippy and rustfmt, which the build does without, to a toolchain that lacks them. */
export async function setUpLinters({ toolchain: { bin, addLinters } }) {
  const commands = ['cargo-clippy', 'rustfmt'].map((name) =>
    join(bin, process.platform === 'win32' ? `${name}.exe` : name),
  );
  if (!commands.every(existsSync)) await addLinters();
}

function addRustupLinters() {
  const components = ['clippy', 'rustfmt'];
  return step(`Rust ${nightly}: rustup component add ${components.join(' ')}`, () =>
    run(rustup(), ['component', 'add', '--toolchain', nightly, ...components], { minutes: 5 }),
  );
}

function addDebianLinters() {
  const packages = ['rust-web-clippy', 'rustfmt-web'];
  const command = `apt-get install ${packages.join(' ')}`;
  if (!isRoot) throw new Failure(`There is no clippy. Install it as root: ${command}`);
  return step(`Rust: ${command}`, () => aptInstall(packages));
}

export async function aptInstall(packages) {
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-q'], { environment, minutes: 5 });
  await run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages], {
    cwd: root,
    environment,
    minutes: 10,
  });
}
