// Sets up, builds, and measures: `npm run bench`, or `npm run bench -- granularities` for another file of bench/.
import { join } from 'node:path';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { main, root, show } from './steps.mjs';
import { buildYardstick } from './yardstick.mjs';

await main(import.meta, async ([name = 'engine', ...parameters]) => {
  const tools = await setUp();
  await build(tools);
  await buildYardstick(tools);
  process.exitCode = await show(process.execPath, [join(root, 'bench', `${name}.mjs`), ...parameters]);
});
