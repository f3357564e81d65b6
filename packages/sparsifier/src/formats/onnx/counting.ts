import { productOf, sumOf } from '../../model/numbers.js';
import type { Constant, Graph, Node, Value } from './graph.js';
import { operators } from './operators.js';
import { isFloat, typeName } from './types.js';
import type { View } from './views.js';

/**
 * Whether a constant counts as weights: it has two or more axes, a node reads it, and it consists of floats, or of codes
 * that an operator decodes or computes with. Scales and zero points of codes do not count.
 */
export function isCounted(constant: Constant): boolean {
  const { tensor, readers, isCode, parameterReads } = constant;
  const isRead = readers.length > parameterReads;
  return weightsIn(constant).shape.length > 1 && isRead && (isCode || isFloat(tensor.type));
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
 * floats and a `Mul` of constants, with a `Sub` of the zero point or without. Counts the inputs that read constants as
 * scales or zero points of codes. Each value is looked at once.
 */
export function markCodes(nodes: readonly Node[]): void {
  const codes = new Set<Value>();
  const factors = new Set<Value>();
  const isConverted = convertedIn(nodes);
  for (const node of nodes) {
    const { op, inputs } = node;
    const { codes: own = [], parameters = [], unpacked } = operators.get(op) ?? {};
    for (const value of own.map((input) => inputs[input]).filter((value) => value !== undefined)) {
      codes.add(value);
      if (value.view !== undefined) value.view.constant.unpacked = unpacked?.(node);
    }
    for (const input of parameters) countParameter(inputs[input]);
    const isOfConstants = (op === 'Mul' || op === 'Sub') && inputs.every((value) => value?.isConstant ?? true);
    for (const [place, value] of isOfConstants ? inputs.entries() : []) {
      const other = inputs[1 - place];
      if (value === undefined || !isConverted(value) || (op === 'Sub' && place === 1)) continue;
      if (op === 'Mul') factors.add(value);
      if (!isConverted(other)) countParameter(other);
    }
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
    for (const view of viewsIn(value)) if (isInteger(view)) view.constant.isCode = true;
    for (const source of sourcesOf(value)) integers.add(source);
  }
  for (const value of codes) {
    for (const { constant } of viewsIn(value)) constant.isCode = true;
    for (const source of sourcesOf(value)) codes.add(source);
  }
}

/** Tells of which values contain integers that a `Cast` made floats of. */
function convertedIn(nodes: readonly Node[]): (value: Value | undefined) => boolean {
  const [integers, floats] = [new Set<Value>(), new Set<Value>()];
  const isConverted = (value: Value) =>
    floats.has(value) || viewsIn(value).some((view) => view.converted !== undefined);
  const hasIntegers = (value: Value) => integers.has(value) || viewsIn(value).some(isInteger);
  // Nodes are in the order in which they run.
  for (const output of nodes.flatMap(({ outputs }) => outputs)) {
    const sources = sourcesOf(output, 'Sub');
    if (sources.some(isConverted)) floats.add(output);
    const { producer } = output;
    if (producer?.op === 'Sub' || !sources.some(hasIntegers)) continue;
    (isFloatCast(producer!) ? floats : integers).add(output);
  }
  return (value) => value !== undefined && isConverted(value);
}

function countParameter(value: Value | undefined): void {
  if (value !== undefined) for (const { constant } of viewsIn(value)) constant.parameterReads++;
}

/** Whether a view is of integers as they are stored. */
const isInteger = ({ constant, quantisation, converted }: View): boolean =>
  constant.tensor.codes !== undefined && quantisation === undefined && converted === undefined;

/** The stored constants that a value contains. */
const viewsIn = ({ view, parts }: Value): readonly View[] => (view ? [view] : parts);

/**
 * What a value is arranged from that is not followed to stored constants, also by this further operator. The many inputs of
 * a `Concat` are those of its output alone: values that only pass that on come from it.
 */
function sourcesOf(value: Value, further?: string): readonly Value[] {
  const { view, producer } = value;
  if (view !== undefined || producer === undefined) return [];
  const { op, inputs, outputs } = producer;
  if (!arranging.has(op) && op !== further) return [];
  const sources = op !== 'Concat' ? inputs.slice(0, 1) : value === outputs[0] ? inputs : outputs.slice(0, 1);
  return sources.filter((source) => source !== undefined);
}

const isFloatCast = ({ op, attributes }: Node): boolean =>
  op === 'Cast' && isFloat(typeName(attributes.get('to')?.integer ?? 0));
