import { copyFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const file = (specifier) => fileURLToPath(import.meta.resolve(specifier));

// The package looks for its thread and its WebAssembly file beside the modules that it is bundled into.
await Bun.build({
  entrypoints: ['page.js', 'worker.js', 'node_modules/sparsifier/dist/host/browser-thread.js'],
  outdir: 'dist',
  naming: '[name].[ext]',
  target: 'browser',
  splitting: true,
});
await copyFile(file('sparsifier/sparsifier.wasm'), 'dist/sparsifier_wasm_bg.wasm');
await copyFile('index.html', 'dist/index.html');
