import type { Leak } from '../../model/model.js';
import { findPartners, type Claims } from './claims.js';
import type { PartnerWeight, WeightEntry } from './description.js';
import { follow, somewhere, type Budget, type Channels, type Inputs, type Network, type Step } from './flow.js';
import { moveChannels } from './graph-moves.js';
import { fusedOf, isChannelsFirst, shapeOf, titleOf, type Constant, type Node } from './graph-node.js';
import type { Layout } from './graph-operators.js';
import type { Graph } from './graph-structure.js';
import { identities } from './graph-views.js';
import { productOf } from '../../model/numbers.js';

/** Operators that give 0 for 0, number by number or within a channel. */
const keepZero: ReadonlySet<string> = new Set([
  ...[...identities, 'Cast', 'Relu', 'Relu6', 'Elu', 'Selu', 'LeakyRelu', 'Prelu', 'Tanh', 'Softsign', 'Abs', 'Neg'],
  ...['Sqrt', 'Square', 'Sign', 'Sin', 'Sinh', 'Tan', 'Asin', 'Asinh', 'Atan', 'Atanh', 'Erf', 'Expm1', 'Log1p'],
  ...['Floor', 'Ceil', 'Round', 'Pow', 'RealDiv', 'Div', 'DivNoNan'],
  ...['AvgPool', 'MaxPool', 'AvgPool3D', 'MaxPool3D', 'ResizeBilinear', 'ResizeNearestNeighbor'],
  ...['SpaceToBatchND', 'BatchToSpaceND'],
]);
/** Operators that make another number of 0. */
const raiseZero: ReadonlySet<string> = new Set([
  ...['Sigmoid', 'Softplus', 'Exp', 'Cos', 'Cosh', 'Acos', 'Acosh', 'Softmax', 'LogSoftmax', 'Reciprocal', 'Rsqrt'],
  ...['Log', 'PadV2'],
]);
const sums: ReadonlySet<string> = new Set(['BiasAdd', 'Add', 'AddV2', 'AddN', 'Sub', 'SquaredDifference']);
const extremes: ReadonlySet<string> = new Set(['Maximum', 'Minimum']);
export const normalisations: ReadonlySet<string> = new Set(['FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3']);

/** What is removed with the output channels of a weight, and what is not although it should be. */
export interface Partners {
  readonly partners: readonly PartnerWeight[];
  readonly leaks: readonly Leak[];
  /** The depthwise convolutions that filter the channels. */
  readonly filters: ReadonlySet<Node>;
}

/**
 * Finds the biases and batch normalisations behind the nodes that read a weight, by the way of their output channels
 * through the graph.
 */
export function partnersOf(nodes: readonly Node[], { channels }: Layout, graph: Graph, budget: Budget): Partners {
  const filters = new Set<Node>();
  if (channels === undefined) return { partners: [], leaks: [], filters };
  const total = productOf(channels.sizes);
  const walk = (claims: Claims<Node>) => {
    const way = new Way(graph, claims, filters);
    const starts = new Map(nodes.flatMap((node) => way.start(node, { ...channels, start: 0, total })));
    return [...follow(starts, way, budget), ...way.leaks];
  };
  const otherUse = (entry: WeightEntry, readers: ReadonlySet<Node>) => {
    const other = graph.uses.get(entry)!.find(({ node }) => !readers.has(node));
    return other && `${other.node.op} ${titleOf(other.node)} also uses it`;
  };
  return { ...findPartners(total, walk, otherUse), filters };
}

/** The way of the channels of a layer through a graph. */
class Way implements Network<Node> {
  /** Those of nodes whose fused operators end the channels. */
  readonly leaks: Leak[] = [];
  readonly #graph: Graph;
  readonly #claims: Claims<Node>;
  readonly #filters: Set<Node>;

  constructor(graph: Graph, claims: Claims<Node>, filters: Set<Node>) {
    this.#graph = graph;
    this.#claims = claims;
    this.#filters = filters;
  }

  nameOf(node: Node): string {
    return titleOf(node);
  }

  readersOf(node: Node): readonly Node[] {
    return node.readers;
  }

  /** The output of a node with a weight, after the operators that are fused into it. */
  start(node: Node, channels: Channels): [Node, Step][] {
    let step: Step = { channels, isNonzero: false };
    for (const op of fusedOf(node.attributes)) {
      if (op === 'BiasAdd') step = this.#sum(node, node.inputs[2]?.constant, 'BiasAdd', step.channels);
      else if (raiseZero.has(op)) step = { ...raised(node, op), ...(step.isNonzero && step), channels: step.channels };
      else if (!keepZero.has(op)) {
        for (const leak of step.leaks ?? []) this.leaks.push(leak);
        return [];
      }
    }
    return [[node, step]];
  }

  step(node: Node, from: Node, inputs: Inputs): Step | undefined {
    const { op } = node;
    const { channels, isNonzero } = inputs;
    const isFirst = node.inputs[0]?.node === from;
    if (op.includes('Depthwise')) {
      const isAlong = channels.axis === (isChannelsFirst(node.attributes) ? -3 : -1);
      if (isFirst && isAlong) this.#filters.add(node);
      return undefined;
    }
    if (keepZero.has(op)) return isFirst ? { channels, isNonzero } : undefined;
    if (raiseZero.has(op))
      return isFirst ? { channels, isNonzero: true, ...(!isNonzero && raised(node, op)) } : undefined;
    if (normalisations.has(op)) return isFirst ? this.#normalise(node, inputs) : undefined;
    if (op === 'Mul') return times(node, inputs);
    if (sums.has(op)) return this.#sumOf(node, inputs);
    // All inputs are from the layer, as in max(x, 0.2 x).
    if (extremes.has(op))
      return inputs.zero === node.sources && constantsOf(node).length === 0 ? { channels, isNonzero } : undefined;
    const moved = moveChannels(node, from, channels, this.#graph);
    return moved && { channels: moved, isNonzero };
  }

  /** The sum of channels and a constant, or of several values with these channels. */
  #sumOf(node: Node, { channels, isNonzero, zero, nonzero }: Inputs): Step | undefined {
    // The sum with another activation is not a channel of this layer.
    if (zero + nonzero < node.sources) return undefined;
    if (nonzero > 0) return { channels, isNonzero: true };
    const constants = constantsOf(node);
    if (constants.length === 0) return { channels, isNonzero };
    return this.#sum(node, constants.length === 1 ? constants[0] : undefined, node.op, channels);
  }

  #sum(node: Node, constant: Constant | undefined, op: string, channels: Channels): Step {
    const leaking = (name: string, reason: string): Step => ({ channels, isNonzero: true, leaks: [{ name, reason }] });
    if (constant === undefined) return leaking(titleOf(node), `${op} adds numbers that are not one stored tensor`);
    const by = `${node.op} ${titleOf(node)}`;
    const { name } = constant.entry;
    if (channels.axis === undefined) return leaking(name, `${by} adds it along an axis that the graph does not tell`);
    const isAlong =
      op === 'BiasAdd'
        ? channels.axis === biasAxis(node, channels) && channels.sizes.length === 1 && constant.axes.length === 1
        : isPerChannel(constant, channels);
    if (!isAlong) return leaking(name, `${by} adds it along another axis`);
    const reason = this.#claims.take('bias', node, constant.entry, channels);
    return reason === undefined ? { channels, isNonzero: false } : leaking(name, reason);
  }

  #normalise(node: Node, { channels, isNonzero }: Inputs): Step {
    const leaking = (leaks: readonly Leak[]): Step => ({ channels, isNonzero: true, leaks });
    const isAlong = channels.axis === biasAxis(node, channels) && channels.sizes.length === 1;
    const leaks: Leak[] = [];
    for (const [index, part] of (['gamma', 'beta'] as const).entries()) {
      const constant = node.inputs[index + 1]?.constant;
      const by = `${node.op} ${titleOf(node)}`;
      if (constant === undefined) leaks.push({ name: titleOf(node), reason: `its ${part} is computed` });
      else if (!isAlong) {
        const where = channels.axis === undefined ? 'an axis that the graph does not tell' : 'another axis';
        leaks.push({ name: constant.entry.name, reason: `${by} uses it along ${where}` });
      } else {
        const reason = this.#claims.take(part, node, constant.entry, channels);
        if (reason !== undefined) leaks.push({ name: constant.entry.name, reason });
      }
    }
    // A gamma of 0 turns any input into 0.
    if (leaks.length === 0) return { channels, isNonzero: false };
    return isNonzero && leaks.length === 2 ? { channels, isNonzero } : leaking(leaks);
  }
}

const raised = (node: Node, op: string): Pick<Step, 'isNonzero' | 'leaks'> => ({
  isNonzero: true,
  leaks: [{ name: titleOf(node), reason: `${op} makes another number of 0` }],
});

const known = new WeakMap<Node, readonly Constant[]>();

/** The constants that a node reads. Channels may come to it by each of its inputs, which may be many. */
function constantsOf(node: Node): readonly Constant[] {
  const before = known.get(node);
  if (before !== undefined) return before;
  const constants = node.inputs.flatMap(({ constant }) => constant ?? []);
  known.set(node, constants);
  return constants;
}

/** A product: zero if any factor is. What is not zero is a factor of another layer's channels. */
function times(node: Node, { channels, zero }: Inputs): Step | undefined {
  if (zero === 0 && node.sources > 1) return undefined;
  const constants = constantsOf(node);
  const { rank: before } = channels;
  const isKnown = constants.length === 1 && before !== undefined;
  const rank = isKnown ? Math.max(before, constants[0]!.axes.length) : undefined;
  // A single channel may be multiplied with several.
  const after = channels.total === 1 ? somewhere(channels) : { ...channels, rank };
  return { channels: after, isNonzero: zero === 0 };
}

/** The axis of BiasAdd and FusedBatchNorm, from the end. */
export function biasAxis({ attributes }: Node, { rank }: Channels): number | undefined {
  if (!isChannelsFirst(attributes)) return -1;
  return rank === undefined ? undefined : 1 - rank;
}

/** Whether a constant, its shape aligned from the right, has one number per channel. */
export function isPerChannel(constant: Constant, { axis, sizes, rank, total }: Channels): boolean {
  const shape = shapeOf(constant);
  const last = shape.length + axis!;
  const first = last - sizes.length + 1;
  // A longer shape adds axes in front.
  if (first < 0 || total === 1 || (rank !== undefined && shape.length > rank)) return false;
  const fits = shape.every((size, at) => size === (at < first || at > last ? 1 : sizes[at - first]));
  const stored = constant.axes.filter((at) => at !== undefined && constant.entry.shape[at] !== 1) as number[];
  return fits && stored.every((at, place) => place === 0 || at > stored[place - 1]!);
}
