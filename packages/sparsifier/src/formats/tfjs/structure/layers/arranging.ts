import type { LayerRule } from '../layer.js';
import { Untranslated } from '../translation.js';

/** A layer that does nothing once the model is trained. */
const identity: LayerRule = {
  keys: ['rate', 'noise_shape', 'seed', 'stddev', 'l1', 'l2', 'data_format'],
  translate: (site) => site.node('Identity', [site.input]),
};

const flatten: LayerRule = {
  keys: ['data_format'],
  translate: (site) => {
    const isOther = site.isChannelsFirst && site.rank > 2;
    const x = isOther ? site.moved(site.input, 1, site.rank - 1) : site.input;
    return site.node('Flatten', [x], { axis: 1 }, 2);
  },
};

const reshape: LayerRule = {
  keys: ['target_shape'],
  translate: (site) => {
    const { target_shape: target } = site.config;
    // TensorFlow.js writes null for -1.
    const sizes = Array.isArray(target) ? (target as unknown[]).map((size) => size ?? -1) : [0];
    if (!sizes.every((size) => Number.isSafeInteger(size) && size !== 0))
      throw new Untranslated('its option target_shape');
    const shape = site.translation.integers([0, ...(sizes as number[])]);
    const value = site.node('Reshape', [site.input, shape], {}, sizes.length + 1);
    // Where the target has a number, so many stay.
    const stated = sizes.flatMap((size, axis) => (size === -1 ? [] : [axis + 1]));
    return site.translation.staying('Reshape layer', site.name, [value], stated);
  },
};

const permute: LayerRule = {
  keys: ['dims'],
  translate: (site) => {
    const { dims } = site.config;
    const isOrder =
      Array.isArray(dims) && [...(dims as number[])].sort((a, b) => a - b).every((dim, at) => dim === at + 1);
    if (!isOrder || dims.length !== site.rank - 1) throw new Untranslated('its option dims');
    return site.node('Transpose', [site.input], { perm: [0, ...(dims as number[])] });
  },
};

const repeatVector: LayerRule = {
  keys: ['n'],
  translate: (site) => {
    site.needsRank(2);
    const count = site.number('n', 0);
    if (!Number.isSafeInteger(count) || count < 1) throw new Untranslated('its option n');
    const row = site.node('Unsqueeze', [site.input], { axes: [1] }, 3);
    const rows = site.node('Tile', [row, site.translation.integers([1, count, 1])]);
    return site.translation.staying('RepeatVector layer', site.name, [rows]);
  },
};

export const arrangingLayers: Readonly<Record<string, LayerRule>> = {
  ...Object.fromEntries(
    [
      ...['Dropout', 'SpatialDropout1D', 'SpatialDropout2D', 'SpatialDropout3D', 'AlphaDropout', 'GaussianDropout'],
      ...['GaussianNoise', 'ActivityRegularization', 'Identity', 'InputLayer'],
    ].map((type) => [type, identity]),
  ),
  Flatten: flatten,
  Reshape: reshape,
  Permute: permute,
  RepeatVector: repeatVector,
};
