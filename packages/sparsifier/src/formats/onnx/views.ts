import type { Constant, Node, Value } from './graph.js';
import type { Attribute } from './nodes.js';
import { alignedWith, quantisationOf, sameQuantisation, type Parameter, type Quantisation } from './quantisation.js';
import { isFloat, typeName } from './types.js';
import { productOf } from '../../model/numbers.js';

/** A stored constant as seen through nodes that only arrange or convert its numbers. */
export interface View {
  readonly constant: Constant;
  /** For each axis of the view, the stored axis; -1 for an axis of size 1 that is not stored. */
  readonly axes: readonly number[];
  /** The type of its numbers, if they are converted from that of the constant. */
  readonly type?: string | undefined;
  /** The stored axes along which it may be a part of the constant, or joined to others. */
  readonly cut?: readonly number[] | undefined;
  /** What the stored integers mean, once they are decoded: by `DequantizeLinear`, or by `Cast` and `Mul`. */
  readonly quantisation?: Quantisation | undefined;
  /** Set once a `Cast` has made floats of integers, until a `Mul` by their scale decodes them. */
  readonly converted?: { readonly zeroPoint: Parameter | undefined } | undefined;
  /** The name of its numbers as floats, if they are stored in another form: the same before and after `quantize`. */
  readonly name?: string | undefined;
  /** How a `QuantizeLinear` rounded the numbers, until a `DequantizeLinear` follows. */
  readonly rounding?: Quantisation | undefined;
}

/** The shape of a view. */
export function shapeOf({ constant, axes }: View): number[] {
  return axes.map((axis) => constant.tensor.shape[axis] ?? 1);
}

/** The name of the type of its numbers. */
export const typeOf = ({ constant, type }: View): string => type ?? constant.tensor.type;

/** Constants with more axes are not followed. Runtimes do not compute with them. */
export const mostAxes = 64;

/** The most constants that one value is put together from: four gates of two directions, each stored by itself. */
const mostParts = 16;

export function wholeView(constant: Constant): View {
  return { constant, axes: constant.tensor.shape.map((_, axis) => axis) };
}

/** How a node passes on a constant that is one of its inputs; undefined if it does not. */
type Step = (view: View, node: Node, input: number) => View | undefined;

/** The operators whose output contains all numbers of an input: the first one, except for `Mul`. */
const steps: ReadonlyMap<string, Step> = new Map<string, Step>([
  ['Identity', (view) => view],
  ['Cast', cast],
  ['Transpose', transposed],
  ['Unsqueeze', unsqueezed],
  ['Squeeze', squeezed],
  ['QuantizeLinear', rounded],
  ['com.microsoft.QuantizeLinear', rounded],
  ['DequantizeLinear', dequantised],
  ['com.microsoft.DequantizeLinear', dequantised],
  ['Sub', subtracted],
  ['Mul', multiplied],
]);

/** Those for which the whole constant must be known. */
const wholeSteps: ReadonlyMap<string, Step> = new Map<string, Step>([
  [
    'Reshape',
    (view, { inputs, attributes }) => reshaped(view, integersOf(inputs[1]), attributes.get('allowzero')?.integer === 1),
  ],
  ['Flatten', flattened],
]);

/** Stored constants that the output of a node contains. */
export interface Passed {
  /** The constant that the output is equal to, apart from the arrangement of its axes. */
  readonly view: View | undefined;
  /** The constants that it is put together from, entirely or in parts. */
  readonly parts: readonly View[];
  /** The inputs that contain them. */
  readonly inputs: ReadonlySet<number>;
}

/** What a node passes on of stored constants; undefined if it does something else with them. */
export function passedOn(node: Node): Passed | undefined {
  const step = steps.get(node.op) ?? wholeSteps.get(node.op);
  if (step !== undefined && node.inputs[0] !== undefined) {
    const inputs = node.op === 'Mul' ? [0, 1] : [0];
    for (const input of inputs) {
      const found = after(step, node, input);
      if (found !== undefined) return { ...found, inputs: new Set([input]) };
    }
    return undefined;
  }
  if (!node.inputs.every((value) => value?.isConstant ?? true)) return undefined;
  if (node.op === 'Slice' || node.op === 'Split') return together(node, [0]);
  return node.op === 'Concat' ? together(node, [...node.inputs.keys()]) : undefined;
}

/** What a step makes of an input. */
function after(step: Step, node: Node, input: number): Pick<Passed, 'view' | 'parts'> | undefined {
  const value = node.inputs[input];
  if (value?.view !== undefined) {
    const view = value.view.axes.length > mostAxes ? undefined : step(value.view, node, input);
    return view && { view, parts: [] };
  }
  if (value === undefined || !steps.has(node.op)) return undefined;
  const parts = value.parts.map((part) => step(part, node, input));
  return parts.length > 0 && parts.every((part) => part !== undefined) ? { view: undefined, parts } : undefined;
}

/** The axes that a node cuts or joins values along; undefined if they are not known. */
function cutAxes({ op, inputs, attributes }: Node): readonly number[] | undefined {
  if (op === 'Slice') return inputs[3] === undefined ? shortList(attributes.get('axes')) : integersOf(inputs[3]);
  return [attributes.get('axis')?.integer ?? 0];
}

/** All parts of these inputs, each constant once; undefined if one of them has other numbers too. */
function together(node: Node, inputs: readonly number[]): Passed | undefined {
  const axes = cutAxes(node);
  const parts = new Map<string, View>();
  for (const value of inputs.map((input) => node.inputs[input])) {
    const views = value?.view ? [value.view] : (value?.parts ?? []);
    if (views.length === 0 || views.some(({ axes }) => axes.length > mostAxes)) return undefined;
    for (const view of views) {
      const key = `${view.constant.place} ${view.axes.join()}`;
      const cut = axes?.map((axis) => view.axes.at(axis) ?? -1) ?? view.axes;
      const before = [...(view.cut ?? []), ...(parts.get(key)?.cut ?? [])];
      parts.set(key, { ...view, cut: [...new Set([...before, ...cut])] });
    }
    if (parts.size > mostParts) return undefined;
  }
  return { view: undefined, parts: [...parts.values()], inputs: new Set(inputs) };
}

/** Whether a view consists of floats, stored as such or as codes. */
const isReal = ({ constant, quantisation, rounding }: View): boolean =>
  rounding === undefined && (quantisation !== undefined || isFloat(constant.tensor.type));

function cast(view: View, node: Node): View | undefined {
  const type = typeName(node.attributes.get('to')?.integer ?? 0);
  if (!isFloat(type)) return undefined;
  if (isReal(view)) return { ...named(view, node), type };
  if (view.converted !== undefined) return { ...view, type };
  return view.constant.tensor.codes && { ...view, type, converted: { zeroPoint: undefined } };
}

/** Takes the zero point from integers that are floats by now. */
function subtracted(view: View, { inputs }: Node): View | undefined {
  if (view.converted === undefined || view.converted.zeroPoint !== undefined) return undefined;
  const zeroPoint = alignedWith(view, inputs[1]);
  return zeroPoint && { ...view, converted: { zeroPoint } };
}

/** Multiplies integers that are floats by now with their scale. */
function multiplied({ converted, ...view }: View, node: Node, input: number): View | undefined {
  const scale = converted && alignedWith(view, node.inputs[1 - input]);
  return scale && { ...named(view, node), quantisation: { scale, zeroPoint: converted.zeroPoint } };
}

/** A view whose numbers are floats behind a node. Of one that is only a part of them, the node's name is not its own. */
const named = (view: View, { outputs: [output] }: Node): View =>
  view.cut === undefined ? { ...view, name: output?.name } : view;

function transposed(view: View, { attributes }: Node): View | undefined {
  const { axes } = view;
  const order = attributes.get('perm')?.integers ?? axes.map((_, axis) => axes.length - 1 - axis);
  const isPermutation = order.length === axes.length && new Set(order).size === axes.length;
  if (!isPermutation || !order.every((axis) => axis in axes)) return undefined;
  return { ...view, axes: order.map((axis) => axes[axis]!) };
}

function unsqueezed(view: View, node: Node): View | undefined {
  const added = axesOf(node);
  const rank = view.axes.length + (added?.length ?? 0);
  const places = new Set(added?.map((axis) => (axis < 0 ? axis + rank : axis)));
  if (added === undefined || places.size !== added.length || rank > mostAxes) return undefined;
  if (![...places].every((place) => place >= 0 && place < rank)) return undefined;
  const rest = view.axes.values();
  return { ...view, axes: Array.from({ length: rank }, (_, place) => (places.has(place) ? -1 : rest.next().value!)) };
}

function squeezed(view: View, node: Node): View | undefined {
  const shape = shapeOf(view);
  const isGiven = node.inputs[1] !== undefined || node.attributes.has('axes');
  const removed = isGiven ? axesOf(node) : shape.flatMap((size, place) => (size === 1 ? [place] : []));
  const places = new Set(removed?.map((axis) => (axis < 0 ? axis + shape.length : axis)));
  if (removed === undefined || ![...places].every((place) => shape[place] === 1)) return undefined;
  return { ...view, axes: view.axes.filter((_, place) => !places.has(place)) };
}

/** A list of integers that is known before the model runs. */
const integersOf = (value: Value | undefined): readonly number[] | undefined => value?.view?.constant.tensor.integers;

/** The axes that `Unsqueeze` or `Squeeze` is about: an attribute before opset 13, an input since. */
const axesOf = ({ inputs, attributes }: Node): readonly number[] | undefined =>
  inputs[1] === undefined ? shortList(attributes.get('axes')) : integersOf(inputs[1]);

/** The integers of an attribute, unless they are more than there are axes. */
const shortList = (attribute: Attribute | undefined): readonly number[] | undefined =>
  attribute !== undefined && attribute.integers.length <= mostAxes ? attribute.integers : undefined;

/** Only axes of size 1 may come and go. */
function reshaped(view: View, target: readonly number[] | undefined, keepsZero: boolean): View | undefined {
  if (target === undefined || target.length > mostAxes) return undefined;
  const shape = shapeOf(view);
  const sizes = target.map((size, place) => (size === 0 && !keepsZero ? (shape[place] ?? 1) : size));
  const known = productOf(sizes.filter((size) => size !== -1));
  const resolved = sizes.map((size) => (size === -1 ? productOf(shape) / known : size));
  const long = view.axes.filter((_, place) => shape[place] !== 1);
  const rest = long.values();
  const axes = resolved.map((size) => (size === 1 ? -1 : (rest.next().value ?? -1)));
  const result = { ...view, axes };
  const isSame = shapeOf(result).every((size, place) => size === resolved[place]) && rest.next().done;
  return isSame ? result : undefined;
}

function flattened(view: View, { attributes }: Node): View | undefined {
  const shape = shapeOf(view);
  const axis = attributes.get('axis')?.integer ?? 1;
  const from = axis < 0 ? axis + shape.length : axis;
  return reshaped(view, [productOf(shape.slice(0, from)), productOf(shape.slice(from))], true);
}

function rounded(view: View, node: Node): View | undefined {
  return isReal(view) ? { ...view, rounding: quantisationOf(view, node) } : undefined;
}

function dequantised(view: View, node: Node): View | undefined {
  const { rounding, ...rest } = view;
  const quantisation = quantisationOf(view, node);
  const stated = node.attributes.get('output_dtype')?.integer ?? 0;
  const scale = node.inputs[1]?.view;
  const type = stated === 0 ? scale && typeOf(scale) : typeName(stated);
  // Rounded numbers are as near to the stored ones as codes allow, and zero stays zero.
  if (rounding !== undefined) return sameQuantisation(rounding, quantisation) ? { ...rest, type } : undefined;
  return isReal(view) || view.converted !== undefined ? undefined : { ...named(view, node), quantisation, type };
}
