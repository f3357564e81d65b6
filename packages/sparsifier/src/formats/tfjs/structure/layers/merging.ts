import type { LayerRule, LayerSite } from '../layer.js';
import { Untranslated } from '../translation.js';

/** @throws Untranslated unless all inputs have the same number of axes: Keras broadcasts others in a way of its own */
function checkRanks({ inputs, translation }: LayerSite): void {
  const ranks = new Set(inputs.map((input) => translation.rankOf(input)));
  if (inputs.length < 2 || ranks.size > 1) throw new Untranslated('its inputs');
}

const merging = (op: string): LayerRule => ({
  keys: [],
  translate: (site) => {
    checkRanks(site);
    return site.node(op, site.inputs);
  },
});

const pairwise = (op: string, most = Infinity): LayerRule => ({
  keys: [],
  translate: (site) => {
    checkRanks(site);
    if (site.inputs.length > most) throw new Untranslated('its inputs');
    return site.inputs.reduce((one, other) => site.node(op, [one, other]));
  },
});

const concatenate: LayerRule = {
  keys: ['axis'],
  translate: (site) => {
    checkRanks(site);
    return site.node('Concat', site.inputs, { axis: site.axis() });
  },
};

export const mergingLayers: Readonly<Record<string, LayerRule>> = {
  Add: merging('Sum'),
  Average: merging('Mean'),
  Maximum: merging('Max'),
  Minimum: merging('Min'),
  Multiply: pairwise('Mul'),
  Subtract: pairwise('Sub', 2),
  Concatenate: concatenate,
};
