import { build } from 'esbuild';
import { copyFile } from 'node:fs/promises';

// The package looks for its thread and its WebAssembly file beside the modules that it is bundled into.
await build({
  entryPoints: { page: 'page.js', worker: 'worker.js', 'browser-thread': 'sparsifier/thread' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
});
const wasm = new URL(import.meta.resolve('sparsifier/sparsifier.wasm'));
await copyFile(wasm, 'dist/sparsifier_wasm_bg.wasm');
await copyFile('index.html', 'dist/index.html');
