export default {
  // Node.js itself loads the package on the server, and finds its WebAssembly file and its threads.
  serverExternalPackages: ['sparsifier'],
};
