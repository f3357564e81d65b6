// `npm run docs`: generates an API reference in out/reference. TypeDoc does not support TypeScript 7 yet, so
// packages/reference has TypeDoc and its own TypeScript.
import { join } from 'node:path';
import { build } from './build.mjs';
import { entryPoints } from './entry-points.mjs';
import { setUp } from './setup.mjs';
import { main, packageFolder, root, run, step } from './steps.mjs';

await main(import.meta, async () => {
  await build(await setUp());
  const reference = join(root, 'packages', 'reference');
  await step('out/reference: typedoc', () =>
    run(
      process.execPath,
      [
        join(reference, 'node_modules', 'typedoc', 'bin', 'typedoc'),
        ...entryPoints.flatMap((name) => ['--entryPoints', join(packageFolder, 'src', `${name}.ts`)]),
      ],
      { cwd: reference },
    ),
  );
});
