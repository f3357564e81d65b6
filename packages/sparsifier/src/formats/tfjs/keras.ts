import { isObject } from '../../model/json.js';
import { SparsifyError } from '../../errors.js';
import type { Skipped } from '../../model/model.js';
import {
  isCounted,
  lengthOf,
  skip,
  unusedName,
  type Described,
  type Description,
  type PartnerWeight,
  type WeightEntry,
  type Weights,
} from './description.js';
import { identities, layerTypes, numberOf, rankAfter, type Config, type Parameter } from './keras-types.js';
import { Scopes, type NamedLayer } from './scopes.js';

/** A layer of a Keras config, which may be inside models and wrappers. */
interface Layer extends NamedLayer {
  readonly type: string;
  readonly config: Config;
  /** The names of the layers whose outputs it reads, over all its uses. */
  readonly inputs: readonly string[];
  /** The number of axes of its output, if it follows from the config. */
  readonly rank: number | undefined;
  /** The layers of the model that contains it, by the layers whose outputs they read. */
  readonly readers: ReadonlyMap<string, readonly Layer[]>;
}

/** Finds the layers of a Keras config, in its order. */
export function readKeras(model: Config, weights: Weights): Description {
  const layers = layersOf(model, []);
  const scopes = new Scopes(layers, weights);
  const tensors: Described[] = [];
  const skipped: Skipped[] = [];
  let total = 0;
  const taken = new Set<WeightEntry>();
  const names = new Set<string>();
  const nameOf = namesOf(layers);
  for (const layer of layers) {
    const ownName = nameOf(layer);
    const parameters = layerTypes.get(layer.type)?.(layer.config) ?? [];
    const own = scopes.of(layer, parameters[0]?.names ?? []);
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
      // A layer that several models share is listed in each of them.
      if (taken.has(entry)) continue;
      taken.add(entry);
      const name = unusedName(`${ownName}${parameter.suffix ?? ''}`, names);
      names.add(name);
      const { roles, kind } = parameter;
      const groups = roles.includes('multiplier') ? entry.shape[roles.indexOf('out')]! : (parameter.groups ?? 1);
      const { partners, notes } = partnersOf(layer, parameter, own?.get('bias'), scopes);
      tensors.push({
        name,
        aliases: [],
        kind,
        roles,
        shape: entry.shape,
        groups,
        weight: entry.name,
        partners,
        notes,
      });
    }
  }
  for (const entry of weights.values()) {
    if (!isCounted(entry)) continue;
    total += lengthOf(entry);
    if (!taken.has(entry)) skipped.push(skip(entry, 'it is not the weight of a layer that can be pruned'));
  }
  return { tensors, skipped, weights: total };
}

/** All layers, including those inside nested models and wrappers. */
function layersOf(model: Config, path: readonly string[]): Layer[] {
  const list: Layer[] = [];
  const readers = new Map<string, Layer[]>();
  const ranks = new Map<string, number | undefined>();
  for (const item of listOf(model)) {
    if (!isObject(item) || typeof item.class_name !== 'string' || !isObject(item.config)) continue;
    const { class_name: type, config } = item;
    const name = typeof item.name === 'string' ? item.name : typeof config.name === 'string' ? config.name : type;
    const before = model.class_name === 'Sequential' ? list[list.length - 1] : undefined;
    const inputs = model.class_name === 'Sequential' ? (before ? [before.path.at(-1)!] : []) : inputsOf(item);
    const rank = rankAfter(
      type,
      config,
      inputs.map((input) => ranks.get(input)),
    );
    ranks.set(name, rank);
    const layer = { type, path: [...path, name], others: [], config, inputs, rank, readers };
    list.push(layer);
    for (const input of new Set(inputs)) {
      const others = readers.get(input);
      if (others === undefined) readers.set(input, [layer]);
      else others.push(layer);
    }
  }
  return list.flatMap((layer) => [layer, ...insideOf(layer)]);
}

/** The layers of a nested model, or those inside a wrapper. */
function insideOf({ type, config, path }: Layer): Layer[] {
  if (Array.isArray(config.layers)) return layersOf({ class_name: type, config }, path);
  const wrapped = isObject(config.layer) ? config.layer : isObject(config.cell) ? config.cell : undefined;
  if (wrapped === undefined || typeof wrapped.class_name !== 'string' || !isObject(wrapped.config)) return [];
  const inner = {
    type: wrapped.class_name,
    config: wrapped.config,
    others: [],
    inputs: [],
    rank: undefined,
    readers: new Map(),
  };
  const name = typeof inner.config.name === 'string' ? inner.config.name : '';
  if (type === 'Bidirectional') {
    // TensorFlow.js saves the forward layer, whose name already has the prefix.
    const plain = name.replace(/^forward_/, '');
    return ['forward', 'backward'].map((direction) => ({ ...inner, path: [...path, `${direction}_${plain}`] }));
  }
  const own: Layer = { ...inner, path, others: [name] };
  return [own, ...insideOf(own)];
}

/** The list of layers of a model. Very old Sequential configs are the list itself. */
function listOf({ config }: Config): readonly unknown[] {
  if (Array.isArray(config)) return config;
  return isObject(config) && Array.isArray(config.layers) ? config.layers : [];
}

/** The names of the layers whose outputs a layer reads, as stored by Keras 2 (`[name, node, tensor]`) and Keras 3. */
function inputsOf({ inbound_nodes: nodes }: Config): string[] {
  const names: string[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      if (typeof value[0] === 'string' && typeof value[1] === 'number') names.push(value[0]);
      else value.forEach(visit);
    } else if (isObject(value)) {
      if (Array.isArray(value.keras_history)) visit(value.keras_history);
      else Object.values(value).forEach(visit);
    }
  };
  visit(nodes);
  return names;
}

/** Gives the name of a layer, or its path if several layers have this name. */
function namesOf(layers: readonly Layer[]): (layer: Layer) => string {
  const counts = new Map<string, number>();
  for (const { path, type } of layers) {
    const own = path.at(-1)!;
    if (layerTypes.has(type)) counts.set(own, (counts.get(own) ?? 0) + 1);
  }
  return ({ path }) => ((counts.get(path.at(-1)!) ?? 0) > 1 ? path.join('/') : path.at(-1)!);
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

/** The bias of a layer, and gamma and beta of the batch normalisations that read its output. */
function partnersOf(
  layer: Layer,
  { hasBias, kind }: Parameter,
  biasEntry: WeightEntry | undefined,
  scopes: Scopes,
): { partners: PartnerWeight[]; notes: string[] } {
  const bias = layer.config.use_bias === false ? undefined : biasEntry;
  if (kind === 'lstm' || kind === 'gru') {
    const note = `bias ${bias?.name} is left alone: a row of this weight is only one of the terms that its gate adds up`;
    return { partners: [], notes: bias ? [note] : [] };
  }
  if (!hasBias) return { partners: [], notes: [] };
  const partners: PartnerWeight[] = bias ? [{ part: 'bias', weight: bias.name }] : [];
  const notes: string[] = [];
  for (const { norm, isProven } of normalisationsOf(layer)) {
    const parts = (['gamma', 'beta'] as const).filter(
      (part) => norm.config[part === 'gamma' ? 'scale' : 'center'] !== false,
    );
    const own = scopes.of(norm, parts);
    for (const part of parts) {
      const entry = own?.get(part);
      if (entry === undefined) continue;
      if (norm.inputs.length > 1) notes.push(`${part} ${entry.name} is left alone: it also normalises other outputs`);
      else if (isProven) partners.push({ part, weight: entry.name });
      else
        notes.push(
          `${part} ${entry.name} is left alone: the topology does not say whether its axis is the channel axis`,
        );
    }
  }
  return { partners, notes };
}

/** The batch normalisations that read the unchanged output of a layer, along its channels as far as is known. */
function normalisationsOf(layer: Layer): { norm: Layer; isProven: boolean }[] {
  const { path, config, readers } = layer;
  if (!isLinear(config)) return [];
  const found: { norm: Layer; isProven: boolean }[] = [];
  // Grows while it is gone through.
  const outputs = new Set([path.at(-1)!]);
  for (const output of outputs) {
    for (const reader of readers.get(output) ?? []) {
      const isIdentity = identities.test(reader.type) || (reader.type === 'Activation' && isLinear(reader.config));
      if (isIdentity && reader.inputs.length === 1) outputs.add(reader.path.at(-1)!);
      if (reader.type !== 'BatchNormalization') continue;
      const isAlong = isAlongChannels(reader.config, layer);
      if (isAlong !== false) found.push({ norm: reader, isProven: isAlong === true });
    }
  }
  return found;
}

const isLinear = ({ activation }: Config): boolean =>
  activation === undefined || activation === null || activation === 'linear';

/**
 * Whether a normalisation uses the channel axis: the last one, unless the layer has channels first. Undefined if
 * unknown.
 */
function isAlongChannels({ axis }: Config, { config, rank }: Layer): boolean | undefined {
  if (Array.isArray(axis) && axis.length !== 1) return false;
  const index = numberOf(Array.isArray(axis) ? axis[0] : axis) ?? -1;
  const channels = config.data_format === 'channels_first' ? 1 : -1;
  if (index < 0 === channels < 0) return index === channels;
  if (rank === undefined) return undefined;
  return (index + rank) % rank === (channels + rank) % rank;
}
