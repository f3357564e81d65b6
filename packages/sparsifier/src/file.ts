export { sparsifyFile, type SparsifyFileOptions } from './streaming/sparsify-file.js';
export { type GiveStream, type Output } from './streaming/stream.js';
