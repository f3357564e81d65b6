import type { Kind, Role, Skipped, WeightTensor } from '../../tensor.js';
import type { Constant, Node, Use, Value, View } from './graph.js';
import { findPartners } from './partners.js';
import type { StoredValues } from './tensor.js';

/** A node that reads a stored weight. */
export interface Layer {
  readonly node: Node;
  /** Which of the node's inputs the weight is. */
  readonly input: number;
  readonly view: View;
  readonly layout: Layout;
}

/** How a node reads its weight. */
export interface Layout {
  readonly kind: Kind;
  /** One per axis, in the order the node sees them. */
  readonly roles: readonly Role[];
  readonly groups: number;
  /** Channels of the output, over all groups. */
  readonly channels: number;
  /** The axis of the output that its channels lie on, counted from the last axis, which is 1. */
  readonly channelAxis: number;
  /** How many axes the output has, if that is known. */
  readonly rank: number | undefined;
}

/** A weight under the names of the nodes that read it: `layers`, or the `reason` why one of them cannot be pruned. */
interface Finding {
  readonly names: string[];
  readonly layers: Layer[];
  reason: string | undefined;
}

/** Operators on quantised weights, and the inputs that may be these. */
const quantisedInputs: Readonly<Record<string, readonly number[]>> = {
  QLinearConv: [3],
  ConvInteger: [1],
  QLinearMatMul: [3, 0],
  MatMulInteger: [1, 0],
  'com.microsoft.MatMulNBits': [1],
};

const spatialRoles: Readonly<Record<number, readonly Role[]>> = {
  3: ['width'],
  4: ['height', 'width'],
  5: ['depth', 'height', 'width'],
};

/**
 * The weights of a graph, in model order: those that can be pruned, and those that cannot with the reason.
 * @param nodes as `readGraph` gives them
 */
export function readLayers(nodes: readonly Node[]): { tensors: WeightTensor[]; skipped: Skipped[] } {
  const tensors: WeightTensor[] = [];
  const skipped: Skipped[] = [];
  for (const { names, layers, reason } of findWeights(nodes)) {
    const [name = '', ...aliases] = names;
    const obstacle = reason ?? obstacleOf(layers);
    if (obstacle === undefined) tensors.push(weightTensor(name, aliases, layers));
    else skipped.push({ name, reason: obstacle });
  }
  return { tensors, skipped };
}

/** All weights of layers; a stored one once, however many nodes read it. */
function findWeights(nodes: readonly Node[]): Iterable<Finding> {
  const findings = new Map<Constant | Node, Finding>();
  const names = new Names();
  for (const node of nodes) {
    const input = weightInput(node);
    const weight = input === undefined ? undefined : node.inputs[input];
    if (input === undefined || weight === undefined) continue;

    const { view } = weight;
    const key = view?.constant ?? node;
    let finding = findings.get(key);
    if (finding === undefined) {
      finding = { names: [names.take(node.name, view?.constant.name ?? weight.name)], layers: [], reason: undefined };
      findings.set(key, finding);
    } else if (names.isFree(node.name)) {
      finding.names.push(names.take(node.name));
    }
    const layout = view === undefined ? unstored(weight) : layoutOf(node, input, view);
    if (typeof layout === 'string') finding.reason ??= layout;
    else if (view !== undefined) finding.layers.push({ node, input, view, layout });
  }
  return findings.values();
}

/** The names given so far: each only once. */
class Names {
  readonly #taken = new Set<string>();

  isFree(name: string): boolean {
    return name !== '' && !this.#taken.has(name);
  }

  /** The first of the names that is free, else the last one with a number. */
  take(...wanted: string[]): string {
    const last = wanted.at(-1)!;
    let name = wanted.find((candidate) => this.isFree(candidate));
    for (let number = 2; name === undefined; number++) {
      if (this.isFree(`${last}#${number}`)) name = `${last}#${number}`;
    }
    this.#taken.add(name);
    return name;
  }
}

/** The input of a layer that is its weight; undefined for other nodes, and for products of two activations. */
function weightInput({ op, inputs }: Node): number | undefined {
  if (op === 'Conv' || op === 'ConvTranspose') return 1;
  const candidates = op === 'MatMul' || op === 'Gemm' ? [1, 0] : (quantisedInputs[op] ?? []);
  return candidates.find((input) => inputs[input]?.isConstant);
}

/** Why a weight is no stored tensor. */
function unstored({ producer, isConstant }: Value): string {
  if (producer === undefined) {
    return isConstant ? 'its weight is stored as a sparse tensor' : 'its weight is an input of the model';
  }
  if (producer.op === 'Constant') return 'its weight is a Constant node without a dense tensor';
  return isConstant
    ? `its weight is computed from constants by ${producer.op}`
    : `its weight is computed by ${producer.op} while the model runs`;
}

/** How a node reads a stored weight, or why it cannot be pruned. */
function layoutOf(node: Node, input: number, { constant, axes }: View): Layout | string {
  const { op, inputs } = node;
  if (op in quantisedInputs) return `${op} works on quantised weights`;
  const shape = axes.map((axis) => constant.tensor.shape[axis]!);
  if (op === 'Conv' || op === 'ConvTranspose') return convolution(node, shape);
  if (inputs[1 - input]?.isConstant) return `both sides of ${op} are constants`;
  return dense(node, input, shape);
}

function convolution({ op, attributes }: Node, shape: readonly number[]): Layout | string {
  const rank = shape.length;
  const spatial = spatialRoles[rank];
  const [first, second] = shape;
  if (spatial === undefined || first === undefined || second === undefined) {
    return `${op} with a weight of ${rank} axes is not supported`;
  }
  const groups = attributes.get('group')?.integer ?? 1;
  if (groups < 1 || first % groups !== 0) return `its ${first} channels do not divide into ${groups} groups`;
  const dimensions = spatial.length as 1 | 2 | 3;
  const common = { groups, channelAxis: rank - 1, rank };
  return op === 'Conv'
    ? { ...common, kind: `conv${dimensions}d`, roles: ['out', 'in', ...spatial], channels: first }
    : { ...common, kind: `convTranspose${dimensions}d`, roles: ['in', 'out', ...spatial], channels: second * groups };
}

function dense({ op, inputs, outputs, attributes }: Node, input: number, shape: readonly number[]): Layout | string {
  if (shape.length !== 2) return `${op} with a constant of ${shape.length} axes is not supported`;
  const isLeft = input === 0;
  const isTransposed = op === 'Gemm' && (attributes.get(isLeft ? 'transA' : 'transB')?.integer ?? 0) !== 0;
  const roles: Role[] = isLeft === isTransposed ? ['in', 'out'] : ['out', 'in'];
  const rank = op === 'Gemm' ? 2 : (outputs[0]?.rank ?? inputs[1 - input]?.rank);
  return {
    kind: 'dense',
    roles,
    groups: 1,
    channels: shape[roles.indexOf('out')]!,
    channelAxis: isLeft && rank !== 1 ? 2 : 1,
    rank,
  };
}

/** What all readers of a constant together have against pruning it. */
function obstacleOf(layers: readonly Layer[]): string | undefined {
  const { constant } = layers[0]!.view;
  const { tensor } = constant;
  if (tensor.values === undefined)
    return `its numbers are ${tensor.type}; only float32, float16 and bfloat16 are pruned`;
  if (tensor.values.length === 0) return 'it is empty';
  if (constant.isOutput) return 'it is an output of the graph';
  const isLayer = (use: Use) => layers.some(({ node, input }) => node === use.node && input === use.input);
  const other = constant.uses.find((use) => !isLayer(use));
  if (other !== undefined) return `${other.node.op} uses it too, at input ${other.input}`;
  const readings = new Set(layers.map(reading));
  if (readings.size > 1) return `its layers read it differently: ${[...readings].join(' / ')}`;
  if (constant.overlaps !== undefined) return `its bytes are also those of ${constant.overlaps.name}`;
  return undefined;
}

/** How a layer reads its weight, in words. */
function reading({ view, layout }: Layer): string {
  return `${layout.kind} (${storedRoles(view, layout).join(', ')})${layout.groups > 1 ? ` in ${layout.groups} groups` : ''}`;
}

function storedRoles({ axes }: View, { roles }: Layout): Role[] {
  return axes.map((_, stored) => roles[axes.indexOf(stored)]!);
}

function weightTensor(name: string, aliases: readonly string[], layers: readonly Layer[]): WeightTensor {
  const { view, layout } = layers[0]!;
  const { tensor } = view.constant;
  return {
    name,
    aliases,
    kind: layout.kind,
    roles: storedRoles(view, layout),
    shape: tensor.shape,
    groups: layout.groups,
    values: tensor.values as StoredValues,
    ...findPartners(layers),
  };
}
