// pnpm pack takes the texts from the package's own folder, but they live at the root: `prepack` copies them, `postpack` removes the copies.
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { main, packageFolder, root } from './steps.mjs';

await main(import.meta, ([argument]) => {
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md']) {
    if (argument === '--remove') rmSync(join(packageFolder, name), { force: true });
    else copyFileSync(join(root, name), join(packageFolder, name));
  }
});
