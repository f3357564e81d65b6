// ONNX models that were made to take long: chains, repeated names, and many nodes that share constants.
import { dequantize, quantize } from 'sparsifier/quantize';
import { readOnnx } from 'sparsifier/formats/onnx';

const encoder = new TextEncoder();

function varint(number) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(number));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

const bytesField = (number, ...content) => {
  const value = Buffer.concat(content.flat(Infinity));
  return Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
};
const textField = (number, text) => bytesField(number, encoder.encode(text));
const integerField = (number, value) => Buffer.concat([varint(number << 3), varint(value)]);

const times = (n, make) => Array.from({ length: n }, (_, index) => make(index));
const numbers = (count) => Buffer.from(Float32Array.from({ length: count }, (_, i) => ((i * 7) % 11) + 1).buffer);
const types = { float32: 1, uint8: 2, int8: 3, int64: 7, float16: 10 };
const bytesPer = { float32: 4, uint8: 1, int8: 1, int64: 8, float16: 2 };

/** A `TensorProto`; its numbers are 1, 8, 4 and so on unless its bytes are given. */
function tensor(name, shape, { type = 'float32', data, external } = {}) {
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

const list = (name, values) =>
  tensor(name, [values.length], { type: 'int64', data: Buffer.from(BigInt64Array.from(values, BigInt).buffer) });
const attribute = (name, ...content) => bytesField(5, textField(1, name), content);
const integerAttribute = (name, value) => attribute(name, integerField(3, value), integerField(20, 2));
const floatAttribute = (name, value) =>
  attribute(name, varint((2 << 3) | 5), Buffer.from(Float32Array.of(value).buffer), integerField(20, 1));
const textAttribute = (name, value) => attribute(name, textField(4, value), integerField(20, 3));
const integersAttribute = (name, values) => attribute(name, bytesField(8, values.map(varint)), integerField(20, 7));
const graphAttribute = (name, content) => attribute(name, bytesField(6, content), integerField(20, 5));

/** A `NodeProto`; inputs and outputs are lists of names. */
const node = (op, inputs, outputs, { name, domain, attributes = [] } = {}) => [
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

/** The fields of a `GraphProto`. */
const graph = ({ nodes = [], initializers = [], inputs = [], outputs = [], values = [] }) => [
  nodes.map((each) => bytesField(1, each)),
  initializers.map((each) => bytesField(5, each)),
  inputs.map((name) => bytesField(11, valueInfo(name, [1, 4, 8, 8]))),
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

const opset = (version, domain) => bytesField(8, domain ? textField(1, domain) : [], integerField(2, version));

const model = (options, more = []) =>
  new Map([
    [
      'model.onnx',
      Buffer.concat(
        [integerField(1, 8), opset(17), opset(1, 'own'), bytesField(7, graph(options)), more].flat(Infinity),
      ),
    ],
  ]);

// Constants and layers that many kinds have.

const kernel = (name) => tensor(name, [4, 4, 1, 1]);
const matrix = (name, options) => tensor(name, [4, 4], options);
const vector = (name, size = 4) => tensor(name, [size]);
const conv = (index, inputs = ['x', 'w'], more) =>
  node('Conv', inputs, [`y${index}`], { name: `conv${index}`, ...more });
const product = (input, weight, output, more) => node('MatMul', [input, weight], [output], more);

/** n nodes of one operator, each behind the other, from a constant to a layer. */
const chain = (n, first, nodeOf, more = {}) =>
  model({
    nodes: [...times(n, (index) => nodeOf(`v${index}`, `v${index + 1}`)), product('x', `v${n}`, 'y')],
    initializers: [first, ...(more.initializers ?? [])],
    inputs: ['x'],
  });
/** The same behind a layer. */
const tail = (n, nodeOf, more = {}) =>
  model({
    nodes: [conv('', ['x', 'w']), ...times(n, (index) => nodeOf(index === 0 ? 'y' : `v${index}`, `v${index + 1}`))],
    initializers: [kernel('w'), ...(more.initializers ?? [])],
    inputs: ['x'],
  });
const unary = (op, attributes) => (input, output) => node(op, [input], [output], { attributes });
const binary = (op, other) => (input, output) => node(op, [input, other], [output]);

/** n layers, each with a weight of its own, whose outputs are joined to one value. */
const joined = (n, nodes, more = {}) =>
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
const nested = (n) => {
  let inside = graph({ nodes: [conv(n)] });
  for (let level = 0; level < n; level++)
    inside = graph({ nodes: [node('If', ['c'], ['o'], { attributes: [graphAttribute('then_branch', inside)] })] });
  return new Map([
    ['model.onnx', Buffer.concat([opset(17), bytesField(7, inside, graph({ initializers: [kernel('w')] }))])],
  ]);
};

/** Functions that each call the next one twice. */
const doubling = (n) =>
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
const calls = (n, nodes, initializers = []) =>
  model(
    {
      nodes: times(n, (index) => node('f', ['x', 'w'], [`y${index}`], { domain: 'own', name: `c${index}` })),
      initializers,
      inputs: ['x'],
    },
    [localFunction('f', ['x', 'w'], ['y'], nodes)],
  );

/** Where a tensor is in the file with external data. */
const placed = (offset, length) =>
  Object.entries({ location: 'data', offset, length }).map(([key, value]) =>
    bytesField(13, textField(1, key), textField(2, `${value}`)),
  );

/** The work of a verb on a model that is read once. */
const reading = (make, verb) => async (n) => {
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

const decoded = (n) => times(n, (index) => node('DequantizeLinear', [`q${index}`, 's', 'z'], [`w${index}`]));
const codes = (n) => times(n, (index) => matrix(`q${index}`, { type: 'int8' }));
const scale = (size) => [vector('s', size), tensor('z', [size], { type: 'int8', data: Buffer.alloc(size) })];

const sharedWeight = (n) =>
  model({ nodes: times(n, (index) => conv(index)), initializers: [kernel('w')], inputs: ['x'] });
const sharedMatrix = (n) =>
  model({ nodes: times(n, (index) => product('x', 'w', `y${index}`)), initializers: [matrix('w')], inputs: ['x'] });
const ownWeights = (n, inputsOf, initializers = [], nodes = []) =>
  model({
    nodes: [...times(n, (index) => conv(index, ['x', `w${index}`, ...inputsOf(index)])), ...nodes],
    initializers: [...times(n, (index) => kernel(`w${index}`)), ...initializers],
    inputs: ['x'],
  });

/** A chain of DenseNet's kind: each layer reads all values before it. */
const dense = (n) =>
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

export const kinds = [
  // Nodes that share constants.
  {
    name: 'n convolutions share weight and bias',
    n: 2500,
    make: (n) =>
      model({
        nodes: times(n, (index) => conv(index, ['x', 'w', 'b'])),
        initializers: [kernel('w'), vector('b')],
        inputs: ['x'],
      }),
  },
  { name: 'n convolutions share one weight', n: 20_000, make: sharedWeight },
  { name: 'n products share one weight', n: 20_000, make: sharedMatrix },
  { name: 'n convolutions share one bias', n: 5000, make: (n) => ownWeights(n, () => ['b'], [vector('b')]) },
  {
    name: 'n convolutions share a bias of n entries',
    n: 5000,
    make: (n) => ownWeights(n, () => ['b'], [vector('b', n)]),
  },
  {
    name: 'n convolutions share a bias of n zeros',
    n: 5000,
    make: (n) => ownWeights(n, () => ['b'], [tensor('b', [n], { data: Buffer.alloc(4 * n) })]),
  },
  {
    name: 'n convolutions share a bias of n axes',
    n: 5000,
    make: (n) =>
      ownWeights(n, () => ['b'], [
        tensor(
          'b',
          times(n, () => 1),
        ),
      ]),
  },
  {
    name: 'n convolutions, and n identities of their bias',
    n: 5000,
    make: (n) =>
      ownWeights(
        n,
        () => ['b'],
        [vector('b')],
        times(n, (index) => node('Identity', ['b'], [`i${index}`])),
      ),
  },
  {
    name: 'n convolutions share a norm',
    n: 5000,
    make: (n) =>
      ownWeights(
        n,
        () => [],
        ['s', 'b', 'm', 'v'].map((each) => vector(each)),
        times(n, (index) => node('BatchNormalization', [`y${index}`, 's', 'b', 'm', 'v'], [`n${index}`])),
      ),
  },
  {
    name: 'n norms behind one convolution',
    n: 5000,
    make: (n) =>
      model({
        nodes: [conv(''), ...times(n, (index) => node('BatchNormalization', ['y', 's', 'b', 'm', 'v'], [`n${index}`]))],
        initializers: [kernel('w'), ...['s', 'b', 'm', 'v'].map((each) => vector(each))],
        inputs: ['x'],
      }),
  },
  {
    name: 'n convolutions share weight, bias and norm',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) => [
          conv(index, ['x', 'w', 'b']),
          node('BatchNormalization', [`y${index}`, 's', 'b', 'm', 'v'], [`n${index}`]),
        ]).flat(1),
        initializers: [kernel('w'), ...['s', 'b', 'm', 'v'].map((each) => vector(each))],
        inputs: ['x'],
      }),
  },
  {
    name: 'n tables are looked up in n ways',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Gather', [`w${index}`, 'x'], [`y${index}`])),
        initializers: times(n, (index) => matrix(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'n recurrent layers share their weights',
    n: 3000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('LSTM', ['x', 'w', 'r', 'b', '', '', '', 'p'], [`y${index}`])),
        initializers: [tensor('w', [1, 8, 4]), tensor('r', [1, 8, 2]), tensor('b', [1, 16]), tensor('p', [1, 6])],
        inputs: ['x'],
      }),
  },
  {
    name: 'n gates are joined for n recurrent layers',
    n: 3000,
    make: (n) =>
      model({
        nodes: [
          node('Concat', ['a', 'b', 'c', 'd'], ['w'], { attributes: [integerAttribute('axis', 1)] }),
          ...times(n, (index) => node('LSTM', ['x', 'w', 'r'], [`y${index}`])),
        ],
        initializers: [...['a', 'b', 'c', 'd'].map((each) => tensor(each, [1, 2, 4])), tensor('r', [1, 8, 2])],
        inputs: ['x'],
      }),
  },
  {
    name: 'n powers with n exponents',
    n: 10_000,
    make: (n) => tail(n, binary('Pow', 'e'), { initializers: [vector('e', n)] }),
  },

  // Names.
  {
    name: 'n nameless convolutions whose weight is one input',
    n: 7000,
    make: (n) => model({ nodes: times(n, (index) => node('Conv', ['x', 'w'], [`y${index}`])), inputs: ['x'] }),
  },
  {
    name: 'n convolutions of one name',
    n: 7000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Conv', ['x', `w${index}`], [`y${index}`], { name: 'conv' })),
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'n convolutions with one output, n identities',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          ...times(n, (index) => node('Conv', ['x', `w${index}`], ['y'])),
          ...times(n, (index) => node('Identity', ['y'], [`z${index}`])),
        ],
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'n lookups with one output, decoded n times',
    n: 3000,
    make: (n) =>
      model({
        nodes: [
          ...times(n, () => node('Gather', ['w', 'x'], ['y'])),
          ...times(n, (index) => node('DequantizeLinear', ['y', 's'], [`z${index}`])),
        ],
        initializers: [matrix('w', { type: 'int8' }), vector('s', 1)],
        inputs: ['x'],
      }),
  },
  {
    name: 'a node with n inputs of one name',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Sum',
            times(n, () => 'w'),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n times one value',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          conv(''),
          node(
            'Sum',
            times(n, () => 'y'),
            ['v'],
          ),
        ],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n activations of a layer',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          conv(''),
          ...times(n, (index) => node('Relu', ['y'], [`r${index}`])),
          node(
            'Sum',
            times(n, (index) => `r${index}`),
            ['v'],
          ),
        ],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a sum of n layers',
    n: 10_000,
    make: (n) =>
      ownWeights(
        n,
        () => [],
        [],
        [
          node(
            'Sum',
            times(n, (index) => `y${index}`),
            ['v'],
          ),
        ],
      ),
  },
  {
    name: 'n values of one name',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [conv('')],
        initializers: [kernel('w')],
        inputs: times(n, () => 'x'),
        values: times(n, () => 'w'),
      }),
  },
  {
    name: 'n initializers of one name',
    n: 10_000,
    make: (n) => model({ nodes: [conv('')], initializers: times(n, () => kernel('w')), inputs: ['x'] }),
  },
  {
    name: 'n attributes of one name',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [conv('', ['x', 'w'], { attributes: times(n, () => integerAttribute('group', 1)) })],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n attributes',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [conv('', ['x', 'w'], { attributes: times(n, (index) => integerAttribute(`a${index}`, 1)) })],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n versions of operators',
    n: 50_000,
    make: (n) =>
      new Map([
        ['model.onnx', Buffer.concat([...sharedWeight(1).values(), ...times(n, (index) => opset(17, `d${index}`))])],
      ]),
  },
  {
    name: 'n metadata',
    n: 50_000,
    make: (n) =>
      new Map([
        [
          'model.onnx',
          Buffer.concat([
            ...sharedWeight(1).values(),
            ...times(n, () => bytesField(14, textField(1, 'k'), textField(2, 'v'))),
          ]),
        ],
      ]),
  },
  {
    name: 'n operators of names of their own',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [conv(''), ...times(n, (index) => node(`Op${index}`, ['y'], [`v${index}`]))],
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'n entries of external data',
    n: 20_000,
    make: (n) =>
      new Map([
        ...model({
          nodes: [conv('')],
          initializers: [tensor('w', [4, 4, 1, 1], { external: times(n, () => placed(0, 64)) })],
          inputs: ['x'],
        }),
        ['data', Buffer.alloc(64, 1)],
      ]),
  },
  {
    name: 'n tensors in one file of external data',
    n: 5000,
    make: (n) =>
      new Map([
        ...model({
          nodes: times(n, (index) => conv(index, ['x', `w${index}`])),
          initializers: times(n, (index) => tensor(`w${index}`, [4, 4, 1, 1], { external: placed(64 * index, 64) })),
          inputs: ['x'],
        }),
        ['data', Buffer.alloc(64 * n, 1)],
      ]),
  },
  {
    name: 'a weight with a name of n letters, and n partners',
    n: 3000,
    make: (n) =>
      model({
        nodes: [
          conv('', ['x', 'w'], { name: 'c'.repeat(10 * n) }),
          ...times(n, (index) => node('Mul', ['y', `m${index}`], [`p${index}`])),
          ...times(n, (index) => node('Add', [`p${index}`, `b${index}`], [`o${index}`])),
        ],
        initializers: [
          kernel('w'),
          ...times(n, (index) => tensor(`b${index}`, [4, 1, 1])),
          ...times(n, (index) => tensor(`m${index}`, [4, 1, 1])),
        ],
        inputs: ['x'],
      }),
  },

  // Chains.
  ...[
    ['identities', unary('Identity')],
    ['transposes', unary('Transpose')],
    ['reshapes', binary('Reshape', 'shape')],
    ['casts', unary('Cast', [integerAttribute('to', 1)])],
    ['unsqueezes', unary('Unsqueeze', [integersAttribute('axes', [0])])],
    ['joins of one value', unary('Concat', [integerAttribute('axis', 0)])],
    ['slices', (input, output) => node('Slice', [input, 'shape', 'shape'], [output])],
    ['splits', unary('Split')],
    ['rounds', (input, output) => node('QuantizeLinear', [input, 's'], [output])],
    ['sums with itself', (input, output) => node('Add', [input, input], [output])],
    [
      'joins with itself',
      (input, output) => node('Concat', [input, input], [output], { attributes: [integerAttribute('axis', 0)] }),
    ],
  ].map(([name, nodeOf]) => ({
    name: `a weight behind n ${name}`,
    n: 20_000,
    make: (n) => chain(n, matrix('v0'), nodeOf, { initializers: [list('shape', [4, 4]), vector('s', 1)] }),
  })),
  {
    name: 'codes that are decoded n times',
    n: 20_000,
    make: (n) =>
      chain(n, matrix('v0', { type: 'int8' }), binary('DequantizeLinear', 's'), { initializers: [vector('s', 1)] }),
  },
  {
    name: 'codes behind n identities that are joined',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, (index) => `q${index}`),
            ['v0'],
          ),
          ...times(n, (index) => node('Identity', ['v0'], [`v${index + 1}`])),
          ...times(n, (index) => node('DequantizeLinear', [`v${index}`, 's'], [`w${index}`])),
        ],
        initializers: [...codes(n), vector('s', 1)],
        inputs: ['x'],
      }),
  },
  ...[
    ['identities', unary('Identity')],
    ['activations', unary('Relu')],
    ['transposes', unary('Transpose', [integersAttribute('perm', [0, 1, 3, 2])])],
    ['reshapes', binary('Reshape', 'shape')],
    ['biases', binary('Add', 'b')],
    ['sums with itself', (input, output) => node('Add', [input, input], [output])],
    ['products with itself', (input, output) => node('Mul', [input, input], [output])],
    [
      'joins with itself',
      (input, output) => node('Concat', [input, input], [output], { attributes: [integerAttribute('axis', 1)] }),
    ],
    [
      'splits in two',
      (input, output) => node('Split', [input], [output, `${output}b`], { attributes: [integerAttribute('axis', 2)] }),
    ],
    ['means', unary('ReduceMean', [integersAttribute('axes', [3])])],
  ].map(([name, nodeOf]) => ({
    name: `n ${name} behind a layer`,
    n: 20_000,
    make: (n) => tail(n, nodeOf, { initializers: [list('shape', [0, 4, -1, 1]), tensor('b', [4, 1, 1])] }),
  })),

  // Many inputs, outputs, axes and numbers of one node.
  {
    name: 'a join of n constants',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, (index) => `w${index}`),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: times(n, (index) => matrix(`w${index}`)),
        inputs: ['x'],
      }),
  },
  {
    name: 'a join of n times one constant',
    n: 50_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Concat',
            times(n, () => 'w'),
            ['v'],
          ),
          product('x', 'v', 'y'),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a join of n layers, split into n',
    n: 5000,
    make: (n) =>
      joined(n, [
        node(
          'Split',
          ['all'],
          times(n, (index) => `s${index}`),
          { attributes: [integerAttribute('axis', 1)] },
        ),
      ]),
  },
  {
    name: 'a join of n layers, split into n along another axis',
    n: 5000,
    make: (n) =>
      joined(n, [
        node(
          'Split',
          ['all'],
          times(n, (index) => `s${index}`),
          { attributes: [integerAttribute('axis', 2)] },
        ),
      ]),
  },
  {
    name: 'a join of n layers, read by n layers',
    n: 3000,
    make: (n) =>
      joined(
        n,
        times(n, (index) => conv(`b${index}`, ['all', 'w0'])),
      ),
  },
  {
    name: 'a join of n layers, read by n depthwise layers',
    n: 3000,
    make: (n) =>
      joined(
        n,
        times(n, (index) => conv(`b${index}`, ['all', `d${index}`], { attributes: [integerAttribute('group', 4)] })),
        { initializers: times(n, (index) => tensor(`d${index}`, [4, 1, 1, 1])) },
      ),
  },
  {
    name: 'a join of n layers, and a mean along n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('ReduceMean', ['all'], ['m'], {
          attributes: [
            integersAttribute(
              'axes',
              times(n, (index) => index + 4),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'a join of n layers, and a Transpose of n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('Transpose', ['all'], ['m'], {
          attributes: [
            integersAttribute(
              'perm',
              times(n, (index) => index),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'a join of n layers, and a cut of n axes',
    n: 10_000,
    make: (n) =>
      joined(n, [
        node('Slice', ['all'], ['m'], {
          attributes: ['starts', 'ends', 'axes'].map((name) =>
            integersAttribute(
              name,
              times(n, (index) => index + 9),
            ),
          ),
        }),
      ]),
  },
  { name: 'n layers that each read all before them', n: 100, make: dense },
  {
    name: 'a constant split into n',
    n: 20_000,
    make: (n) =>
      model({
        nodes: [
          node(
            'Split',
            ['w'],
            times(n, (index) => `v${index}`),
          ),
          ...times(n, (index) => product('x', `v${index}`, `y${index}`)),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'permutations of a tensor of n axes',
    n: 100_000,
    make: (n) =>
      model({
        nodes: times(3, (index) => node('Transpose', [index === 0 ? 'w' : `v${index}`], [`v${index + 1}`])),
        initializers: [
          tensor(
            'w',
            times(n, () => 1),
          ),
        ],
        inputs: ['x'],
      }),
  },
  {
    name: 'n layers read a tensor of n axes',
    n: 10_000,
    make: (n) =>
      model({
        nodes: times(n, (index) => node('Add', ['x', 'w'], [`y${index}`])),
        initializers: [
          tensor(
            'w',
            times(n, () => 1),
          ),
        ],
        inputs: ['x'],
      }),
  },
  {
    name: 'n reshapes to a list of n numbers',
    n: 5000,
    make: (n) =>
      model({
        nodes: [
          node('Constant', [], ['shape'], {
            attributes: [
              integersAttribute(
                'value_ints',
                times(n, () => 1),
              ),
            ],
          }),
          ...times(n, (index) => node('Reshape', ['w', 'shape'], [`v${index}`])),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'an Einsum with an equation of n letters',
    n: 100_000,
    make: (n) =>
      model({
        nodes: [
          node('Einsum', ['x', 'w'], ['y'], {
            attributes: [textAttribute('equation', `${'a'.repeat(n)},ab->${'b'.repeat(n)}`)],
          }),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'an Einsum with n different letters',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          node('Einsum', ['x', 'w'], ['y'], {
            attributes: [
              textAttribute(
                'equation',
                `${times(n, (index) => String.fromCharCode(1000 + index)).join('')},ab->b${'c'.repeat(n)}`,
              ),
            ],
          }),
        ],
        initializers: [matrix('w')],
        inputs: ['x'],
      }),
  },

  // Subgraphs and local functions.
  { name: 'n subgraphs inside each other', n: 8, make: nested },
  {
    name: 'n subgraphs beside each other',
    n: 5000,
    make: (n) =>
      model({
        nodes: times(n, (index) =>
          node('If', ['c'], [`o${index}`], {
            attributes: [graphAttribute('then_branch', graph({ nodes: [conv(index)], outputs: [`y${index}`] }))],
          }),
        ),
        initializers: [kernel('w')],
        inputs: ['x'],
      }),
  },
  {
    name: 'a subgraph of n values of the graph around it',
    n: 10_000,
    make: (n) =>
      model({
        nodes: [
          node('Loop', ['c'], ['o'], {
            attributes: [
              graphAttribute('body', graph({ nodes: times(n, (index) => conv(index, ['x', `w${index}`])) })),
            ],
          }),
        ],
        initializers: times(n, (index) => kernel(`w${index}`)),
        inputs: ['x'],
      }),
  },
  { name: 'n functions that each call the next one twice', n: 12, make: doubling },
  {
    name: 'n calls of a function of n nodes',
    n: 100,
    make: (n) =>
      calls(
        n,
        times(n, (index) => node('Relu', [index === 0 ? 'x' : `v${index}`], [`v${index + 1}`])).concat([
          product(`v${n}`, 'w', 'y'),
        ]),
        [matrix('w')],
      ),
  },
  {
    name: 'n calls of a function with a node of n inputs',
    n: 1000,
    make: (n) =>
      calls(n, [
        node(
          'Sum',
          times(n, () => 'x'),
          ['y'],
        ),
      ]),
  },
  {
    name: 'n calls of a function with a node of n attributes',
    n: 1000,
    make: (n) =>
      calls(n, [node('Relu', ['x'], ['y'], { attributes: times(n, (index) => integerAttribute(`a${index}`, 1)) })]),
  },
  {
    name: 'n calls of a function with a list of n numbers',
    n: 3000,
    make: (n) =>
      calls(
        n,
        [
          node('Transpose', ['w'], ['y'], {
            attributes: [
              integersAttribute(
                'perm',
                times(n, (index) => index),
              ),
            ],
          }),
        ],
        [matrix('w')],
      ),
  },
  {
    name: 'n calls of a function with a constant of n numbers',
    n: 3000,
    make: (n) =>
      calls(n, [
        node('Constant', [], ['b'], {
          attributes: [
            attribute(
              'value',
              bytesField(
                5,
                integerField(1, n),
                integerField(2, 3),
                textField(8, 'b'),
                times(n, () => integerField(5, 1)),
              ),
            ),
          ],
        }),
        node('Add', ['x', 'b'], ['y']),
      ]),
  },
  {
    name: 'n calls of a function with a subgraph of n values',
    n: 1000,
    make: (n) =>
      calls(n, [
        node('If', ['x'], ['y'], {
          attributes: [
            graphAttribute(
              'then_branch',
              graph({ nodes: [node('Relu', ['x'], ['z'])], values: times(n, (index) => `v${index}`) }),
            ),
          ],
        }),
      ]),
  },
  {
    name: 'n calls of a function, n layers deep in names',
    n: 3000,
    make: (n) =>
      calls(
        n,
        [node('Einsum', ['x', 'w'], ['y'], { attributes: [textAttribute('equation', 'a'.repeat(n))] })],
        [matrix('w')],
      ),
  },

  // Codes, and the way to them and back.
  {
    name: 'n weights with one scale',
    n: 5000,
    make: (n) =>
      model({
        nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
        initializers: [...codes(n), ...scale(1)],
        inputs: ['x'],
      }),
  },
  {
    name: 'n weights with a scale of n entries',
    n: 3000,
    make: (n) =>
      model({
        nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
        initializers: [...codes(n), ...scale(n)],
        inputs: ['x'],
      }),
  },
  { name: 'n layers that share one weight, quantized', n: 5000, run: reading(sharedMatrix, (read) => quantize(read)) },
  {
    name: 'n layers that share a weight, with n factors, quantized',
    n: 2000,
    run: reading(
      (n) =>
        model({
          nodes: times(n, (index) =>
            node('Gemm', ['x', 'w'], [`y${index}`], { attributes: [floatAttribute('alpha', index + 1)] }),
          ),
          initializers: [tensor('w', [4, n])],
          inputs: ['x'],
        }),
      (read) => quantize(read, { weights: 'int8-dynamic' }),
    ),
  },
  { name: 'n layers, quantized', n: 2000, run: reading((n) => ownWeights(n, () => []), quantize) },
  {
    name: 'n values of one name, quantized',
    n: 20_000,
    run: reading(
      (n) =>
        model({
          nodes: [product('x', 'w', 'y')],
          initializers: [matrix('w')],
          inputs: ['x'],
          values: times(n, () => 'w'),
        }),
      quantize,
    ),
  },
  {
    name: 'n weights with one scale, dequantized',
    n: 3000,
    run: reading(
      (n) =>
        model({
          nodes: [...decoded(n), ...times(n, (index) => product('x', `w${index}`, `y${index}`))],
          initializers: [...codes(n), ...scale(1)],
          inputs: ['x'],
        }),
      dequantize,
    ),
  },
  {
    name: 'n lookups with one output, decoded n times, dequantized',
    n: 3000,
    run: reading(
      (n) =>
        model({
          nodes: [
            ...times(n, () => node('Gather', ['w', 'x'], ['y'])),
            ...times(n, (index) => node('DequantizeLinear', ['y', 's'], [`z${index}`])),
          ],
          initializers: [matrix('w', { type: 'int8' }), vector('s', 1)],
          inputs: ['x'],
        }),
      dequantize,
    ),
  },
];
