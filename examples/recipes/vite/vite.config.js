export default {
  // Pre-bundled modules lose their WebAssembly files and workers (Vite 5 to 7).
  optimizeDeps: { exclude: ['sparsifier', 'brotli-wasm'] },
  // Only where a worker of your own uses the package.
  worker: { format: 'es' },
};
