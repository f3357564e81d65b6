import type { Kind, Role, Skipped } from '../../model/model.js';
import {
  countOf,
  isCounted,
  isFloat,
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
  for (const entry of weights.values()) {
    if (!isCounted(entry)) continue;
    const layout = layoutOf(entry);
    const { name, shape } = entry;
    if (layout === undefined) {
      skipped.push(skip(entry, 'no known kind of layer has a weight of this name and shape'));
      continue;
    }
    const [kind, roles] = layout;
    const bias = biasOf(name, kind, weights);
    const channels = roles.reduce(
      (count, role, axis) => (/out|multiplier/.test(role) ? count * shape[axis]! : count),
      1,
    );
    const obstacle = bias && obstacleTo(bias, channels);
    tensors.push({
      name,
      aliases: [],
      kind,
      roles,
      shape,
      groups: roles.includes('multiplier') ? shape[roles.indexOf('out')]! : 1,
      weight: name,
      partners: bias && obstacle === undefined ? [{ part: 'bias', weight: bias.name }] : [],
      notes: [],
      ...(obstacle !== undefined && { leaks: [{ name: bias!.name, reason: obstacle }] }),
    });
  }
  return { tensors, skipped, weights: countOf(weights.values()) };
}

/** The bias that belongs to a weight. That of a separable layer belongs to its pointwise weight. */
function biasOf(name: string, kind: Kind, weights: Weights): WeightEntry | undefined {
  const [scope, own] = partsOf(name);
  const isSeparable =
    own.startsWith('depthwise_') && weights.has(`${scope}pointwise_${own.slice('depthwise_'.length)}`);
  if (kind === 'embedding' || isSeparable) return undefined;
  const names = own.endsWith('weights') ? ['biases', 'bias'] : ['bias'];
  return names.map((bias) => weights.get(scope + bias)).find((bias) => bias !== undefined);
}

/** Why a bias is not removed with the output channels. */
function obstacleTo(bias: WeightEntry, channels: number): string | undefined {
  if (!isFloat(bias)) return `its type is ${bias.dtype}`;
  return lengthOf(bias) === channels ? undefined : 'it does not have one number per output channel';
}

/** The scope of a name, which ends with a slash unless it is empty, and the rest. */
function partsOf(name: string): [scope: string, own: string] {
  const end = name.lastIndexOf('/') + 1;
  return [name.slice(0, end), name.slice(end)];
}

function layoutOf({ name, shape }: WeightEntry): readonly [Kind, readonly Role[]] | undefined {
  const [, own] = partsOf(name);
  if (/^depthwise_(kernel|weights|filter)$/.test(own) && shape.length === 4) {
    return ['conv2d', ['height', 'width', 'out', 'multiplier']];
  }
  if (/^embeddings?(_weights)?$/.test(own) && shape.length === 2) return ['embedding', ['out', 'in']];
  if (!/^((pointwise_)?(kernel|filter)|filters|weights)$/.test(own)) return undefined;
  return shape.length === 2 ? ['dense', ['in', 'out']] : convolutions[shape.length];
}
