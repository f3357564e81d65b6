import type { LayerRule } from '../layer.js';
import { activated } from './activations.js';

const dense: LayerRule = {
  keys: ['units', 'activation', 'use_bias', 'input_dim'],
  translate: (site) => {
    const kernel = site.entry('kernel');
    site.sized('units', kernel, 1);
    const value = site.node('MatMul', [site.input, site.translation.weight(kernel)]);
    const bias = site.bias();
    if (bias === undefined) return activated(site, value);
    const sum = site.node('Add', [value, bias]);
    site.foldsInto(value, site.translation.makerOf(sum)!, 1);
    return activated(site, sum);
  },
};

const embedding: LayerRule = {
  keys: ['input_dim', 'output_dim', 'input_length', 'mask_zero'],
  translate: (site) => {
    const table = site.entry('embeddings');
    site.sized('output_dim', table, 1);
    return site.node('Gather', [site.translation.weight(table), site.input], {}, site.rank + 1);
  },
};

export const productLayers: Readonly<Record<string, LayerRule>> = { Dense: dense, Embedding: embedding };
