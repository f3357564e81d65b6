// Products of matrices, recurrent layers and attention.
import { floatAttribute, integerAttribute, integersAttribute, textAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { conclusion, isFixedAt, operator, type RandomOperator, withLast } from './operators.js';

const isRow = (value: Value) =>
  value.shape.length >= 2 && value.shape.length <= 4 && isFixedAt(value, value.shape.length - 1);
const isMatrix = (value: Value) => value.shape.length === 2 && isFixedAt(value, 1);
const isSequence = (value: Value) => value.shape.length === 3 && isFixedAt(value, 2);

function dense(net: Network, value: Value, size = net.random.between(1, net.random.chance(0.1) ? 16 : 8)): Value {
  const from = value.shape.at(-1)!;
  const { random } = net;
  const weight = random.chance(0.2)
    ? net.hide(
        net.node('Transpose', [net.weight([size, from], 0, 1)], { shape: [from, size], symbols: [] }, [
          integersAttribute('perm', [1, 0]),
        ]),
      )
    : net.weight([from, size], 1, 0);
  const product = net.node('MatMul', [value, weight], withLast(value, size));
  if (random.chance(0.4)) return product;
  const bias = net.vector(size);
  return net.node('Add', random.chance(0.5) ? [product, bias] : [bias, product], product);
}

/** A matrix for each head. */
function headwise(net: Network, value: Value): Value | undefined {
  const axis = value.shape.length - 3;
  if (axis < 0 || !isFixedAt(value, axis)) return undefined;
  const size = net.random.between(1, 4);
  const shape = [net.random.chance(0.7) ? value.shape[axis]! : 1, value.shape.at(-1)!, size];
  return net.node('MatMul', [value, net.weight(shape, 2, 1)], withLast(value, size));
}

/** Rows of a table for the places of a sequence. */
function embedding(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const [steps, size] = value.shape.slice(-2) as [number, number];
  if (!isFixedAt(value, value.shape.length - 2)) return undefined;
  const rows = random.between(2, 6);
  const places = net.integers(Array.from({ length: steps }, () => random.between(0, rows - 1)));
  const table = net.weight([rows, size], 1, 0);
  const found = net.node('Gather', [table, places], {
    shape: [steps, size],
    symbols: [undefined, undefined],
  });
  return net.node(random.pick(['Add', 'Mul']), [value, found], value);
}

/** A stored matrix on the left. */
function onTheLeft(net: Network, value: Value): Value | undefined {
  const axis = value.shape.length - 2;
  if (!isFixedAt(value, axis)) return undefined;
  const rows = net.random.between(1, 6);
  const shape = value.shape.map((size, place) => (place === axis ? rows : size));
  return net.node('MatMul', [net.weight([rows, value.shape[axis]!], 0, 1), value], { shape, symbols: value.symbols });
}

function gemm(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const [rows, from] = value.shape as [number, number];
  const size = random.between(1, 6);
  const isTransposed = random.chance(0.5);
  const weight = isTransposed ? net.weight([size, from], 0, 1) : net.weight([from, size], 1, 0);
  const attributes = isTransposed ? [integerAttribute('transB', 1)] : [];
  if (random.chance(0.15)) attributes.push(floatAttribute('alpha', 0.5));
  if (random.chance(0.15)) attributes.push(floatAttribute('beta', random.pick([2, 0])));
  const shapes = [
    [size],
    [size],
    [size],
    [1, size],
    [],
    [1],
    ...(isFixedAt(value, 0)
      ? [
          [rows, size],
          [rows, 1],
        ]
      : []),
  ];
  const shape = random.pick(shapes);
  const count = shape.reduce((product, each) => product * each, 1);
  const bias =
    net.opset >= 11 && random.chance(0.2)
      ? []
      : [shape.length < 2 || rows === 1 ? net.vector(count, shape) : net.floats(shape, random.normals(count))];
  const output = { shape: [rows, size], symbols: [value.symbols[0], undefined] };
  if (random.chance(0.1)) {
    attributes.push(integerAttribute('transA', 1));
    const turned = net.node('Transpose', [value], { shape: [from, rows], symbols: [undefined, value.symbols[0]] }, [
      integersAttribute('perm', [1, 0]),
    ]);
    return net.node('Gemm', [turned, weight, ...bias], output, attributes);
  }
  return net.node('Gemm', [value, weight, ...bias], output, attributes);
}

function recurrent(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const [batch, steps, from] = value.shape as [number, number, number];
  const turned = net.node(
    'Transpose',
    [value],
    { shape: [steps, batch, from], symbols: [value.symbols[1], value.symbols[0], undefined] },
    [integersAttribute('perm', [1, 0, 2])],
  );
  const op = random.pick(['LSTM', 'GRU', 'RNN']);
  const gates = { LSTM: 4, GRU: 3, RNN: 1 }[op]!;
  const units = random.between(2, 5);
  const direction = random.pick(['forward', 'forward', 'reverse', 'bidirectional']);
  const ways = direction === 'bidirectional' ? 2 : 1;
  const weight = net.weight([ways, gates * units, from], 1, 2, units);
  const recurrence = net.weight([ways, gates * units, units], 1, 2, units);
  const inputs: (Value | string | undefined)[] = [turned, weight, recurrence];
  if (random.chance(0.7)) {
    const count = ways * 2 * gates * units;
    const data = random.normals(count, 0.5);
    const dead = net.dead(units);
    if (random.chance(0.8)) for (const place of data.keys()) if (dead.has(place % units)) data[place] = 0;
    inputs.push(net.floats([ways, 2 * gates * units], data));
  }
  const isWhole = isFixedAt(value, 0, 1);
  if (isWhole && random.chance(0.3)) {
    while (inputs.length < 4) inputs.push(undefined);
    // How long each sequence is.
    inputs.push(
      random.chance(0.4) ? net.shorts(Array.from({ length: batch }, () => random.between(1, steps))) : undefined,
    );
    const count = ways * batch * units;
    const isZero = random.chance(0.7);
    const start = () => {
      const data = random.normals(count);
      if (isZero) for (const place of data.keys()) if (net.dead(units).has(place % units)) data[place] = 0;
      return net.floats([ways, batch, units], data);
    };
    if (random.chance(0.7)) inputs.push(start());
    if (op === 'LSTM' && inputs.length > 5 && random.chance(0.7)) {
      inputs.push(start());
      if (random.chance(0.3)) inputs.push(net.floats([ways, 3 * units], random.normals(ways * 3 * units)));
    }
  }
  const attributes = [integerAttribute('hidden_size', units), textAttribute('direction', direction)];
  if (random.chance(0.15)) attributes.push(floatAttribute('clip', 0.4));
  if (op === 'LSTM' && random.chance(0.15)) attributes.push(integerAttribute('input_forget', 1));
  if (op === 'GRU' && random.chance(0.5)) attributes.push(integerAttribute('linear_before_reset', 1));
  const all = {
    shape: [steps, ways, batch, units],
    symbols: [value.symbols[1], undefined, value.symbols[0], undefined],
  };
  const last = { shape: [ways, batch, units], symbols: [undefined, value.symbols[0], undefined] };
  const wanted = random.pick([[all], [all], [all, last], [undefined, last]]);
  const made = net.nodeOf(op, inputs, wanted, attributes);
  if (wanted[0] === undefined) return made[0];
  const back = net.node(
    'Transpose',
    [made[0]!],
    { shape: [steps, batch, ways, units], symbols: [value.symbols[1], value.symbols[0], undefined, undefined] },
    [integersAttribute('perm', [0, 2, 1, 3])],
  );
  const joined = net.node('Reshape', [back, net.integers([0, 0, -1])], {
    shape: [steps, batch, ways * units],
    symbols: [value.symbols[1], value.symbols[0], undefined],
  });
  return net.node(
    'Transpose',
    [joined],
    { shape: [batch, steps, ways * units], symbols: [value.symbols[0], value.symbols[1], undefined] },
    [integersAttribute('perm', [1, 0, 2])],
  );
}

/** A layer that computes the numbers of several heads, of which some are zero. */
function headed(net: Network, value: Value, heads: number, width: number): Value {
  const { random } = net;
  const made = dense(net, value, heads * width);
  if (random.chance(0.4)) return made;
  const dead = new Set(Array.from({ length: heads }, (_, head) => head).filter(() => random.chance(0.4)));
  const gain = random.normals(heads * width);
  for (const place of gain.keys()) if (dead.has(Math.floor(place / width))) gain[place] = 0;
  return net.node('Mul', [made, net.floats([heads * width], gain)], made);
}

function attention(net: Network, value: Value): Value {
  const { random } = net;
  const [batch, steps] = value.shape as [number, number, number];
  const [first, second] = [value.symbols[0], value.symbols[1]];
  const heads = random.between(1, 4);
  const width = random.between(1, 4);
  // How many heads of the queries have the same keys and values.
  const copies = isFixedAt(value, 0, 1) && random.chance(0.4) ? random.between(2, 3) : 1;
  const all = heads * copies;
  const symbols = [first, undefined, second, undefined];
  const apart = (made: Value, count: number): Value => {
    const split = net.node('Reshape', [made, net.integers([0, 0, count, random.chance(0.5) ? -1 : width])], {
      shape: [batch, steps, count, width],
      symbols: [first, second, undefined, undefined],
    });
    return net.node('Transpose', [split], { shape: [batch, count, steps, width], symbols }, [
      integersAttribute('perm', [0, 2, 1, 3]),
    ]);
  };
  const part = (count = heads): Value => apart(headed(net, value, count, width), count);
  const repeated = (made: Value): Value => {
    if (copies === 1) return made;
    const five = net.node('Reshape', [made, net.integers([batch, heads, 1, steps, width])], {
      shape: [batch, heads, 1, steps, width],
      symbols: [],
    });
    const wide = [batch, heads, copies, steps, width];
    const expanded = net.node('Expand', [five, net.integers(wide)], { shape: wide, symbols: [] });
    const shape = [batch, all, steps, width];
    return net.node('Reshape', [expanded, net.integers(shape)], { shape, symbols });
  };
  /** Queries, keys and values of one layer, along an axis of their own. */
  const fused = (): Value[] => {
    const split = net.node('Reshape', [headed(net, value, 3 * heads, width), net.integers([0, 0, 3, heads, width])], {
      shape: [batch, steps, 3, heads, width],
      symbols: [first, second, undefined, undefined, undefined],
    });
    const turned = net.node(
      'Transpose',
      [split],
      { shape: [3, batch, heads, steps, width], symbols: [undefined, ...symbols] },
      [integersAttribute('perm', [2, 0, 3, 1, 4])],
    );
    return [0, 1, 2].map((place) =>
      net.node('Gather', [turned, net.index(place)], { shape: [batch, heads, steps, width], symbols }, [
        integerAttribute('axis', 0),
      ]),
    );
  };
  const isFused = copies === 1 && random.chance(0.3);
  const [query, key, content] = isFused
    ? (fused() as [Value, Value, Value])
    : ([part(all), repeated(part()), repeated(part())] as const);
  const turned = net.node(
    'Transpose',
    [key],
    { shape: [batch, all, width, steps], symbols: [first, undefined, undefined, second] },
    [integersAttribute('perm', [0, 1, 3, 2])],
  );
  const scores = net.node('MatMul', [query, turned], {
    shape: [batch, all, steps, steps],
    symbols: [first, undefined, second, second],
  });
  const factor = random.chance(0.7) ? net.scalar(0.5) : net.vector(all, [all, 1, 1]);
  const shares = net.node('Softmax', [net.node('Mul', [scores, factor], scores)], scores, [
    integerAttribute('axis', 3),
  ]);
  const mixed = net.node('MatMul', [shares, content], { shape: [batch, all, steps, width], symbols });
  const back = net.node(
    'Transpose',
    [mixed],
    { shape: [batch, steps, all, width], symbols: [first, second, undefined, undefined] },
    [integersAttribute('perm', [0, 2, 1, 3])],
  );
  const joined = net.node('Reshape', [back, net.integers([0, 0, random.chance(0.5) ? -1 : all * width])], {
    shape: [batch, steps, all * width],
    symbols: [first, second, undefined],
  });
  return dense(net, joined);
}

export const sequenceOperators: readonly RandomOperator[] = [
  operator(8, isRow, (net, value) => dense(net, value)),
  operator(2, isRow, onTheLeft),
  operator(1, isRow, headwise),
  operator(1, isRow, embedding),
  operator(8, isMatrix, gemm),
  operator(4, isSequence, recurrent),
  operator(3, isSequence, attention),
];

/** The last layer over rows. */
export const rowConclusion = conclusion(isRow, (net, value) => dense(net, value, 2));
