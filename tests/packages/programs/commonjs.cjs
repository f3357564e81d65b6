// As node.mjs, started by a CommonJS module.
module.exports = import('./node.mjs');
