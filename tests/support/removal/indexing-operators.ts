// Operators that take numbers by their places, and products by letters.
import { integerAttribute, numbers, textAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { anything, isFixed, isFixedAt, operator, productOf, type RandomOperator, withLast } from './operators.js';

/** A constant of places, in a shape. */
function placesOf(net: Network, shape: readonly number[], most: number): string {
  const list = Array.from({ length: productOf(shape) }, () => net.random.between(0, most - 1));
  const name = net.name('places');
  net.initializers.push([name, shape, { dtype: 'int64', data: numbers('int64', list) }]);
  return name;
}

const letters = 'abcdef';

/** A product with a matrix along an axis, or only another order of the axes. */
function einsum(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const rank = value.shape.length;
  if (net.opset < 12) return undefined;
  const axis = random.between(0, rank - 1);
  const own = letters.slice(0, rank);
  const equation = (text: string) => [textAttribute('equation', text)];
  if (random.chance(0.3) || !isFixedAt(value, axis)) {
    const order = [...value.shape.keys()].sort(() => random.next() - 0.5);
    const after = order.map((each) => own[each]).join('');
    const shape = order.map((each) => value.shape[each]!);
    return net.node(
      'Einsum',
      [value],
      { shape, symbols: order.map((each) => value.symbols[each]) },
      equation(`${own}->${after}`),
    );
  }
  const size = random.between(1, 5);
  const letter = own[axis]!;
  const shape = value.shape.map((each, place) => (place === axis ? size : each));
  const isTurned = random.chance(0.5);
  const weight = isTurned ? net.weight([size, value.shape[axis]!], 0, 1) : net.weight([value.shape[axis]!, size], 1, 0);
  const factor = isTurned ? `z${letter}` : `${letter}z`;
  const output = { shape, symbols: value.symbols };
  return net.node('Einsum', [value, weight], output, equation(`${own},${factor}->${own.replace(letter, 'z')}`));
}

function elements(net: Network, value: Value): Value | undefined {
  const { random } = net;
  if (net.opset < 11 || !isFixed(value)) return undefined;
  const axis = random.between(0, value.shape.length - 1);
  const shape = value.shape.map((size, place) => (place === axis ? random.between(1, 3) : size));
  const places = placesOf(net, shape, value.shape[axis]!);
  const attributes = [integerAttribute('axis', axis)];
  if (random.chance(0.6)) return net.node('GatherElements', [value, places], { ...value, shape }, attributes);
  // Each place once, so that the order does not matter.
  const once = net.name('places');
  const short = value.shape.map((size, place) => (place === axis ? 1 : size));
  const zeros = Array<number>(productOf(short)).fill(random.between(0, value.shape[axis]! - 1));
  net.initializers.push([once, short, { dtype: 'int64', data: numbers('int64', zeros) }]);
  const updates = net.floats(short, random.normals(productOf(short)));
  return net.node('ScatterElements', [value, once, updates], value, attributes);
}

function slices(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const [first, ...rest] = value.shape;
  if (net.opset < 12 || !isFixed(value) || rest.length === 0) return undefined;
  if (random.chance(0.6)) {
    const count = random.between(1, 3);
    const places = placesOf(net, [count, 1], first!);
    return net.node('GatherND', [value, places], { ...value, shape: [count, ...rest] });
  }
  const place = placesOf(net, [1, 1], first!);
  const updates = net.floats([1, ...rest], random.normals(productOf(rest)));
  return net.node('ScatterND', [value, place, updates], value);
}

function reversed(net: Network, value: Value): Value | undefined {
  if (net.opset < 10 || value.shape.length < 2 || !isFixedAt(value, 0, 1)) return undefined;
  const [batch, steps] = value.shape as [number, number];
  const lengths = net.integers(Array.from({ length: batch }, () => net.random.between(1, steps)));
  return net.node('ReverseSequence', [value, lengths], value, [
    integerAttribute('batch_axis', 0),
    integerAttribute('time_axis', 1),
  ]);
}

/** The place of the largest or the smallest, as a row of zeros with a one. */
function oneHot(net: Network, value: Value): Value | undefined {
  const last = value.shape.length - 1;
  if (net.opset < 13) return undefined;
  const part = { shape: value.shape.slice(0, -1), symbols: value.symbols.slice(0, -1) };
  const attributes = [integerAttribute('axis', last), integerAttribute('keepdims', 0)];
  const place = net.hide(net.node(net.random.pick(['ArgMax', 'ArgMin']), [value], part, attributes));
  const [depth, values] = [net.integers([3]), net.floats([2], Float32Array.of(0, 1), 'levels')];
  return net.node('OneHot', [place, depth, values], withLast(value, 3));
}

const castLike = (net: Network, value: Value): Value | undefined =>
  net.opset < 15 ? undefined : net.node('CastLike', [value, net.floats([1], Float32Array.of(1), 'like')], value);

/** The remainder of a division, with the sign of the dividend. */
const remainder = (net: Network, value: Value): Value | undefined =>
  net.opset < 10
    ? undefined
    : net.node('Mod', [value, net.floats([], Float32Array.of(7), 'divisor')], value, [integerAttribute('fmod', 1)]);

/** A choice that is the same for all numbers but NaN. */
function chosen(net: Network, value: Value): Value | undefined {
  if (net.opset < 10) return undefined;
  const flags = net.hide(net.node(net.random.pick(['IsNaN', 'IsInf']), [value], value));
  const others = net.hide(net.node('Not', [flags], value));
  const holds = net.hide(net.node('Xor', [flags, others], value));
  return net.node('Where', [holds, value, net.floats([], Float32Array.of(2), 'other')], value);
}

export const indexingOperators: readonly RandomOperator[] = [
  operator(3, anything, einsum),
  operator(1, anything, elements),
  operator(1, anything, slices),
  operator(1, anything, reversed),
  operator(1, anything, oneHot),
  operator(1, anything, castLike),
  operator(1, anything, remainder),
  operator(1, anything, chosen),
];
