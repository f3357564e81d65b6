import type { WeightTensor } from '../../../model/model.js';
import type { Constant, Node } from '../../onnx/graph.js';
import { obstacleTo, type Claims, type Entries, type Owner } from '../../onnx/structure/masks/claims.js';
import { followOwned } from '../../onnx/structure/masks/owned.js';
import { rankUnknown, unknown, type Location } from '../../onnx/structure/masks/tracks.js';
import type { Source } from '../../onnx/structure/masks/walk.js';
import { Sizes } from '../../onnx/structure/sizes.js';
import {
  addTo,
  isBias,
  isFloat,
  type BiasWeight,
  type Described,
  type PartnerWeight,
  type WeightEntry,
} from '../description.js';
import { biasBehind } from './biases.js';
import { weightOfOpaque } from './operators.js';
import { opset, type BiasInput, type Translation } from './translation.js';

/** A weight whose output channels are those of the nodes that read it. */
export interface Weighted extends Owner {
  readonly entry: WeightEntry;
  /** The axis of its channels in what a node computes, counted from the end; undefined if it is unknown. */
  readonly axis: number | undefined;
  /** The sizes of the axes that count them, of which that one is the last, if there are several. */
  readonly sizes?: readonly number[] | undefined;
}

/** What is known of the output channels of a weight. */
type ChannelFacts = Pick<Described, 'partners' | 'bias' | 'notes'> & Pick<WeightTensor, 'leaks'>;

/** What is known of the output channels of weights. */
export interface Channels {
  readonly of: ReadonlyMap<WeightEntry, ChannelFacts>;
  /** For each weight of a depthwise convolution, the names of the layers whose channels it filters. */
  readonly filtered: ReadonlyMap<WeightEntry, readonly string[]>;
}

/** An input of a node that reads a weight, in whatever arrangement. */
interface Reading {
  readonly node: Node;
  readonly input: number;
}

/** Where the channels of a weight begin. */
interface Beginning {
  readonly node: Node;
  /** The axis of the channels in its output, counted from the end; undefined if it is unknown. */
  readonly axis: number | undefined;
  /** The input that is added to them, if there is one. */
  readonly bias: number | undefined;
}

/** Follows the output channels of weights through a network: what masks have to know of them. */
export function followWeights(translation: Translation, weights: readonly Weighted[]): Channels {
  const { graph } = translation;
  const readings = readingsIn(translation);
  const beginnings = weights.map((weight) =>
    (readings.get(weight.entry) ?? []).flatMap((reading) => beginningOf(translation, weight, reading) ?? []),
  );
  const sources = new Map<Node, { readonly owner: number; readonly beginning: Beginning }[]>();
  for (const [owner, list] of beginnings.entries())
    for (const beginning of list) addTo(sources, beginning.node, { owner, beginning });
  const sourcesOf = (node: Node, claims: Claims<Numbers>): Source[] =>
    (sources.get(node) ?? []).map(({ owner, beginning: { axis, bias } }) => {
      const size = weights[owner]!.channels;
      const at = (axis: number): Location => ({ place: { axis, size, offset: 0, first: 0, count: size } });
      const { sizes } = weights[owner]!;
      const split = axis && sizes && { axis, sizes, count: size };
      const here = split ? { split, reason: 'several axes count the channels' } : axis && at(axis);
      const track = { owner, at: here || unknown(rankUnknown), leaks: [] };
      if (bias === undefined) return { track, isAlone: true };
      // A list, whatever axis the channels are on.
      const leak = claims.take({ ...track, at: at(1) }, { part: 'bias', node, input: bias, isNeeded: true });
      return { track: { ...track, leaks: leak === undefined ? [] : [leak] }, isAlone: true };
    });
  const sizes = new Sizes(graph, opset, translation.operators);
  const { owned, filtered: filters } = followOwned(graph, weights, sourcesOf, sizes, (constant, entries) =>
    numbersOf(translation, constant, entries),
  );
  const filtered = new Map<WeightEntry, string[]>();
  for (const [entry, nodes] of readings) {
    const from = new Set(nodes.flatMap(({ node, input }) => (input > 0 ? (filters.get(node) ?? []) : [])));
    if (from.size > 0) filtered.set(entry, [...from]);
  }
  const of = new Map(
    weights.map((weight, owner): [WeightEntry, ChannelFacts] => {
      const { partners, leaks, notes } = owned[owner]!;
      const bias = biasOf(translation, weight, beginnings[owner]!);
      const own = partners.map(({ part, values }) => ({ part, ...values }));
      return [weight.entry, { partners: own, notes, ...(leaks.length > 0 && { leaks }), ...(bias && { bias }) }];
    }),
  );
  return { of, filtered };
}

/** The name of a weight, and some of its entries. */
type Numbers = Omit<PartnerWeight, 'part'>;

/** Why the numbers of a constant do not go with channels, or where they are. */
function numbersOf({ weights }: Translation, constant: Constant, entries?: Entries): Numbers | string {
  const entry = weights.get(constant);
  if (entry === undefined) return 'it follows from the config';
  if (!isFloat(entry)) return `its type is ${entry.dtype}`;
  if (entries === undefined) return { weight: entry.name };
  return entry.isDivisible === true
    ? { weight: entry.name, range: entries }
    : 'its entries for several layers are stored as one';
}

/** The inputs that read each weight as the second factor of a product, or as a part of what is not followed. */
function readingsIn({ graph, weights }: Translation): Map<WeightEntry, Reading[]> {
  /** The weight that a constant is made from. */
  const origins = new Map<unknown, WeightEntry>();
  const readings = new Map<WeightEntry, Reading[]>();
  for (const node of graph.nodes) {
    for (const [input, value] of node.inputs.entries()) {
      const entry = value && (origins.get(value) ?? (value.view && weights.get(value.view.constant)));
      if (entry === undefined) continue;
      if (node.outputs[0]?.isConstant && input === 0) origins.set(node.outputs[0], entry);
      if (!readings.has(entry)) readings.set(entry, []);
      readings.get(entry)!.push({ node, input });
    }
  }
  return readings;
}

/** What a node makes of a weight, if it gives the weight's channels. */
function beginningOf(translation: Translation, { axis }: Weighted, { node, input }: Reading): Beginning | undefined {
  const { op, inputs } = node;
  const biasAt = (place: number) => (inputs[place] === undefined ? undefined : place);
  if (op === 'MatMul' || op === 'Einsum') return { node, axis, bias: undefined };
  if (op === 'Conv' || op === 'ConvTranspose') {
    const rank = translation.rankOf(inputs[1]);
    return input === 1 ? { node, axis: rank && rank - 1, bias: biasAt(2) } : undefined;
  }
  return input === weightOfOpaque(node) ? { node, axis, bias: biasAt(input + 1) } : undefined;
}

/** The numbers that all of these nodes add to the channels of a weight, and nothing else reads. */
function biasOf(
  translation: Translation,
  { entry, channels, sizes }: Weighted,
  beginnings: readonly Beginning[],
): BiasWeight | undefined {
  const behind = ({ node, axis }: Beginning) =>
    axis === undefined
      ? undefined
      : biasBehind(translation, node, { axis, sizes: sizes ?? [channels], count: channels });
  const own = ({ node, bias }: Beginning): BiasInput | undefined =>
    bias === undefined ? translation.biases.get(node) : { node, input: bias, sign: 1 };
  for (const place of [own, behind]) {
    const found = beginnings.map(place);
    const [first] = found;
    const constant = first?.node.inputs[first.input]?.view?.constant;
    const weight = constant && translation.weights.get(constant);
    if (weight === undefined || weight === entry || !isBias(weight, channels)) continue;
    const isSame = (each: BiasInput | undefined) =>
      each?.sign === first!.sign && each.node.inputs[each.input]?.view?.constant === constant;
    const inputs = new Map(found.map((each) => [each?.node, each?.input]));
    if (found.every(isSame) && obstacleTo(constant!, ({ node, input }) => inputs.get(node) === input) === undefined)
      return { weight: weight.name, sign: first!.sign };
  }
  return undefined;
}
