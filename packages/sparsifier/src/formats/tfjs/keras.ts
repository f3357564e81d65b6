import { SparsifyError } from '../../errors.js';
import type { Kind, Role, Skipped } from '../../model/model.js';
import {
  isObject,
  unusedName,
  type Described,
  type Description,
  type PartnerWeight,
  type WeightEntry,
  type Weights,
} from './description.js';

type Config = Readonly<Record<string, unknown>>;

/** A layer of a Keras config, inside models and wrappers. */
interface Layer {
  readonly type: string;
  /** The names of the models and wrappers that it lies in, the whole model's left out, and its own. */
  readonly path: readonly string[];
  /** Further names that its weights may be under: inside a wrapper both have one. */
  readonly others: readonly string[];
  readonly config: Config;
  /** The layers whose outputs it reads, all its uses together. */
  readonly inputs: readonly string[];
  /** How many axes its output has, if that follows from the config. */
  readonly rank: number | undefined;
  /** The layers of the model that it lies in. */
  readonly siblings: readonly Layer[];
}

/** One weight of a layer. */
interface Parameter {
  /** What Keras and TensorFlow.js call it. */
  readonly names: readonly string[];
  /** After the layer's own name, where it has several. */
  readonly suffix?: string;
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  /** How many output channels the config asks for, and along which role they are counted. */
  readonly channels?: number | undefined;
  readonly groups?: number;
  /** Whether a row of it is all of an output channel, so that the layer's bias belongs to it. */
  readonly hasBias: boolean;
}

const spatial = (dimensions: number): readonly Role[] => (['depth', 'height', 'width'] as const).slice(3 - dimensions);

function convolution(dimensions: 1 | 2 | 3): (config: Config) => Parameter[] {
  return (config) => [
    {
      names: ['kernel'],
      kind: `conv${dimensions}d`,
      roles: [...spatial(dimensions), 'in', 'out'],
      channels: numberOf(config.filters),
      groups: numberOf(config.groups) ?? 1,
      hasBias: true,
    },
  ];
}

function transposed(dimensions: 1 | 2 | 3): (config: Config) => Parameter[] {
  return (config) => [
    {
      names: ['kernel'],
      kind: `convTranspose${dimensions}d`,
      roles: [...spatial(dimensions), 'out', 'in'],
      channels: numberOf(config.filters),
      hasBias: true,
    },
  ];
}

const depthwise = (dimensions: 1 | 2): Parameter => ({
  names: ['depthwise_kernel', 'kernel'],
  kind: `conv${dimensions}d`,
  roles: [...spatial(dimensions), 'out', 'multiplier'],
  hasBias: true,
});

function separable(dimensions: 1 | 2): (config: Config) => Parameter[] {
  return (config) => [
    { ...depthwise(dimensions), names: ['depthwise_kernel'], hasBias: false },
    {
      names: ['pointwise_kernel'],
      suffix: '.pointwise',
      kind: `conv${dimensions}d`,
      roles: [...spatial(dimensions), 'in', 'out'],
      channels: numberOf(config.filters),
      hasBias: true,
    },
  ];
}

/** Gates lie side by side along the last axis. */
function recurrent(kind: 'lstm' | 'gru', gates: number): (config: Config) => Parameter[] {
  return (config) => {
    const units = numberOf(config.units);
    const channels = units && units * gates;
    const one = { kind, roles: ['in', 'out'] as const, channels, hasBias: false };
    return [
      { ...one, names: ['kernel'] },
      { ...one, names: ['recurrent_kernel'], suffix: '.recurrent' },
    ];
  };
}

/** Layers with weights that can be pruned, by the names of their classes. */
const layerTypes: ReadonlyMap<string, (config: Config) => Parameter[]> = new Map([
  ['Conv1D', convolution(1)],
  ['Conv2D', convolution(2)],
  ['Conv3D', convolution(3)],
  ['Conv1DTranspose', transposed(1)],
  ['Conv2DTranspose', transposed(2)],
  ['Conv3DTranspose', transposed(3)],
  ['DepthwiseConv1D', () => [depthwise(1)]],
  ['DepthwiseConv2D', () => [depthwise(2)]],
  ['SeparableConv1D', separable(1)],
  ['SeparableConv2D', separable(2)],
  [
    'Dense',
    (config) => [
      { names: ['kernel'], kind: 'dense', roles: ['in', 'out'], channels: numberOf(config.units), hasBias: true },
    ],
  ],
  [
    'Embedding',
    (config) => [
      {
        names: ['embeddings'],
        kind: 'embedding',
        roles: ['out', 'in'],
        channels: numberOf(config.input_dim),
        hasBias: false,
      },
    ],
  ],
  ['LSTM', recurrent('lstm', 4)],
  ['LSTMCell', recurrent('lstm', 4)],
  ['GRU', recurrent('gru', 3)],
  ['GRUCell', recurrent('gru', 3)],
]);

/** Layers that do nothing once a model is trained. */
const identities = /^((Spatial|Alpha|Gaussian)?Dropout(\dD)?|GaussianNoise|ActivityRegularization|Identity)$/;

/** The layers of a Keras config, in its order. */
export function readKeras(model: Config, weights: Weights): Description {
  const layers = layersOf(model, []);
  const scopes = new Scopes(layers, weights);
  const tensors: Described[] = [];
  const skipped: Skipped[] = [];
  const taken = new Set<WeightEntry>();
  const names = new Set<string>();
  for (const layer of layers) {
    const ownName = nameOf(layer, layers);
    const parameters = layerTypes.get(layer.type)?.(layer.config) ?? [];
    const own = scopes.of(layer, parameters[0]?.names ?? []);
    for (const parameter of parameters) {
      const entry = parameter.names.map((name) => own?.get(name)).find((each) => each !== undefined);
      if (entry === undefined) {
        if (layer.type.endsWith('Cell')) continue;
        throw new SparsifyError('format', 'the manifest has no weight for this layer of the topology', {
          subject: ownName,
          asked: `${layer.path.join('/')}/${parameter.names[0]}`,
          found: `${weights.size} weights${weights.size > 0 ? `, the first ${[...weights.keys()][0]}` : ''}`,
          hint: 'The topology and the weights are of different models: save or convert the model again',
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
    const { name, shape, dtype } = entry;
    if (taken.has(entry) || shape.length < 2 || !dtype.startsWith('float')) continue;
    skipped.push({ name, reason: 'no layer that can be pruned has it as its weight' });
  }
  return { tensors, skipped };
}

/** All layers, those of models and wrappers inside others included. */
function layersOf(model: Config, path: readonly string[]): Layer[] {
  const list: Layer[] = [];
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
    list.push({ type, path: [...path, name], others: [], config, inputs, rank, siblings: list });
  }
  return list.flatMap((layer) => [layer, ...insideOf(layer)]);
}

/** The layers of a nested model, or those that a wrapper wraps. */
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
    siblings: [],
  };
  const name = typeof inner.config.name === 'string' ? inner.config.name : '';
  if (type === 'Bidirectional') {
    // TensorFlow.js saves the layer that runs forward, whose name says so already.
    const plain = name.replace(/^forward_/, '');
    return ['forward', 'backward'].map((direction) => ({ ...inner, path: [...path, `${direction}_${plain}`] }));
  }
  const own: Layer = { ...inner, path, others: [name] };
  return [own, ...insideOf(own)];
}

/** The list of layers of a model: very old Sequential configs are the list itself. */
function listOf({ config }: Config): readonly unknown[] {
  if (Array.isArray(config)) return config;
  return isObject(config) && Array.isArray(config.layers) ? config.layers : [];
}

/** The names of layers whose outputs a layer reads, in the way of Keras 2 (`[name, node, tensor]`) and of Keras 3. */
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

/** A layer is called by its own name, unless several have it. */
function nameOf({ path }: Layer, layers: readonly Layer[]): string {
  const own = path.at(-1)!;
  const namesakes = layers.filter((other) => other.path.at(-1) === own && layerTypes.has(other.type));
  return namesakes.length > 1 ? path.join('/') : own;
}

/** The weights of one layer by the last parts of their names. */
type Scope = ReadonlyMap<string, WeightEntry>;

/** A scope by the first parts of the names of its weights, with the names of layers among them. */
interface NamedScope {
  readonly weights: Map<string, WeightEntry>;
  readonly depth: number;
  /** Where in the scope which layer or model is named. */
  readonly names: readonly { readonly name: string; readonly start: number; readonly end: number }[];
}

/**
 * Weights by what their names begin with. All weights of a layer have that in common: its own name, perhaps behind those of
 * the models that it lies in and names that the topology does not know, and before that of a recurrent cell.
 */
class Scopes {
  /** Of models in use, by the layers that hold the weights. */
  readonly #byPath = new Map<string, NamedScope[]>();
  readonly #byName = new Map<string, NamedScope[]>();
  /** The names that may stand before that of a layer: a layer that several models share is built in one of them. */
  readonly #around = new Map<string, Set<string>>();

  constructor(layers: readonly Layer[], weights: Weights) {
    for (const { path } of layers) {
      const own = path.at(-1)!;
      const around = this.#around.get(own) ?? new Set();
      this.#around.set(own, around);
      for (const name of path) around.add(name);
    }
    const known = new Set(layers.flatMap(({ path, others }) => [...path, ...others]));
    const longest = [...known].reduce((most, name) => Math.max(most, name.split('/').length), 1);
    const scopes = new Map<string, NamedScope>();
    for (const entry of weights.values()) {
      const { name, paths } = entry.holders ?? { name: entry.name, paths: [undefined] };
      const parts = name.replace(/:\d+$/, '').split('/');
      const last = parts.pop()!;
      for (const path of paths) {
        const key = JSON.stringify([path, parts]);
        let scope = scopes.get(key);
        if (scope === undefined) {
          scope = { weights: new Map(), depth: parts.length, names: namesIn(parts, known, longest) };
          scopes.set(key, scope);
          if (path !== undefined) addTo(this.#byPath, JSON.stringify(path), scope);
          else for (const name of new Set(scope.names.map(({ name }) => name))) addTo(this.#byName, name, scope);
        }
        if (!scope.weights.has(last)) scope.weights.set(last, entry);
      }
    }
  }

  /** The weights of a layer: of those under its own name with a weight of such a name, those inside the same models. */
  of({ path, others }: Layer, wanted: readonly string[]): Scope | undefined {
    const own = [path.at(-1)!, ...others];
    const isWanted = ({ weights }: NamedScope) => wanted.some((name) => weights.has(name));
    const held = this.#byPath.get(JSON.stringify(path))?.find(isWanted);
    if (held !== undefined) return held.weights;
    // A wrapper of two layers holds the weights of both.
    const beside = this.#byPath.get(JSON.stringify(path.slice(0, -1))) ?? [];
    const named = own.flatMap((name) => this.#byName.get(name) ?? []).filter(({ names }) => this.#isOwn(own, names));
    const candidates = [...beside.filter(({ names }) => names.some(({ name }) => own.includes(name))), ...named];
    let best: { weights: Scope; score: number } | undefined;
    for (const { weights, depth, names } of candidates.filter(isWanted)) {
      const score = path.filter((part) => names.some(({ name }) => name === part)).length - depth / 1000;
      if (best === undefined || score > best.score) best = { weights, score };
    }
    return best?.weights;
  }

  /** Whether no other layer is named before the layer's own name, or with more parts in the same place. */
  #isOwn(own: readonly string[], names: NamedScope['names']): boolean {
    const { start, end } = names.find(({ name }) => own.includes(name))!;
    const around = this.#around.get(own[0]!)!;
    return names.every((each) => {
      const isBefore = each.start < start || (each.start === start && each.end > end);
      return !isBefore || around.has(each.name) || !this.#around.has(each.name);
    });
  }
}

function addTo(lists: Map<string, NamedScope[]>, key: string, scope: NamedScope): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [scope]);
  else list.push(scope);
}

/** The names of layers among the parts of a weight's name; a layer's own name may have several parts. */
function namesIn(parts: readonly string[], known: ReadonlySet<string>, longest: number): NamedScope['names'] {
  return parts.flatMap((_, start) =>
    parts.slice(start, start + longest).flatMap((_, length) => {
      const end = start + length + 1;
      const name = parts.slice(start, end).join('/');
      return known.has(name) ? [{ name, start, end }] : [];
    }),
  );
}

function checkShape(subject: string, { name, shape }: WeightEntry, { roles, channels }: Parameter): void {
  const found = shape[roles.indexOf('out')];
  if (shape.length === roles.length && (channels === undefined || found === channels)) return;
  throw new SparsifyError('format', 'the topology and the weights disagree', {
    subject,
    asked: `${roles.length} axes (${roles.join(', ')})${channels === undefined ? '' : `, out = ${channels}`}`,
    found: `${name} of shape [${shape.join(', ')}]`,
    hint: 'The files are of different models: save or convert the model again',
  });
}

/** The layer's bias, and gamma and beta of the batch normalisations that read its output, as the configs have them. */
function partnersOf(
  layer: Layer,
  { hasBias, kind }: Parameter,
  biasEntry: WeightEntry | undefined,
  scopes: Scopes,
): { partners: PartnerWeight[]; notes: string[] } {
  const bias = layer.config.use_bias === false ? undefined : biasEntry;
  if (kind === 'lstm' || kind === 'gru') {
    const note = `bias ${bias?.name} is left alone: a row of these weights is not all that its gate adds up`;
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
      if (norm.inputs.length > 1) notes.push(`${part} ${entry.name} is left alone: it normalises other outputs too`);
      else if (isProven) partners.push({ part, weight: entry.name });
      else
        notes.push(`${part} ${entry.name} is left alone: the topology does not say whether its axis is the channels'`);
    }
  }
  return { partners, notes };
}

/** The batch normalisations whose input is the output of a layer as it is, along its channels as far as that is known. */
function normalisationsOf(layer: Layer): { norm: Layer; isProven: boolean }[] {
  const { path, config, siblings } = layer;
  if (!isLinear(config)) return [];
  const found: { norm: Layer; isProven: boolean }[] = [];
  const outputs = [path.at(-1)!];
  for (const output of outputs) {
    for (const reader of siblings.filter(({ inputs }) => inputs.includes(output))) {
      const isIdentity = identities.test(reader.type) || (reader.type === 'Activation' && isLinear(reader.config));
      const name = reader.path.at(-1)!;
      if (isIdentity && reader.inputs.length === 1 && !outputs.includes(name)) outputs.push(name);
      if (reader.type !== 'BatchNormalization') continue;
      const isAlong = isAlongChannels(reader.config, layer);
      if (isAlong !== false) found.push({ norm: reader, isProven: isAlong === true });
    }
  }
  return found;
}

const isLinear = ({ activation }: Config): boolean =>
  activation === undefined || activation === null || activation === 'linear';

/** Whether a normalisation is along the channels: the last axis, unless the layer has them first. Undefined if unknown. */
function isAlongChannels({ axis }: Config, { config, rank }: Layer): boolean | undefined {
  if (Array.isArray(axis) && axis.length !== 1) return false;
  const index = numberOf(Array.isArray(axis) ? axis[0] : axis) ?? -1;
  const channels = config.data_format === 'channels_first' ? 1 : -1;
  if (index < 0 === channels < 0) return index === channels;
  if (rank === undefined) return undefined;
  return (index + rank) % rank === (channels + rank) % rank;
}

/** Layers whose output has as many axes as the longest of their inputs. */
const keeping =
  /^(Dense|Activation|BatchNormalization|LayerNormalization|(Leaky|P|Thresholded)?ReLU|ELU|Softmax|Masking|Rescaling|Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate|Permute)$/;

/** How many axes the output of a layer has, by its type, its config and its inputs. */
function rankAfter(type: string, config: Config, inputs: readonly (number | undefined)[]): number | undefined {
  const dimensions = /^(?!Global).*(\d)D(Transpose)?$/.exec(type)?.[1];
  if (dimensions !== undefined) return Number(dimensions) + 2;
  if (type === 'Flatten' || (/^Global.*Pooling\dD$/.test(type) && config.keepdims !== true)) return 2;
  if (type === 'Reshape') return Array.isArray(config.target_shape) ? config.target_shape.length + 1 : undefined;
  if (type === 'RepeatVector') return 3;
  if (/^(LSTM|GRU|SimpleRNN|RNN)$/.test(type)) return config.return_sequences === true ? 3 : 2;
  const given = config.batch_input_shape ?? config.batch_shape;
  const ranks = inputs.length === 0 && Array.isArray(given) ? [given.length] : inputs;
  if (type === 'InputLayer') return ranks[0];
  if (!(keeping.test(type) || identities.test(type)) || ranks.length === 0 || ranks.includes(undefined))
    return undefined;
  return Math.max(...(ranks as number[]));
}

const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
