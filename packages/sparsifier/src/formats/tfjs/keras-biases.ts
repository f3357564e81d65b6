import { isBias, type BiasWeight, type WeightEntry } from './description.js';
import { axisOf } from './keras-channels.js';
import type { Call, Layer } from './keras-layers.js';
import { channelAxisOf, type Owned } from './keras-partners.js';
import { identities } from './keras-types.js';

/** Weights of one number per channel that several layers may have. */
export interface Biases {
  /** The moving means of batch normalisations. */
  readonly means: ReadonlyMap<Layer, WeightEntry>;
  /** How many layers have each bias and each mean. */
  readonly uses: ReadonlyMap<WeightEntry, number>;
}

/**
 * What is added to the output channels of a weight alone: the bias of its layer, or the moving mean of the batch
 * normalisation that is the only reader of the layer's output.
 */
export function biasOf({ layers, channels, bias }: Owned, { means, uses }: Biases): BiasWeight | undefined {
  const isOwn = (entry: WeightEntry | undefined) => entry && uses.get(entry) === 1 && isBias(entry, channels);
  if (bias !== undefined && isOwn(bias)) return { weight: bias.name, sign: 1 };
  const norm = normalisationOf(layers.flatMap(({ calls }) => calls));
  const mean = norm && means.get(norm);
  return mean !== undefined && isOwn(mean) ? { weight: mean.name, sign: -1 } : undefined;
}

/** The batch normalisation of the values of these calls, if it normalises nothing else and nothing else reads them. */
function normalisationOf(calls: readonly Call[]): Layer | undefined {
  const ends = calls.map(beforeNormalisation);
  const [norm, ...others] = new Set(ends.map((end) => end?.readers[0]!.layer));
  if (norm === undefined || others.length > 0) return undefined;
  const read = new Set(ends);
  const isWhole = ({ isWhole, inputs }: Call) =>
    isWhole && inputs.size === 1 && [...inputs].every((input) => read.has(input));
  return norm.calls.every(isWhole) ? norm : undefined;
}

/** The call whose value a batch normalisation reads, from a layer on through those that do nothing. */
function beforeNormalisation(call: Call): Call | undefined {
  const { layer } = call;
  if ((layer.config.activation ?? 'linear') !== 'linear') return undefined;
  for (let end = call; end.readers.length === 1 && !end.isReadElsewhere; end = end.readers[0]!) {
    const reader = end.readers[0]!;
    const { type, config, isTimed } = reader.layer;
    if (type === 'BatchNormalization') {
      return axisOf(config, reader.rank, isTimed ? 1 : 0) === channelAxisOf(layer) ? end : undefined;
    }
    const isPassed = identities.test(type) || type === 'InputLayer';
    if (!isPassed || !reader.isWhole || reader.inputs.size !== 1) return undefined;
  }
  return undefined;
}
