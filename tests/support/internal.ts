// Apart from the command itself, the one place from which tests take what the package does not export.
export * from '../../packages/sparsifier/dist/internal.js';
