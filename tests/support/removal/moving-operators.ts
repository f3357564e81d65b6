// Operators that move numbers along axes, or look at several of them.
import { floatAttribute, integerAttribute, integersAttribute, textAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { anything, isFixedAt, operator, type RandomOperator, withLast } from './operators.js';

/** Operators that move numbers along an axis, or look at several of them. */
function moving(net: Network, value: Value): Value | undefined {
  const { random, opset } = net;
  const rank = value.shape.length;
  const last = rank - 1;
  const same: readonly (readonly [op: string, from: number, ...attributes: Uint8Array[]])[] = [
    ['Asinh', 9],
    ['Sinh', 9],
    ['Shrink', 9, floatAttribute('lambd', 0.3)],
    ['LpNormalization', 7, integerAttribute('axis', last)],
    ['Hardmax', 13, integerAttribute('axis', last)],
    ['MeanVarianceNormalization', 9, integersAttribute('axes', [0, last])],
    ['Trilu', 14],
    ['IsNaN', 9],
    ['CumSum', 11],
    ['Tile', 7],
    ['TopK', 11],
    ['ArgMax', 7, integerAttribute('axis', last)],
  ];
  const [op, from, ...attributes] = random.pick(same);
  if (opset < from) return undefined;
  switch (op) {
    case 'Trilu':
      return rank < 2 ? undefined : net.node(op, [value], value);
    case 'IsNaN': {
      const isNaN = net.hide(net.node(op, [value], value));
      return net.node('Where', [isNaN, net.floats([], Float32Array.of(0)), value], value);
    }
    case 'CumSum':
      return net.node(op, [value, net.integers([last])], value);
    case 'Tile': {
      if (!isFixedAt(value, last) || value.shape[last]! > 4) return undefined;
      const repeats = value.shape.map((_, axis) => (axis === last ? 2 : 1));
      const shape = value.shape.map((size, axis) => size * repeats[axis]!);
      return net.node(op, [value, net.integers(repeats)], { shape, symbols: value.symbols });
    }
    case 'TopK': {
      const part = withLast(value, 1);
      return net.nodeOf(op, [value, net.integers([1])], [part, undefined], [integerAttribute('axis', last)])[0];
    }
    case 'ArgMax': {
      const part = withLast(value, 1);
      const place = net.hide(net.node(op, [value], part, attributes));
      return net.node('Cast', [place], part, [integerAttribute('to', 1)]);
    }
  }
  return net.node(op, [value], value, attributes);
}

/** The sum of products of a value with itself along the last axis. */
function gram(net: Network, value: Value): Value | undefined {
  const { shape, symbols } = value;
  if (net.opset < 12 || shape.length !== 3) return undefined;
  const isScaled = net.random.chance(0.4) && isFixedAt(value, 2);
  const output = { shape: [shape[0]!, shape[1]!, shape[1]!], symbols: [symbols[0], symbols[1], symbols[1]] };
  const inputs = isScaled ? [value, net.vector(shape[2]!), value] : [value, value];
  return net.node('Einsum', inputs, output, [textAttribute('equation', isScaled ? 'abc,c,adc->abd' : 'abc,adc->abd')]);
}

/** A value of single rows, or one with a few channels, repeated along axes. */
function repeated(net: Network, value: Value): Value | undefined {
  const repeats = value.shape.map((size, axis) =>
    axis > 0 && isFixedAt(value, axis) && size < 5 && net.random.chance(0.4) ? net.random.between(2, 3) : 1,
  );
  if (value.shape.reduce((product, size, axis) => product * size * repeats[axis]!, 1) > 4096) return undefined;
  const shape = value.shape.map((size, axis) => size * repeats[axis]!);
  return net.node('Tile', [value, net.integers(repeats)], { shape, symbols: value.symbols });
}

/** Rows of the first axis that are written again. */
function scattered(net: Network, value: Value): Value | undefined {
  if (net.opset < 16 || !isFixedAt(value, 0) || value.shape.length < 2) return undefined;
  const place = net.hidden('Reshape', [net.integers([0]), net.integers([1, 1])]);
  const row = net.node('GatherND', [value, place], {
    shape: [1, ...value.shape.slice(1)],
    symbols: [undefined, ...value.symbols.slice(1)],
  });
  return net.node('ScatterND', [value, place, net.hide(net.node('Relu', [row], row))], value);
}

export const movingOperators: readonly RandomOperator[] = [
  operator(2, anything, moving),
  operator(1, anything, gram),
  operator(1, anything, repeated),
  operator(1, anything, scattered),
];
