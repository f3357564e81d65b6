import { isObject } from '../../model/json.js';
import type { Kind, Role, Skipped } from '../../model/model.js';
import {
  lengthOf,
  skip,
  type Described,
  type Description,
  type PartnerWeight,
  type WeightEntry,
  type Weights,
} from './description.js';

/** A node of a GraphDef, as JSON. */
interface Node {
  readonly name: string;
  readonly op: string;
  /** Names of nodes, without output indices. */
  readonly inputs: readonly string[];
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** An input of a node. */
interface Use {
  readonly node: Node;
  readonly input: number;
}

/** How a node reads its weight. */
interface Layout {
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  /**
   * Whether the output channels are an axis of the node's output: the last one, or the second if channels come first.
   */
  readonly hasChannels: boolean;
}

/** An operator with a weight. */
interface Operator {
  /** The inputs that can be its weight. The first one that is stored is used. */
  readonly weights: readonly number[];
  /** How it reads a weight with `rank` axes, or why that cannot be pruned. */
  readonly layout: (node: Node, rank: number, input: number) => Layout | string;
}

const axes =
  (kind: Kind, ...roles: Role[]) =>
  ({ op }: Node, rank: number): Layout | string =>
    rank === roles.length ? { kind, roles, hasChannels: true } : `${op} with a weight of ${rank} axes is not supported`;

const convolution: Operator = { weights: [1], layout: axes('conv2d', 'height', 'width', 'in', 'out') };
const depthwise: Operator = { weights: [1], layout: axes('conv2d', 'height', 'width', 'out', 'multiplier') };
const product: Operator = { weights: [1, 0], layout: dense };
const lookup: Operator = {
  weights: [0],
  layout: ({ op }, rank) =>
    rank === 2
      ? { kind: 'embedding', roles: ['out', 'in'], hasChannels: false }
      : `${op} with a table of ${rank} axes is not supported`,
};

const operators: ReadonlyMap<string, Operator> = new Map([
  ['Conv2D', convolution],
  ['_FusedConv2D', convolution],
  ['DepthwiseConv2dNative', depthwise],
  ['FusedDepthwiseConv2dNative', depthwise],
  ['Conv3D', { weights: [1], layout: axes('conv3d', 'depth', 'height', 'width', 'in', 'out') }],
  ['Conv2DBackpropInput', { weights: [1], layout: axes('convTranspose2d', 'height', 'width', 'out', 'in') }],
  ['Conv3DBackpropInputV2', { weights: [1], layout: axes('convTranspose3d', 'depth', 'height', 'width', 'out', 'in') }],
  ['MatMul', product],
  ['_FusedMatMul', product],
  ['BatchMatMul', product],
  ['BatchMatMulV2', product],
  ['Gather', lookup],
  ['GatherV2', lookup],
  ['ResourceGather', lookup],
  ['SparseSegmentMean', lookup],
  ['SparseSegmentSum', lookup],
]);

const identities = ['Identity', 'ReadVariableOp', 'Snapshot', 'StopGradient', 'PreventGradient', 'CheckNumerics'];
const normalisations = ['FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3'];

/** Finds the weights that the nodes of a graph read, in the order of the nodes. */
export function readGraph(list: readonly unknown[], weights: Weights): Description {
  const graph = new Graph(list);
  const findings = new Map<
    WeightEntry,
    { readonly uses: Use[]; readonly layouts: Layout[]; reason: string | undefined }
  >();
  for (const node of graph.nodes.values()) {
    const operator = operators.get(node.op);
    const found = operator?.weights
      .map((input) => ({ input, entry: graph.weightOf(node.inputs[input], weights) }))
      .find(({ entry }) => entry !== undefined);
    if (operator === undefined || found?.entry === undefined) continue;
    const { input, entry } = found;
    if (operator === lookup && (entry.shape.length < 2 || !entry.dtype.startsWith('float'))) continue;
    const finding = findings.get(entry) ?? { uses: [], layouts: [], reason: undefined };
    findings.set(entry, finding);
    finding.uses.push({ node, input });
    const layout = operator.layout(node, entry.shape.length, input);
    if (typeof layout === 'string') finding.reason ??= layout;
    else finding.layouts.push(layout);
  }
  const tensors: Described[] = [];
  const skipped: Skipped[] = [];
  let total = 0;
  for (const [entry, { uses, layouts, reason }] of findings) {
    total += lengthOf(entry);
    const [name = '', ...aliases] = uses.map(({ node }) => node.name);
    const other = graph.usesOf(entry.name).find((use) => !uses.some((own) => isSame(own, use)));
    const readings = new Set(layouts.map(({ kind, roles }) => `${kind} (${roles.join(', ')})`));
    const obstacle =
      reason ??
      (other && `${other.node.op} also uses it, as input ${other.input}`) ??
      (readings.size > 1 ? `its layers use it in different ways: ${[...readings].join(' / ')}` : undefined);
    const layout = layouts[0];
    if (obstacle !== undefined || layout === undefined) {
      skipped.push({ ...skip(entry, obstacle ?? 'no layer reads it', name), operator: uses[0]!.node.op });
      continue;
    }
    const { kind, roles } = layout;
    const groups = roles.includes('multiplier') ? entry.shape[roles.indexOf('out')]! : 1;
    const further = layout.hasChannels
      ? graph.partnersOf(uses, entry.shape.length, weights)
      : { partners: [], notes: [] };
    tensors.push({ name, aliases, kind, roles, shape: entry.shape, groups, weight: entry.name, ...further });
  }
  return { tensors, skipped, weights: total };
}

/** For each node with a weight, by name: the node that computes its activations, and the axis of their channels. */
export function incomingNodes(
  list: readonly unknown[],
): Map<string, { readonly input: string; readonly axis: number }> {
  const found = new Map<string, { readonly input: string; readonly axis: number }>();
  for (const { name, op, inputs, attributes } of new Graph(list).nodes.values()) {
    const operator = operators.get(op);
    if (operator === undefined || operator === lookup) continue;
    // The first input of a transposed convolution is the shape of its output.
    const input = inputs[op.includes('Backprop') ? 2 : 0];
    const isTransposed = ['transpose_a', 'adj_x'].some(
      (key) => isObject(attributes[key]) && attributes[key].b === true,
    );
    if (input !== undefined) found.set(name, { input, axis: isChannelsFirst(attributes) ? 1 : isTransposed ? -2 : -1 });
  }
  return found;
}

/** Whether the channels are the second axis. Operators without this attribute have them last. */
const isChannelsFirst = ({ data_format: format }: Node['attributes']): boolean =>
  isObject(format) && textOf(String(format.s)).startsWith('NC');

const isSame = (a: Use, b: Use): boolean => a.node === b.node && a.input === b.input;

function dense(node: Node, rank: number, input: number): Layout | string {
  const { op, attributes } = node;
  if (rank !== 2) return `${op} with a constant of ${rank} axes is not supported`;
  const keys = input === 0 ? ['transpose_a', 'adj_x'] : ['transpose_b', 'adj_y'];
  const isTransposed = keys.some((key) => isObject(attributes[key]) && attributes[key].b === true);
  // The rows of a weight on the left are its output channels, unless it is transposed.
  const isOutFirst = (input === 0) !== isTransposed;
  return { kind: 'dense', roles: isOutFirst ? ['out', 'in'] : ['in', 'out'], hasChannels: input === 1 };
}

class Graph {
  readonly nodes = new Map<string, Node>();
  readonly #uses = new Map<string, Use[]>();

  constructor(list: readonly unknown[]) {
    for (const item of list) {
      if (!isObject(item) || typeof item.name !== 'string' || typeof item.op !== 'string') continue;
      const inputs = (Array.isArray(item.input) ? item.input : [])
        .filter((input): input is string => typeof input === 'string' && !input.startsWith('^'))
        .map((input) => input.replace(/:\d+$/, ''));
      const attributes = isObject(item.attr) ? item.attr : {};
      this.nodes.set(item.name, { name: item.name, op: item.op, inputs, attributes });
    }
    for (const node of this.nodes.values()) {
      for (const [input, name] of node.inputs.entries()) {
        this.#uses.set(name, [...(this.#uses.get(name) ?? []), { node, input }]);
      }
    }
  }

  /** The stored weight that a node is, directly or through identities. */
  weightOf(name: string | undefined, weights: Weights): WeightEntry | undefined {
    const seen = new Set<string>();
    while (name !== undefined && !seen.has(name)) {
      const entry = weights.get(name);
      if (entry !== undefined) return entry;
      seen.add(name);
      const node = this.nodes.get(name);
      name = node !== undefined && identities.includes(node.op) ? node.inputs[0] : undefined;
    }
    return undefined;
  }

  /** The inputs that read a value, directly or through identities. */
  usesOf(name: string, seen = new Set<string>()): Use[] {
    if (seen.has(name)) return [];
    seen.add(name);
    const uses = this.#uses.get(name) ?? [];
    return uses.flatMap((use) => (identities.includes(use.node.op) ? this.usesOf(use.node.name, seen) : [use]));
  }

  /**
   * Finds the biases and batch normalisations of the nodes that read a weight. A partner that other nodes also read is
   * left alone.
   * @param rank the number of axes of the weight, which for convolutions is that of the output
   */
  partnersOf(layers: readonly Use[], rank: number, weights: Weights): { partners: PartnerWeight[]; notes: string[] } {
    const candidates = layers.flatMap(({ node }) => this.#candidates(node, rank, weights));
    const partners = new Map<string, PartnerWeight>();
    const notes = new Set<string>();
    for (const { part, use, isAlong } of candidates) {
      const entry = this.weightOf(use.node.inputs[use.input], weights);
      if (entry === undefined) continue;
      if (!isAlong) {
        notes.add(`${part} ${entry.name} is left alone: ${use.node.op} ${use.node.name} uses another axis`);
        continue;
      }
      const other = this.usesOf(entry.name).find((each) => !candidates.some((own) => isSame(own.use, each)));
      if (other === undefined) partners.set(entry.name, { part, weight: entry.name });
      else notes.add(`${part} ${entry.name} is left alone: ${other.node.op} ${other.node.name} also uses it`);
    }
    return { partners: [...partners.values()], notes: [...notes] };
  }

  #candidates(node: Node, rank: number, weights: Weights): Candidate[] {
    const found: Candidate[] = [];
    const fused = fusedOf(node);
    if (fused[0] === 'BiasAdd') found.push({ part: 'bias', use: { node, input: 2 }, isAlong: true });
    // Nodes after a fused activation do not read the output of the layer itself.
    if (fused.some((op) => op !== 'BiasAdd')) return found;
    const isFirst = isChannelsFirst(node.attributes);
    let hasBias = fused.length > 0;
    const outputs = [node.name];
    for (const output of outputs) {
      const readers = this.usesOf(output);
      for (const use of readers) {
        const { op, name, attributes } = use.node;
        const isAlong = isChannelsFirst(attributes) === isFirst;
        if (op === 'Cast' && !outputs.includes(name)) outputs.push(name);
        if (normalisations.includes(op) && use.input === 0) {
          found.push({ part: 'gamma', use: { node: use.node, input: 1 }, isAlong });
          found.push({ part: 'beta', use: { node: use.node, input: 2 }, isAlong });
        }
        const isBiasAdd = op === 'BiasAdd' && use.input === 0;
        const addend = this.weightOf(use.node.inputs[1 - use.input], weights);
        if (!(isBiasAdd || ['Add', 'AddV2'].includes(op)) || hasBias || readers.length > 1) continue;
        if (addend === undefined) continue;
        if (isBiasAdd ? addend.shape.length !== 1 : !isPerChannel(addend, isFirst ? rank : undefined)) continue;
        hasBias = true;
        found.push({ part: 'bias', use: { node: use.node, input: 1 - use.input }, isAlong: isAlong || !isBiasAdd });
        outputs.push(name);
      }
    }
    return found;
  }
}

/** An input of a node that may have one number per output channel. */
interface Candidate {
  readonly part: PartnerWeight['part'];
  readonly use: Use;
  /** Whether the node uses the channel axis. */
  readonly isAlong: boolean;
}

/**
 * Whether a constant that is added with broadcasting has one number per channel.
 * @param rank the number of axes if the channels are the second one; undefined if they are the last
 */
function isPerChannel({ shape }: WeightEntry, rank: number | undefined): boolean {
  // Shapes are aligned from the right. A longer one adds axes in front to the sum.
  if (rank !== undefined && shape.length > rank) return false;
  const channels = shape.length - (rank === undefined ? 1 : rank - 1);
  return shape.every((size, axis) => (axis === channels ? size > 1 : size === 1)) && shape[channels] !== undefined;
}

/** The operators that are fused into a node, such as BiasAdd and Relu. */
function fusedOf({ attributes }: Node): string[] {
  const { fused_ops: fused } = attributes;
  const list = isObject(fused) && isObject(fused.list) && Array.isArray(fused.list.s) ? fused.list.s : [];
  return list.map((text) => (typeof text === 'string' ? textOf(text) : ''));
}

/** In JSON, strings of a GraphDef are base64, but some writers do not encode them. */
function textOf(text: string): string {
  if (/^(BiasAdd|FusedBatchNorm|Relu6?|Elu|LeakyRelu|Prelu|Sigmoid|N[A-Z]+)$/.test(text)) return text;
  try {
    return atob(text);
  } catch {
    return text;
  }
}
