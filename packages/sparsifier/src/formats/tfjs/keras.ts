import { SparsifyError } from '../../errors.js';
import { isRecurrent, leftToGates } from '../../model/channels.js';
import type { Skipped } from '../../model/model.js';
import { productOf } from '../../model/numbers.js';
import {
  countOf,
  isCounted,
  skip,
  UnusedNames,
  type Described,
  type Description,
  type WeightEntry,
  type Weights,
} from './description.js';
import { geometryOf } from './keras-geometry.js';
import { layersOf, type Layer } from './keras-layers.js';
import { isChannelsFirst, layerTypes, type Config, type Parameter } from './keras-types.js';
import { Scopes } from './scopes.js';
import { translateKeras } from './structure/keras.js';
import { followWeights, type Channels, type Weighted } from './structure/masks.js';

/** A weight, and the layers that have it: several if models share a layer. */
interface Found {
  readonly name: string;
  readonly entry: WeightEntry;
  readonly parameter: Parameter;
  readonly bias: WeightEntry | undefined;
  readonly layers: Layer[];
}

/** Finds the layers of a Keras config, in its order. */
export function readKeras(model: Config, weights: Weights): Description {
  const layers = layersOf(model);
  const scopes = new Scopes(layers, weights);
  const found = findWeights(layers, scopes, weights);
  const owners = found.filter(({ parameter }) => parameter.hasBias).map(weightedBy);
  const { translation } = translateKeras(model, layers, scopes, { isForMasks: true });
  const channels = followWeights(translation, owners);
  const tensors = found.map((each) => describedAs(each, channels));
  const taken = new Set(found.map(({ entry }) => entry));
  return { tensors, skipped: skippedIn(weights, taken, layers, scopes), weights: countOf(weights.values()) };
}

/** The weights of the layers that can be pruned, in their order. */
function findWeights(layers: readonly Layer[], scopes: Scopes, weights: Weights): Found[] {
  const found = new Map<WeightEntry, Found>();
  const names = new UnusedNames();
  const nameOf = namesOf(layers);
  for (const layer of layers) {
    const parameters = layerTypes.get(layer.type)?.(layer.config) ?? [];
    if (parameters.length === 0) continue;
    const ownName = nameOf(layer);
    const own = scopes.of(layer, parameters[0]!.names);
    const bias = layer.config.use_bias === false ? undefined : own?.get('bias');
    for (const parameter of parameters) {
      const entry = parameter.names.map((name) => own?.get(name)).find((each) => each !== undefined);
      if (entry === undefined) {
        if (layer.type.endsWith('Cell')) continue;
        throw new SparsifyError('format', 'the manifest has no weight for this layer of the topology', {
          subject: ownName,
          given: `${layer.path.join('/')}/${parameter.names[0]}`,
          found: `${weights.size} weights${weights.size > 0 ? `, the first ${[...weights.keys()][0]}` : ''}`,
          hint: 'The topology and the weights belong to different models. Save or convert the model again',
        });
      }
      checkShape(ownName, entry, parameter);
      const before = found.get(entry);
      if (before !== undefined) before.layers.push(layer);
      else {
        const name = names.take(`${ownName}${parameter.suffix ?? ''}`);
        found.set(entry, { name, entry, parameter, bias, layers: [layer] });
      }
    }
  }
  return [...found.values()];
}

function describedAs({ name, entry, parameter, bias, layers }: Found, channels: Channels): Described {
  const { kind, roles, groups } = parameter;
  const { type, config } = layers[0]!;
  const geometry = geometryOf(type, config, parameter, entry.shape);
  const isDepthwise = roles.includes('multiplier');
  const channelsFrom = isDepthwise ? channels.filtered.get(entry) : undefined;
  const notes = isRecurrent(kind) && bias !== undefined ? [leftToGates(`bias ${bias.name}`)] : [];
  return {
    name,
    aliases: [],
    kind,
    roles,
    shape: entry.shape,
    groups: isDepthwise ? entry.shape[roles.indexOf('out')]! : (groups ?? 1),
    weight: entry.name,
    ...(geometry && { geometry }),
    ...(channels.of.get(entry) ?? { partners: [], notes }),
    ...(channelsFrom && { channelsFrom }),
  };
}

/** A weight, how many output channels it has, and the axis of its layer that they are on. */
function weightedBy({ name, layers: [layer], entry, parameter: { roles } }: Found): Weighted {
  const isCount = (axis: number) => roles[axis] === 'out' || roles[axis] === 'multiplier';
  const { type, config } = layer!;
  const space = Number(/\d(?=D)/.exec(type)?.[0] ?? 0);
  return {
    name,
    entry,
    channels: productOf(entry.shape.filter((_, axis) => isCount(axis))),
    axis: isChannelsFirst(config) ? 1 + space : 1,
  };
}

/** The weights that count and are not those of layers that can be pruned. */
function skippedIn(
  weights: Weights,
  taken: ReadonlySet<WeightEntry>,
  layers: readonly Layer[],
  scopes: Scopes,
): Skipped[] {
  const left = [...weights.values()].filter((entry) => isCounted(entry) && !taken.has(entry));
  if (left.length === 0) return [];
  const types = new Map<WeightEntry, string>();
  for (const layer of layers) {
    for (const entry of scopes.of(layer)?.values() ?? []) if (!types.has(entry)) types.set(entry, layer.type);
  }
  return left.map((entry) => {
    const type = types.get(entry);
    const reason =
      type === undefined
        ? 'no layer of the topology has a weight of this name'
        : layerTypes.has(type)
          ? `${type} does not multiply its input with it`
          : `${type} is not a kind of layer that can be pruned`;
    return skip(entry, reason, entry.name, type);
  });
}

/** Gives the name of a layer, or its path if several layers have this name. */
function namesOf(layers: readonly Layer[]): (layer: Layer) => string {
  const counts = new Map<string, number>();
  for (const { title, type } of layers) {
    const own = title.at(-1)!;
    if (layerTypes.has(type)) counts.set(own, (counts.get(own) ?? 0) + 1);
  }
  return ({ title }) => ((counts.get(title.at(-1)!) ?? 0) > 1 ? title.join('/') : title.at(-1)!);
}

function checkShape(subject: string, { name, shape }: WeightEntry, { roles, channels }: Parameter): void {
  const found = shape[roles.indexOf('out')];
  if (shape.length === roles.length && (channels === undefined || found === channels)) return;
  throw new SparsifyError('format', 'the topology and the weights disagree', {
    subject,
    given: `${roles.length} axes (${roles.join(', ')})${channels === undefined ? '' : `, out = ${channels}`}`,
    found: `${name} of shape [${shape.join(', ')}]`,
    hint: 'The files belong to different models. Save or convert the model again',
  });
}
