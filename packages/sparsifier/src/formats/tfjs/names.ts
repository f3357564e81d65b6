import type { Kind, Role, Skipped } from '../../model/model.js';
import {
  isCounted,
  lengthOf,
  skip,
  type Described,
  type Description,
  type WeightEntry,
  type Weights,
} from './description.js';

const convolutions: Readonly<Record<number, readonly [Kind, readonly Role[]]>> = {
  3: ['conv1d', ['width', 'in', 'out']],
  4: ['conv2d', ['height', 'width', 'in', 'out']],
  5: ['conv3d', ['depth', 'height', 'width', 'in', 'out']],
};

/**
 * Finds the layers of a manifest without a topology, which old converters wrote with the topology in a separate file of
 * another format. Layers are inferred from the shapes of weights and the names that Keras and TensorFlow give them.
 */
export function readNames(weights: Weights): Description {
  const tensors: Described[] = [];
  const skipped: Skipped[] = [];
  let total = 0;
  for (const entry of weights.values()) {
    if (!isCounted(entry)) continue;
    total += lengthOf(entry);
    const layout = layoutOf(entry);
    const { name, shape } = entry;
    if (layout === undefined) {
      skipped.push(skip(entry, 'no known kind of layer has a weight of this name and shape'));
      continue;
    }
    const [kind, roles] = layout;
    const bias = biasOf(name, kind, weights);
    tensors.push({
      name,
      aliases: [],
      kind,
      roles,
      shape,
      groups: roles.includes('multiplier') ? shape[roles.indexOf('out')]! : 1,
      weight: name,
      partners: bias ? [{ part: 'bias', weight: bias.name }] : [],
      notes: [],
    });
  }
  return { tensors, skipped, weights: total };
}

/** The bias that belongs to a weight. That of a separable layer belongs to its pointwise weight. */
function biasOf(name: string, kind: Kind, weights: Weights): WeightEntry | undefined {
  const pointwise = name.replace(/depthwise(?=_[^/]+$)/, 'pointwise');
  if (kind === 'embedding' || (pointwise !== name && weights.has(pointwise))) return undefined;
  return weights.get(name.replace(/[^/]+$/, name.endsWith('weights') ? 'biases' : 'bias'));
}

function layoutOf({ name, shape }: WeightEntry): readonly [Kind, readonly Role[]] | undefined {
  const own = name.slice(name.lastIndexOf('/') + 1);
  if (/^depthwise_(kernel|weights)$/.test(own) && shape.length === 4) {
    return ['conv2d', ['height', 'width', 'out', 'multiplier']];
  }
  if (/^embeddings?(_weights)?$/.test(own) && shape.length === 2) return ['embedding', ['out', 'in']];
  if (!/^((pointwise_)?kernel|weights)$/.test(own)) return undefined;
  return shape.length === 2 ? ['dense', ['in', 'out']] : convolutions[shape.length];
}
