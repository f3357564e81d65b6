// Sets up, builds, and runs a benchmark. `npm run bench` compares with other libraries; `-- --peers` installs those for
// Python first. `npm run bench -- engine`, or another name, runs that file in bench/; `recovery` and `quantise` have such
// libraries, too.
import { join } from 'node:path';
import { build } from './build.mjs';
import { setUpPeers } from './peers.mjs';
import { setUp } from './setup.mjs';
import { main, root, show } from './steps.mjs';
import { buildYardstick } from './yardstick.mjs';

await main(import.meta, async (words) => {
  const [name = 'peers', ...parameters] = words.filter((word) => word !== '--peers');
  const tools = await setUp({ chromium: name === 'peers' });
  await build(tools);
  if (['engine', 'repair'].includes(name)) await buildYardstick(tools);
  if (words.includes('--peers')) await setUpPeers(name);
  process.exitCode = await show(process.execPath, [join(root, 'bench', `${name}.mjs`), ...parameters]);
});
