import type { Value } from '../../../onnx/graph.js';
import { numberOf } from '../../keras-types.js';
import type { LayerRule, LayerSite } from '../layer.js';
import { Float } from '../making.js';
import { Untranslated } from '../translation.js';

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

/** A batch normalisation that is not followed, of one of its inputs: what masks have to know of it. */
export function normalized({ translation, config, scopes, layer, name }: LayerSite, input: Value): Value {
  const parts = (['gamma', 'beta'] as const).map((part) => {
    const entry =
      config[part === 'gamma' ? 'scale' : 'center'] === false ? undefined : scopes.of(layer, [part])?.get(part);
    return entry && translation.weight(entry);
  });
  const list: readonly unknown[] = Array.isArray(config.axis) ? (config.axis as unknown[]) : [config.axis];
  const [given = -1] = list.map(numberOf);
  const rank = translation.rankOf(input);
  const axis = given < 0 && rank !== undefined ? given + rank : given;
  const isLast = list.length > 1 || axis === -1;
  return translation.node('Normalization', name, [input, ...parts], isLast ? {} : { axis });
}

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
