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
    const others = Object.keys(results).filter((each) => !new Set(order).has(each));
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
  return parameters.map((_, index) => {
    const [one, ...others] = calls.map(({ node, first }) => node.inputs[first + index]?.constant);
    if (one === undefined || !calls.every((call) => call.loop === undefined || isKept(call, index))) return undefined;
    const isSame = others.every((each) => each?.entry === one.entry && String(each.axes) === String(one.axes));
    return isSame ? one : undefined;
  });
}

/** Whether a value is an argument as it is. */
export function isParameter(value: Value | undefined, parameter: string | undefined): boolean {
  const seen = new Set<Value>();
  for (let each = value; each !== undefined && !seen.has(each);) {
    if (each.node === undefined) return each.name === parameter && each.constant === undefined;
    seen.add(each);
    each = identities.has(each.node.op) ? each.node.inputs[0] : undefined;
  }
  return false;
}
