import { isObject } from '../../model/json.js';
import { identities } from './graph-views.js';
import type { Constant, Node, Value } from './graph-node.js';

/** A function of a graph, which its control flow calls. */
export interface GraphFunction {
  readonly name: string;
  /** The names of its arguments. */
  readonly parameters: readonly string[];
  /** Its nodes, as JSON. */
  readonly body: readonly unknown[];
  /** What it returns: inputs like those of nodes. */
  readonly outputs: readonly unknown[];
}

/** A node that calls a function with its inputs from `first` on. */
export interface FunctionCall {
  readonly node: Node;
  readonly callee: string;
  readonly first: number;
  /** The function whose results are the arguments of the next round, if the node is a loop. */
  readonly loop: string | undefined;
}

const namesIn = (list: unknown): string[] =>
  (Array.isArray(list) ? list : []).flatMap((each) =>
    isObject(each) && typeof each.name === 'string' ? each.name : [],
  );

export function functionsIn(library: unknown): GraphFunction[] {
  const list = isObject(library) && Array.isArray(library.function) ? library.function : [];
  return list.filter(isObject).map(({ signature, nodeDef, ret }) => {
    const { name, inputArg, outputArg } = isObject(signature) ? signature : {};
    const results: Readonly<Record<string, unknown>> = isObject(ret) ? ret : {};
    const order = namesIn(outputArg).filter((each) => Object.hasOwn(results, each));
    const ordered = new Set(order);
    const others = Object.keys(results).filter((each) => !ordered.has(each));
    return {
      name: typeof name === 'string' ? name : 'function',
      parameters: namesIn(inputArg),
      body: Array.isArray(nodeDef) ? (nodeDef as unknown[]) : [],
      outputs: [...order, ...others].map((each) => results[each]),
    };
  });
}

/** The functions that a node calls. */
export function callsOf(node: Node): FunctionCall[] {
  const { op, attributes } = node;
  const named = (key: string): string | undefined => {
    const attribute = attributes[key];
    const { name } = isObject(attribute) && isObject(attribute.func) ? attribute.func : {};
    return typeof name === 'string' ? name : undefined;
  };
  const isLoop = op === 'While' || op === 'StatelessWhile';
  const isBranch = op === 'If' || op === 'StatelessIf';
  const keys = isLoop ? ['cond', 'body'] : isBranch ? ['then_branch', 'else_branch'] : ['f'];
  return keys.flatMap((key) => {
    const callee = named(key);
    const call = { node, first: isBranch ? 1 : 0, loop: isLoop ? named('body') : undefined };
    return callee === undefined ? [] : [{ ...call, callee }];
  });
}

/**
 * The constants that each argument of a function is in all calls; undefined for others.
 * @param isKept whether a loop passes an argument on to its next round as it is
 */
export function argumentsOf(
  { parameters }: GraphFunction,
  calls: readonly FunctionCall[],
  isKept: (call: FunctionCall, index: number) => boolean,
): (Constant | undefined)[] {
  const given = ({ node, first }: FunctionCall, index: number) => node.inputs[first + index]?.constant;
  return parameters.map((_, index) => {
    const one = calls[0] && given(calls[0], index);
    const isSame = (call: FunctionCall) =>
      areSame(one, given(call, index)) && (call.loop === undefined || isKept(call, index));
    return one !== undefined && calls.every(isSame) ? one : undefined;
  });
}

const areSame = (one: Constant | undefined, other: Constant | undefined): boolean =>
  one === other || (one?.entry === other?.entry && String(one?.axes) === String(other?.axes));

/** Whether a value is an argument as it is. */
export function isParameter(value: Value | undefined, parameter: string | undefined): boolean {
  const origin = value && originOf(value);
  return origin !== undefined && origin.node === undefined && origin.name === parameter && !origin.constant;
}

const origins = new WeakMap<Value, Value>();

/** What a value is before nodes that return it as it is. For one in a circle of these, any value of the circle. */
function originOf(value: Value): Value {
  const passed = new Set<Value>();
  let origin = value;
  for (;;) {
    const { node } = origin;
    const before = node && identities.has(node.op) ? (origins.get(origin) ?? node.inputs[0]) : undefined;
    if (before === undefined || passed.has(origin)) break;
    passed.add(origin);
    origin = before;
  }
  for (const each of passed) origins.set(each, origin);
  return origin;
}
