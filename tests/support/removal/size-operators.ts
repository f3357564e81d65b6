// Operators whose parameters are computed from sizes, as exporters write them.
import { integerAttribute, numbers, tensor, tensorAttribute, textAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { isFixedAt, operator, productOf, type RandomOperator } from './operators.js';

const along = integerAttribute('axis', 0);

/** A part of a shape. */
const sizes = (net: Network, value: Value, from: number, to: number): string => {
  const limits = [net.integers([from]), net.integers([to]), net.integers([0])];
  return net.hidden('Slice', [net.hidden('Shape', [value]), ...limits]);
};

/** A value of the same shape with one number everywhere. */
function filled(net: Network, value: Value): Value {
  const fill = tensor('', [1], { data: numbers('float32', [net.random.pick([0, 1, 0.5])]) });
  const shape = net.hidden('Shape', [value]);
  const made = net.node('ConstantOfShape', [shape], value, [tensorAttribute('value', fill)]);
  return net.node(
    net.random.pick(['Add', 'Mul', 'Sub']),
    net.random.chance(0.5) ? [value, made] : [made, value],
    value,
  );
}

/** A constant per channel that is expanded to the shape of a value. */
function expanded(net: Network, value: Value): Value | undefined {
  const axes = value.shape.flatMap((_, axis) => (isFixedAt(value, axis) ? [axis] : []));
  if (axes.length === 0) return undefined;
  const axis = net.random.pick(axes);
  const shape = value.shape.map((size, place) => (place === axis ? size : 1));
  const made = net.node('Expand', [net.vector(value.shape[axis]!, shape), net.hidden('Shape', [value])], value);
  return net.node(net.random.pick(['Add', 'Mul']), [value, made], value);
}

function flattened(net: Network, value: Value): Value | undefined {
  const place = net.random.between(1, value.shape.length - 1);
  if (!isFixedAt(value, ...[...value.shape.keys()].slice(place))) return undefined;
  const target = net.hidden('Concat', [sizes(net, value, 0, place), net.integers([-1])], [along]);
  const shape = [...value.shape.slice(0, place), productOf(value.shape.slice(place))];
  return net.node('Reshape', [value, target], { shape, symbols: [...value.symbols.slice(0, place), undefined] });
}

function doubled(net: Network, value: Value): Value {
  const rank = value.shape.length;
  const space = net.hidden('Mul', [sizes(net, value, 2, rank), net.integers(Array<number>(rank - 2).fill(2))]);
  const all = net.hidden('Concat', [sizes(net, value, 0, 2), space], [along]);
  const shape = value.shape.map((size, axis) => (axis > 1 ? 2 * size : size));
  const symbols = value.symbols.map((symbol, axis) => (axis > 1 && symbol !== undefined ? net.name('d') : symbol));
  const none = net.opset < 13 ? net.floats([0], new Float32Array(0), 'none') : undefined;
  const mode = textAttribute('mode', rank === 4 ? net.random.pick(['nearest', 'linear']) : 'nearest');
  return net.node('Resize', [value, none, none, all], { shape, symbols }, [mode]);
}

/** A number computed from sizes, in a shape with several axes of size 1 or of two such numbers. */
function scaled(net: Network, value: Value): Value {
  const { random } = net;
  const rank = value.shape.length;
  const axis = random.between(0, rank - 1);
  let number = net.hidden('Cast', [sizes(net, value, axis, axis + 1)], [integerAttribute('to', 1)]);
  if (random.chance(0.6)) number = net.hidden(random.pick(['Sqrt', 'Reciprocal']), [number]);
  if (random.chance(0.4)) number = net.hidden(random.pick(['Add', 'Mul']), [number, net.scalar(0.5)]);
  const last = value.shape.at(-1)!;
  const isRow = last > 1 && last < 5 && isFixedAt(value, rank - 1) && random.chance(0.4);
  if (isRow) number = net.hidden('Concat', Array<string>(last).fill(number), [along]);
  if (random.chance(0.5))
    number = net.hidden('Reshape', [number, net.integers([...Array<number>(rank - 1).fill(1), isRow ? last : 1])]);
  return net.node(random.pick(['Mul', 'Div', 'Add']), [value, number], value);
}

/** The beginning of an axis, as long as that of another value. */
function cropped(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const axis = random.between(0, value.shape.length - 1);
  const others = net.values.filter(
    ({ shape, symbols }) => shape.length > axis && shape[axis]! < value.shape[axis]! && symbols[axis] === undefined,
  );
  if (others.length === 0 || !isFixedAt(value, axis)) return undefined;
  const other = random.pick(others);
  const ends = sizes(net, other, axis, axis + 1);
  const shape = value.shape.map((size, place) => (place === axis ? other.shape[axis]! : size));
  return net.node('Slice', [value, net.integers([0]), ends, net.integers([axis])], { shape, symbols: value.symbols });
}

/** All but the first, or all but the last, with a limit that is a size less one. */
function shortened(net: Network, value: Value): Value | undefined {
  const axis = net.random.between(0, value.shape.length - 1);
  const size = value.shape[axis]!;
  if (size < 2 || !isFixedAt(value, axis)) return undefined;
  const whole = sizes(net, value, axis, axis + 1);
  const less = net.hidden('Sub', [whole, net.integers([1])]);
  const [starts, ends] = net.random.chance(0.5) ? [net.integers([0]), less] : [less, whole];
  const count = ends === less ? size - 1 : 1;
  const shape = value.shape.map((own, place) => (place === axis ? count : own));
  return net.node('Slice', [value, starts, ends, net.integers([axis])], { shape, symbols: value.symbols });
}

const isLong = ({ shape }: Value) => shape.length > 1;

/** From opset 10 on, in which limits of slices are inputs. */
const computed = (
  weight: number,
  takes: RandomOperator['takes'],
  apply: RandomOperator['apply'],
  from = 10,
): RandomOperator => operator(weight, takes, (net, value) => (net.opset < from ? undefined : apply(net, value)));

export const sizeOperators: readonly RandomOperator[] = [
  computed(1, isLong, filled),
  computed(1, isLong, expanded),
  computed(2, isLong, flattened),
  computed(1, ({ shape }) => shape.length === 3 || shape.length === 4, doubled, 11),
  computed(2, isLong, scaled),
  computed(1, isLong, cropped),
  computed(1, isLong, shortened),
];
