import { rspack } from '@rspack/core';

// Nothing is needed for the package: Rspack finds its WebAssembly file and its workers.
export default {
  entry: './page.js',
  optimization: { splitChunks: { chunks: 'all' } },
  plugins: [new rspack.HtmlRspackPlugin({ templateContent: '<output></output>' })],
};
