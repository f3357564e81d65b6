import { productOf, sumOf } from '../../model/numbers.js';
import type { Constant, Graph, Node, Value } from './graph.js';
import { operators } from './operators.js';
import { isFloat, typeName } from './tensor.js';
import type { View } from './views.js';

/**
 * Whether a constant counts as weights: it has two or more axes, a node reads it, and it consists of floats, or of codes
 * that an operator decodes or computes with.
 */
export function isCounted(constant: Constant): boolean {
  const { tensor, readers, isCode } = constant;
  return weightsIn(constant).shape.length > 1 && readers.length > 0 && (isCode || isFloat(tensor.type));
}

/** The shape of the weights that a constant holds, and how many there are. */
export function weightsIn({ tensor, unpacked }: Constant): {
  readonly shape: readonly number[];
  readonly count: number;
} {
  return unpacked === undefined
    ? { shape: tensor.shape, count: tensor.length }
    : { shape: unpacked, count: productOf(unpacked) };
}

/** How many numbers all constants have that count as weights. */
export function countWeights({ constants }: Graph): number {
  return sumOf(constants.filter(isCounted).map((constant) => weightsIn(constant).count));
}

/** Operators whose output consists of numbers of their first input; of all inputs for `Concat`. */
const arranging = new Set([
  ...['Identity', 'Transpose', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Slice', 'Split', 'Concat', 'Gather'],
  ...['Expand', 'Tile', 'Cast'],
]);

/**
 * Marks the constants that are codes, in whatever arrangement they reach what decodes them: an operator, or a `Cast` to
 * floats and a `Mul` of constants, with a `Sub` of the zero point or without. Each value is looked at once.
 */
export function markCodes(nodes: readonly Node[]): void {
  const codes = new Set<Value>();
  const factors = new Set<Value>();
  for (const node of nodes) {
    const { op, inputs } = node;
    const unpacked = operators.get(op)?.unpacked?.(node);
    for (const input of codesOf(op)) {
      if (inputs[input] === undefined) continue;
      codes.add(inputs[input]);
      if (inputs[input].view !== undefined) inputs[input].view.constant.unpacked = unpacked;
    }
    const isConstant = op === 'Mul' && inputs.every((value) => value?.isConstant ?? true);
    for (const value of isConstant ? inputs : []) if (value) factors.add(value);
  }
  // The sets grow while they are read.
  const integers = new Set<Value>();
  for (const value of factors) {
    for (const { constant, converted } of viewsIn(value)) if (converted !== undefined) constant.isCode = true;
    for (const source of sourcesOf(value, 'Sub')) {
      factors.add(source);
      if (isFloatCast(value.producer!)) integers.add(source);
    }
  }
  for (const value of integers) {
    for (const { constant } of viewsIn(value)) if (constant.tensor.codes !== undefined) constant.isCode = true;
    for (const source of sourcesOf(value)) integers.add(source);
  }
  for (const value of codes) {
    for (const { constant } of viewsIn(value)) constant.isCode = true;
    for (const source of sourcesOf(value)) codes.add(source);
  }
}

/** The stored constants that a value contains. */
const viewsIn = ({ view, parts }: Value): readonly View[] => (view ? [view] : parts);

/** What a value is arranged from that is not followed to stored constants, also by this further operator. */
function sourcesOf({ view, producer }: Value, further?: string): readonly Value[] {
  if (view !== undefined || producer === undefined) return [];
  const { op, inputs } = producer;
  if (!arranging.has(op) && op !== further) return [];
  return (op === 'Concat' ? inputs : inputs.slice(0, 1)).filter((value) => value !== undefined);
}

const isFloatCast = ({ op, attributes }: Node): boolean =>
  op === 'Cast' && isFloat(typeName(attributes.get('to')?.integer ?? 0));

/** The inputs of an operator that are codes. */
const codesOf = (op: string): readonly number[] => operators.get(op)?.codes ?? [];
