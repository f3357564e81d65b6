import { type Operator, Unknown } from '../site.js';

/** An operator whose channels stay, of which it is only known what masks have to know. */
export const unfollowed = (facets: Pick<Operator, 'channels' | 'parameters' | 'filtersEach'>): Operator => ({
  ...facets,
  attributes: [],
  inputs: 0,
  shape: () => {
    throw new Unknown('there is no rule for it');
  },
  couple: () => [],
  constant: () => undefined,
});

/** An operator that gives 0 for 0 and leaves channels where they are, all of which stay. */
const staying = (attributes: readonly string[], inputs: number): Operator => ({
  channels: 'moved',
  attributes,
  inputs,
  shape: (site) => [site.input(0).shape],
  couple: (site) => {
    for (const tensor of site.inputs) site.block(tensor);
    return [site.input(0).axes];
  },
  constant: () => undefined,
});

export const unfollowedOperators: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['QuantizeLinear', staying(['axis', 'block_size', 'output_dtype', 'precision', 'saturate'], 3)],
  ['DequantizeLinear', staying(['axis', 'block_size', 'output_dtype'], 3)],
]);
