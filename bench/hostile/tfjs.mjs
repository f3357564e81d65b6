// TensorFlow.js models that were made to take long.

const floats = (length) => new Uint8Array(new Float32Array(length).fill(0.5).map((x, i) => x + (i % 7)).buffer);
const sizeOf = ({ shape }) => shape.reduce((a, b) => a * b, 1);
const entry = (name, shape) => ({ name, shape, dtype: 'float32' });

/** The files of a model: its JSON, and its weights in one shard. */
function filesOf(weights, jsonOf) {
  const group = { paths: ['a.bin'], weights };
  const length = weights.reduce((total, weight) => total + sizeOf(weight), 0);
  return new Map([
    ['model.json', new TextEncoder().encode(JSON.stringify(jsonOf([group])))],
    ['a.bin', floats(length)],
  ]);
}

const manifest = (weights) => filesOf(weights, (groups) => groups);
const placeholder = { name: 'x', op: 'Placeholder', attr: {} };

/** A graph of nodes, with a constant for each weight. */
const graph = (weights, nodes, library) =>
  filesOf(weights, (weightsManifest) => ({
    format: 'graph-model',
    modelTopology: {
      node: [...weights.map(({ name }) => ({ name, op: 'Const', attr: {} })), placeholder, ...nodes],
      ...(library && { library }),
    },
    weightsManifest,
  }));

const node = (name, op, input, attr = {}) => ({ name, op, input, attr });
const times = (n, make) => Array.from({ length: n }, (_, index) => make(index));
const fused = { fused_ops: { list: { s: ['Qmlhc0FkZA=='] } } };

const keras = (layers, weights, config = {}) =>
  filesOf(weights, (weightsManifest) => ({
    format: 'layers-model',
    modelTopology: {
      keras_version: '2.15.0',
      model_config: { class_name: 'Sequential', config: { name: 'sequential', layers, ...config } },
    },
    weightsManifest,
  }));

const dense = (name) => ({ class_name: 'Dense', config: { name, units: 2, use_bias: true, activation: 'linear' } });
const denseWeights = (name) => [entry(`${name}/kernel`, [2, 2]), entry(`${name}/bias`, [2])];

/** Functions that each call the next one twice. */
const doubling = (n) => {
  const args = { inputArg: [{ name: 'a' }], outputArg: [{ name: 'o' }] };
  const call = (name, callee, input) => node(name, 'PartitionedCall', [input], { f: { func: { name: callee } } });
  const body = (index) =>
    index + 1 < n
      ? [call('p', `f${index + 1}`, 'a'), call('q', `f${index + 1}`, 'p:output:0')]
      : [node('q', 'Identity', ['a'])];
  return {
    function: times(n, (index) => ({
      signature: { name: `f${index}`, ...args },
      nodeDef: body(index),
      ret: { o: 'q:output:0' },
    })),
  };
};

export const kinds = [
  { name: 'manifest, name of n letters', n: 99_000, make: (n) => manifest([entry(`${'a'.repeat(n)}/kernel`, [1, 1])]) },
  { name: 'manifest, name of n slashes', n: 99_000, make: (n) => manifest([entry(`${'/'.repeat(n)}kernel`, [1, 1])]) },
  {
    name: 'manifest, name of n digits',
    n: 99_000,
    make: (n) => manifest([entry(`a${'_1'.repeat(n)}/kernel`, [1, 1])]),
  },
  {
    name: 'manifest of n layers',
    n: 20_000,
    make: (n) => manifest(times(n, (index) => denseWeights(`dense_${index}`)).flat()),
  },
  {
    name: 'graph, one node with n inputs of one name',
    n: 24_000,
    make: (n) => graph([entry('w', [2, 2])], [node('c', 'MatMul', ['x', ...times(n, () => 'w')])]),
  },
  {
    name: 'graph, n nodes read one weight',
    n: 20_000,
    make: (n) =>
      graph(
        [entry('w', [2, 2])],
        times(n, (index) => node(`c${index}`, 'MatMul', ['x', 'w'])),
      ),
  },
  {
    name: 'graph, n MatMuls share weight and bias',
    n: 3_200,
    make: (n) =>
      graph(
        [entry('w', [1, 1]), entry('b', [1])],
        times(n, (index) => node(`c${index}`, '_FusedMatMul', ['x', 'w', 'b'], fused)),
      ),
  },
  {
    name: 'graph, n MatMuls share weight and bias, filter',
    n: 3_200,
    options: { granularity: 'filter' },
    make: (n) =>
      graph(
        [entry('w', [1, 1]), entry('b', [1])],
        times(n, (index) => node(`c${index}`, '_FusedMatMul', ['x', 'w', 'b'], fused)),
      ),
  },
  {
    name: 'graph, chain of n Identities behind a weight',
    n: 50_000,
    make: (n) =>
      graph(
        [entry('w', [2, 2])],
        [
          ...times(n, (index) => node(`i${index}`, 'Identity', [index === 0 ? 'w' : `i${index - 1}`])),
          node('c', 'MatMul', ['x', `i${n - 1}`]),
        ],
      ),
  },
  {
    name: 'graph, chain of n Relus behind a layer',
    n: 50_000,
    make: (n) =>
      graph(
        [entry('w', [2, 2])],
        [
          node('c', 'MatMul', ['x', 'w']),
          ...times(n, (index) => node(`i${index}`, 'Relu', [index === 0 ? 'c' : `i${index - 1}`])),
        ],
      ),
  },
  {
    name: 'graph, chain of n layers',
    n: 5_000,
    make: (n) =>
      graph(
        times(n, (index) => entry(`w${index}`, [2, 2])),
        times(n, (index) => node(`c${index}`, 'MatMul', [index === 0 ? 'x' : `c${index - 1}`, `w${index}`])),
      ),
  },
  {
    name: 'graph, sums of n layers, each of all before',
    n: 1_000,
    make: (n) =>
      graph(
        times(n, (index) => entry(`w${index}`, [2, 2])),
        times(n, (index) => [
          node(`c${index}`, 'MatMul', ['x', `w${index}`]),
          node(`s${index}`, 'AddV2', [`c${index}`, index === 0 ? 'x' : `s${index - 1}`]),
        ]).flat(),
      ),
  },
  {
    name: 'graph, n functions that call the next one twice',
    n: 1_000,
    make: (n) =>
      graph(
        [entry('w', [2, 2])],
        [node('f', 'PartitionedCall', ['w'], { f: { func: { name: 'f0' } } }), node('c', 'MatMul', ['x', 'f'])],
        doubling(n),
      ),
  },
  {
    name: 'Keras, n Dense layers',
    n: 8_000,
    make: (n) => {
      const names = times(n, (index) => `dense_${index}`);
      return keras(names.map(dense), names.flatMap(denseWeights));
    },
  },
  {
    name: 'Keras, n nested models of one layer',
    n: 4_000,
    make: (n) => {
      const models = times(n, (index) => `model_${index}`);
      const nested = (name) => ({ class_name: 'Sequential', config: { name, layers: [dense(`${name}_d`)] } });
      return keras(
        models.map(nested),
        models.flatMap((name) => denseWeights(`${name}_d`)),
      );
    },
  },
];
