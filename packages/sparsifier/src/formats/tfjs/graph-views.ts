import { isObject } from '../../model/json.js';
import { integersIn, integersOf, shapeOf, type Constant, type Node } from './graph-node.js';
import { productOf } from '../../model/numbers.js';

/** Nodes that return their first input. */
export const identities: ReadonlySet<string> = new Set([
  ...['Identity', 'ReadVariableOp', 'Snapshot', 'StopGradient', 'PreventGradient', 'CheckNumerics', 'EnsureShape'],
  // The input of a loop that does not change in it.
  'Enter',
]);

/** Values of more axes are not followed through nodes that move axes. */
export const mostAxes = 16;

/** The output of a node that only moves the axes of a constant, or adds and removes axes of size 1. */
export function viewThrough({ op, inputs, attributes }: Omit<Node, 'view'>): Constant | undefined {
  const constant = inputs[0]?.constant;
  if (constant === undefined) return undefined;
  if (identities.has(op)) return constant;
  if (op === 'Cast') return /^DT_(FLOAT|HALF|BFLOAT16)$/.test(typeOf(attributes.DstT)) ? constant : undefined;
  if (constant.axes.length > mostAxes) return undefined;
  const axes = moved(op, constant, integersIn(inputs[1]), attributes);
  return axes && { entry: constant.entry, axes };
}

const typeOf = (attribute: unknown): string =>
  isObject(attribute) && typeof attribute.type === 'string' ? attribute.type : 'DT_FLOAT';

function moved(
  op: string,
  constant: Constant,
  integers: readonly number[] | undefined,
  attributes: Node['attributes'],
): Constant['axes'] | undefined {
  const { axes } = constant;
  const shape = shapeOf(constant);
  if (op === 'Squeeze') {
    const given = (integersOf(attributes.squeeze_dims) ?? []).map((axis) => (axis < 0 ? axis + axes.length : axis));
    const removed = given.length > 0 ? given : [...shape.keys()].filter((axis) => shape[axis] === 1);
    return removed.every((axis) => shape[axis] === 1) ? axes.filter((_, axis) => !removed.includes(axis)) : undefined;
  }
  if (integers === undefined) return undefined;
  if (op === 'ExpandDims') {
    const [axis = 0] = integers;
    const place = axis < 0 ? axis + axes.length + 1 : axis;
    return place >= 0 && place <= axes.length ? [...axes.slice(0, place), undefined, ...axes.slice(place)] : undefined;
  }
  if (op === 'Transpose') {
    const order = integers.map((axis) => (axis < 0 ? axis + axes.length : axis));
    const isOrder = order.length === axes.length && new Set(order).size === axes.length;
    return isOrder && order.every((axis) => axis in axes) ? order.map((axis) => axes[axis]) : undefined;
  }
  return op === 'Reshape' ? reshaped(axes, shape, integers) : undefined;
}

/** A Reshape that only adds or removes axes of size 1. */
function reshaped(
  axes: Constant['axes'],
  shape: readonly number[],
  target: readonly number[],
): Constant['axes'] | undefined {
  const count = productOf(shape);
  const known = target.reduce((product, size) => (size === -1 ? product : product * size), 1);
  const sizes = target.map((size) => (size === -1 ? count / known : size));
  if (String(sizes) === String(shape)) return axes;
  const long = axes.filter((_, axis) => shape[axis] !== 1);
  const isSame = String(sizes.filter((size) => size !== 1)) === String(shape.filter((size) => size !== 1));
  if (!isSame) return undefined;
  let next = 0;
  return sizes.map((size) => (size === 1 ? undefined : long[next++]));
}
