import { isObject } from '../../model/json.js';
import { addTo, type WeightEntry, type Weights } from './description.js';
import type { Constant, Node, Value } from './graph-node.js';
import {
  argumentsOf,
  callsOf,
  functionsIn,
  isParameter,
  type FunctionCall,
  type GraphFunction,
} from './graph-functions.js';
import { viewThrough } from './graph-views.js';

/** An input that reads a weight, directly or through nodes that move its axes. */
export interface Use {
  readonly node: Node;
  readonly input: number;
  readonly constant: Constant;
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };
type Input = Mutable<Value>;
interface Draft extends Mutable<Node> {
  inputs: Input[];
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
    // All inputs that read a weight as it is share one constant.
    const constants: Constants = new Map(
      [...weights].map(([name, entry]) => [name, { entry, axes: [...entry.shape.keys()] }]),
    );
    const bodies = new Map<string, Body>();
    for (const each of functionsIn(library)) {
      const list = [...each.body, { name: each.name, op: 'Return', input: each.outputs }];
      bodies.set(each.name, { ...each, nodes: nodesIn(list, constants, each.name, new Set(each.parameters)) });
    }
    const main = nodesIn(node, constants);
    const nodes = [...main, ...[...bodies.values()].flatMap((body) => body.nodes)];
    const passed = resolve(main, bodies);
    const uses = new Map<WeightEntry, Use[]>();
    for (const node of nodes) {
      const sources = new Set<Draft>();
      for (const [input, { node: source, constant }] of node.inputs.entries()) {
        if (constant === undefined) {
          if (source !== undefined) sources.add(source as Draft);
        } else {
          const list = uses.get(constant.entry) ?? [];
          uses.set(constant.entry, list);
          const isPassed = passed.get(node)?.has(input) === true;
          if (!isPassed && (node.view === undefined || input > 0)) list.push({ node, input, constant });
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

/** Weights as they are, by their names. */
type Constants = ReadonlyMap<string, Constant>;

/** A function, with its nodes. The last one is its `Return`. */
interface Body extends GraphFunction {
  readonly nodes: readonly Draft[];
}

/**
 * Finds what the inputs of all nodes read through views, and through the arguments of functions. A function is resolved
 * after all nodes that call it; functions that call themselves are resolved without their arguments.
 * @returns the inputs that only pass a constant on: to functions, or to the next round of a loop
 */
function resolve(main: readonly Draft[], bodies: ReadonlyMap<string, Body>): Map<Node, Set<number>> {
  const lists = [main, ...[...bodies.values()].map(({ nodes }) => nodes)];
  const calls = lists
    .flat()
    .flatMap(callsOf)
    .filter(({ callee }) => bodies.has(callee));
  const callsTo = new Map<string, FunctionCall[]>();
  for (const call of calls) addTo(callsTo, call.callee, call);
  const read = readOutputs(lists.flat());
  const isKept = ({ node, loop }: FunctionCall, index: number) => {
    const body = loop === undefined ? undefined : bodies.get(loop);
    const isReturned = body !== undefined && isParameter(body.nodes.at(-1)!.inputs[index], body.parameters[index]);
    // Whoever reads this output of the loop would read the constant, too.
    return isReturned && read.get(node)?.has(index) !== true;
  };
  const waiting = new Map([...callsTo].map(([callee, { length }]) => [callee, length]));
  const ready: Body[] = [...bodies.values()].filter(({ name }) => !callsTo.has(name));
  const finish = (nodes: readonly Draft[]): void => {
    resolveViews(nodes);
    for (const { callee } of nodes.flatMap(callsOf)) {
      const left = (waiting.get(callee) ?? 0) - 1;
      waiting.set(callee, left);
      if (left === 0) ready.push(bodies.get(callee)!);
    }
  };
  const given = new Map<string, readonly (Constant | undefined)[]>();
  finish(main);
  // The list grows while it is read.
  for (const body of ready) {
    const constants = argumentsOf(body, callsTo.get(body.name) ?? [], isKept);
    const named = new Map(body.parameters.map((parameter, index) => [parameter, constants[index]]));
    given.set(body.name, constants);
    for (const { inputs } of body.nodes) {
      for (const input of inputs) if (input.node === undefined) input.constant ??= named.get(input.name);
    }
    finish(body.nodes);
  }
  for (const { name, nodes } of bodies.values()) if (!given.has(name)) resolveViews(nodes);
  return passedBy(lists.flat(), given, bodies);
}

/** The inputs of calls whose constants all called functions know, and what the body of a loop returns of them. */
function passedBy(
  nodes: readonly Draft[],
  given: ReadonlyMap<string, readonly (Constant | undefined)[]>,
  bodies: ReadonlyMap<string, Body>,
): Map<Node, Set<number>> {
  const passed = new Map<Node, Set<number>>();
  const mark = (node: Node, input: number) => passed.set(node, (passed.get(node) ?? new Set()).add(input));
  for (const node of nodes) {
    const calls = callsOf(node);
    for (const input of calls.length > 0 ? node.inputs.keys() : []) {
      if (!calls.every(({ callee, first }) => given.get(callee)?.[input - first] !== undefined)) continue;
      mark(node, input);
      const loop = calls[0]!.loop;
      if (loop !== undefined) mark(bodies.get(loop)!.nodes.at(-1)!, input);
    }
  }
  return passed;
}

/** The outputs of each node that others read, by their numbers. */
function readOutputs(nodes: readonly Draft[]): Map<Node, Set<number>> {
  const read = new Map<Node, Set<number>>();
  for (const { inputs } of nodes) {
    for (const { node, output } of inputs) {
      if (node !== undefined) read.set(node, (read.get(node) ?? new Set()).add(output));
    }
  }
  return read;
}

/** The name of the node that an input reads, and the number of its output: `node`, `node:1`, or in functions `node:name:1`. */
export function referenceOf(input: string): readonly [name: string, output: number] {
  const end = input.indexOf(':');
  return end < 0 ? [input, 0] : [input.slice(0, end), Number(input.slice(input.lastIndexOf(':') + 1)) || 0];
}

/** The names of known operators are shorter. Expressions are matched with them for each layer that reaches a node. */
const longestOperator = 100;

function nodesIn(
  list: unknown,
  constants: Constants,
  inside?: string,
  parameters: ReadonlySet<string> = new Set(),
): Draft[] {
  const nodes = new Map<string, Draft>();
  for (const item of Array.isArray(list) ? list : []) {
    if (!isObject(item) || typeof item.name !== 'string' || typeof item.op !== 'string') continue;
    const inputs = (Array.isArray(item.input) ? item.input : [])
      .filter((input): input is string => typeof input === 'string' && !input.startsWith('^'))
      .map((input) => {
        const [name, output] = referenceOf(input);
        return { name, output, node: undefined, constant: undefined };
      });
    const attributes = isObject(item.attr) ? item.attr : {};
    const own = { name: item.name, op: item.op.slice(0, longestOperator), inside, inputs, attributes };
    nodes.set(item.op === 'Return' ? '' : item.name, { ...own, view: undefined, readers: [], sources: 0 });
  }
  for (const { inputs } of nodes.values()) {
    for (const input of inputs) {
      if (parameters.has(input.name)) continue;
      input.node = nodes.get(input.name);
      input.constant = constants.get(input.name);
    }
  }
  return [...nodes.values()];
}

/** Finds what inputs read through nodes that only move the axes of a weight. */
function resolveViews(nodes: readonly Draft[]): void {
  const resolved = new Set<Draft>();
  const resolveFirst = ([input]: Input[]) => {
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
      resolveFirst(each.inputs);
      each.view = viewThrough(each);
    }
  }
  for (const { inputs } of nodes) for (let at = 1; at < inputs.length; at++) resolveFirst([inputs[at]!]);
}
