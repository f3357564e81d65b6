import { isObject } from '../../../model/json.js';
import type { Value } from '../../onnx/graph.js';
import { unknownSize, type Shape } from '../../onnx/shapes.js';
import { outputsIn, type WeightEntry, type Weights } from '../description.js';
import { titleOf, type Constant, type Node, type Value as Input } from '../graph-node.js';
import { operators as layerOperators } from '../graph-operators.js';
import { referenceOf, type Graph } from '../graph-structure.js';
import { NodeSite, type NodeInput, type NodeJson } from './node.js';
import { fusedIn } from './nodes/convolutions.js';
import { fused } from './nodes/elementwise.js';
import { nodeRules } from './nodes/table.js';
import { inOrder } from './order.js';
import { Translation, Untranslated } from './translation.js';

/**
 * Translates a GraphModel and its functions for masks.
 * @param outputs the names of nodes that are outputs of the model
 */
export function translateForMasks(graph: Graph, outputs: ReadonlySet<string>, weights: Weights): Translation {
  const reader = new GraphReader(weights, {}, true);
  reader.readAll(graph, outputs);
  return reader.translation;
}

/** A graph of TensorFlow as one of ONNX's operators. */
export interface GraphTranslation {
  readonly translation: Translation;
  /** The inputs of nodes in the JSON that read weights. */
  readonly sources: ReadonlyMap<Value, NodeInput>;
}

/**
 * Translates a GraphModel.
 * @param content that of the model.json
 * @param shapes those that callers give for inputs whose number of axes the model does not say
 */
export function translateGraph(
  topology: Readonly<Record<string, unknown>>,
  content: Readonly<Record<string, unknown>>,
  weights: Weights,
  shapes: Readonly<Record<string, readonly number[]>>,
): GraphTranslation {
  const reader = new GraphReader(weights, shapes);
  reader.read(nodesIn(topology.node), outputsIn(content));
  // Nodes that run before the model does may read the same weights.
  const { modelInitializer: first } = content;
  for (const { name } of isObject(first) ? nodesIn(first.node) : []) reader.keep(name);
  return reader;
}

export const nodesIn = (list: unknown): NodeJson[] =>
  (Array.isArray(list) ? (list as unknown[]) : []).filter(
    (item): item is NodeJson & Record<string, unknown> =>
      isObject(item) && typeof item.name === 'string' && typeof item.op === 'string',
  );

/** The inputs of a node without those that only say what runs first. */
export const dataInputs = ({ input }: NodeJson): string[] =>
  (Array.isArray(input) ? (input as unknown[]) : []).filter(
    (each): each is string => typeof each === 'string' && !each.startsWith('^'),
  );

const keyOf = (node: Node, input: number): string => `${titleOf(node)} ${input}`;

/** The axis of all inputs that their samples are on. */
const batch = unknownSize('batch');

class GraphReader implements GraphTranslation {
  readonly translation: Translation;
  readonly sources = new Map<Value, NodeInput>();
  readonly #weights: Weights;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  readonly #values = new Map<string, readonly Value[]>();
  /** The nodes that are constants. */
  readonly #constants = new Map<string, WeightEntry>();

  constructor(weights: Weights, shapes: Readonly<Record<string, readonly number[]>>, isForMasks = false) {
    this.#weights = weights;
    this.#shapes = shapes;
    this.translation = new Translation(isForMasks);
  }

  /** Reads a graph with the nodes of its functions, whose arguments are known if they are the same weights in all calls. */
  readAll({ nodes, uses }: Graph, outputs: ReadonlySet<string>): void {
    const { translation } = this;
    const values = new Map<Node, readonly Value[]>();
    const known = new Map<unknown, Value>();
    const once = (key: unknown, make: () => Value): Value => {
      if (!known.has(key)) known.set(key, make());
      return known.get(key)!;
    };
    const used = new Set([...uses.values()].flatMap((list) => list.map(({ node, input }) => keyOf(node, input))));
    const valueOf = ({ node, constant, output, name }: Input, reader: Node): Value => {
      if (node?.op === 'Const' && constant !== undefined) return translation.weight(constant.entry);
      const computed = node && values.get(node)?.[output];
      if (computed !== undefined) return computed;
      if (constant !== undefined) return once(constant, () => this.#viewed(constant));
      return once(`${reader.inside} ${name} ${output}`, () => translation.input(name, undefined));
    };
    // What functions know of, or the next round of a loop does.
    const isPassed = (node: Node, input: number): boolean =>
      node.inputs[input]!.constant !== undefined && node.view === undefined && !used.has(keyOf(node, input));
    const keys = new Map(nodes.map((node, place) => [node, String(place)]));
    const needs = ({ inputs }: Node) => inputs.flatMap(({ node }) => (node === undefined ? [] : keys.get(node)!));
    for (const node of inOrder(nodes, (each) => keys.get(each)!, needs)) {
      if (node.op === 'Const' && node.inside === undefined && this.#weights.has(node.name)) continue;
      const { op, attributes: attr } = node;
      const json = { name: titleOf(node), op, attr };
      const given = node.inputs.filter((_, input) => !isPassed(node, input)).map((each) => valueOf(each, node));
      const own = op === 'Placeholder' ? [this.#input(json)] : this.#translated(json, given);
      values.set(node, own);
      if (node.readers.length === 0 || (node.inside === undefined && outputs.has(node.name)))
        for (const value of own) translation.markOutput(value);
    }
  }

  /** A weight as a function is given it. */
  #viewed({ entry, axes }: Constant): Value {
    const { translation } = this;
    const stored = axes.filter((axis) => axis !== undefined);
    const left = entry.shape.flatMap((_, axis) => (stored.includes(axis) ? [] : [axis]));
    let value = translation.weight(entry);
    if (left.length > 0) value = translation.node('Squeeze', '', [value], { axes: left }, stored.length);
    const order = stored.map((axis) => axis - left.filter((each) => each < axis).length);
    if (order.some((axis, at) => axis !== at)) value = translation.node('Transpose', '', [value], { perm: order });
    const added = axes.flatMap((axis, at) => (axis === undefined ? [at] : []));
    return added.length === 0 ? value : translation.node('Unsqueeze', '', [value], { axes: added }, axes.length);
  }

  read(nodes: readonly NodeJson[], outputs: ReadonlySet<string>): void {
    const read = new Set<string>();
    for (const node of nodes) {
      const entry = node.op === 'Const' ? this.#weights.get(node.name) : undefined;
      if (entry !== undefined) this.#constants.set(node.name, entry);
      for (const input of dataInputs(node)) read.add(referenceOf(input)[0]);
    }
    for (const node of inOrder(nodes, ({ name }) => name, inputsOf)) {
      if (this.#constants.has(node.name)) continue;
      const given = dataInputs(node).map((input, place) => this.#valueOf(input, { node, input: place }));
      const values = node.op === 'Placeholder' ? [this.#input(node)] : this.#translated(node, given);
      this.#values.set(node.name, values);
      if (outputs.has(node.name) || !read.has(node.name))
        for (const value of values) this.translation.markOutput(value);
    }
  }

  /** Makes the channels of a weight stay. */
  keep(name: string): void {
    const entry = this.#weights.get(name);
    if (entry === undefined || this.translation.constantOf(entry) === undefined) return;
    this.translation.opaque(
      'modelInitializer',
      name,
      [this.translation.weight(entry)],
      'it is needed before the model runs',
    );
  }

  #translated(node: NodeJson, given: readonly (Value | undefined)[]): readonly Value[] {
    const { translation } = this;
    const { name, op } = node;
    const inputs = given.filter((value) => value !== undefined);
    const site = new NodeSite(translation, node, inputs, (place) => integersIn(inputs[place]));
    const outputs =
      inputs.length === given.length
        ? translation.attempt(() => {
            const rule = nodeRules.get(op);
            if (rule === undefined) throw new Untranslated('there is no rule for it');
            site.check(rule.attributes);
            return [rule.translate(site)].flat();
          })
        : 'an input is unknown';
    if (typeof outputs !== 'string') return outputs;
    return translation.isForMasks
      ? this.#opaque(site, outputs)
      : translation.opaque(`${op} node`, name, inputs, outputs);
  }

  /** A node that is not followed. The channels of its weight begin in it nevertheless. */
  #opaque(site: NodeSite, reason: string): readonly Value[] {
    const { translation } = this;
    const { op, name, inputs } = site;
    const title = `${op} node`;
    if (op.startsWith('FusedBatchNorm') && inputs.length > 2)
      return [translation.node('Normalization', name, inputs.slice(0, 3), site.isChannelsFirst ? { axis: 1 } : {})];
    const place = [...(layerOperators.get(op)?.activations.keys() ?? [])].find((input) => inputs[input]?.isConstant);
    // Damaged files name a bias that is not there.
    const isBiasMissing = site.texts('fused_ops')[0] === 'BiasAdd' && inputs[2] === undefined;
    if (place === undefined || isBiasMissing) return translation.opaque(title, name, inputs, reason);
    const { bias, rest } = fusedIn(site);
    const weights = [inputs[place]!, ...(bias === undefined ? [] : [bias])];
    const others = inputs.filter((value) => !weights.includes(value));
    const rank = translation.rankOf(op.includes('Conv') ? weights[0] : others[0]);
    const own = { weights, isDepthwise: op.includes('Depthwise'), rank };
    const [value] = translation.opaque(title, name, others, reason, own);
    const after = translation.attempt(() => [fused(site, value!, rest)]);
    return typeof after === 'string' ? translation.opaque(title, name, [value!], after) : after;
  }

  #valueOf(reference: string, source: NodeInput): Value | undefined {
    const [name, output] = referenceOf(reference);
    const entry = this.#constants.get(name);
    if (entry === undefined) return this.#values.get(name)?.[output];
    const value = this.translation.weight(entry);
    this.sources.set(value, source);
    return value;
  }

  #input({ name, attr }: NodeJson): Value {
    const shape = isObject(attr?.shape) && isObject(attr.shape.shape) ? attr.shape.shape : undefined;
    const isKnown = shape !== undefined && shape.unknownRank !== true && Array.isArray(shape.dim);
    const sizes = isKnown
      ? (shape.dim as unknown[]).map((dim, axis) => {
          const size = isObject(dim) ? Number(dim.size) : NaN;
          return size >= 0 ? size : axis === 0 ? batch : unknownSize();
        })
      : undefined;
    const known: Shape | undefined = sizes ?? this.#shapes[name]?.map(() => unknownSize());
    return this.translation.input(name, known);
  }
}

/** The names of the nodes whose outputs a node reads. */
const inputsOf = (node: NodeJson): string[] => dataInputs(node).map((input) => referenceOf(input)[0]);

/** The integers of a constant. */
const integersIn = (value: Value | undefined): readonly number[] | undefined => value?.view?.constant.tensor.integers;
