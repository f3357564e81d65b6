import { isObject } from '../../../model/json.js';
import type { Value } from '../../onnx/graph.js';
import { unknownSize, type Shape } from '../../onnx/shapes.js';
import type { WeightEntry, Weights } from '../description.js';
import { outputsIn } from '../graph-biases.js';
import { NodeSite, type NodeInput, type NodeJson } from './node.js';
import { nodeRules } from './nodes/table.js';
import { inOrder } from './order.js';
import { Translation, Untranslated } from './translation.js';

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

/** The name of the node that an input reads, and the number of its output. */
export function referenceOf(input: string): readonly [name: string, output: number] {
  const end = input.indexOf(':');
  return end < 0 ? [input, 0] : [input.slice(0, end), Number(input.slice(input.lastIndexOf(':') + 1)) || 0];
}

/** The axis of all inputs that their samples are on. */
const batch = unknownSize('batch');

class GraphReader implements GraphTranslation {
  readonly translation = new Translation();
  readonly sources = new Map<Value, NodeInput>();
  readonly #weights: Weights;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  readonly #values = new Map<string, readonly Value[]>();
  /** The nodes that are constants. */
  readonly #constants = new Map<string, WeightEntry>();

  constructor(weights: Weights, shapes: Readonly<Record<string, readonly number[]>>) {
    this.#weights = weights;
    this.#shapes = shapes;
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
      const values = this.#translated(node);
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

  #translated(node: NodeJson): readonly Value[] {
    const { name, op } = node;
    if (op === 'Placeholder') return [this.#input(node)];
    const given = dataInputs(node).map((input, place) => this.#valueOf(input, { node, input: place }));
    const inputs = given.filter((value) => value !== undefined);
    const outputs =
      inputs.length === given.length
        ? this.translation.attempt(() => {
            const rule = nodeRules.get(op);
            if (rule === undefined) throw new Untranslated('there is no rule for it');
            const site = new NodeSite(this.translation, node, inputs, (place) => integersIn(inputs[place]));
            site.check(rule.attributes);
            return [rule.translate(site)].flat();
          })
        : 'an input is unknown';
    return typeof outputs === 'string' ? this.translation.opaque(`${op} node`, name, inputs, outputs) : outputs;
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
