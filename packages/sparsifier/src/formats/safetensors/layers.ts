import { SparsifyError } from '../../errors.js';
import { byName } from '../../options/names.js';
import type { DataType, Kind, Partner, Role, Skipped, WeightTensor } from '../../model/model.js';
import { StoredValues } from '../format.js';
import { checkLayout, type Layout } from '../layout.js';
import type { Header, StoredTensor } from './header.js';

/** Describes a tensor whose name and shape are not enough. */
export interface LayerDescription {
  readonly kind: Kind;
  /**
   * One per axis, in stored order. By default those of PyTorch: out, in (for transposed convolutions in, out), then
   * spatial.
   */
  readonly roles?: readonly Role[];
  /** The number of groups of a convolution; 1 by default. */
  readonly groups?: number;
}

/** Descriptions by the name or a glob of tensors; `false` to exclude a tensor. Names take precedence over globs. */
export type LayerDescriptions = Readonly<Record<string, LayerDescription | false>>;

/** A file of a checkpoint and its header. */
export interface NamedHeader {
  readonly name: string;
  readonly header: Header;
}

/** A tensor and the file that contains it. */
interface Tensor extends StoredTensor {
  readonly file: string;
}

/** All tensors by their full names. */
type Tensors = ReadonlyMap<string, Tensor>;

/** The types of tensors that can be pruned. */
const dataTypes: ReadonlyMap<string, DataType> = new Map([
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
]);

/** The names of weights in PyTorch modules: `weight`, except in attention and recurrent layers. */
const weightName = /(^|\.)((in|[qkv])_proj_)?weight$/;
const recurrentName = /(^|\.)weight_[ih]h(_l\d+(_reverse)?)?$/;

/** The names of `nn.Embedding` modules in checkpoints of transformers, diffusers and timm. */
const embeddingName =
  /(^|_)(emb|embd|embeds?|embeddings?)(_(tokens|positions|in))?$|^(wte|wpe|shared|relative_attention_bias)$/i;

const convolutions: Readonly<Record<number, Kind>> = { 3: 'conv1d', 4: 'conv2d', 5: 'conv3d' };

/**
 * Finds the weights of a checkpoint, in the order of its files and of the bytes in each: those that can be pruned, and
 * those that cannot, with the reasons. There is no graph, so kinds are inferred from names and shapes.
 * @throws SparsifyError `layer` for a description that matches no tensor; `kind`, `format` or `usage` for one that does
 *   not fit its tensor; `sparsity` if two of them disagree
 */
export function readLayers(
  files: readonly NamedHeader[],
  descriptions: LayerDescriptions = {},
): { tensors: WeightTensor[]; skipped: Skipped[]; weights: number } {
  for (const [key, description] of Object.entries(descriptions)) checkDescription(key, description);
  const all: Tensors = new Map(
    files.flatMap(({ name: file, header }) => header.tensors.map((tensor) => [tensor.name, { ...tensor, file }])),
  );
  const candidates = [...all.values()].filter(mayBeWeight).map((tensor) => ({ tensor, ...namesOf(tensor.name, all) }));
  const described = byName(Object.entries(descriptions), candidates);
  const tensors: WeightTensor[] = [];
  const skipped: Skipped[] = [];
  for (const [index, { tensor, name, aliases }] of candidates.entries()) {
    const layout = layoutOf(tensor, described[index], all);
    if (typeof layout === 'string')
      skipped.push({ name, reason: layout, shape: tensor.shape, weights: lengthOf(tensor) });
    else {
      const partners = partnersOf(tensor, layout, checkLayout(name, layout), all);
      tensors.push({ name, aliases, ...layout, values: valuesOf(tensor)!, ...partners });
    }
  }
  return { tensors, skipped, weights: candidates.reduce((total, { tensor }) => total + lengthOf(tensor), 0) };
}

/** Whether a tensor is listed in reports: if a description could make it a layer, or if it is named like a weight. */
const mayBeWeight = ({ name, dtype, shape }: Tensor): boolean =>
  shape.length > 1 && (dataTypes.has(dtype) || name.endsWith('weight'));

/** A layer has the name of its module, unless a tensor has that name. */
function namesOf(whole: string, all: Tensors): { readonly name: string; readonly aliases: readonly string[] } {
  const name = whole.replace(/(?<=.)\.weight$/s, '');
  return name === whole || all.has(name) ? { name: whole, aliases: [] } : { name, aliases: [whole] };
}

function checkDescription(key: string, description: LayerDescription | false): void {
  if (description === false) return;
  const known = ['kind', 'roles', 'groups'];
  const isObject = typeof description === 'object' && description !== null;
  const isKnown = isObject && Object.keys(description).every((key) => known.includes(key));
  if (isKnown && (description.roles === undefined || Array.isArray(description.roles))) return;
  throw new SparsifyError('usage', 'a tensor must be described by { kind, roles, groups }, or false to exclude it', {
    subject: key,
    given: description,
  });
}

/** The layout of a tensor, or why it cannot be pruned. */
function layoutOf(tensor: Tensor, description: LayerDescription | false | undefined, all: Tensors): Layout | string {
  if (description === false) return 'it is excluded by the layers option';
  if (!dataTypes.has(tensor.dtype)) return `its type is ${tensor.dtype}; only F32, F16 and BF16 can be pruned`;
  if (tensor.shape.includes(0)) return 'it is empty';
  const found = description ?? descriptionOf(tensor, all);
  if (typeof found === 'string') return found;
  const { kind, roles = rolesOf(kind), groups = 1 } = found;
  return { kind, roles, shape: tensor.shape, groups };
}

/** The roles of the axes in the order in which PyTorch stores them. */
function rolesOf(kind: Kind): readonly Role[] {
  const spatial = Number(/(\d)d$/.exec(kind)?.[1] ?? 0);
  const channels: readonly Role[] = kind.startsWith('convTranspose') ? ['in', 'out'] : ['out', 'in'];
  return [...channels, ...(['depth', 'height', 'width'] as const).slice(3 - spatial)];
}

/** What a tensor is, judging by its name and shape, or why that is unknown. */
function descriptionOf(tensor: Tensor, all: Tensors): LayerDescription | string {
  const { name, shape } = tensor;
  if (recurrentName.test(name)) return recurrent(tensor, all);
  if (!weightName.test(name))
    return 'no known kind of layer has a weight of this name; describe it with the layers option (--layer)';
  const module = moduleOf(name);
  if (/norm/i.test(module)) return 'its name is that of a normalisation layer';
  if (shape.length === 2) {
    // A lookup table has no bias.
    return { kind: embeddingName.test(module) && !all.has(biasOf(name)) ? 'embedding' : 'dense' };
  }
  const kind = convolutions[shape.length];
  return kind === undefined ? `no kind of layer has a weight with ${shape.length} axes` : { kind };
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
  const fromHidden = name.replace(/weight_ih(?=\w*$)/, 'weight_hh');
  const hidden = all.get(fromHidden)?.shape[1];
  if (hidden === undefined) return `its number of gates is unknown without ${fromHidden}`;
  const [rows] = shape;
  if (shape.length === 2 && rows === 4 * hidden) return { kind: 'lstm' };
  if (shape.length === 2 && rows === 3 * hidden) return { kind: 'gru' };
  return `its shape ${shape.join(' x ')} fits neither the 4 gates of an LSTM nor the 3 of a GRU with ${hidden} hidden units`;
}

/** The name of the bias that belongs to a weight; the name itself if it is not that of a weight. */
const biasOf = (name: string): string => name.replace(/weight(_[ih]h(_l\d+(_reverse)?)?)?$/, 'bias$1');

/** The bias that belongs to a weight, or a note that says why it is left alone. */
function partnersOf(
  { name }: Tensor,
  { kind }: Layout,
  channels: number,
  all: Tensors,
): { partners: Partner[]; notes: string[] } {
  const bias = all.get(biasOf(name));
  if (bias === undefined || bias.name === name || kind === 'embedding') return { partners: [], notes: [] };
  const values = valuesOf(bias);
  const obstacle =
    kind === 'lstm' || kind === 'gru'
      ? 'a row of this weight is only one of the terms that its gate adds up'
      : values === undefined
        ? `its type is ${bias.dtype}`
        : bias.shape.length === 1 && bias.shape[0] === channels
          ? undefined
          : 'it does not have one entry per output channel';
  if (values !== undefined && obstacle === undefined) return { partners: [{ part: 'bias', values }], notes: [] };
  return { partners: [], notes: [`bias ${bias.name} is left alone: ${obstacle}`] };
}

/** Where the numbers of a tensor are, if it has a type that can be pruned. */
function valuesOf({ dtype, shape, file, start }: Tensor): StoredValues | undefined {
  const type = dataTypes.get(dtype);
  return type && new StoredValues(type, lengthOf({ shape }), file, start);
}

const lengthOf = ({ shape }: Pick<Tensor, 'shape'>): number => shape.reduce((product, size) => product * size, 1);
