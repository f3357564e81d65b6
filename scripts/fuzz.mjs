// npm run fuzz -- <target>: random inputs, for as long as is wanted; tests run a few of them. `removal` and `removal-tfjs` take
// the channels out of random networks. All others are readers, which are given damaged files. What is found is printed, and kept.
import { existsSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { Failure, main, root, show } from './steps.mjs';

/** The tests that take channels out. */
const removals = {
  removal: 'tests/removal/fuzz.node.test.ts',
  'removal-tfjs': 'tests/removal/fuzz-tfjs.node.test.ts',
};

const usage = `npm run fuzz -- <${Object.keys(removals).join(' | ')}> [--count 10000] [--seed 1]
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
    if (target === undefined || rest.length > 0) throw new Failure(usage);
    const other = target in removals ? 'minutes' : 'count';
    const isNumber = Object.values(values).every((value) => /^\d+(\.\d+)?$/.test(value));
    if (values[other] !== undefined || !isNumber) throw new Failure(usage);
    return { target, ...values };
  } catch (error) {
    throw error instanceof Failure ? error : new Failure(`${error.message}\n\n${usage}`);
  }
}

await main(import.meta, async (words) => {
  const { target, minutes = '10', count = '10000', seed = '1' } = asked(words);
  const removal = removals[target];
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
      removal ?? 'tests/fuzz/readers.node.test.ts',
    ],
    {
      environment: {
        ...process.env,
        FUZZ_SEED: seed,
        ...(removal ? { FUZZ_COUNT: count } : { FUZZ_TARGET: target, FUZZ_MINUTES: minutes }),
      },
    },
  );
  if (existsSync(current)) throw new Failure(`hangs, or ends the process: ${relative(root, current)}`);
});
