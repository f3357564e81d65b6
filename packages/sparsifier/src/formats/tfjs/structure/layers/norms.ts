import type { LayerRule } from '../layer.js';
import { Float, Untranslated } from '../translation.js';

const batchNormalization: LayerRule = {
  keys: ['axis', 'momentum', 'epsilon', 'center', 'scale', 'synchronized'],
  translate: (site) => {
    const { config, translation, name, rank } = site;
    const axis = site.axis();
    const mean = site.entry('moving_mean');
    const [count] = mean.shape;
    if (mean.shape.length !== 1) throw new Untranslated('its weights have several axes');
    const filled = (number: number) => translation.floats(name, Array<number>(count!).fill(number));
    const value = site.node(
      'BatchNormalization',
      [
        site.moved(site.input, axis, 1),
        config.scale === false ? filled(1) : site.weight('gamma'),
        config.center === false ? filled(0) : site.weight('beta'),
        translation.weight(mean),
        site.weight('moving_variance'),
      ],
      { epsilon: new Float(site.number('epsilon', 1e-3)) },
      rank,
    );
    return site.moved(value, 1, axis);
  },
};

const layerNormalization: LayerRule = {
  keys: ['axis', 'epsilon', 'center', 'scale'],
  translate: (site) => {
    const { config, translation, name } = site;
    if (site.axis() !== site.rank - 1) throw new Untranslated('its option axis');
    const parts = (['gamma', 'beta'] as const).filter(
      (part) => config[part === 'gamma' ? 'scale' : 'center'] !== false,
    );
    const gamma = parts.includes('gamma') ? site.weight('gamma') : translation.floats(name, [1]);
    const beta = parts.includes('beta') ? site.weight('beta') : undefined;
    return site.node('LayerNormalization', [site.input, gamma, beta], {
      epsilon: new Float(site.number('epsilon', 1e-3)),
    });
  },
};

export const normLayers: Readonly<Record<string, LayerRule>> = {
  BatchNormalization: batchNormalization,
  LayerNormalization: layerNormalization,
};
