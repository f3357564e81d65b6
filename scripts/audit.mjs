// npm run audit: known vulnerabilities of what the package contains or needs. It asks databases on the network, so that it is
// not among the checks. `cargo audit` is run if it is installed (cargo install cargo-audit).
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { ask, Failure, main, root, show } from './steps.mjs';

await main(import.meta, async () => {
  await setUp({});
  const failed = [];
  const pnpm = [join(root, 'scripts', 'pnpm.mjs'), 'audit', '--prod'];
  if ((await show(process.execPath, pnpm)) !== 0) failed.push('npm packages');
  if ((await ask('cargo', ['audit', '--version'])) === undefined) failed.push('crates: cargo-audit is not installed');
  else if ((await show('cargo', ['audit'])) !== 0) failed.push('crates');
  if (failed.length > 0) throw new Failure(`Vulnerable, or not known: ${failed.join(', ')}`);
});
