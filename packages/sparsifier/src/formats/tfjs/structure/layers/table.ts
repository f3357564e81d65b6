import type { LayerRule } from '../layer.js';
import { activationLayers } from './activations.js';
import { arrangingLayers } from './arranging.js';
import { convolutionLayers } from './convolutions.js';
import { mergingLayers } from './merging.js';
import { normLayers } from './norms.js';
import { productLayers } from './products.js';
import { recurrentLayers } from './recurrent.js';
import { spaceLayers } from './space.js';

/** The layers through which channels are followed, by class name. All others keep the channels that they touch. */
export const layerRules: ReadonlyMap<string, LayerRule> = new Map(
  Object.entries({
    ...activationLayers,
    ...arrangingLayers,
    ...convolutionLayers,
    ...mergingLayers,
    ...normLayers,
    ...productLayers,
    ...recurrentLayers,
    ...spaceLayers,
  }),
);
