// As node.mjs, started by a CommonJS module, which can also load the package itself.
const { Sparsifier } = require('sparsifier');

if (typeof Sparsifier !== 'function') throw new Error('require() loads something else');
module.exports = import('./node.mjs');
