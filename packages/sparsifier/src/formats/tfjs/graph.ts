import type { Geometry, Skipped } from '../../model/model.js';
import { productOf } from '../../model/numbers.js';
import {
  countOf,
  isCounted,
  skip,
  UnusedNames,
  type Described,
  type Description,
  type WeightEntry,
  type Weights,
} from './description.js';
import { titleOf, type Node } from './graph-node.js';
import { operators, type Layout } from './graph-operators.js';
import { geometryOf, joinedAxes } from './graph-geometry.js';
import { Graph, type Use } from './graph-structure.js';
import { mostAxes } from './graph-views.js';
import { translateForMasks } from './structure/graph.js';
import { followWeights, type Channels, type Weighted } from './structure/masks.js';

/** A weight that can be pruned, and the nodes that read it. */
interface Found {
  readonly name: string;
  readonly entry: WeightEntry;
  readonly nodes: readonly Node[];
  readonly layout: Layout;
  readonly geometry: Geometry | undefined;
  /** Why only single weights can be removed. */
  readonly onlyWeight: string | undefined;
}

/**
 * Finds the weights that the nodes of a graph and of its functions read, in the order of the nodes.
 * @param outputs the names of nodes that are outputs of the model, even if others read them
 */
export function readGraph(
  topology: Readonly<Record<string, unknown>>,
  weights: Weights,
  outputs: ReadonlySet<string>,
): Description {
  const graph = new Graph(topology, weights);
  const found: Found[] = [];
  const skipped: Skipped[] = [];
  const names = new UnusedNames();
  for (const [entry, uses] of inOrder(graph)) {
    const nodes = [...new Set(uses.filter(({ node }) => operators.has(node.op)).map(({ node }) => node))];
    const reading = layoutOf(uses);
    if (typeof reading === 'string') {
      const reader = nodes[0] ?? uses[0]?.node;
      skipped.push(skip(entry, reading, nodes[0] ? titleOf(nodes[0]) : entry.name, reader?.op));
      continue;
    }
    const { layout, onlyWeight, use } = reading;
    const name = names.take(titleOf(nodes[0]!));
    found.push({ name, entry, nodes, layout, geometry: geometryOf(use, layout), onlyWeight });
  }
  const channels = followWeights(translateForMasks(graph, outputs, weights), found.flatMap(weightedBy));
  return { tensors: found.map((each) => describedAs(each, channels)), skipped, weights: countOf(graph.weights) };
}

function describedAs({ name, entry, nodes, layout, geometry, onlyWeight }: Found, channels: Channels): Described {
  const { kind, roles, shape, groups } = layout;
  const channelsFrom = roles.includes('multiplier') ? channels.filtered.get(entry) : undefined;
  return {
    name,
    aliases: nodes.slice(1).map(titleOf),
    kind,
    roles,
    shape,
    groups,
    weight: entry.name,
    ...(geometry && { geometry }),
    ...(channels.of.get(entry) ?? { partners: [], notes: [] }),
    ...(onlyWeight !== undefined && { onlyWeight }),
    ...(channelsFrom && { channelsFrom }),
  };
}

/** A weight whose output channels can be followed. */
function weightedBy({ name, entry, layout: { channels }, onlyWeight }: Found): Weighted[] {
  if (channels === undefined || onlyWeight !== undefined) return [];
  const { axis, sizes } = channels;
  const several = sizes.length > 1 ? { sizes } : {};
  return [{ name, entry, channels: productOf(sizes), axis: axis && -axis, ...several }];
}

/** The weights that count, with their uses: first those of layers, in the order of their nodes. */
function inOrder(graph: Graph): Map<WeightEntry, readonly Use[]> {
  const ordered = new Set<WeightEntry>();
  for (const { op, inputs } of graph.nodes) {
    for (const input of operators.get(op)?.activations.keys() ?? []) {
      const entry = inputs[input]?.constant?.entry;
      if (entry !== undefined) ordered.add(entry);
    }
  }
  for (const entry of graph.weights) ordered.add(entry);
  return new Map([...ordered].filter(isCounted).map((entry) => [entry, graph.uses.get(entry)!]));
}

/** Operators that call functions of the graph. What these do with an argument is not followed. */
const calls = /^(Stateless|Stateful)?(While|If|Case|PartitionedCall)$/;

/** How the first node reads a weight, and how all do if that differs; or why it cannot be pruned. */
function layoutOf(uses: readonly Use[]): { layout: Layout; use: Use; onlyWeight: string | undefined } | string {
  const layouts = new Map<string, Layout>();
  let [first, other]: (Use | undefined)[] = [];
  const axes = uses[0]?.constant.entry.shape.length ?? 0;
  if (axes > mostAxes) return `a weight of ${axes} axes is not supported`;
  for (const use of uses) {
    const operator = operators.get(use.node.op);
    if (operator === undefined || !operator.activations.has(use.input)) {
      other ??= use;
      continue;
    }
    const layout = operator.layout(use.node, use.constant, use.input);
    if (typeof layout === 'string') return layout;
    first ??= use;
    layouts.set(`${layout.kind} (${layout.roles.join(', ')})`, layout);
  }
  const [layout] = layouts.values();
  if (layout === undefined || first === undefined) {
    if (other === undefined) return 'no layer reads it';
    const { op } = other.node;
    return calls.test(op) ? `${op} passes it to a function` : `${op} reads it, which is not a layer that can be pruned`;
  }
  if (other !== undefined) return `${other.node.op} also uses it, as input ${other.input}`;
  const readings = [...layouts.keys()].slice(0, 3).join(' / ');
  return { layout, use: first, onlyWeight: layouts.size > 1 ? `several nodes share it: ${readings}` : undefined };
}

/** What a node multiplies with its weight. */
export interface IncomingNode {
  /** The name of an output of a node, as `execute` takes it. */
  readonly value: string;
  readonly geometry: Geometry;
  /** How many adjacent axes, the last of which is that of the geometry, count the input channels. */
  readonly joined: number;
}

/** What each node with a weight reads besides, by the name of the node. Nodes of functions are left out. */
export function incomingNodes(
  topology: Readonly<Record<string, unknown>>,
  entries: readonly WeightEntry[],
): Map<string, IncomingNode> {
  const found = new Map<string, IncomingNode>();
  const graph = new Graph(topology, new Map(entries.map((entry) => [entry.name, entry])));
  for (const use of [...graph.uses.values()].flat()) {
    const { node, input, constant } = use;
    const operator = operators.get(node.op);
    const activations = node.inputs[operator?.activations.get(input) ?? -1];
    const layout = constant.axes.length > mostAxes ? undefined : operator?.layout(node, constant, input);
    if (activations === undefined || typeof layout !== 'object' || node.inside !== undefined) continue;
    const geometry = geometryOf(use, layout);
    if (geometry === undefined) continue;
    const { name, output } = activations;
    found.set(node.name, { value: output > 0 ? `${name}:${output}` : name, geometry, joined: joinedAxes(use) });
  }
  return found;
}
