import type { Skipped, Values, WeightTensor } from '../../model/model.js';
import { biasOf } from './bias.js';
import { countWeights, isCounted, weightsIn } from './counting.js';
import { incomingOf } from './geometry.js';
import type { Constant, Graph, Node, Reader, Use, Value } from './graph.js';
import { brief, title } from './titles.js';
import { Names } from './names.js';
import { operators, type Layout, type Operator } from './operators.js';
import { findPartners, type Partners } from './structure/masks/following.js';
import { decodesLookup, notIntegers, valuesOf } from './quantised.js';
import { isFloat } from './types.js';
import { mostAxes, type View } from './views.js';

/** A node that reads a stored weight. */
export interface Layer extends Reader {
  readonly view: View;
  readonly layout: Layout;
}

/**
 * A weight with the names of the nodes that read it. Has either `layers` or a `reason` why one of them cannot be
 * pruned.
 */
interface Finding {
  readonly names: string[];
  readonly layers: Layer[];
  /** Undefined if the weight is not stored. */
  readonly constant: Constant | undefined;
  readonly operator: string;
  reason: string | undefined;
}

/** The weight of a node, stored or not. */
interface WeightReader extends Reader {
  readonly value: Value;
  readonly view: View | undefined;
  /** The name of the node; empty if it has none. */
  readonly name: string;
  /** How the node reads it, or why it cannot be pruned. */
  readonly layout: Layout | string;
}

/** What a model file has in the place of layers. */
export interface Layers {
  readonly tensors: WeightTensor[];
  readonly skipped: Skipped[];
  /** How many numbers all constants have that count as weights, whatever becomes of them. */
  readonly weights: number;
}

/**
 * Finds the weights of a graph, in model order: those that can be pruned, and those that cannot, with the reasons. Then
 * follow the other constants of two or more axes.
 */
export function readLayers(graph: Graph, opset: number): Layers {
  const tensors: WeightTensor[] = [];
  const skipped: Skipped[] = [];
  const names = new Names();
  const listed = new Set<Constant>();
  const findings = [...findWeights(graph, names)];
  const partnersOf = findPartners(graph, findings.filter(hasChannels), opset);
  for (const finding of findings) {
    const { constant, reason, operator } = finding;
    if (constant !== undefined) listed.add(constant);
    const tensor = reason ?? weightTensor(finding, partnersOf.get(finding));
    if (typeof tensor === 'object') tensors.push(tensor);
    else skipped.push(skippedTensor(finding.names[0]!, tensor, operator, constant));
  }
  const partners = new Map<Values, string>(
    tensors.flatMap(({ name, partners }) => partners.map(({ values }) => [values, name] as const)),
  );
  for (const constant of graph.constants) {
    if (listed.has(constant) || !isCounted(constant)) continue;
    const values = valuesOf(constant);
    const layer = typeof values === 'object' ? partners.get(values) : undefined;
    const reason =
      layer === undefined ? otherUse(constant) : `its numbers are removed with the output channels of ${brief(layer)}`;
    skipped.push(skippedTensor(names.take(constant.name), reason, constant.readers[0]!.node.op, constant));
  }
  return { tensors, skipped, weights: countWeights(graph) };
}

function skippedTensor(name: string, reason: string, operator: string, constant: Constant | undefined): Skipped {
  const { shape, count } = constant === undefined ? { shape: [], count: 0 } : weightsIn(constant);
  return { name, reason, operator, shape, weights: count };
}

/** The weights of all layers. A stored weight is listed once, even if several nodes read it. */
export function findWeights({ nodes }: Graph, names = new Names()): Iterable<Finding> {
  const findings = new Map<Constant | Reader, Finding>();
  for (const { node, input, value, view, name, layout } of nodes.flatMap(weightReaders)) {
    const reader = { node, input };
    const constant = view?.constant;
    const key = constant ?? reader;
    let finding = findings.get(key);
    if (finding === undefined) {
      const first = names.take(name, view?.name ?? constant?.name ?? value.name);
      finding = { names: [first], layers: [], constant, operator: node.op, reason: undefined };
      findings.set(key, finding);
    } else if (names.isFree(name)) {
      finding.names.push(names.take(name));
    }
    if (typeof layout === 'string') finding.reason ??= layout;
    else if (view !== undefined) finding.layers.push({ ...reader, view, layout });
  }
  for (const finding of findings.values()) finding.reason ??= obstacleOf(finding);
  return findings.values();
}

/** The weights of a node. A recurrent layer has two, whose names match one glob. */
function weightReaders(node: Node): WeightReader[] {
  const operator = operators.get(node.op);
  if (operator === undefined) return [];
  return operator.weights(node).flatMap((input, place): WeightReader[] => {
    const value = node.inputs[input];
    if (value === undefined) return [];
    const name =
      place === 0 || node.name === '' ? node.name : `${node.name}.${operator.furtherNames?.[place - 1] ?? place + 1}`;
    const reader = { node, input, value, name };
    const all = value.view ? [value.view] : operator.takesParts ? value.parts : [];
    // Integers of which only a Cast has made floats are numbers of their own, not codes.
    const views = all.every(({ converted }) => converted === undefined) ? all : [];
    if (views.length === 0) return [{ ...reader, view: undefined, layout: unstored(value) }];
    return views
      .filter((view) => isWeight(view, node, operator))
      .map((view) => ({ ...reader, view, layout: layoutOf(operator, node, view, input) }));
  });
}

/** Whether an operator reads a constant as numbers of the type that it computes with. */
function isWeight(view: View, node: Node, { codes }: Operator): boolean {
  const { constant, quantisation, rounding } = view;
  const isDecoded = quantisation !== undefined || decodesLookup(node);
  const isReal = (isFloat(constant.tensor.type) && rounding === undefined) || isDecoded;
  return isCounted(constant) && (isReal || codes !== undefined);
}

function layoutOf(operator: Operator, node: Node, view: View, input: number): Layout | string {
  const { length } = view.axes;
  return length > mostAxes ? `it has ${length} axes` : operator.layout(node, view, input);
}

/** Why a weight is not a stored tensor. */
function unstored({ producer, isConstant }: Value): string {
  if (producer === undefined) return 'its weight is an input of the model';
  if (producer.op === 'Constant') return 'its weight is a Constant node without a tensor';
  return isConstant
    ? `its weight is computed from constants by ${brief(producer.op)}`
    : `its weight is computed by ${brief(producer.op)} while the model runs`;
}

/** Why a constant is not a weight, judging by what reads it. */
function otherUse({ uses, readers, tensor, isCode, decoded }: Constant): string {
  const list = (words: readonly string[]) => {
    const [...each] = new Set(words);
    return `${each.slice(0, 3).map(brief).join(', ')}${each.length > 3 ? ' and others' : ''}`;
  };
  const isFactor = ({ node }: Use) => node.op === 'Mul' || node.op === 'Sub';
  if (isCode && decoded === undefined && !uses.every(isFactor)) {
    if (tensor.type.startsWith('float8')) return notIntegers(tensor.type);
    if (isFloat(tensor.type)) return 'it is rounded with one scale or zero point and decoded with another';
    return `its codes are arranged by ${list(uses.map(({ node }) => node.op))} before they are decoded`;
  }
  if (uses.length === 0) return `no layer reads what ${list(readers.map(({ node }) => node.op))} makes of it`;
  const weights = uses.filter(({ node, input }) => operators.get(node.op)?.weights(node).includes(input));
  if (weights.length === uses.length) {
    return `it is the weight of ${list(weights.map(({ node }) => node.op))} only in parts, or together with other constants`;
  }
  const parts = uses.map(
    ({ node, input }) => `${operators.get(node.op)?.others?.[input] ?? 'an operand'} of ${node.op}`,
  );
  return `it is ${list(parts)}, not the weight of a layer`;
}

/** Why a stored weight cannot be pruned, considering everything that uses it. */
function obstacleOf({ constant, layers }: Finding): string | undefined {
  if (constant === undefined) return undefined;
  if (constant.tensor.length === 0) return 'it is empty';
  if (constant.isOutput) return 'it is an output of the graph';
  const own = new Map<Node, Set<number>>();
  for (const { node, input } of layers) own.set(node, (own.get(node) ?? new Set()).add(input));
  const other = constant.uses.find((use: Use) => !own.get(use.node)?.has(use.input));
  if (other !== undefined) return `${title(other.node)} reads it too, not as a weight`;
  if (constant.overlaps !== undefined) return `it shares bytes with ${brief(constant.overlaps.name)}`;
  return undefined;
}

/** The reason why only single weights can be removed, if nodes read the axes of a weight in different roles. */
export function tieOf(layers: readonly Layer[]): string | undefined {
  const readings = [...new Set(layers.map(reading))];
  return readings.length > 1 ? `several nodes share it: ${readings.slice(0, 3).join(' / ')}` : undefined;
}

/** How a layer reads its weight, as text. */
function reading({ layout: { kind, roles, groups } }: Layer): string {
  return `${kind} (${roles.join(', ')})${groups > 1 ? ` in ${groups} groups` : ''}`;
}

/** Whether output channels of a weight can be removed. */
const hasChannels = ({ reason, layers, constant }: Finding): boolean =>
  reason === undefined && tieOf(layers) === undefined && typeof valuesOf(constant!) === 'object';

/** A weight with its numbers, or why they cannot be pruned. */
function weightTensor({ names, layers }: Finding, partners: Partners | undefined): WeightTensor | string {
  const { view, layout } = layers[0]!;
  const { kind, roles, shape, groups } = layout;
  const [name = '', ...aliases] = names;
  const values = valuesOf(view.constant);
  if (typeof values === 'string') return values;
  const geometry = incomingOf(layers[0]!)?.geometry;
  const tensor = { name, aliases, kind, roles, shape, groups, values, ...(geometry !== undefined && { geometry }) };
  const bias = biasOf(layers);
  if (partners !== undefined) return { ...tensor, ...partners, ...(bias !== undefined && { bias }) };
  return { ...tensor, partners: [], notes: [], onlyWeight: tieOf(layers)! };
}
