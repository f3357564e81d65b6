// The texts are at the root of the repository, but pnpm packs only files in the folder of the package: `prepack` copies
// them there, `postpack` removes the copies.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { main, packageFolder, root } from './steps.mjs';

await main(import.meta, ([argument]) => {
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'docs']) {
    rmSync(join(packageFolder, name), { recursive: true, force: true });
    if (argument !== '--remove') cpSync(join(root, name), join(packageFolder, name), { recursive: true });
  }
});
