import { readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { describe, expect, test } from 'vitest';
import { errorOf } from '../../support/layers.js';
import { filesOf, floats, graphOf, textOf, type Entry, type Files } from '../../support/tfjs.js';

const read = ({ json, shards }: Files): Promise<FileModel> =>
  readTfjs(textOf(json), { shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer> });

const entry = (name: string, shape: number[], ...numbers: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: floats(...numbers),
});
const w = entry('w', [1, 1], 1);
const b = entry('b', [1], 2);
const count = 20_000;
const names = Array.from({ length: count }, (_, at) => `n${at}`);
const biased = { fused_ops: { list: { s: ['BiasAdd'] } } };
const sequential = (...layers: object[]) => ({ class_name: 'Sequential', config: { name: 'model', layers } });

type Nodes = Parameters<typeof graphOf>[1];
const graph = (entries: Entry[], nodes: Nodes): Files => filesOf(graphOf(entries, nodes), entries);

const { json: long, shards } = filesOf(undefined, [entry(`${'a'.repeat(200_000)}/kernel`, [1, 1], 1)]);
const bare = { json: long.weightsManifest, shards } as never;

// Time that grows with the square of these numbers would be minutes, and their cube would be years.
describe('a large file takes time in proportion to its size', () => {
  test.each<[string, Files, number, number]>([
    [
      'nodes that share a weight and a bias',
      graph(
        [w, b],
        names.map((name) => [name, '_FusedMatMul', ['x', 'w', 'b'], biased] as const),
      ),
      1,
      1,
    ],
    [
      'nodes that share a weight',
      graph(
        [w],
        names.map((name) => [name, 'MatMul', ['x', 'w']] as const),
      ),
      1,
      0,
    ],
    ['a node with many inputs of one name', graph([w], [['y', 'MatMul', ['x', 'w', ...names.map(() => 'w')]]]), 0, 0],
    [
      'a node with many inputs of another',
      graph(
        [w],
        [
          ['y', 'MatMul', ['x', 'w']],
          ['z', 'AddN', names.map(() => 'y')],
        ],
      ),
      1,
      0,
    ],
    [
      'a chain of Identities before a weight is read, and one behind it',
      graph(
        [w, entry('b', [1, 1], 3)],
        [
          ...names.map((name, at) => [name, 'Identity', [at === 0 ? 'w' : `n${at - 1}`]] as const),
          ['y', 'MatMul', ['x', `n${count - 1}`]],
          ...names.map((name, at) => [`r${name}`, 'Relu', [at === 0 ? 'y' : `rn${at - 1}`]] as const),
          ['z', 'BiasAdd', [`rn${count - 1}`, 'c']],
        ],
      ),
      1,
      0,
    ],
    [
      'layers whose outputs are joined and then normalised',
      graph(
        [
          ...names.slice(0, 2000).map((name) => entry(`w${name}`, [1, 1], 1)),
          entry('g', [2000], ...names.slice(0, 2000).map(() => 1)),
        ],
        [
          ...names.slice(0, 2000).map((name) => [name, 'MatMul', ['x', `w${name}`]] as const),
          ['joined', 'ConcatV2', [...names.slice(0, 2000), 'axis']],
          ...names
            .slice(0, 2000)
            .map((name, at) => [`r${name}`, 'Relu', [at === 0 ? 'joined' : `rn${at - 1}`]] as const),
          ['normed', 'FusedBatchNormV3', ['rn1999', 'g', 'g']],
        ],
      ),
      2000,
      0,
    ],
    [
      'nodes whose bias is one tensor',
      graph(
        [...names.map((name) => entry(`w${name}`, [1, 1], 1)), b],
        names.map((name) => [name, '_FusedMatMul', ['x', `w${name}`, 'b'], biased] as const),
      ),
      count,
      0,
    ],
    ['a weight with a long name in a bare manifest', bare, 1, 0],
    [
      'a layer whose name has many parts',
      filesOf(sequential({ class_name: 'Own', config: { name: names.join('/') } }), [
        entry(`${names.join('/')}/kernel`, [1, 1], 1),
      ]),
      0,
      0,
    ],
  ])('A large file is read: %s', async (_title, files, layers, partners) => {
    using model = await read(files);
    expect(model.tensors).toHaveLength(layers);
    expect(model.tensors[0]?.partners.length ?? 0).toBe(partners);
    const inLayers = model.tensors.reduce((all, { values }) => all + values.length, 0);
    expect(inLayers + model.skipped.reduce((all, { weights }) => all + weights, 0)).toBe(model.weights);
  });

  const some = names.slice(0, 2000);
  const call = (name: string, callee: string, ...input: string[]) => ({
    name,
    op: 'PartitionedCall',
    input,
    attr: { f: { func: { name: callee } } },
  });
  const one = (name: string) => ({ name });
  /** A graph with functions. */
  const withLibrary = (nodes: object[], functions: object[]): Files =>
    filesOf({ node: [{ name: 'w', op: 'Const' }, ...nodes], library: { function: functions } }, [w]);

  test('Functions that each call the next one twice are read once', async () => {
    const functions = some.map((name, at) => ({
      signature: { name, inputArg: [one('a')], outputArg: [one('o')] },
      nodeDef:
        at + 1 < some.length
          ? [call('p', some[at + 1]!, 'a'), call('q', some[at + 1]!, 'a')]
          : [{ name: 'q', op: 'MatMul', input: ['x', 'a'] }],
      ret: { o: 'q:output:0' },
    }));
    using model = await read(withLibrary([call('y', some[0]!, 'w')], functions));
    expect(model.tensors.map(({ name }) => name)).toEqual([`${some.at(-1)}/q`]);
  });

  test('A loop whose many results end in one chain of Identities is read', async () => {
    const body = {
      signature: { name: 'body', inputArg: some.map(one), outputArg: some.map((name) => one(`out ${name}`)) },
      nodeDef: [
        ...some.map((_, at) => ({ name: `i${at}`, op: 'Identity', input: [at === 0 ? some[0]! : `i${at - 1}`] })),
        { name: 'y', op: 'MatMul', input: ['x', some[0]!] },
      ],
      ret: Object.fromEntries(some.map((name) => [`out ${name}`, `i${some.length - 1}`])),
    };
    const attr = { body: { func: { name: 'body' } } };
    const loop = { name: 'loop', op: 'While', input: some.map(() => 'w'), attr };
    using model = await read(withLibrary([loop], [body]));
    // Only the first argument comes back as it was.
    expect(model.tensors.map(({ name }) => name)).toEqual([]);
    expect(model.skipped.map(({ reason }) => reason)).toEqual(['While also uses it, as input 1']);
  });

  test('A weight of many axes that many nodes read does not take memory for each pair', async () => {
    const axes = names.slice(0, 5000).map(() => 1);
    const nodes: Nodes = names.slice(0, 5000).map((name) => [name, 'MatMul', ['x', 'wide']] as const);
    using model = await read(graph([entry('wide', axes, 1)], nodes));
    expect(model.skipped).toMatchObject([{ reason: 'a weight of 5000 axes is not supported', weights: 1 }]);
  });

  test('Sizes that are computed from many others are given up', async () => {
    const wide = names.slice(0, 12);
    const sums: Nodes = wide.map(
      (_, at) => [`s${at}`, 'AddN', wide.map(() => (at === 0 ? 'x' : `s${at - 1}`))] as const,
    );
    const nodes: Nodes = [
      ...sums,
      ['sizes', 'Pack', ['s11', 's11', 's11', 's11']],
      ['y', 'Conv2DBackpropInput', ['sizes', 'f', 'x'], { strides: { list: { i: ['1', '2', '2', '1'] } } }],
    ];
    using model = await read(graph([entry('f', [1, 1, 1, 1], 1)], nodes));
    expect(model.tensors).toMatchObject([{ kind: 'convTranspose2d' }]);
  });

  test('A layer that is used more often than a function takes arguments is read', async () => {
    const uses = Array.from({ length: 130_000 }, () => [['x', 0, 0, {}]]);
    const layers = [
      { class_name: 'InputLayer', name: 'x', config: { name: 'x', batch_input_shape: [null, 1] }, inbound_nodes: [] },
      { class_name: 'Dense', name: 'd', config: { name: 'd', units: 1 }, inbound_nodes: uses },
      {
        class_name: 'Concatenate',
        name: 'c',
        config: { name: 'c' },
        inbound_nodes: [uses.map((_, use) => ['d', use, 0, {}])],
      },
    ];
    const config = {
      name: 'model',
      layers,
      input_layers: [['x', 0, 0]],
      output_layers: uses.map((_, use) => ['d', use, 0]),
    };
    using model = await read(filesOf({ class_name: 'Functional', config }, [entry('d/kernel', [1, 1], 1)]));
    expect(model.tensors.map(({ name }) => name)).toEqual(['d']);
  });

  test('Thousands of models with a layer of one name have their own weights, whatever precedes their names', async () => {
    const models = some.map((name) => ({
      class_name: 'Sequential',
      config: { name, layers: [{ class_name: 'Dense', config: { name: 'd', units: 1 } }] },
    }));
    const weights = some.map((name, at) => entry(`around/${name}/d/kernel`, [1, 1], at));
    using model = await read(filesOf(sequential(...models), weights));
    expect(model.tensors.map(({ name }) => name)).toEqual(some.map((name) => `${name}/d`));
    const numbers = await Promise.all(model.tensors.map(({ values }) => model.copy(values)));
    expect(numbers.map((bytes) => new Float32Array(bytes.buffer)[0])).toEqual(some.map((_, at) => at));
  });

  test('The long type of a layer is not looked at again for each of its uses', async () => {
    const uses = names.map(() => [['x', 0, 0, {}]]);
    const layers = [
      { class_name: 'InputLayer', name: 'x', config: { name: 'x', batch_input_shape: [null, 1] }, inbound_nodes: [] },
      { class_name: 'Own'.repeat(50_000), name: 'own', config: { name: 'own' }, inbound_nodes: uses },
    ];
    const config = { name: 'model', layers, input_layers: [], output_layers: [] };
    using model = await read(filesOf({ class_name: 'Functional', config }, [entry('own/w', [1, 1], 1)]));
    expect(model.skipped.map(({ name }) => name)).toEqual(['own/w']);
    expect(model.skipped[0]!.reason.length).toBeLessThan(200);
  });

  test('Thousands of Keras layers that share a normalisation are read', async () => {
    const units = names.slice(0, 4000);
    const node = (...from: string[]) => from.map((name) => [[name, 0, 0, {}]]);
    const layers = [
      { class_name: 'InputLayer', name: 'x', config: { name: 'x', batch_input_shape: [null, 1] }, inbound_nodes: [] },
      ...units.map((name) => ({ class_name: 'Dense', name, config: { name, units: 1 }, inbound_nodes: node('x') })),
      { class_name: 'BatchNormalization', name: 'norm', config: { name: 'norm' }, inbound_nodes: node(...units) },
    ];
    const topology = {
      class_name: 'Functional',
      config: { name: 'model', layers, input_layers: [], output_layers: [] },
    };
    const weights = units.map((name) => entry(`${name}/kernel`, [1, 1], 1));
    using model = await read(filesOf(topology, [...weights, entry('norm/gamma', [1], 1), entry('norm/beta', [1], 1)]));
    expect(model.tensors).toHaveLength(units.length);
    expect(model.tensors.every(({ partners }) => partners.length === 0)).toBe(true);
    expect(model.tensors[7]!.leaks).toMatchObject([
      { name: 'norm/gamma', reason: 'n0 also has it' },
      { name: 'norm/beta' },
    ]);
  });
});

const nested = (depth: number, inner: unknown, around: (inner: unknown) => unknown): unknown => {
  let value = inner;
  for (let level = 0; level < depth; level++) value = around(value);
  return value;
};
/** JSON that is nested more deeply than JSON.stringify can write. */
const brackets = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const shard = new Map([['a', floats(1)]]);

describe('a file that is nested deeply is refused', () => {
  const json = (topology: string, group = '{"paths":["a"],"weights":[{"name":"w","shape":[1,1],"dtype":"float32"}]}') =>
    new TextEncoder().encode(`{"modelTopology":${topology},"weightsManifest":[${group}]}`);
  const layer = (inbound: string) =>
    `{"class_name":"Model","config":{"layers":[{"class_name":"Dense","config":{"name":"d"},"inbound_nodes":${inbound}}]}}`;
  const models = (depth: number) =>
    JSON.stringify(
      nested(depth, [], (layers) => [{ class_name: 'Sequential', config: { name: 'm', layers: layers as [] } }]),
    );
  test.each<[string, Uint8Array]>([
    ['a group of the manifest', json('{}', brackets(40_000))],
    ['a path', json('{}', `{"paths":[${brackets(40_000)}],"weights":[]}`)],
    ['a shape', json('{}', `{"paths":["a"],"weights":[{"name":"w","dtype":"float32","shape":${brackets(40_000)}}]}`)],
    [
      'a quantization',
      json(
        '{}',
        `{"paths":["a"],"weights":[{"name":"w","dtype":"float32","shape":[1],"quantization":${brackets(40_000)}}]}`,
      ),
    ],
    ['the inputs of a layer', json(layer(brackets(20_000)))],
    ['the inputs of a layer, a little', json(layer(brackets(40)))],
    ['models inside each other', json(`{"class_name":"Sequential","config":{"layers":${models(200)}}}`)],
  ])('Deep nesting is an error about the format, not about the stack: %s', async (_title, bytes) => {
    const error = await errorOf(() =>
      readTfjs(bytes as Uint8Array<ArrayBuffer>, { shards: (name) => shard.get(name)! as Uint8Array<ArrayBuffer> }),
    );
    expect(error.code).toBe('format');
  });

  test('A file with weights that the manifest names twice is refused', async () => {
    const group = { paths: ['a', './a'], weights: [w] };
    const error = await errorOf(() =>
      read({ json: { modelTopology: sequential(), weightsManifest: [group] }, shards: shard }),
    );
    expect([error.code, error.message]).toEqual(['format', expect.stringMatching(/twice.*a/)]);
  });
});
