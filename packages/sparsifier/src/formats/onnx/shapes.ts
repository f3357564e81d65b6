import type { Node, Value } from './graph.js';
import { mostAxes } from './views.js';

/** The size of an axis: a number, or a symbol for one that is only known while the model runs. */
export type Size = number | symbol;

/** The sizes of the axes of a value. */
export type Shape = readonly Size[];

/** A shape, unless it has more axes than any runtime computes with. */
export const knownShape = (sizes: Shape): Shape | undefined => (sizes.length > mostAxes ? undefined : sizes);

/** A size that differs from all others as far as is known. @param name what the file calls it */
export const unknownSize = (name?: string): Size => Symbol(name);

const unknownSizes = (rank: number): Size[] => Array.from({ length: rank }, () => unknownSize());

/** The integers of a constant input, such as the new shape of a Reshape. */
const integersOf = (value: Value | undefined): readonly number[] | undefined => value?.view?.constant.tensor.integers;

/** The numbers of a constant input, such as the limits of a Clip. */
export const numbersOf = (value: Value | undefined): readonly number[] | undefined =>
  integersOf(value) ?? value?.view?.constant.tensor.floats?.();

/** The least and the greatest number of a list, both NaN if it has NaN, and whether all are integers. */
interface Extremes {
  readonly least: number;
  readonly greatest: number;
  readonly isWhole: boolean;
}

/** Those that are known. Many nodes may read one list. */
const knownExtremes = new WeakMap<ArrayLike<number>, Extremes>();

/** The extremes of a list that does not change. Those of an empty list are infinite. */
export function extremesOf(list: ArrayLike<number>): Extremes {
  const known = knownExtremes.get(list);
  if (known !== undefined) return known;
  let [least, greatest, isWhole] = [Infinity, -Infinity, true];
  for (let index = 0; index < list.length; index++) {
    const number = list[index]!;
    least = Math.min(least, number);
    greatest = Math.max(greatest, number);
    isWhole &&= Number.isInteger(number);
  }
  const extremes = { least, greatest, isWhole };
  knownExtremes.set(list, extremes);
  return extremes;
}

/** The axes that an operator names in an attribute or, in later versions, in an input; undefined for none. */
function axesOf({ attributes, inputs }: Node, input: number): readonly number[] | undefined | 'unknown' {
  const given = attributes.get('axes')?.integers;
  if (given !== undefined) return given.length > mostAxes ? 'unknown' : given;
  return inputs[input] === undefined ? undefined : (integersOf(inputs[input]) ?? 'unknown');
}

/** An axis that may count from the end, counted from the front. */
export const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

export const attributeOf = (node: Node, name: string, otherwise: number): number =>
  node.attributes.get(name)?.integer ?? otherwise;

type Inference = (shape: (input: number) => Shape | undefined, node: Node) => Shape | undefined;

const same: Inference = (shape) => shape(0);
const sameRank: Inference = (shape) => shape(0) && unknownSizes(shape(0)!.length);
const broadcast: Inference = (shape, { inputs }) => {
  const [first, ...others] = inputs.map((_, input) => shape(input));
  return others.reduce(together, first);
};
const pooled: Inference = (shape) => shape(0)?.map((size, axis) => (axis < 2 ? size : unknownSize()));
const pooledGlobally: Inference = (shape) => shape(0)?.map((size, axis) => (axis < 2 ? size : 1));

/** Operators, and the shape of an output where it follows from the inputs. */
const inferences = new Map<string, Inference>([
  ...[
    ...['Relu', 'LeakyRelu', 'PRelu', 'Elu', 'Selu', 'Celu', 'ThresholdedRelu', 'Clip', 'Sigmoid', 'HardSigmoid'],
    ...['HardSwish', 'Mish', 'Gelu', 'Swish', 'Softplus', 'Softsign', 'Softmax', 'LogSoftmax', 'Tanh', 'Erf', 'Exp'],
    ...['Log', 'Sqrt', 'Reciprocal', 'Abs', 'Neg', 'Floor', 'Ceil', 'Round', 'Sign', 'Not', 'Cast', 'Identity'],
    ...['Sin', 'Cos', 'Tan', 'Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Acosh', 'Atanh', 'Shrink', 'Hardmax'],
    ...['Dropout', 'BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'GroupNormalization'],
    ...[
      'RMSNormalization',
      'SimplifiedLayerNormalization',
      'LpNormalization',
      'LRN',
      'QuantizeLinear',
      'DequantizeLinear',
    ],
    ...['CumSum', 'Trilu', 'com.microsoft.Gelu', 'com.microsoft.FastGelu', 'com.microsoft.BiasGelu'],
    ...['com.microsoft.QuickGelu'],
  ].map((op): [string, Inference] => [op, same]),
  ...['Pad', 'Slice', 'Resize', 'Upsample', 'DepthToSpace', 'SpaceToDepth', 'Tile'].map((op): [string, Inference] => [
    op,
    sameRank,
  ]),
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Max', 'Min', 'Sum', 'Mean', 'Where'].map((op): [string, Inference] => [
    op,
    broadcast,
  ]),
  ...['MaxPool', 'AveragePool', 'LpPool'].map((op): [string, Inference] => [op, pooled]),
  ...['GlobalMaxPool', 'GlobalAveragePool', 'GlobalLpPool'].map((op): [string, Inference] => [op, pooledGlobally]),
  ...['Mean', 'Max', 'Min', 'Sum', 'SumSquare', 'Prod', 'L1', 'L2', 'LogSum', 'LogSumExp'].map(
    (op): [string, Inference] => [`Reduce${op}`, reduced],
  ),
  ['Conv', convolved],
  ['ConvTranspose', convolved],
  ['com.microsoft.FusedConv', convolved],
  ['Gemm', gemm],
  ['com.microsoft.FusedGemm', gemm],
  ['MatMul', product],
  ['Transpose', transposed],
  ['Flatten', flattened],
  ['Reshape', reshaped],
  ['Squeeze', squeezed],
  ['Unsqueeze', unsqueezed],
  ['Expand', (shape, { inputs }) => together(shape(0), integersOf(inputs[1]))],
  ['Concat', concatenated],
  ['Gather', gathered],
  ['Shape', (shape) => shape(0) && [shape(0)!.length]],
]);

/** The shapes of the outputs of a node, as far as they follow from the inputs. */
export function shapesAfter(node: Node): readonly (Shape | undefined)[] {
  const shape = (input: number) => node.inputs[input]?.shape;
  const shapes = node.op === 'Split' ? split(shape, node) : [inferences.get(node.op)?.(shape, node)];
  return shapes.map((each) => each && knownShape(each));
}

/** A shape that the file states, with what is known of its sizes besides. */
export function merged(stated: Shape | undefined, inferred: Shape | undefined): Shape | undefined {
  if (stated === undefined || inferred?.length !== stated.length) return stated ?? inferred;
  return inferred.map((size, axis) =>
    typeof stated[axis] === 'number' && typeof size === 'symbol' ? stated[axis] : size,
  );
}

/** The shape of two values that are broadcast together. */
function together(one: Shape | undefined, other: Shape | undefined): Shape | undefined {
  if (one === undefined || other === undefined) return undefined;
  const rank = Math.max(one.length, other.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [first, second] = [one[axis - rank + one.length] ?? 1, other[axis - rank + other.length] ?? 1];
    if (second === 1 || first === second) return first;
    if (first === 1) return second;
    // A size above 1 is that of the result, whatever the other is.
    return typeof first === 'number' ? first : typeof second === 'number' ? second : unknownSize();
  });
}

function reduced(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const before = shape(0);
  const named = axesOf(node, 1);
  const keeps = attributeOf(node, 'keepdims', 1) !== 0;
  if (before === undefined) return undefined;
  if (named === 'unknown') return keeps ? unknownSizes(before.length) : undefined;
  const axes = new Set((named ?? [...before.keys()]).map((axis) => fromFront(axis, before.length)));
  return keeps ? before.map((size, axis) => (axes.has(axis) ? 1 : size)) : before.filter((_, axis) => !axes.has(axis));
}

/** The weight of a convolution has as many axes as its input. */
function convolved(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const [input, weight] = [shape(0), shape(1)];
  if (weight === undefined) return input && unknownSizes(input.length);
  const out =
    node.op === 'ConvTranspose' ? times([weight[1] ?? unknownSize(), attributeOf(node, 'group', 1)]) : weight[0];
  return [input?.[0] ?? unknownSize(), out ?? unknownSize(), ...weight.slice(2).map(() => unknownSize())];
}

function gemm(shape: (input: number) => Shape | undefined, node: Node): Shape {
  const rows = shape(0)?.[attributeOf(node, 'transA', 0) === 0 ? 0 : 1];
  const columns = shape(1)?.[attributeOf(node, 'transB', 0) === 0 ? 1 : 0];
  return [rows ?? unknownSize(), columns ?? unknownSize()];
}

/** A product with a vector has one axis less than the other factor. */
function product(shape: (input: number) => Shape | undefined): Shape | undefined {
  const [left, right] = [shape(0), shape(1)];
  // Single numbers have no products.
  if (!left?.length || !right?.length) return undefined;
  if (left.length === 1) return right.length === 1 ? [] : [...right.slice(0, -2), right.at(-1)!];
  if (right.length === 1) return left.slice(0, -1);
  const batches = together(left.slice(0, -2), right.slice(0, -2))!;
  return [...batches, left.at(-2)!, right.at(-1)!];
}

function transposed(shape: (input: number) => Shape | undefined, { attributes }: Node): Shape | undefined {
  const before = shape(0);
  const order = attributes.get('perm')?.integers;
  if (order === undefined) return before && [...before].reverse();
  if (order.length > mostAxes) return undefined;
  return order.map((axis) => before?.[axis] ?? unknownSize());
}

function flattened(shape: (input: number) => Shape | undefined, node: Node): Shape {
  const before = shape(0);
  if (before === undefined) return unknownSizes(2);
  const axis = fromFront(attributeOf(node, 'axis', 1), before.length);
  return [times(before.slice(0, axis)), times(before.slice(axis))];
}

/** The new shape is a vector with one entry per axis: 0 for an axis that is kept, and -1 for what remains. */
function reshaped(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const { inputs, attributes } = node;
  const before = shape(0);
  const source = inputs[1]?.producer;
  if (source?.op === 'Shape' && source.attributes.size === 0 && !inputs[1]!.isConstant) return source.inputs[0]?.shape;
  const wanted = integersOf(inputs[1]) ?? attributes.get('shape')?.integers;
  if (wanted === undefined) {
    const rank = inputs[1]?.shape?.[0];
    return typeof rank === 'number' && rank <= mostAxes ? unknownSizes(rank) : undefined;
  }
  if (wanted.length > mostAxes) return undefined;
  const copies = attributeOf(node, 'allowzero', 0) === 0;
  const sizes = wanted.map((size, axis) => (size === 0 && copies ? (before?.[axis] ?? unknownSize()) : size));
  const rest = sizes.indexOf(-1);
  if (rest >= 0)
    sizes[rest] = quotient(
      before,
      sizes.filter((_, axis) => axis !== rest),
    );
  return sizes;
}

function squeezed(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const before = shape(0);
  const axes = axesOf(node, 1);
  if (before === undefined || axes === 'unknown') return undefined;
  // Without axes, all of size 1 go, which is known only if all sizes are.
  if (axes === undefined) return before.every(Number.isInteger) ? before.filter((size) => size !== 1) : undefined;
  const gone = new Set(axes.map((axis) => fromFront(axis, before.length)));
  return before.filter((_, axis) => !gone.has(axis));
}

function unsqueezed(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const before = shape(0);
  const axes = axesOf(node, 1);
  if (before === undefined || axes === undefined || axes === 'unknown') return undefined;
  const rank = before.length + axes.length;
  const added = new Set(axes.map((axis) => fromFront(axis, rank)));
  const rest = before.values();
  return Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : (rest.next().value ?? 1)));
}

function concatenated(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const shapes = node.inputs.map((_, input) => shape(input));
  const known = shapes.find((each) => each !== undefined);
  if (known === undefined) return undefined;
  const axis = fromFront(attributeOf(node, 'axis', 0), known.length);
  const along = shapes.map((each) => each?.[axis]);
  const sum = along.reduce<number>((total, size) => total + (typeof size === 'number' ? size : NaN), 0);
  return known.map((size, at) => (at !== axis ? size : Number.isSafeInteger(sum) ? sum : unknownSize()));
}

function split(shape: (input: number) => Shape | undefined, node: Node): Shape[] {
  const before = shape(0);
  if (before === undefined) return [];
  const axis = fromFront(attributeOf(node, 'axis', 0), before.length);
  const sizes = splitSizes(node);
  return node.outputs.map((_, output) =>
    before.map((size, at) => (at === axis ? (sizes?.[output] ?? unknownSize()) : size)),
  );
}

/** The sizes of the parts of a Split along its axis. */
function splitSizes(node: Node): readonly number[] | undefined {
  const { attributes, inputs, outputs } = node;
  const stated = attributes.get('split')?.integers ?? integersOf(inputs[1]);
  if (stated !== undefined || inputs[1] !== undefined) return stated;
  const before = inputs[0]?.shape;
  const whole = before?.[fromFront(attributeOf(node, 'axis', 0), before.length)];
  if (typeof whole !== 'number') return undefined;
  const part = Math.ceil(whole / outputs.length);
  return outputs.map((_, output) => Math.max(0, Math.min(part, whole - output * part)));
}

function gathered(shape: (input: number) => Shape | undefined, node: Node): Shape | undefined {
  const [data, indices] = [shape(0), shape(1)];
  if (data === undefined || indices === undefined) return undefined;
  const axis = fromFront(attributeOf(node, 'axis', 0), data.length);
  return [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)];
}

/** The number of elements of these axes. */
function times(sizes: Shape): Size {
  const { number, symbols } = factors(sizes);
  if (number === 0 || symbols.length === 0) return number;
  return number === 1 && symbols.length === 1 ? symbols[0]! : unknownSize();
}

/** What remains of the elements of a shape per element of other axes. */
function quotient(whole: Shape | undefined, parts: Shape): Size {
  if (whole === undefined) return unknownSize();
  const [dividend, divisor] = [factors(whole), factors(parts)];
  const rest = [...dividend.symbols];
  for (const symbol of divisor.symbols) {
    const at = rest.indexOf(symbol);
    if (at < 0) return unknownSize();
    rest.splice(at, 1);
  }
  const number = dividend.number / divisor.number;
  if (!Number.isInteger(number) || dividend.number > Number.MAX_SAFE_INTEGER) return unknownSize();
  return rest.length === 0 ? number : number === 1 && rest.length === 1 ? rest[0]! : unknownSize();
}

function factors(sizes: Shape): { number: number; symbols: symbol[] } {
  let number = 1;
  const symbols: symbol[] = [];
  for (const size of sizes) {
    if (typeof size === 'number') number *= size;
    else symbols.push(size);
  }
  return { number, symbols };
}
