import { SparsifyError } from '../../errors.js';
import { byName } from '../../options/names.js';
import type { DataType, Kind, Partner, Role, Skipped, WeightTensor } from '../../model/model.js';
import { StoredValues } from '../format.js';
import { checkLayout, type Layout } from '../layout.js';
import type { Header, StoredTensor } from './header.js';

/** What a tensor is, where its name and shape do not say so. */
export interface LayerDescription {
  readonly kind: Kind;
  /** One per axis, in stored order; by default those of PyTorch: out, in (of a transposed one in, out), then spatial. */
  readonly roles?: readonly Role[];
  /** Groups of a convolution; 1 by default. */
  readonly groups?: number;
}

/** Descriptions by name or glob of tensors; `false` for one that is left out. A name beats a glob. */
export type LayerDescriptions = Readonly<Record<string, LayerDescription | false>>;

/** A file of a checkpoint, and what it says of itself. */
export interface NamedHeader {
  readonly name: string;
  readonly header: Header;
}

/** A tensor of any of the files. */
interface Tensor extends StoredTensor {
  readonly file: string;
}

/** All tensors by their whole names. */
type Tensors = ReadonlyMap<string, Tensor>;

/** The tensors that are worked on. */
const dataTypes: ReadonlyMap<string, DataType> = new Map([
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
]);

/** What PyTorch calls the weights of its modules: of all but attention and recurrent layers `weight`. */
const weightName = /(^|\.)((in|[qkv])_proj_)?weight$/;
const recurrentName = /(^|\.)weight_[ih]h(_l\d+(_reverse)?)?$/;

/** What checkpoints of transformers, diffusers and timm call an `nn.Embedding`. */
const embeddingName =
  /(^|_)(emb|embd|embeds?|embeddings?)(_(tokens|positions|in))?$|^(wte|wpe|shared|relative_attention_bias)$/i;

const convolutions: Readonly<Record<number, Kind>> = { 3: 'conv1d', 4: 'conv2d', 5: 'conv3d' };

/**
 * The weights of a checkpoint, in the order of its files and of the bytes in each: those that can be pruned, and those
 * that cannot with the reason. Kinds are told by names and shapes, as there is no graph.
 * @throws SparsifyError `layer` for a description whose key matches no tensor, `kind`, `format` or `usage` for one that
 *   does not fit, `sparsity` where two disagree
 */
export function readLayers(
  files: readonly NamedHeader[],
  descriptions: LayerDescriptions = {},
): { tensors: WeightTensor[]; skipped: Skipped[] } {
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
    if (typeof layout === 'string') skipped.push({ name, reason: layout });
    else {
      const partners = partnersOf(tensor, layout, checkLayout(name, layout), all);
      tensors.push({ name, aliases, ...layout, values: valuesOf(tensor)!, ...partners });
    }
  }
  return { tensors, skipped };
}

/** Whether a tensor is listed: what a description could make a layer of, and what is called a weight. */
const mayBeWeight = ({ name, dtype, shape }: Tensor): boolean =>
  shape.length > 1 && (dataTypes.has(dtype) || name.endsWith('weight'));

/** A layer is called after its module, unless a tensor has that name. */
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
  throw new SparsifyError('usage', 'a tensor is described by { kind, roles, groups }, or left out by false', {
    subject: key,
    given: description,
  });
}

/** What the numbers of a tensor stand for, or why it cannot be pruned. */
function layoutOf(tensor: Tensor, description: LayerDescription | false | undefined, all: Tensors): Layout | string {
  if (description === false) return 'it is left out, as asked';
  if (!dataTypes.has(tensor.dtype)) return `its numbers are ${tensor.dtype}; only F32, F16 and BF16 are pruned`;
  if (tensor.shape.includes(0)) return 'it is empty';
  const found = description ?? descriptionOf(tensor, all);
  if (typeof found === 'string') return found;
  const { kind, roles = rolesOf(kind), groups = 1 } = found;
  return { kind, roles, shape: tensor.shape, groups };
}

/** The roles of a kind's axes as PyTorch stores them. */
function rolesOf(kind: Kind): readonly Role[] {
  const spatial = Number(/(\d)d$/.exec(kind)?.[1] ?? 0);
  const channels: readonly Role[] = kind.startsWith('convTranspose') ? ['in', 'out'] : ['out', 'in'];
  return [...channels, ...(['depth', 'height', 'width'] as const).slice(3 - spatial)];
}

/** What a tensor is by its name and shape, or why that cannot be told. */
function descriptionOf(tensor: Tensor, all: Tensors): LayerDescription | string {
  const { name, shape } = tensor;
  if (recurrentName.test(name)) return recurrent(tensor, all);
  if (!weightName.test(name)) return 'no kind of layer has a weight of this name; layers (--layer) can say what it is';
  const module = moduleOf(name);
  if (/norm/i.test(module)) return 'it is named like a normalisation';
  if (shape.length === 2) {
    // A lookup table has no bias.
    return { kind: embeddingName.test(module) && !all.has(biasOf(name)) ? 'embedding' : 'dense' };
  }
  const kind = convolutions[shape.length];
  return kind === undefined ? `no kind of layer has a weight of ${shape.length} axes` : { kind };
}

/** The name of the module that a tensor belongs to, without those around it; in a list of modules that of the list. */
const moduleOf = (name: string): string =>
  name
    .split('.')
    .slice(0, -1)
    .filter((part) => !/^\d+$/.test(part))
    .at(-1) ?? '';

/** Both weights of a recurrent layer have a row for each gate and hidden unit; those from hidden units have so many columns. */
function recurrent({ name, shape }: Tensor, all: Tensors): LayerDescription | string {
  const fromHidden = name.replace(/weight_ih(?=\w*$)/, 'weight_hh');
  const hidden = all.get(fromHidden)?.shape[1];
  if (hidden === undefined) return `its gates cannot be counted without ${fromHidden}`;
  const [rows] = shape;
  if (shape.length === 2 && rows === 4 * hidden) return { kind: 'lstm' };
  if (shape.length === 2 && rows === 3 * hidden) return { kind: 'gru' };
  return `its shape ${shape.join(' x ')} has neither the 4 gates of an LSTM nor the 3 of a GRU for ${hidden} hidden units`;
}

/** What the bias beside a weight is called; the name itself for what is not called a weight. */
const biasOf = (name: string): string => name.replace(/weight(_[ih]h(_l\d+(_reverse)?)?)?$/, 'bias$1');

/** The bias beside a weight, or a sentence that says why it is left alone. */
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
      ? 'a row of these weights is not all that its gate adds up'
      : values === undefined
        ? `its numbers are ${bias.dtype}`
        : bias.shape.length === 1 && bias.shape[0] === channels
          ? undefined
          : 'it does not have one entry per output channel';
  if (values !== undefined && obstacle === undefined) return { partners: [{ part: 'bias', values }], notes: [] };
  return { partners: [], notes: [`bias ${bias.name} is left alone: ${obstacle}`] };
}

/** Where the numbers of a tensor lie, if they are of a type that is worked on. */
function valuesOf({ dtype, shape, file, start }: Tensor): StoredValues | undefined {
  const type = dataTypes.get(dtype);
  const length = shape.reduce((product, size) => product * size, 1);
  return type && new StoredValues(type, length, file, start);
}
