import { byName } from '../../options/names.js';
import { isRecurrent, leftToGates } from '../../model/channels.js';
import type { DataType, Kind, Leak, Partner, Skipped, WeightTensor } from '../../model/model.js';
import { StoredValues } from '../format.js';
import { biasAmong, checkLayout, type Layout } from '../layout.js';
import { biasOf, expertRoles, orderByBias, Orders, rolesOf, type Tensors as TensorsOf } from './axes.js';
import type { LayerDescription, LayerDescriptions } from './descriptions.js';
import { quoted, type Header, type StoredTensor } from './header.js';
import { productOf } from '../../model/numbers.js';

/** A file of a checkpoint and its header. */
export interface NamedHeader {
  readonly name: string;
  readonly header: Header;
}

/** A tensor and the file that contains it. */
export interface Tensor extends StoredTensor {
  readonly file: string;
}

type Tensors = TensorsOf<Tensor>;

/** The types of tensors that can be pruned. */
export const dataTypes: ReadonlyMap<string, DataType> = new Map([
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
]);

/** The types of numbers that are no weights, unless they are codes of them. */
const isInteger = (dtype: string): boolean => /^(BOOL|[IU]\d+)$/.test(dtype);

/** The names of weights in PyTorch modules: `weight`, except in attention and recurrent layers. */
const weightName = /(^|\.)((in|[qkv])_proj_)?weight$/;
const recurrentName = /(^|\.)weight_[ih]h(_l\d+(_reverse)?)?$/;

/** The names of `nn.Embedding` modules in checkpoints of transformers, diffusers and timm. */
const embeddingName =
  /(^|_)(emb|embd|embeds?|embeddings?)(_(tokens|positions|in))?$|^(wte|wpe|shared|relative_attention_bias)$/i;

/** The kinds of convolutions by their axes. Transposed ones are known by their bias, which fits their second axis. */
const convolutions: Readonly<Record<number, { readonly usual: Kind; readonly transposed: Kind }>> = {
  3: { usual: 'conv1d', transposed: 'convTranspose1d' },
  4: { usual: 'conv2d', transposed: 'convTranspose2d' },
  5: { usual: 'conv3d', transposed: 'convTranspose3d' },
};

/** The names of modules whose last word is a normalisation: `LayerNorm`, `q_norm`, `norm1`, `norm_out`, not `denorm`. */
const normName = /(?<!de|un|ab)norm(alization)?s?\d*(d|_(\d+|[a-z]|in|out|final))?$/i;

/** The weights of a checkpoint. */
export interface Layers {
  readonly tensors: readonly WeightTensor[];
  readonly skipped: readonly Skipped[];
  readonly weights: number;
  /** The tensors that the caller described. */
  readonly learned: ReadonlySet<WeightTensor>;
  /** The names that the tensors of layers have in the files, by the names of the layers. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * Finds the weights of a checkpoint, in the order of its files and of the bytes in each: those that can be pruned, and
 * those that cannot, with the reasons. There is no graph, so kinds are inferred from names and shapes.
 * @throws SparsifyError `layer` for a description that matches no tensor; `kind`, `format` or `usage` for one that does
 *   not fit its tensor; `sparsity` if two of them disagree
 */
export function readLayers(files: readonly NamedHeader[], descriptions: LayerDescriptions = {}): Layers {
  const all: Tensors = new Map(
    files.flatMap(({ name: file, header }) => header.tensors.map((tensor) => [tensor.name, { ...tensor, file }])),
  );
  const orders = new Orders(all);
  const candidates = [...all.values()].filter(isWeight).map((tensor) => ({ tensor, ...namesOf(tensor.name, all) }));
  const described = byName(Object.entries(descriptions), candidates);
  const tensors: WeightTensor[] = [];
  const skipped: Skipped[] = [];
  const learned = new Set<WeightTensor>();
  const names = new Map<string, string>();
  /** The layers of biases. */
  const layersOf = new Map<string, string>();
  for (const [index, { tensor, name, aliases }] of candidates.entries()) {
    const found = whyNot(tensor) ?? described[index] ?? inferred(tensor, all, orders);
    if (typeof found === 'string' || found === false) {
      const reason = found === false ? 'it is excluded by the layers option' : found;
      skipped.push({ name, reason, shape: tensor.shape, weights: lengthOf(tensor) });
      continue;
    }
    const { kind, roles = rolesOf(kind, tensor.shape.length), groups = 1, notes: own = [] } = found as Inferred;
    const layout = { kind, roles, shape: tensor.shape, groups };
    const { notes, ...others } = partnersOf(tensor, layout, checkLayout(name, layout), all);
    const bias = biasAmong(kind, others.partners);
    const layer = {
      name,
      aliases,
      ...layout,
      values: valuesOf(tensor)!,
      ...others,
      ...bias,
      notes: [...own, ...notes],
    };
    tensors.push(layer);
    names.set(name, tensor.name);
    if (layer.partners.length > 0) layersOf.set(biasOf(tensor.name), name);
    if (found === described[index]) learned.add(layer);
  }
  const listed = skipped.map((tensor): Skipped => {
    const layer = layersOf.get(tensor.name);
    return layer
      ? { ...tensor, reason: `it is the bias of ${layer}, and is removed with its output channels` }
      : tensor;
  });
  return { tensors, skipped: listed, weights: weightsIn(files), learned, names };
}

/**
 * How many numbers of two or more axes there are: floating-point ones, and those that are named like a weight whatever
 * their type.
 */
const weightsIn = (files: readonly NamedHeader[]): number =>
  files
    .flatMap(({ header }) => header.tensors)
    .filter(isWeight)
    .reduce((total, tensor) => total + lengthOf(tensor), 0);

/** Whether a tensor is a layer or is listed as skipped. */
export const isWeight = ({ name, dtype, shape }: StoredTensor): boolean =>
  shape.length > 1 && (!isInteger(dtype) || name.endsWith('weight'));

/** A layer has the name of its module, unless a tensor has that name. */
function namesOf(whole: string, all: Tensors): { readonly name: string; readonly aliases: readonly string[] } {
  const name = whole.replace(/(?<=.)\.weight$/s, '');
  return name === whole || all.has(name) ? { name: whole, aliases: [] } : { name, aliases: [whole] };
}

/** Why a tensor cannot be pruned, however it is described. */
function whyNot({ dtype, shape }: Tensor): string | undefined {
  if (!dataTypes.has(dtype)) return `its type is ${dtype}; only F32, F16 and BF16 can be pruned`;
  return shape.includes(0) ? 'it is empty' : undefined;
}

interface Inferred extends LayerDescription {
  readonly notes?: readonly string[];
}

/** What a tensor is, judging by its name, its shape and the tensors beside it, or why that is unknown. */
function inferred(tensor: Tensor, all: Tensors, orders: Orders): Inferred | string {
  const { name, shape } = tensor;
  if (recurrentName.test(name)) return recurrent(tensor, all);
  const experts = expertRoles(tensor, all);
  if (experts !== undefined) return typeof experts === 'string' ? experts : { kind: 'dense', roles: experts };
  if (/(^|[._])bias$/.test(name)) return 'it is named like a bias';
  if (!weightName.test(name))
    return 'no known kind of layer has a weight of this name; describe it with the layers option (--layer)';
  const module = moduleOf(name);
  if (normName.test(module)) return 'its name is that of a normalisation layer';
  if (shape.length === 2) {
    // A lookup table has no bias.
    if (embeddingName.test(module) && !all.has(biasOf(name))) return { kind: 'embedding' };
    return { kind: 'dense', ...orders.rolesOf(tensor) };
  }
  const kinds = convolutions[shape.length];
  if (kinds === undefined) return `no kind of layer has a weight with ${shape.length} axes`;
  return { kind: orderByBias(tensor, all)?.[0] === 'in' ? kinds.transposed : kinds.usual };
}

/**
 * The name of the module that a tensor belongs to, without its parents. For a module in a list, the name of the list.
 */
const moduleOf = (name: string): string =>
  name
    .split('.')
    .slice(0, -1)
    .filter((part) => !/^\d+$/.test(part))
    .at(-1) ?? '';

/**
 * Both weights of a recurrent layer have a row per gate and hidden unit. The hidden-to-hidden one has a column per
 * hidden unit.
 */
function recurrent({ name, shape }: Tensor, all: Tensors): LayerDescription | string {
  const at = name.lastIndexOf('weight_');
  const fromHidden = `${name.slice(0, at)}weight_hh${name.slice(at + 'weight_ih'.length)}`;
  const hidden = all.get(fromHidden)?.shape[1];
  if (hidden === undefined) return `its number of gates is unknown without ${quoted(fromHidden)}`;
  const [rows] = shape;
  if (shape.length === 2 && rows === 4 * hidden) return { kind: 'lstm' };
  if (shape.length === 2 && rows === 3 * hidden) return { kind: 'gru' };
  if (shape.length === 2 && rows === hidden) return { kind: 'rnn' };
  return `its shape ${shape.join(' x ')} does not fit 4 gates of an LSTM, 3 of a GRU or an RNN with ${hidden} hidden units`;
}

/** The bias that belongs to a weight. One that is left alone is a leak, except for a recurrent layer, where a note says why. */
function partnersOf(
  { name }: Tensor,
  { kind, roles, shape }: Layout,
  channels: number,
  all: Tensors,
): { partners: Partner[]; notes: string[]; leaks?: Leak[] } {
  const bias = all.get(biasOf(name));
  if (bias === undefined || kind === 'embedding') return { partners: [], notes: [] };
  if (isRecurrent(kind)) return { partners: [], notes: [leftToGates(`bias ${bias.name}`)] };
  const values = valuesOf(bias);
  // The bias of experts has two axes, as their outputs have.
  const outputs = shape.filter((_, axis) => roles[axis] === 'out' || roles[axis] === 'multiplier');
  const isPerChannel = String(bias.shape) === String(channels) || String(bias.shape) === String(outputs);
  if (values !== undefined && isPerChannel) return { partners: [{ part: 'bias', values }], notes: [] };
  const reason = values === undefined ? `its type is ${bias.dtype}` : 'it does not have one entry per output channel';
  return { partners: [], notes: [], leaks: [{ name: bias.name, reason }] };
}

/** Where the numbers of a tensor are, if it has a type that can be pruned. */
export function valuesOf({ dtype, shape, file, start }: Tensor): StoredValues | undefined {
  const type = dataTypes.get(dtype);
  return type && new StoredValues(type, lengthOf({ shape }), file, start);
}

const lengthOf = ({ shape }: Pick<Tensor, 'shape'>): number => productOf(shape);
