import { SparsifyError } from '../../errors.js';
import { isRecurrent, leftToGates } from '../../model/channels.js';
import type { Skipped } from '../../model/model.js';
import {
  addTo,
  countOf,
  isCounted,
  skip,
  UnusedNames,
  type BiasWeight,
  type Described,
  type Description,
  type WeightEntry,
  type Weights,
} from './description.js';
import { biasOf } from './keras-biases.js';
import { geometryOf } from './keras-geometry.js';
import { inOrder, layersOf, type Call, type Layer } from './keras-layers.js';
import { partnersOf, type Known, type Partners } from './keras-partners.js';
import { layerTypes, widthAfter, type Config, type Parameter } from './keras-types.js';
import { Scopes, type Scope } from './scopes.js';

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
  const norms = new Map<Layer, Scope>();
  const means = new Map<Layer, WeightEntry>();
  const owners = new Map<WeightEntry, Layer[]>();
  for (const layer of layers) {
    if (layer.type !== 'BatchNormalization') continue;
    const mean = scopes.of(layer, ['moving_mean'])?.get('moving_mean');
    if (mean !== undefined) means.set(layer, mean);
    const scope = scopes.of(layer, layer.weightNames.slice(0, -2));
    if (scope === undefined) continue;
    norms.set(layer, scope);
    for (const part of ['gamma', 'beta']) {
      const entry = scope.get(part);
      if (entry !== undefined) addTo(owners, entry, layer);
    }
  }
  const budget = { left: 2 ** 16 + 64 * layers.length };
  const known = { norms, owners, joins: joinsOf(layers), budget };
  const partners = new Map<Found, Partners>();
  const uses = countsOf([
    ...found.flatMap(({ bias, parameter }) => (parameter.hasBias ? (bias ?? []) : [])),
    ...means.values(),
  ]);
  const biases = new Map<Found, BiasWeight | undefined>();
  for (const each of found.filter(({ parameter }) => parameter.hasBias)) {
    partners.set(each, partnersOf(ownedBy(each), known));
    biases.set(each, biasOf(ownedBy(each), { means, uses }));
  }
  const sources = new Map<Layer, string[]>();
  for (const [{ name }, { filters }] of partners) {
    for (const layer of filters) addTo(sources, layer, name);
  }
  const tensors = found.map((each) => describedAs(each, partners.get(each), biases.get(each), sources));
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

function describedAs(
  { name, entry, parameter, bias, layers }: Found,
  own: Partners | undefined,
  ownBias: BiasWeight | undefined,
  sources: ReadonlyMap<Layer, readonly string[]>,
): Described {
  const { kind, roles, groups } = parameter;
  const { type, config } = layers[0]!;
  const geometry = geometryOf(type, config, parameter, entry.shape);
  const isDepthwise = roles.includes('multiplier');
  const channelsFrom = isDepthwise ? layers.flatMap((layer) => sources.get(layer) ?? []) : [];
  return {
    name,
    aliases: [],
    kind,
    roles,
    shape: entry.shape,
    groups: isDepthwise ? entry.shape[roles.indexOf('out')]! : (groups ?? 1),
    weight: entry.name,
    partners: own?.partners ?? [],
    ...(geometry && { geometry }),
    ...(ownBias && { bias: ownBias }),
    notes: isRecurrent(kind) && bias !== undefined ? [leftToGates(`bias ${bias.name}`)] : [],
    ...(own !== undefined && own.leaks.length > 0 && { leaks: own.leaks }),
    ...(channelsFrom.length > 0 && { channelsFrom: [...new Set(channelsFrom)] }),
  };
}

const countsOf = (entries: readonly WeightEntry[]): Map<WeightEntry, number> => {
  const counts = new Map<WeightEntry, number>();
  for (const entry of entries) counts.set(entry, (counts.get(entry) ?? 0) + 1);
  return counts;
};

/** A weight, its layers, and how many output channels it has. */
function ownedBy({ layers, bias, entry, parameter: { roles } }: Found) {
  const isCount = (axis: number) => roles[axis] === 'out' || roles[axis] === 'multiplier';
  return {
    layers,
    bias,
    channels: entry.shape.reduce((count, size, axis) => (isCount(axis) ? count * size : count), 1),
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

/** What concatenations join along the last axis, as far as the widths of their inputs are known. */
function joinsOf(layers: readonly Layer[]): Known['joins'] {
  const widths = new Map<Call, number>();
  const joins = new Map<Call, { starts: Map<Call, number>; total: number }>();
  if (!layers.some(({ type }) => type === 'Concatenate')) return joins;
  for (const call of inOrder(layers.flatMap(({ calls }) => calls))) {
    const { type, config } = call.layer;
    const inputs = [...call.inputs].map((input) => widths.get(input));
    const width = call.isWhole ? widthAfter(type, config, inputs) : undefined;
    if (width === undefined) continue;
    widths.set(call, width);
    if (type !== 'Concatenate') continue;
    let total = 0;
    const starts = new Map<Call, number>();
    for (const input of call.inputs) {
      starts.set(input, total);
      total += widths.get(input)!;
    }
    joins.set(call, { starts, total });
  }
  return joins;
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
