// What `npm run check -- knip` takes as used: files that a person or a tool starts, and what they import.
import { exportedModules } from './scripts/entry-points.mjs';

export default {
  workspaces: {
    '.': {
      entry: [
        'scripts/*.mjs',
        'examples/*.mjs',
        // Given to the command line.
        'examples/support/lines.mjs',
        'bench/**/*.mjs',
        'tests/**/*.test.ts',
        'tests/vitest.config.ts',
        'tests/cases/**/*.mjs',
        'tests/packages/rows/*.mjs',
      ],
      // Run in projects of their own, by npm run test:packages.
      ignore: ['examples/recipes/**', 'tests/packages/{programs,typescript}/**'],
      project: ['{scripts,examples,bench,tests}/**/*.{mjs,ts}'],
      ignoreDependencies: [
        // Their data are read, not their code.
        '@fontsource/roboto',
        '@spotify/basic-pitch',
        'mnist',
        // Started by scripts/check.mjs.
        '@arethetypeswrong/cli',
        'oxlint',
        'publint',
      ],
    },
    'packages/sparsifier': {
      entry: [
        ...exportedModules.map((name) => `src/${name}.ts`),
        'src/cli/main.ts',
        'src/internal.ts',
        'src/host/{node,browser}.ts',
        'src/host/hosts.ts',
        'src/host/{node,browser}-compressor-thread.ts',
      ],
      project: ['src/**'],
    },
    // Started by scripts/docs.mjs.
    'packages/reference': { ignoreDependencies: ['typedoc'] },
  },
  ignoreIssues: {
    // The build gives it to the glue of the wasm.
    'packages/sparsifier/src/engine/pool.ts': ['exports'],
    // The compiler is its only reader.
    'packages/sparsifier/src/host/hosts.ts': ['types'],
  },
};
