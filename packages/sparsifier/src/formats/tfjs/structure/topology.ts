import { isObject } from '../../../model/json.js';
import type { Value } from '../../onnx/graph.js';
import { addTo, UnusedNames } from '../description.js';
import type { Config } from '../keras-types.js';
import { referenceOf } from '../graph-structure.js';
import { dataInputs, nodesIn } from './graph.js';
import type { Sized } from './layer.js';
import type { NodeInput, NodeJson } from './node.js';
import type { NewNumbers, NewTopology } from './rewrite.js';

/** The config of a Keras model with other numbers of channels. */
export function configWith(topology: Config, sizes: readonly Sized[], numbers: readonly NewNumbers[]): NewTopology {
  const shapes = new Map(numbers.map(({ entry, shape }) => [entry, shape]));
  const changes = new Map<object, object>();
  for (const { config, key, weight, axis } of sizes) {
    const size = (shapes.get(weight) ?? weight.shape)[axis];
    if (config[key] !== size) changes.set(config, { ...(changes.get(config) ?? config), [key]: size });
  }
  return { topology: replaced(topology, changes), names: numbers.map(({ entry }) => entry.name) };
}

/** The nodes of a graph that read other numbers. Those that read a weight in different ways get constants of their own. */
export function graphWith(
  topology: Config,
  sources: ReadonlyMap<Value, NodeInput>,
  numbers: readonly NewNumbers[],
): NewTopology {
  const nodes = nodesIn(topology.node);
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const unused = new UnusedNames(byName.keys());
  const counts = new Map<string, number>();
  for (const input of nodes.flatMap(dataInputs)) {
    const [name] = referenceOf(input);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const read = numbers.map(({ readers }) => inputsOf(readers, sources));
  const byEntry = new Map<string, number[]>();
  for (const [place, { entry }] of numbers.entries()) addTo(byEntry, entry.name, place);
  const names: string[] = [];
  const added: NodeJson[] = [];
  /** The new name of each input that reads another constant. */
  const inputs = new Map<NodeJson, Map<number, string>>();
  for (const [name, places] of byEntry) {
    // If all inputs get other numbers, the first of these replace the old ones.
    const isAll = places.reduce((count, place) => count + read[place]!.length, 0) === counts.get(name);
    for (const [at, place] of places.entries()) {
      const isReplaced = isAll && at === 0;
      names[place] = isReplaced ? name : unused.take(`${name}/channels`);
      if (isReplaced) continue;
      added.push({ ...byName.get(name)!, name: names[place] });
      for (const { node, input } of read[place]!) {
        const known = inputs.get(node) ?? new Map<number, string>();
        inputs.set(node, known.set(input, names[place]));
      }
    }
  }
  const shapes = new Map(numbers.map(({ shape }, place) => [names[place]!, shape]));
  const node = [...(topology.node as readonly unknown[]), ...added].map((item) => {
    const own = item as NodeJson;
    return isObject(item) ? withInputs(withShapes(own, shapes.get(own.name)), inputs.get(own)) : item;
  });
  return { topology: { ...topology, node }, names };
}

/** The inputs of nodes that values stand for, each once. */
function inputsOf(values: readonly Value[], sources: ReadonlyMap<Value, NodeInput>): NodeInput[] {
  const found = new Map<string, NodeInput>();
  for (const value of values) {
    const source = sources.get(value);
    if (source !== undefined) found.set(JSON.stringify([source.node.name, source.input]), source);
  }
  return [...found.values()];
}

/** A node whose constant has another shape, and without what converters note down of shapes. */
function withShapes(node: NodeJson, shape: readonly number[] | undefined): NodeJson {
  const { _output_shapes: _, ...attr } = node.attr ?? {};
  const { value } = attr;
  const own = node.attr === undefined ? node : { ...node, attr };
  if (shape === undefined || !isObject(value) || !isObject(value.tensor)) return own;
  const tensorShape = shape.length === 0 ? {} : { dim: shape.map((size) => ({ size: String(size) })) };
  return { ...own, attr: { ...attr, value: { ...value, tensor: { ...value.tensor, tensorShape } } } };
}

/** A node of which some inputs have other names. Inputs that only say what runs first are not counted. */
function withInputs(node: NodeJson, names: ReadonlyMap<number, string> | undefined): NodeJson {
  if (names === undefined) return node;
  let place = -1;
  const input = node.input!.map((each) => {
    if (!each.startsWith('^')) place++;
    return each.startsWith('^') ? each : (names.get(place) ?? each);
  });
  return { ...node, input };
}

/** A copy of JSON in which some objects have other contents. */
function replaced(json: unknown, changes: ReadonlyMap<object, object>): unknown {
  if (Array.isArray(json)) return json.map((each) => replaced(each, changes));
  if (!isObject(json)) return json;
  const { ...own } = changes.get(json) ?? json;
  return Object.fromEntries(Object.entries(own).map(([key, value]) => [key, replaced(value, changes)]));
}
