// What others wrote that the package contains or needs: the crates in the wasm, and the npm packages that are installed with it.
// `npm run notices` writes packages/sparsifier/THIRD-PARTY-NOTICES, `npm run check` compares it, and refuses licences that are not in
// licences.json and dependencies from elsewhere than the registries.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { askPnpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { contentOf, environmentWith, Failure, main, packageFolder, root, run, step } from './steps.mjs';

const committed = join(packageFolder, 'THIRD-PARTY-NOTICES');
const allowed = JSON.parse(readFileSync(join(root, 'scripts', 'licences.json'), 'utf8'));

/** The text of this licence is that of the package itself. */
const own = 'Apache-2.0';

/** The crates that are linked into the wasm: `{ name, version, licence, folder }`. */
async function crates({ toolchain }) {
  const metadata = await run(
    'cargo',
    ['metadata', '--format-version', '1', '--locked', '--filter-platform', 'wasm32-unknown-unknown'],
    { environment: environmentWith([toolchain.bin]), cwd: root },
  );
  const { packages, resolve } = JSON.parse(metadata);
  const byId = new Map(packages.map((each) => [each.id, each]));
  const dependencies = new Map(resolve.nodes.map(({ id, deps }) => [id, deps]));
  // Macros run while others are compiled.
  const isLinked = (id) => !byId.get(id).targets.some(({ kind }) => kind.includes('proc-macro'));
  const found = new Set([packages.find(({ name }) => name === 'sparsifier-wasm').id]);
  for (const id of found) {
    for (const { pkg, dep_kinds } of dependencies.get(id)) {
      if (isLinked(pkg) && dep_kinds.some(({ kind }) => kind === null)) found.add(pkg);
    }
  }
  return [...found]
    .map((id) => byId.get(id))
    .filter(({ source }) => source !== null)
    .map(({ name, version, license, manifest_path }) => ({
      ...{ name, version, licence: license ?? 'unknown', folder: dirname(manifest_path) },
    }));
}

/** The npm packages that are installed with the package, which brings no peers. */
async function packages() {
  const manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  const [{ dependencies }] = JSON.parse(
    await askPnpm('list', '--prod', '--depth', 'Infinity', '--json', '--filter', 'sparsifier'),
  );
  const found = new Map();
  const visit = (all = {}) => {
    for (const [name, { version, path, dependencies: further }] of Object.entries(all)) {
      const { license } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
      found.set(`${name} ${version}`, { name, version, licence: license ?? 'unknown', folder: path });
      visit(further);
    }
  };
  visit(Object.fromEntries(Object.entries(dependencies).filter(([name]) => name in manifest.dependencies)));
  return [...found.values()];
}

/** What an author says in files with these names. */
const textsOf = ({ folder }, names) =>
  readdirSync(folder)
    .filter((name) => names.test(name))
    .sort()
    .map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim());

async function notices(tools) {
  // Imported here, because the packages are installed only after `npm run check` has started.
  const { default: satisfies } = await import('spdx-satisfies');
  const sections = [
    [
      'The WebAssembly module contains these crates, and the standard library of Rust (Apache-2.0).',
      await crates(tools),
    ],
    ['These packages are installed with it.', await packages()],
  ];
  const wrong = [];
  const isSatisfied = ({ licence }, some) => licence !== 'unknown' && satisfies(licence, some);
  const entry = (each) => {
    const title = `${each.name} ${each.version} (${each.licence})`;
    if (!isSatisfied(each, allowed)) wrong.push(title);
    const texts = isSatisfied(each, [own]) ? textsOf(each, /^notice/i) : textsOf(each, /^(licen[cs]e|copying|notice)/i);
    return [title, ...texts].join('\n\n');
  };
  const byName = (one, other) => (one.name < other.name ? -1 : 1);
  const text = [
    `Code of others. The text of the licence ${own} is in the file LICENSE; others are below, if their authors include them.`,
    ...sections.flatMap(([title, all]) => [title, ...all.sort(byName).map(entry)]),
  ].join(`\n\n${'-'.repeat(80)}\n\n`);
  if (wrong.length === 0) return `${text}\n`;
  throw new Failure(`Licences that are not in scripts/licences.json: ${wrong.join(', ')}`);
}

/** Fails for dependencies that come from elsewhere than the registries of cargo and npm. */
function checkSources() {
  const lines = (file) => readFileSync(join(root, file), 'utf8').split('\n');
  const crates = lines('Cargo.lock').filter((line) => line.startsWith('source = ') && !line.includes('"registry+'));
  const packages = lines('pnpm-lock.yaml').filter(
    (line) => /^ +resolution: /.test(line) && !/\{integrity: [^,}]+\}$/.test(line),
  );
  const found = [...crates, ...packages].map((line) => line.trim());
  if (found.length > 0) throw new Failure(`Dependencies that are not of a registry:\n${found.join('\n')}`);
}

/** Fails for licences and sources that are not allowed, and if the committed notices are out of date. */
export async function checkSupply(tools) {
  checkSources();
  if ((await notices(tools)) === contentOf(committed)) return;
  throw new Failure(
    'packages/sparsifier/THIRD-PARTY-NOTICES is out of date: run npm run notices and commit the result.',
  );
}

await main(import.meta, async () => {
  const tools = await setUp();
  await step('packages/sparsifier/THIRD-PARTY-NOTICES', async () => writeFileSync(committed, await notices(tools)));
});
