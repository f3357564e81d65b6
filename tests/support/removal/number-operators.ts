// Functions of numbers: of each one, or of two values that are broadcast together.
import { floatAttribute, integerAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { anything, operator, productOf, type RandomOperator } from './operators.js';

function unary(net: Network, value: Value): Value {
  const { random, opset } = net;
  const plain = [
    'Relu',
    'Relu',
    'Sigmoid',
    'Tanh',
    'Softplus',
    'Softsign',
    'LeakyRelu',
    'Elu',
    'Selu',
    'HardSigmoid',
    'Abs',
    'Neg',
    'Cos',
    'Sin',
    'Erf',
    'Atan',
    'Identity',
    'Exp',
    'Floor',
    'Ceil',
    'Sqrt',
    'Log',
    'Reciprocal',
  ];
  const op = random.pick([
    ...plain,
    ...['Tan', 'Asin', 'Acos'],
    ...(opset >= 9 ? ['Sign', 'Cosh', 'Atanh'] : []),
    ...(opset >= 10 ? ['ThresholdedRelu'] : []),
    ...(opset >= 11 ? ['Round'] : []),
    ...(opset >= 12 ? ['Celu'] : []),
    ...(opset >= 14 ? ['HardSwish'] : []),
    ...(opset >= 18 ? ['Mish'] : []),
    ...(opset >= 20 ? ['Gelu'] : []),
  ]);
  if (op === 'Exp') return net.node('Exp', [net.node('Tanh', [value], value)], value);
  // Where they are defined.
  if (['Sqrt', 'Log', 'Reciprocal'].includes(op))
    return net.node(op, [net.node(random.pick(['Softplus', 'Exp']), [net.node('Tanh', [value], value)], value)], value);
  // Of numbers between -0.9 and 0.9.
  if (['Tan', 'Asin', 'Acos', 'Atanh', 'Cosh'].includes(op)) {
    const small = net.node('Mul', [net.node('Tanh', [value], value), net.floats([], Float32Array.of(0.9), 's')], value);
    return net.node(op, [small], value);
  }
  if (['Celu', 'ThresholdedRelu'].includes(op) && random.chance(0.5))
    return net.node(op, [value], value, [floatAttribute('alpha', random.pick([0.3, 2]))]);
  const attributes =
    op === 'LeakyRelu' && random.chance(0.5) ? [floatAttribute('alpha', random.pick([0.2, -0.3]))] : [];
  return net.node(op, [value], value, attributes);
}

function clip(net: Network, value: Value): Value {
  const least = net.random.pick([undefined, -0.5, 0, 0.25]);
  const most = net.random.pick([undefined, 0.5, 6]);
  if (net.opset < 11) {
    const attributes = [
      ...(least === undefined ? [] : [floatAttribute('min', least)]),
      ...(most === undefined ? [] : [floatAttribute('max', most)]),
    ];
    return net.node('Clip', [value], value, attributes);
  }
  const input = (limit: number | undefined) =>
    limit === undefined ? undefined : net.floats([], Float32Array.of(limit), 'limit');
  return net.node('Clip', [value, input(least), ...(most === undefined ? [] : [input(most)])], value);
}

/** The shape of a constant that is broadcast to a value. */
function broadcastShape(net: Network, { shape, symbols }: Value): number[] {
  const { random } = net;
  const channel = random.pick(shape.flatMap((_, axis) => (symbols[axis] === undefined ? [axis] : [])).concat(-1));
  if (channel < 0) return random.pick([[], [1]]);
  const kind = random.between(0, 2);
  const own = shape.map((size, axis) => (axis === channel || (kind === 2 && symbols[axis] === undefined) ? size : 1));
  // Axes of size 1 in front may be left out.
  const start = kind === 1 ? 0 : own.findIndex((size) => size > 1);
  return own.slice(Math.max(0, start));
}

function withConstant(net: Network, value: Value): Value {
  const { random } = net;
  const shape = broadcastShape(net, value);
  const op = random.pick(['Add', 'Add', 'Mul', 'Mul', 'Sub', 'Div', 'Max', 'Min']);
  const count = productOf(shape);
  let other: string;
  if (count === 1)
    other = net.floats(shape, Float32Array.of(random.pick([0, 0.5, 1, -1, 2]) || (op === 'Div' ? 3 : 0)));
  else if (shape.filter((size) => size > 1).length === 1)
    other = net.vector(count, shape, { isPositive: op === 'Div' });
  else
    other = net.floats(
      shape,
      random.normals(count).map((number) => (op === 'Div' ? 1 + Math.abs(number) : number)),
    );
  const inputs = op !== 'Div' && random.chance(0.3) ? [other, value] : [value, other];
  return net.node(op, inputs, value);
}

function power(net: Network, value: Value): Value {
  return net.node('Pow', [value, net.floats([], Float32Array.of(net.random.pick([1, 2, 3])), 's')], value);
}

const prelu = (net: Network, value: Value): Value | undefined => {
  const shape = broadcastShape(net, value);
  return net.node('PRelu', [value, net.vector(productOf(shape), shape)], value);
};

const isSame = (one: Value, other: Value) =>
  one.shape.join() === other.shape.join() && one.symbols.join() === other.symbols.join();

/** Another value that is the same size, or that is broadcast to it. */
function partner(net: Network, value: Value): Value | undefined {
  const fits = net.values.filter((other) => {
    if (other === value || other.shape.length > value.shape.length || other.shape.length === 0) return false;
    const offset = value.shape.length - other.shape.length;
    return other.shape.every((size, axis) => {
      const symbol = other.symbols[axis];
      if (size === 1 && symbol === undefined) return true;
      return size === value.shape[axis + offset] && symbol === value.symbols[axis + offset];
    });
  });
  return fits.length > 0 ? net.random.pick(fits) : undefined;
}

function withValue(net: Network, value: Value): Value | undefined {
  const other = partner(net, value);
  if (other === undefined) return undefined;
  const op = net.random.pick(['Add', 'Add', 'Mul', 'Sub', 'Max', 'Min', 'Sum', 'Mean']);
  if (op === 'Mean' && !isSame(value, other)) return undefined;
  return net.node(op, net.random.chance(0.5) ? [value, other] : [other, value], value);
}

/** Where a value is larger or smaller than a constant or another value, as booleans. */
function compared(net: Network, value: Value): Value {
  const { random, opset } = net;
  const op = random.pick(['Greater', 'Less', ...(opset >= 12 ? ['GreaterOrEqual', 'LessOrEqual'] : [])]);
  const shape = broadcastShape(net, value);
  const other = random.chance(0.3) ? partner(net, value) : undefined;
  const constant = () =>
    random.chance(0.5) ? net.floats([], Float32Array.of(random.pick([0, 0.5]))) : net.vector(productOf(shape), shape);
  if (opset < 9) return net.hide(net.node('Greater', [value, net.floats([], Float32Array.of(0))], value));
  return net.hide(net.node(op, [value, other ?? constant()], value));
}

function condition(net: Network, value: Value): Value {
  const { random } = net;
  const first = compared(net, value);
  const kind = random.next();
  if (kind < 0.2) return net.hide(net.node('Not', [first], value));
  if (kind < 0.5) return net.hide(net.node(random.pick(['And', 'Or']), [first, compared(net, value)], value));
  if (kind > 0.9 && net.opset >= 13) {
    const codes = [first, compared(net, value)].map((each) =>
      net.hide(net.node('Cast', [each], value, [integerAttribute('to', 6)])),
    );
    return net.hide(net.node('Equal', codes, value));
  }
  return first;
}

function where(net: Network, value: Value): Value {
  const { random } = net;
  const holds = condition(net, value);
  if (random.chance(0.3)) {
    const factor = net.node('Cast', [holds], value, [integerAttribute('to', 1)]);
    return net.node(random.pick(['Mul', 'Add', 'Sub']), [value, factor], value);
  }
  const small = random.chance(0.5) ? net.scalar(0.1) : net.node('Mul', [value, net.scalar(0.1)], value);
  return net.node('Where', random.chance(0.5) ? [holds, value, small] : [holds, small, value], value);
}

export const numberOperators: readonly RandomOperator[] = [
  operator(12, anything, unary),
  operator(2, anything, clip),
  operator(9, anything, withConstant),
  operator(1, anything, power),
  operator(2, anything, prelu),
  operator(8, anything, withValue),
  operator(2, anything, where),
];
