import HtmlWebpackPlugin from 'html-webpack-plugin';

// Nothing is needed for the package: webpack finds its WebAssembly file and its workers.
export default {
  mode: 'production',
  entry: './page.js',
  optimization: { splitChunks: { chunks: 'all' } },
  plugins: [new HtmlWebpackPlugin({ templateContent: '<output></output>' })],
};
