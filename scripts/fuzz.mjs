// npm run fuzz -- removal: random inputs, for as long as is wanted; tests run a few of them. The numbers behind it are how
// many, and the seed of the first one. What is found is printed, made small, with the seed that makes it again.
import { join } from 'node:path';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { Failure, main, root, show } from './steps.mjs';

/** The test of each kind. */
const kinds = { removal: 'tests/removal/fuzz.node.test.ts' };

await main(import.meta, async ([kind, count = '10000', seed = '1', ...rest]) => {
  const file = kinds[kind];
  if (file === undefined)
    throw new Failure(`npm run fuzz -- <${Object.keys(kinds).join(' | ')}> [how many] [first seed]`);
  for (const number of [count, seed]) if (!/^\d+$/.test(number)) throw new Failure(`${number} is not a number`);
  if (rest.length > 0) throw new Failure(`unknown: ${rest.join(' ')}`);
  await build(await setUp({}));
  const code = await show(
    process.execPath,
    [
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--config',
      join(root, 'tests', 'vitest.config.ts'),
      '--project',
      'node',
      '--testTimeout=0',
      file,
    ],
    { environment: { ...process.env, FUZZ_COUNT: count, FUZZ_SEED: seed } },
  );
  process.exitCode = code;
});
