import type { Kind, Role, Skipped, WeightTensor } from '../../model/model.js';
import { shapeOf, type Constant, type Node, type Reader, type Use, type Value, type View } from './graph.js';
import { findPartners } from './partners.js';

/** A node that reads a stored weight. */
export interface Layer extends Reader {
  readonly view: View;
  readonly layout: Layout;
}

/** How a node reads its weight. */
interface Layout {
  readonly kind: Kind;
  /** One per axis, in stored order. */
  readonly roles: readonly Role[];
  /** One per axis, in stored order. */
  readonly shape: readonly number[];
  readonly groups: number;
  /** Undefined if an output channel is more than a row of the weight, as in recurrent layers, and for embeddings. */
  readonly channels: Channels | undefined;
}

/** The output channels of a layer. */
export interface Channels {
  /** The number of channels, over all groups. */
  readonly count: number;
  /** The axis of the output that they are on, if known. The last axis is 1, the one before it 2. */
  readonly axis: number | undefined;
}

/**
 * A weight with the names of the nodes that read it. Has either `layers` or a `reason` why one of them cannot be
 * pruned.
 */
interface Finding {
  readonly names: string[];
  readonly layers: Layer[];
  /** As stored; empty if the weight is not stored. */
  readonly shape: readonly number[];
  readonly operator: string;
  reason: string | undefined;
}

/** The weight of a node, stored or not. */
interface WeightReader extends Reader {
  readonly value: Value;
  /** The name of the node; empty if it has none. */
  readonly name: string;
  /** How the node reads it, or why it cannot be pruned. */
  readonly layout: Layout | string;
}

/** An operator with weights. */
interface Operator {
  /** The inputs of a node that are its weights. */
  weights(node: Node): readonly number[];
  /** How a node reads a stored weight, or why it cannot be pruned. */
  layout(node: Node, view: View, input: number): Layout | string;
}

/** By name, prefixed with the domain unless that is ONNX's own. */
const operators: ReadonlyMap<string, Operator> = new Map([
  ['Conv', { weights: () => [1], layout: convolution }],
  ['ConvTranspose', { weights: () => [1], layout: convolution }],
  ['Gemm', { weights: constantAmong(1, 0), layout: dense }],
  ['MatMul', { weights: constantAmong(1, 0), layout: dense }],
  ['Gather', { weights: lookupTable, layout: embedding }],
  ['LSTM', { weights: () => [1, 2], layout: recurrent('lstm', 4) }],
  ['GRU', { weights: () => [1, 2], layout: recurrent('gru', 3) }],
  ['QLinearConv', { weights: constantAmong(3), layout: quantised }],
  ['ConvInteger', { weights: constantAmong(1), layout: quantised }],
  ['QLinearMatMul', { weights: constantAmong(3, 0), layout: quantised }],
  ['MatMulInteger', { weights: constantAmong(1, 0), layout: quantised }],
  ['com.microsoft.MatMulNBits', { weights: constantAmong(1), layout: quantised }],
]);

const spatialRoles: Readonly<Record<number, readonly Role[]>> = {
  3: ['width'],
  4: ['height', 'width'],
  5: ['depth', 'height', 'width'],
};

/**
 * Finds the weights of a graph, in model order: those that can be pruned, and those that cannot, with the reasons.
 * @param nodes as `readGraph` returns them
 */
export function readLayers(nodes: readonly Node[]): {
  tensors: WeightTensor[];
  skipped: Skipped[];
  weights: number;
} {
  const tensors: WeightTensor[] = [];
  const skipped: Skipped[] = [];
  let weights = 0;
  for (const { names, layers, reason, shape, operator } of findWeights(nodes)) {
    const length = shape.length > 0 ? shape.reduce((product, size) => product * size, 1) : 0;
    weights += length;
    const [name = '', ...aliases] = names;
    const obstacle = reason ?? obstacleOf(layers);
    if (obstacle === undefined) tensors.push(weightTensor(name, aliases, layers));
    else skipped.push({ name, reason: obstacle, operator, shape, weights: length });
  }
  return { tensors, skipped, weights };
}

/** The weights of all layers. A stored weight is listed once, even if several nodes read it. */
export function findWeights(nodes: readonly Node[]): Iterable<Finding> {
  const findings = new Map<Constant | Reader, Finding>();
  const names = new Names();
  for (const { node, input, value, name, layout } of nodes.flatMap(weightReaders)) {
    const { view } = value;
    const reader = { node, input };
    const key = view?.constant ?? reader;
    let finding = findings.get(key);
    if (finding === undefined) {
      finding = {
        names: [names.take(name, view?.constant.name ?? value.name)],
        layers: [],
        shape: view?.constant.tensor.shape ?? [],
        operator: node.op,
        reason: undefined,
      };
      findings.set(key, finding);
    } else if (names.isFree(name)) {
      finding.names.push(names.take(name));
    }
    if (typeof layout === 'string') finding.reason ??= layout;
    else if (view !== undefined) finding.layers.push({ ...reader, view, layout });
  }
  return findings.values();
}

/** The weights of a node. A recurrent layer has two, whose names match one glob. */
function weightReaders(node: Node): WeightReader[] {
  const operator = operators.get(node.op);
  if (operator === undefined) return [];
  return operator.weights(node).flatMap((input, place) => {
    const value = node.inputs[input];
    if (value === undefined) return [];
    const name = place === 0 || node.name === '' ? node.name : `${node.name}.recurrent`;
    const layout = value.view === undefined ? unstored(value) : operator.layout(node, value.view, input);
    return [{ node, input, value, name, layout }];
  });
}

/** The names that are taken. Each is used only once. */
class Names {
  readonly #taken = new Set<string>();

  isFree(name: string): boolean {
    return name !== '' && !this.#taken.has(name);
  }

  /** The first of the names that is free, or else the last one with a number. */
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

/**
 * The first of these inputs that is a constant. There may be none, since both factors of a product may be activations.
 */
function constantAmong(...candidates: readonly number[]): Operator['weights'] {
  return ({ inputs }) => candidates.filter((input) => inputs[input]?.isConstant).slice(0, 1);
}

/** The table of a Gather. Vectors and integers do not count, since they are used to compute shapes. */
function lookupTable({ inputs }: Node): readonly number[] {
  const tensor = inputs[0]?.view?.constant.tensor;
  return tensor !== undefined && tensor.shape.length > 1 && tensor.type.includes('float') ? [0] : [];
}

/** Why a weight is not a stored tensor. */
function unstored({ producer, isConstant }: Value): string {
  if (producer === undefined) {
    return isConstant ? 'its weight is stored as a sparse tensor' : 'its weight is an input of the model';
  }
  if (producer.op === 'Constant') return 'its weight is a Constant node without a dense tensor';
  return isConstant
    ? `its weight is computed from constants by ${producer.op}`
    : `its weight is computed by ${producer.op} while the model runs`;
}

function convolution({ op, attributes }: Node, view: View): Layout | string {
  const shape = shapeOf(view);
  const rank = shape.length;
  const spatial = spatialRoles[rank];
  const [first, second] = shape;
  if (spatial === undefined || first === undefined || second === undefined) {
    return `${op} with a weight of ${rank} axes is not supported`;
  }
  const groups = attributes.get('group')?.integer ?? 1;
  if (groups < 1 || first % groups !== 0) return `its ${first} channels cannot be divided into ${groups} groups`;
  const dimensions = spatial.length as 1 | 2 | 3;
  const isTransposed = op === 'ConvTranspose';
  return {
    kind: isTransposed ? `convTranspose${dimensions}d` : `conv${dimensions}d`,
    ...stored(view, isTransposed ? ['in', 'out', ...spatial] : ['out', 'in', ...spatial]),
    groups,
    channels: { count: isTransposed ? second * groups : first, axis: rank - 1 },
  };
}

function dense({ op, inputs, outputs, attributes }: Node, view: View, input: number): Layout | string {
  if (inputs[1 - input]?.isConstant) return `both inputs of ${op} are constants`;
  const shape = shapeOf(view);
  if (shape.length !== 2) return `${op} with a constant of ${shape.length} axes is not supported`;
  const isLeft = input === 0;
  const isTransposed = op === 'Gemm' && (attributes.get(isLeft ? 'transA' : 'transB')?.integer ?? 0) !== 0;
  const roles: Role[] = isLeft === isTransposed ? ['in', 'out'] : ['out', 'in'];
  // With a constant on the left the channels are the rows of the output, or its only axis if the other factor is a
  // vector.
  const rank = op === 'Gemm' ? 2 : (outputs[0]?.rank ?? inputs[1]?.rank);
  const axis = !isLeft || rank === 1 ? 1 : rank === undefined ? undefined : 2;
  return {
    kind: 'dense',
    ...stored(view, roles),
    groups: 1,
    channels: { count: shape[roles.indexOf('out')]!, axis },
  };
}

function embedding({ op, attributes }: Node, view: View): Layout | string {
  const rank = view.axes.length;
  if (rank !== 2) return `${op} with a constant of ${rank} axes is not supported`;
  const axis = attributes.get('axis')?.integer ?? 0;
  if (axis !== 0 && axis !== -rank) return `it is gathered along axis ${axis}, not along its rows`;
  return { kind: 'embedding', ...stored(view, ['out', 'in']), groups: 1, channels: undefined };
}

/**
 * LSTM and GRU: both weights are stored as (direction, gate x unit, input). The first two axes are treated as one,
 * `out`.
 */
function recurrent(kind: 'lstm' | 'gru', gates: number): Operator['layout'] {
  return ({ op }, view) => {
    const { axes } = view;
    const [directions, rows, inputs] = shapeOf(view);
    if (axes.length !== 3 || directions === undefined || rows === undefined || inputs === undefined) {
      return `${op} with a weight of ${axes.length} axes is not supported`;
    }
    if (axes.some((axis, place) => axis !== place)) return `${op} with a transposed weight is not supported`;
    if (rows % gates !== 0) return `its ${rows} rows cannot be divided into ${gates} gates`;
    return { kind, roles: ['out', 'in'], shape: [directions * rows, inputs], groups: 1, channels: undefined };
  };
}

function quantised({ op }: Node): string {
  return `${op} has quantised weights`;
}

/** The axes of a weight in stored order, given their roles in the order of the node's input. */
function stored({ constant, axes }: View, roles: readonly Role[]): Pick<Layout, 'roles' | 'shape'> {
  return { roles: axes.map((_, axis) => roles[axes.indexOf(axis)]!), shape: constant.tensor.shape };
}

/** Why a constant cannot be pruned, considering everything that uses it. */
function obstacleOf(layers: readonly Layer[]): string | undefined {
  const { constant } = layers[0]!.view;
  const { tensor } = constant;
  if (tensor.values === undefined)
    return `its type is ${tensor.type}; only float32, float16 and bfloat16 can be pruned`;
  if (tensor.values.length === 0) return 'it is empty';
  if (constant.isOutput) return 'it is an output of the graph';
  const isLayer = (use: Use) => layers.some(({ node, input }) => node === use.node && input === use.input);
  const other = constant.uses.find((use) => !isLayer(use));
  if (other !== undefined) return `${other.node.op} also uses it, as input ${other.input}`;
  const readings = new Set(layers.map(reading));
  if (readings.size > 1) return `its layers use it in different ways: ${[...readings].join(' / ')}`;
  if (constant.overlaps !== undefined) return `it shares bytes with ${constant.overlaps.name}`;
  return undefined;
}

/** How a layer reads its weight, as text. */
function reading({ layout: { kind, roles, groups } }: Layer): string {
  return `${kind} (${roles.join(', ')})${groups > 1 ? ` in ${groups} groups` : ''}`;
}

function weightTensor(name: string, aliases: readonly string[], layers: readonly Layer[]): WeightTensor {
  const { view, layout } = layers[0]!;
  const { kind, roles, shape, groups } = layout;
  const values = view.constant.tensor.values!;
  return { name, aliases, kind, roles, shape, groups, values, ...findPartners(layers) };
}
