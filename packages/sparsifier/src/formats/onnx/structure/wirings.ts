import type { Node } from '../graph.js';
import { keyOfNode, keyOfPair } from './alike.js';
import type { Operator } from './site.js';
import type { Pair, Sizes } from './sizes.js';
import { Wiring, type Carried } from './wiring.js';

/** Where indices of inputs of nodes are in their outputs. Nodes that are alike are looked at once. */
export class Wirings {
  readonly #known = new Map<string, Wiring>();
  /** How many indices were looked at. */
  work = 0;

  constructor(readonly sizes: Sizes) {}

  /**
   * @param carried the axis of each input that channels are on
   * @param instead inputs in place of those of the node, which have as many numbers
   */
  of(node: Node, operator: Operator, carried: Carried, instead?: ReadonlyMap<number, Pair>): Wiring {
    const { sizes } = this;
    const inputs = node.inputs.map((value, place) => instead?.get(place) ?? sizes.of(value));
    const outputs = node.outputs.map((value) => sizes.of(value));
    const isOwn = operator === sizes.operators.get(node.op);
    const key = keyOfWiring(node, isOwn, [...inputs, ...outputs], carried);
    const known = key === undefined ? undefined : this.#known.get(key);
    if (known !== undefined) return known;
    const wiring = new Wiring(node, operator, sizes.opset, inputs, outputs, carried);
    this.work += wiring.work;
    if (key !== undefined) this.#known.set(key, wiring);
    return wiring;
  }
}

/** The same for nodes whose channels are in the same places. */
function keyOfWiring(node: Node, isOwn: boolean, sizes: readonly Pair[], carried: Carried): string | undefined {
  const key = keyOfNode(node);
  if (key === undefined) return undefined;
  let all = isOwn ? key : `instead ${key}`;
  for (const pair of sizes) all += `;${keyOfPair(pair)}`;
  for (const [input, { axis, size }] of carried) all += `;${input} ${axis} ${size}`;
  return all;
}
