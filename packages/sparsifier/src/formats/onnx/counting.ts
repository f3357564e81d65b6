import type { Constant, Graph, Node, Value } from './graph.js';
import { operators } from './operators.js';
import { isFloat } from './tensor.js';

/**
 * Whether a constant counts as weights: it has two or more axes, a node reads it, and it consists of floats, or of codes
 * of an operator that decodes them or computes with them.
 */
export function isCounted({ tensor, readers, isCode }: Constant): boolean {
  return tensor.shape.length > 1 && readers.length > 0 && (isCode || isFloat(tensor.type));
}

/** How many numbers all constants have that count as weights. */
export function countWeights({ constants }: Graph): number {
  return constants.filter(isCounted).reduce((sum, { tensor }) => sum + tensor.length, 0);
}

/** Operators whose output consists of numbers of their first input; of all inputs for `Concat`. */
const arranging = new Set([
  ...['Identity', 'Transpose', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Slice', 'Split', 'Concat', 'Gather'],
  ...['Expand', 'Tile', 'Cast'],
]);

/** Marks the constants that reach an operator as codes, in whatever arrangement. Each value is looked at once. */
export function markCodes(nodes: readonly Node[]): void {
  const values = new Set<Value>();
  for (const { op, inputs } of nodes) {
    for (const input of codesOf(op)) if (inputs[input]) values.add(inputs[input]);
  }
  // The set grows while it is read.
  for (const { view, parts, producer } of values) {
    for (const { constant } of view ? [view] : parts) constant.isCode = true;
    if (view !== undefined || producer === undefined || !arranging.has(producer.op)) continue;
    const { op, inputs } = producer;
    for (const value of op === 'Concat' ? inputs : inputs.slice(0, 1)) if (value) values.add(value);
  }
}

/** The inputs of an operator that are codes. */
const codesOf = (op: string): readonly number[] => operators.get(op)?.codes ?? [];
