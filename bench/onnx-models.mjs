// Writes ONNX models that were made to take long: messages, and what many of the models have in common.
import { readOnnx } from 'sparsifier/formats/onnx';

const encoder = new TextEncoder();

function varint(number) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(number));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

export const bytesField = (number, ...content) => {
  const value = Buffer.concat(content.flat(Infinity));
  return Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
};
export const textField = (number, text) => bytesField(number, encoder.encode(text));
export const integerField = (number, value) => Buffer.concat([varint(number << 3), varint(value)]);

export const times = (n, make) => Array.from({ length: n }, (_, index) => make(index));
const numbers = (count) => Buffer.from(Float32Array.from({ length: count }, (_, i) => ((i * 7) % 11) + 1).buffer);
const types = { float32: 1, uint8: 2, int8: 3, int64: 7, float16: 10 };
const bytesPer = { float32: 4, uint8: 1, int8: 1, int64: 8, float16: 2 };

/** A `TensorProto`; its numbers are 1, 8, 4 and so on unless its bytes are given. */
export function tensor(name, shape, { type = 'float32', data, external } = {}) {
  const count = shape.reduce((a, b) => a * b, 1);
  const own = () => (type === 'float32' ? numbers(count) : Buffer.alloc(count * bytesPer[type], 1));
  return [
    bytesField(
      1,
      shape.map((size) => varint(size)),
    ),
    integerField(2, types[type]),
    textField(8, name),
    external ? [integerField(14, 1), external] : bytesField(9, data ?? own()),
  ];
}

export const list = (name, values) =>
  tensor(name, [values.length], { type: 'int64', data: Buffer.from(BigInt64Array.from(values, BigInt).buffer) });
export const attribute = (name, ...content) => bytesField(5, textField(1, name), content);
export const integerAttribute = (name, value) => attribute(name, integerField(3, value), integerField(20, 2));
export const floatAttribute = (name, value) =>
  attribute(name, varint((2 << 3) | 5), Buffer.from(Float32Array.of(value).buffer), integerField(20, 1));
export const textAttribute = (name, value) => attribute(name, textField(4, value), integerField(20, 3));
export const integersAttribute = (name, values) =>
  attribute(name, bytesField(8, values.map(varint)), integerField(20, 7));
export const graphAttribute = (name, content) => attribute(name, bytesField(6, content), integerField(20, 5));

/** A `NodeProto`; inputs and outputs are lists of names. */
export const node = (op, inputs, outputs, { name, domain, attributes = [] } = {}) => [
  inputs.map((input) => textField(1, input)),
  outputs.map((output) => textField(2, output)),
  name ? textField(3, name) : [],
  textField(4, op),
  attributes,
  domain ? textField(7, domain) : [],
];

/** A `ValueInfoProto` of 32-bit floats. */
const valueInfo = (name, sizes) => {
  const axes = sizes.map((size) => bytesField(1, integerField(1, size)));
  return [textField(1, name), bytesField(2, bytesField(1, integerField(1, 1), bytesField(2, axes)))];
};

/** The fields of a `GraphProto`. Inputs are names, or pairs of names and sizes. */
export const graph = ({ nodes = [], initializers = [], inputs = [], outputs = [], values = [] }) => [
  nodes.map((each) => bytesField(1, each)),
  initializers.map((each) => bytesField(5, each)),
  inputs.map((input) => bytesField(11, valueInfo(...(Array.isArray(input) ? input : [input, [1, 4, 8, 8]])))),
  outputs.map((name) => bytesField(12, textField(1, name))),
  values.map((name) => bytesField(13, valueInfo(name, [1, 4, 8, 8]))),
];

/** A local function of the domain `own`. */
const localFunction = (name, inputs, outputs, nodes) =>
  bytesField(
    25,
    textField(1, name),
    inputs.map((input) => textField(4, input)),
    outputs.map((output) => textField(5, output)),
    nodes.map((each) => bytesField(7, each)),
    textField(10, 'own'),
  );

export const opset = (version, domain) => bytesField(8, domain ? textField(1, domain) : [], integerField(2, version));

export const model = (options, more = []) =>
  new Map([
    [
      'model.onnx',
      Buffer.concat(
        [integerField(1, 8), opset(17), opset(1, 'own'), bytesField(7, graph(options)), more].flat(Infinity),
      ),
    ],
  ]);

// Constants and layers that many kinds have.

export const kernel = (name) => tensor(name, [4, 4, 1, 1]);
export const matrix = (name, options) => tensor(name, [4, 4], options);
export const vector = (name, size = 4) => tensor(name, [size]);
export const conv = (index, inputs = ['x', 'w'], more) =>
  node('Conv', inputs, [`y${index}`], { name: `conv${index}`, ...more });
export const product = (input, weight, output, more) => node('MatMul', [input, weight], [output], more);

/** n nodes of one operator, each behind the other, from a constant to a layer. */
export const chain = (n, first, nodeOf, more = {}) =>
  model({
    nodes: [...times(n, (index) => nodeOf(`v${index}`, `v${index + 1}`)), product('x', `v${n}`, 'y')],
    initializers: [first, ...(more.initializers ?? [])],
    inputs: ['x'],
  });
/** The same behind a layer. */
export const tail = (n, nodeOf, more = {}) =>
  model({
    nodes: [conv('', ['x', 'w']), ...times(n, (index) => nodeOf(index === 0 ? 'y' : `v${index}`, `v${index + 1}`))],
    initializers: [kernel('w'), ...(more.initializers ?? [])],
    inputs: ['x'],
  });
export const unary = (op, attributes) => (input, output) => node(op, [input], [output], { attributes });
export const binary = (op, other) => (input, output) => node(op, [input, other], [output]);

/** n layers, each with a weight of its own, whose outputs are joined to one value. */
export const joined = (n, nodes, more = {}) =>
  model({
    nodes: [
      ...times(n, (index) => conv(index, ['x', `w${index}`])),
      node(
        'Concat',
        times(n, (index) => `y${index}`),
        ['all'],
        { attributes: [integerAttribute('axis', 1)] },
      ),
      ...nodes,
    ],
    initializers: [...times(n, (index) => tensor(`w${index}`, [1, 4, 1, 1])), ...(more.initializers ?? [])],
    inputs: ['x'],
  });

/** Subgraphs of n nodes `If`, each inside the one before, or beside it. */
export const nested = (n) => {
  let inside = graph({ nodes: [conv(n)] });
  for (let level = 0; level < n; level++)
    inside = graph({ nodes: [node('If', ['c'], ['o'], { attributes: [graphAttribute('then_branch', inside)] })] });
  return new Map([
    ['model.onnx', Buffer.concat([opset(17), bytesField(7, inside, graph({ initializers: [kernel('w')] }))])],
  ]);
};

/** Functions that each call the next one twice. */
export const doubling = (n) =>
  model(
    { nodes: [node('f0', ['x'], ['y'], { domain: 'own' })], inputs: ['x'] },
    times(n, (index) =>
      localFunction(
        `f${index}`,
        ['a'],
        ['c'],
        [
          node(index === n - 1 ? 'Relu' : `f${index + 1}`, ['a'], ['b'], index === n - 1 ? {} : { domain: 'own' }),
          node(index === n - 1 ? 'Relu' : `f${index + 1}`, ['b'], ['c'], index === n - 1 ? {} : { domain: 'own' }),
        ],
      ),
    ),
  );

/** n calls of one function. */
export const calls = (n, nodes, initializers = []) =>
  model(
    {
      nodes: times(n, (index) => node('f', ['x', 'w'], [`y${index}`], { domain: 'own', name: `c${index}` })),
      initializers,
      inputs: ['x'],
    },
    [localFunction('f', ['x', 'w'], ['y'], nodes)],
  );

/** Where a tensor is in the file with external data. */
export const placed = (offset, length) =>
  Object.entries({ location: 'data', offset, length }).map(([key, value]) =>
    bytesField(13, textField(1, key), textField(2, `${value}`)),
  );

/** The work of a verb on a model that is read once. */
export const reading = (make, verb) => async (n) => {
  const files = make(n);
  return async () => {
    const read = await readOnnx(files.get('model.onnx'), { external: (name) => files.get(name) });
    try {
      await verb(read);
    } finally {
      read.close();
    }
  };
};

export const decoded = (n) => times(n, (index) => node('DequantizeLinear', [`q${index}`, 's', 'z'], [`w${index}`]));
export const codes = (n) => times(n, (index) => matrix(`q${index}`, { type: 'int8' }));
export const scale = (size) => [vector('s', size), tensor('z', [size], { type: 'int8', data: Buffer.alloc(size) })];

/** n lookups in one table of codes with one output, which is decoded n times. */
export const lookups = (n) =>
  model({
    nodes: [
      ...times(n, () => node('Gather', ['w', 'x'], ['y'])),
      ...times(n, (index) => node('DequantizeLinear', ['y', 's'], [`z${index}`])),
    ],
    initializers: [matrix('w', { type: 'int8' }), vector('s', 1)],
    inputs: ['x'],
  });
export const sharedWeight = (n) =>
  model({ nodes: times(n, (index) => conv(index)), initializers: [kernel('w')], inputs: ['x'] });
export const sharedMatrix = (n) =>
  model({ nodes: times(n, (index) => product('x', 'w', `y${index}`)), initializers: [matrix('w')], inputs: ['x'] });
export const ownWeights = (n, inputsOf, initializers = [], nodes = []) =>
  model({
    nodes: [...times(n, (index) => conv(index, ['x', `w${index}`, ...inputsOf(index)])), ...nodes],
    initializers: [...times(n, (index) => kernel(`w${index}`)), ...initializers],
    inputs: ['x'],
  });

/** A chain of DenseNet's kind: each layer reads all values before it. */
export const dense = (n) =>
  model({
    nodes: times(n, (index) => [
      node(
        'Concat',
        times(index + 1, (each) => (each === 0 ? 'x' : `y${each - 1}`)),
        [`c${index}`],
        { attributes: [integerAttribute('axis', 1)] },
      ),
      conv(index, [`c${index}`, `w${index}`]),
    ]).flat(1),
    initializers: times(n, (index) => tensor(`w${index}`, [1, 4 + index, 1, 1])),
    inputs: ['x'],
  });
