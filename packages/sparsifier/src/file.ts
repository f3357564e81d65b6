export { sparsifyFile, type GiveStream, type Output, type SparsifyFileOptions } from './streaming/sparsify-file.js';
