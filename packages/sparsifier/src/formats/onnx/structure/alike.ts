import type { List } from '../../../structure/network.js';
import type { Node } from '../graph.js';
import type { Pair, Sized } from './sizes.js';

/**
 * Texts that are the same for nodes and values for which the rules of operators say the same. Graphs have many of them, and
 * each rule is asked once.
 */

/** The most inputs and numbers of what is compared: others are mostly one of a kind. */
const most = { inputs: 16, numbers: 16 } as const;

/** What a rule is told of a node besides its inputs; undefined for one that is not compared with others. */
export function keyOfNode({ op, attributes, inputs, outputs }: Node): string | undefined {
  if (inputs.length > most.inputs || outputs.length > most.inputs) return undefined;
  let key = `${op} ${outputs.length} ${inputs.map((value) => (value === undefined ? '-' : '+')).join('')}`;
  for (const [name, { integer, float, text, integers, floats, texts, tensors, sparse, graphs }] of attributes) {
    const isLong = [integers, floats, texts].some(({ length }) => length > most.numbers);
    if (isLong || tensors.length + sparse.length + graphs.length > 0) return undefined;
    key += ` ${JSON.stringify([name, integer, String(float), text, integers, floats.map(String), texts])}`;
  }
  return key;
}

const keys = new WeakMap<Pair, string>();

/** What is known of the size of a value. */
export function keyOfPair(pair: Pair): string {
  let key = keys.get(pair);
  if (key === undefined) {
    const [one, other] = pair;
    keys.set(pair, (key = one === other ? keyOfSized(one) : `${keyOfSized(one)}|${keyOfSized(other)}`));
  }
  return key;
}

const keyOfSized = (sized: Sized | undefined): string =>
  sized === undefined ? '?' : `${sized.shape.join()}${keyOfList(sized.list)}`;

const numbers = new WeakMap<List, number>();
let count = 0;

export function keyOfList(list: List | undefined): string {
  if (list === undefined) return '';
  if (list.numbers.length <= most.numbers) return `${list.isInteger ? 'i' : 'f'}${list.numbers.join()}`;
  if (!numbers.has(list)) numbers.set(list, count++);
  return `#${numbers.get(list)}`;
}
