import { nodeResolve } from '@rollup/plugin-node-resolve';
import { readFileSync } from 'node:fs';

const read = (specifier) => readFileSync(new URL(import.meta.resolve(specifier)));

// The package looks for its thread and its WebAssembly file beside the modules that it is bundled into.
export default {
  input: { page: 'page.js', worker: 'worker.js', 'browser-thread': 'sparsifier/thread' },
  output: { dir: 'dist', format: 'es' },
  plugins: [
    nodeResolve({ browser: true }),
    {
      name: 'beside-the-modules',
      generateBundle() {
        const add = (fileName, source) => this.emitFile({ type: 'asset', fileName, source });
        add('sparsifier_wasm_bg.wasm', read('sparsifier/sparsifier.wasm'));
        add('index.html', readFileSync('index.html'));
      },
    },
  ],
};
