// Sets up, builds, and measures.
import { join } from 'node:path';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { main, root, show } from './steps.mjs';

await main(import.meta, async () => {
  await build(await setUp());
  process.exitCode = await show(process.execPath, [join(root, 'bench', 'engine.mjs')]);
});
