// Operators of any value that mix its numbers, and those whose parameters are sizes.
import { floatAttribute, graph, graphAttribute, integerAttribute, node } from '../onnx-builder.js';
import { sizeFrom } from './arranging-operators.js';
import type { Network, Value } from './network.js';
import { anything, isFixed, isFixedAt, operator, type RandomOperator } from './operators.js';

function reduce(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const { shape, symbols } = value;
  const op = random.pick([
    ...['ReduceMean', 'ReduceMean', 'ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceL1', 'ReduceL2', 'ReduceProd'],
    ...['ReduceSumSquare', 'ReduceLogSumExp'],
  ]);
  const axes = [...shape.keys()].filter((axis) => axis > 0 && random.chance(0.4));
  if (axes.length === 0) {
    if (!random.chance(0.2)) return undefined;
    const ones = { shape: shape.map(() => 1), symbols: shape.map(() => undefined) };
    return net.node(op, [value], ones);
  }
  const keeps = random.chance(0.5);
  const listed = net.listed(
    'axes',
    axes.map((axis) => (random.chance(0.3) ? axis - shape.length : axis)),
    op === 'ReduceSum' ? 13 : 18,
  );
  const output = keeps
    ? {
        shape: shape.map((size, axis) => (axes.includes(axis) ? 1 : size)),
        symbols: symbols.map((symbol, axis) => (axes.includes(axis) ? undefined : symbol)),
      }
    : {
        shape: shape.filter((_, axis) => !axes.includes(axis)),
        symbols: symbols.filter((_, axis) => !axes.includes(axis)),
      };
  return net.node(op, [value, ...listed.inputs], output, [
    ...listed.attributes,
    integerAttribute('keepdims', keeps ? 1 : 0),
  ]);
}

function softmax(net: Network, value: Value): Value {
  const axis = net.random.between(0, value.shape.length - 1);
  return net.node(
    net.random.pick(['Softmax', 'LogSoftmax']),
    [value],
    value,
    net.random.chance(0.3) ? [] : [integerAttribute('axis', axis)],
  );
}

function layerNormalization(net: Network, value: Value): Value | undefined {
  const size = value.shape.at(-1)!;
  if (net.opset < 17 || !isFixedAt(value, value.shape.length - 1)) return undefined;
  return net.node('LayerNormalization', [value, net.vector(size), net.vector(size)], value, [
    floatAttribute('epsilon', 0.1),
  ]);
}

/** A branch that reads values from around it. */
function branch(net: Network, value: Value): Value {
  const rank = value.shape.length;
  const flag = net.hidden(
    'Cast',
    [net.floats([], Float32Array.of(net.random.pick([0, 1])), 'flag')],
    [integerAttribute('to', 9)],
  );
  // A constant that nodes outside may read, too.
  const factor = net.random.chance(0.5) && isFixedAt(value, rank - 1) ? net.vector(value.shape.at(-1)!) : undefined;
  const body = (op: string) => {
    const [name, inner] = [net.name('inner'), net.name('inner')];
    const first = node(op, op === 'Add' ? `${value.name} ${value.name}` : value.name, factor ? inner : name);
    const nodes = factor ? [first, node('Mul', `${inner} ${factor}`, name)] : [first];
    return graph({ nodes, outputs: { [name]: undefined } });
  };
  const made = net.node('If', [flag], value, [
    graphAttribute('then_branch', body('Add')),
    graphAttribute('else_branch', body('Relu')),
  ]);
  net.unread.delete(value);
  return made;
}

/** An operator that has no rule. */
function unknown(net: Network, value: Value): Value | undefined {
  if (net.opset < 18 || !isFixed(value)) return undefined;
  return net.node('CenterCropPad', [value, net.integers(value.shape)], value);
}

/** A node of a function that the model has. */
function called(net: Network, value: Value): Value | undefined {
  if (net.opset !== 17) return undefined;
  net.functions.add('Doubled');
  return net.node('Doubled', [value], value, [], 'my.own');
}

const dropout = (net: Network, value: Value): Value => net.node('Dropout', [value], value);

/** A number that is computed from a size, as in scaled products. */
function scaled(net: Network, value: Value): Value {
  const axis = net.random.between(0, value.shape.length - 1);
  const size = sizeFrom(net, value, axis, (list) => net.hidden('Cast', [list], [integerAttribute('to', 1)]));
  return net.node(net.random.pick(['Div', 'Mul']), [value, net.hidden('Sqrt', [size])], value);
}

/** A ramp as long as an axis is. */
function ramp(net: Network, value: Value): Value | undefined {
  if (net.opset < 11) return undefined;
  const last = value.shape.length - 1;
  const size = sizeFrom(net, value, last, (list) =>
    net.hidden('Squeeze', [list, ...(net.opset < 13 ? [] : [net.integers([0])])]),
  );
  const whole = (number: number) => {
    const list = net.integers([number]);
    return net.hidden('Reshape', [list, net.integers([])]);
  };
  const range = net.hidden('Range', [whole(0), size, whole(1)]);
  const floats = net.hidden('Cast', [range], [integerAttribute('to', 1)]);
  return net.node(net.random.pick(['Add', 'Mul']), [value, floats], value);
}

/** A value times how many numbers another has. */
function counted(net: Network, value: Value): Value {
  const count = net.hidden('Size', [net.random.pick(net.values)]);
  return net.node('Div', [value, net.hidden('Cast', [count], [integerAttribute('to', 1)])], value);
}

export const generalOperators: readonly RandomOperator[] = [
  operator(4, anything, reduce),
  operator(2, anything, softmax),
  operator(1, anything, layerNormalization),
  operator(1, anything, branch),
  operator(1, anything, unknown),
  operator(1, anything, called),
  operator(1, anything, dropout),
  operator(1, anything, scaled),
  operator(1, anything, ramp),
  operator(1, anything, counted),
];
