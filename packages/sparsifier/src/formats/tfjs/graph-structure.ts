import { isObject } from '../../model/json.js';
import type { WeightEntry, Weights } from './description.js';
import type { Constant, Node, Value } from './graph-node.js';
import { viewThrough } from './graph-views.js';

/** An input that reads a weight, directly or through nodes that move its axes. */
export interface Use {
  readonly node: Node;
  readonly input: number;
  readonly constant: Constant;
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };
interface Draft extends Mutable<Node> {
  inputs: Mutable<Value>[];
  readers: Node[];
}

/** The nodes of a graph and of its functions, and the weights that they read. */
export class Graph {
  /** Those of the graph first. The outputs of a function are read by a node `Return`. */
  readonly nodes: readonly Node[];
  /** The weights that any node reads. */
  readonly weights: ReadonlySet<WeightEntry>;
  /** How each of them is used. A weight that is read only by nodes that move its axes has no uses. */
  readonly uses: ReadonlyMap<WeightEntry, readonly Use[]>;

  constructor({ node, library }: Readonly<Record<string, unknown>>, weights: Weights) {
    const nodes = nodesIn(node, weights);
    for (const { name, body, parameters, outputs } of functionsIn(library)) {
      nodes.push(...nodesIn([...body, { name, op: 'Return', input: outputs }], weights, name, parameters));
    }
    resolveViews(nodes);
    const uses = new Map<WeightEntry, Use[]>();
    for (const node of nodes) {
      const sources = new Set<Draft>();
      for (const [input, { node: source, constant }] of node.inputs.entries()) {
        if (constant === undefined) {
          if (source !== undefined) sources.add(source as Draft);
        } else {
          const list = uses.get(constant.entry) ?? [];
          uses.set(constant.entry, list);
          if (node.view === undefined || input > 0) list.push({ node, input, constant });
        }
      }
      node.sources = sources.size;
      for (const source of sources) source.readers.push(node);
    }
    this.nodes = nodes;
    this.uses = uses;
    this.weights = new Set(uses.keys());
  }
}

/** The name of the node that an input reads: without the number, or the name and number, of its output. */
const nodeName = (input: string): string => {
  const end = input.indexOf(':');
  return end < 0 ? input : input.slice(0, end);
};

function nodesIn(
  list: unknown,
  weights: Weights,
  inside?: string,
  parameters: ReadonlySet<string> = new Set(),
): Draft[] {
  const nodes = new Map<string, Draft>();
  for (const item of Array.isArray(list) ? list : []) {
    if (!isObject(item) || typeof item.name !== 'string' || typeof item.op !== 'string') continue;
    const inputs = (Array.isArray(item.input) ? item.input : [])
      .filter((input): input is string => typeof input === 'string' && !input.startsWith('^'))
      .map((input) => ({ name: nodeName(input), node: undefined, constant: undefined }));
    const attributes = isObject(item.attr) ? item.attr : {};
    const node = { name: item.name, op: item.op, inside, inputs, attributes, view: undefined, readers: [], sources: 0 };
    nodes.set(item.op === 'Return' ? '' : item.name, node);
  }
  for (const { inputs } of nodes.values()) {
    for (const input of inputs) {
      if (parameters.has(input.name)) continue;
      const entry = weights.get(input.name);
      input.node = nodes.get(input.name);
      input.constant = entry && { entry, axes: [...entry.shape.keys()] };
    }
  }
  return [...nodes.values()];
}

/** Finds what inputs read through nodes that only move the axes of a weight. */
function resolveViews(nodes: readonly Draft[]): void {
  const resolved = new Set<Draft>();
  const resolve = ([input]: Mutable<Value>[]) => {
    if (input !== undefined) input.constant ??= input.node?.view;
  };
  for (const node of nodes) {
    // Such a node moves its first input. A chain of them is resolved from its end.
    const chain: Draft[] = [];
    for (let each: Draft | undefined = node; each !== undefined && !resolved.has(each);) {
      resolved.add(each);
      chain.push(each);
      each = each.inputs[0]?.node as Draft | undefined;
    }
    for (const each of chain.reverse()) {
      resolve(each.inputs);
      each.view = viewThrough(each);
    }
  }
  for (const { inputs } of nodes) for (let at = 1; at < inputs.length; at++) resolve([inputs[at]!]);
}

/** The functions of a graph, which its control flow calls. */
function functionsIn(library: unknown) {
  const list = isObject(library) && Array.isArray(library.function) ? library.function : [];
  return list.filter(isObject).map(({ signature, nodeDef, ret }) => {
    const { name, inputArg } = isObject(signature) ? signature : {};
    return {
      name: typeof name === 'string' ? name : 'function',
      parameters: new Set(
        (Array.isArray(inputArg) ? inputArg : []).flatMap((each) =>
          isObject(each) && typeof each.name === 'string' ? [each.name] : [],
        ),
      ),
      body: Array.isArray(nodeDef) ? (nodeDef as unknown[]) : [],
      outputs: isObject(ret) ? Object.values(ret) : [],
    };
  });
}
