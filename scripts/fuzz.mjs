// npm run fuzz -- <target>: random inputs, for as long as is wanted; tests run a few of them. `removal` takes the channels
// out of random networks. All others are readers, which are given damaged files. What is found is printed, and kept.
import { existsSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { Failure, main, root, show } from './steps.mjs';

const usage = `npm run fuzz -- removal [--count 10000] [--seed 1]
npm run fuzz -- <reader> [--minutes 10] [--seed 1], for the readers in tests/support/fuzz/targets.ts`;

/** What was asked for. */
function asked(words) {
  const number = { type: 'string' };
  try {
    const { values, positionals } = parseArgs({
      args: words,
      allowPositionals: true,
      options: { minutes: number, count: number, seed: number },
    });
    const [target, ...rest] = positionals;
    const other = target === 'removal' ? 'minutes' : 'count';
    const isNumber = Object.values(values).every((value) => /^\d+(\.\d+)?$/.test(value));
    if (target === undefined || rest.length > 0 || values[other] !== undefined || !isNumber) throw new Failure(usage);
    return { target, ...values };
  } catch (error) {
    throw error instanceof Failure ? error : new Failure(`${error.message}\n\n${usage}`);
  }
}

await main(import.meta, async (words) => {
  const { target, minutes = '10', count = '10000', seed = '1' } = asked(words);
  const isRemoval = target === 'removal';
  // The input of a run that does not end.
  const current = join(root, 'out', 'fuzz', target, 'current');
  rmSync(current, { force: true });
  await build(await setUp({}));
  process.exitCode = await show(
    process.execPath,
    [
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--config',
      join(root, 'tests', 'vitest.config.ts'),
      '--project',
      'node',
      '--testTimeout=0',
      isRemoval ? 'tests/removal/fuzz.node.test.ts' : 'tests/fuzz/readers.node.test.ts',
    ],
    {
      environment: {
        ...process.env,
        FUZZ_SEED: seed,
        ...(isRemoval ? { FUZZ_COUNT: count } : { FUZZ_TARGET: target, FUZZ_MINUTES: minutes }),
      },
    },
  );
  if (existsSync(current)) throw new Failure(`hangs, or ends the process: ${relative(root, current)}`);
});
