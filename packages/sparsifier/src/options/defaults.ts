import type { SparsifierOptions } from './options.js';

/** What applies where an option is left out, in the library and on the command line. */
export const defaults = {
  granularity: 'weight',
  context: 'local',
  criteria: 'largeFinal',
  /** Without `include`; with it, all kinds. */
  layerType: 'conv2d',
  seed: 0,
  reducer: 'mean',
  allowEmpty: false,
  minKeep: 0,
  maxSparsity: 100,
} as const satisfies SparsifierOptions;
