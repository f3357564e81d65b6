// npm run release -- --dry-run: what a release consists of, without publishing it. The version of the package has an entry in
// CHANGELOG.md, all checks of the package pass, and the files that npm would publish are listed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { findNpm } from './pnpm.mjs';
import { setUp } from './setup.mjs';
import { contentOf, Failure, main, packageFolder, root, run, show } from './steps.mjs';

await main(import.meta, async (words) => {
  if (words.join(' ') !== '--dry-run')
    throw new Failure('npm run release -- --dry-run: nothing publishes the package yet.');
  const { name, version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  if (!contentOf(join(root, 'CHANGELOG.md')).includes(`\n## ${version}`)) {
    throw new Failure(`CHANGELOG.md has no entry for ${version}: rename "Unreleased", or change the version.`);
  }
  await build(await setUp());
  const code = await show(process.execPath, [join(root, 'scripts', 'check.mjs'), 'supply', 'api', 'publint', 'attw']);
  if (code !== 0) throw new Failure('The package is not ready.');
  const [npm, ...script] = findNpm();
  const [packed] = JSON.parse(await run(npm, [...script, 'pack', '--dry-run', '--json'], { cwd: packageFolder }));
  for (const { path, size } of packed.files) console.log(`${size.toLocaleString('en').padStart(11)}  ${path}`);
  const bytes = (count) => `${count.toLocaleString('en')} bytes`;
  console.log(
    `\n${name} ${version}: ${packed.entryCount} files, ${bytes(packed.unpackedSize)}, ${bytes(packed.size)} packed`,
  );
});
