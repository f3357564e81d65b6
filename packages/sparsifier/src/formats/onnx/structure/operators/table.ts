import type { Operator } from '../site.js';
import { arranging } from './arranging.js';
import { contributed } from './contributed.js';
import { convolutions } from './convolutions.js';
import { einsum } from './einsum.js';
import { elementwise } from './elementwise.js';
import { indexing } from './indexing.js';
import { norms } from './norms.js';
import { parts } from './parts.js';
import { pools } from './pools.js';
import { products } from './products.js';
import { recurrents } from './recurrent.js';
import { reductions } from './reductions.js';
import { reshaping } from './reshaping.js';
import { sizes } from './sizes.js';
import { space } from './space.js';
import { unfollowedOperators } from './unfollowed.js';

/** The operators through which channels are followed. All others keep the channels that they touch. */
export const operators: ReadonlyMap<string, Operator> = new Map([
  ...arranging,
  ...convolutions,
  ...elementwise,
  ...indexing,
  ...norms,
  ...parts,
  ...pools,
  ...products,
  ...recurrents,
  ...reductions,
  ...reshaping,
  ...sizes,
  ...space,
  ['Einsum', einsum],
  ...contributed,
  ...unfollowedOperators,
]);
