import fc from 'fast-check';
import { Granularity, inspect, Sparsifier } from 'sparsifier';
import { readTfjs, type ReadTfjsOptions, type FileModel } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { errorOf } from '../../support/layers.js';
import {
  filesOf,
  floats,
  graphOf,
  handlerOf,
  jsonOf,
  saved,
  textOf,
  tf,
  type Entry,
  type Files,
} from '../../support/tfjs.js';
import { differsAt } from '../../support/bytes.js';
import { furtherFiles } from '../../support/model-files.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const read = ({ json, shards }: Files, options: ReadTfjsOptions = {}): Promise<FileModel> =>
  readTfjs(textOf(json), { shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer>, ...options });

const dense = (name: string, more: object = {}) => ({
  class_name: 'Dense',
  config: { name, units: 2, activation: 'linear', use_bias: true, ...more },
});
const sequential = (...layers: object[]) => ({ class_name: 'Sequential', config: { name: 'model', layers } });
const entry = (name: string, shape: number[], ...numbers: number[]): Entry => ({
  name,
  shape,
  dtype: 'float32',
  bytes: floats(...numbers),
});
const small = filesOf(sequential(dense('d')), [
  entry('d/kernel', [3, 2], 1, -2, 3, -4, 5, -6),
  entry('d/bias', [2], 7, 8),
]);

/** Numbers of the weight of a name, as stock TensorFlow.js decodes them. */
async function decoded(model: FileModel, name: string): Promise<number[]> {
  const { weightData, weightSpecs } = await handlerOf(await model.bytes(), await furtherFiles(model)).load!();
  const tensors = tf.io.decodeWeights(weightData as ArrayBuffer, weightSpecs!);
  return [...(await tensors[name]!.data())];
}

describe('layers of a LayersModel', () => {
  test('The layers of a saved model have the right kinds, roles, biases and batch normalisations', async () => {
    const input = tf.input({ shape: [8, 8, 4] });
    const conv = tf.layers.conv2d({ filters: 6, kernelSize: 3, name: 'conv', useBias: false }).apply(input);
    const norm = tf.layers.batchNormalization({ name: 'norm' }).apply(conv);
    const depthwise = tf.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, name: 'dw' }).apply(norm);
    const separable = tf.layers.separableConv2d({ filters: 5, kernelSize: 1, name: 'sep' }).apply(depthwise);
    const up = tf.layers.conv2dTranspose({ filters: 3, kernelSize: 2, name: 'up' }).apply(separable);
    const relu = tf.layers.activation({ activation: 'relu' }).apply(up);
    const after = tf.layers.batchNormalization({ name: 'afterRelu' }).apply(relu);
    const flat = tf.layers.reshape({ targetShape: [25, 3] }).apply(after);
    const lstm = tf.layers
      .bidirectional({ layer: tf.layers.lstm({ units: 4, name: 'cell' }) as never, name: 'both', mergeMode: 'concat' })
      .apply(flat);
    const out = tf.layers.dense({ units: 2, activation: 'softmax', name: 'head' }).apply(lstm);
    using model = await read(await saved(tf.model({ inputs: input, outputs: out as never })));
    expect(model.skipped).toEqual([]);
    const list = model.tensors.map(({ name, kind, roles, shape, groups, partners }) => [
      name,
      kind,
      roles.join(),
      shape.join(),
      groups,
      partners.map(({ part, values }) => `${part} ${values.length}`).join(', '),
    ]);
    expect(list).toEqual([
      ['conv', 'conv2d', 'height,width,in,out', '3,3,4,6', 1, 'gamma 6, beta 6'],
      ['dw', 'conv2d', 'height,width,out,multiplier', '3,3,6,2', 6, 'bias 12'],
      ['sep', 'conv2d', 'height,width,out,multiplier', '1,1,12,1', 12, ''],
      ['sep.pointwise', 'conv2d', 'height,width,in,out', '1,1,12,5', 1, 'bias 5'],
      ['up', 'convTranspose2d', 'height,width,out,in', '2,2,3,5', 1, 'bias 3, gamma 3, beta 3'],
      ['forward_cell', 'lstm', 'in,out', '3,16', 1, ''],
      ['forward_cell.recurrent', 'lstm', 'in,out', '4,16', 1, ''],
      ['backward_cell', 'lstm', 'in,out', '3,16', 1, ''],
      ['backward_cell.recurrent', 'lstm', 'in,out', '4,16', 1, ''],
      ['head', 'dense', 'in,out', '8,2', 1, 'bias 2'],
    ]);
  });

  test('A written model has the zeros of the masks, and TensorFlow.js runs it', async () => {
    const built = tf.sequential({
      layers: [
        tf.layers.conv1d({ inputShape: [6, 3], filters: 4, kernelSize: 2, name: 'c' }),
        tf.layers.gru({ units: 3, name: 'g' }),
        tf.layers.dense({ units: 5, name: 'd' }),
      ],
    });
    using model = await read(await saved(built));
    const sparsifier = new Sparsifier(model, {
      granularity: 'filter',
      context: 'local',
      criteria: 'magnitude',
      layerType: 'all',
    });
    const report = await sparsifier.sparsifyModel(50);
    expect(report.total.removedWeights).toBe(report.total.zeros);
    const loaded = await tf.loadLayersModel(handlerOf(await model.bytes(), await furtherFiles(model)));
    for (const [index, weight] of loaded.weights.entries()) {
      const { originalName } = weight;
      const before = [...(await built.weights[index]!.read().data())];
      const after = [...(await weight.read().data())];
      const layer = originalName.slice(0, originalName.indexOf('/'));
      const isRecurrent = originalName.includes('recurrent');
      const isGateBias = layer === 'g' && originalName.endsWith('bias');
      const mask = isGateBias ? undefined : sparsifier.mask(isRecurrent ? 'g.recurrent' : layer).data;
      // The output channel is the last axis of all of these.
      expect(after).toEqual(before.map((value, at) => (mask?.[at % mask.length] === 0 ? 0 : value)));
    }
    expect((loaded.predict(tf.ones([2, 6, 3])) as { shape: number[] }).shape).toEqual([2, 5]);
  });

  const wordsOfNames = [
    'a',
    'b',
    'a/b',
    'a/b/a',
    'b/a',
    'conv',
    'a/conv',
    'conv/1',
    '1',
    'forward_a',
    'forward_conv',
    'kernel',
  ];

  test('A layer has its own weights, whatever other layers, models and wrappers are called', async () => {
    const inner = (kind: number, name: () => string) =>
      kind === 0
        ? tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 3, name: name() }) as never, name: name() })
        : kind === 1
          ? tf.layers.bidirectional({
              layer: tf.layers.gru({ units: 3, returnSequences: true, name: name() }) as never,
              mergeMode: 'concat',
              name: name(),
            })
          : tf.layers.dense({ units: 3, name: name() });
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(wordsOfNames, { minLength: wordsOfNames.length }),
        fc.array(fc.record({ kind: fc.nat(3), isNested: fc.boolean() }), { minLength: 1, maxLength: 4 }),
        async (words, parts) => {
          const names = words.values();
          const name = () => names.next().value!;
          const input = tf.input({ shape: [4, 3] });
          let value = input as ReturnType<typeof tf.input>;
          for (const { kind, isNested } of parts) {
            const before = value.shape.at(-1)!;
            const part = inner(kind, name);
            if (isNested) {
              const own = tf.input({ shape: [4, before] });
              value = tf.model({ inputs: own, outputs: part.apply(own) as never, name: name() }).apply(value) as never;
            } else value = part.apply(value) as never;
          }
          const built = tf.model({ inputs: input, outputs: value });
          const files = await saved(built);
          using model = await read(files);
          expect(model.skipped).toEqual([]);
          const kernels = await Promise.all(model.tensors.map(async ({ values }) => [...(await model.copy(values))]));
          const expected = built.weights
            .filter(({ shape }) => shape.length > 1)
            .map((weight) => [...new Uint8Array(weight.read().dataSync().slice().buffer)]);
          expect(kernels).toEqual(expected);
          built.dispose();
        },
      ),
      // A fixed seed, since one arrangement in thousands can be understood in two ways.
      { numRuns: 200, seed: 1 },
    );
  });

  test('Layers are found in nested models, in wrappers, in old lists of layers, and in topologies that are strings', async () => {
    const weights = [
      entry('outer/inner/d/kernel', [1, 2], 1, 2),
      entry('outer/inner/d/bias', [2], 1, 2),
      entry('d/kernel', [1, 2], 3, 4),
      entry('td/kernel', [1, 2], 5, 6),
    ];
    const nested = { class_name: 'Functional', config: { name: 'inner', layers: [dense('d')] } };
    const wrapped = { class_name: 'TimeDistributed', config: { name: 'td', layer: dense('x', { use_bias: false }) } };
    const list = { class_name: 'Sequential', config: [nested, dense('d'), wrapped] };
    for (const topology of [list, JSON.stringify(list), { model_config: list, keras_version: '2' }]) {
      using model = await read(filesOf(topology, weights));
      expect(model.tensors.map(({ name }) => name)).toEqual(['inner/d', 'd', 'td']);
      expect(
        await Promise.all(
          model.tensors.map(async ({ values }) => new Float32Array((await model.copy(values)).buffer)[0]),
        ),
      ).toEqual([1, 3, 5]);
    }
  });

  // Time that grows with the square of the layers would be minutes here.
  test('are found among tens of thousands, each with its bias and batch normalisation', async () => {
    const count = 40_000;
    const names = Array.from({ length: count }, (_, layer) => `d${layer}`);
    const layers = names.flatMap((name) => [
      dense(name),
      { class_name: 'BatchNormalization', config: { name: `${name}_bn`, axis: -1, scale: true, center: false } },
    ]);
    const weights = names.flatMap((name) => [
      { name: `${name}/kernel`, shape: [1, 2], dtype: 'float32' },
      { name: `${name}/bias`, shape: [2], dtype: 'float32' },
      { name: `${name}_bn/gamma`, shape: [2], dtype: 'float32' },
    ]);
    const json = { modelTopology: sequential(...layers), weightsManifest: [{ paths: ['w.bin'], weights }] };
    using model = await read({ json, shards: new Map([['w.bin', new Uint8Array(24 * count)]]) });
    expect(model.tensors.map(({ name }) => name)).toEqual(names);
    expect(model.tensors.every(({ partners }) => String(partners.map(({ part }) => part)) === 'bias,gamma')).toBe(true);
  });
});

const conv = (name: string, more: object = {}) => ({
  class_name: 'Conv2D',
  config: { name, filters: 2, kernel_size: [1, 1], activation: 'linear', use_bias: true, ...more },
});
const norm = (name: string, more: object = {}) => ({
  class_name: 'BatchNormalization',
  config: { name, axis: -1, scale: true, center: true, ...more },
});
const own = (name: string) => ({ class_name: 'Own', config: { name } });
const inputLayer = (name: string) => ({
  class_name: 'InputLayer',
  name,
  config: { name, batch_input_shape: [null, 1] },
  inbound_nodes: [],
});
const after = (layer: { config: { name: string } }, from: string) => ({
  ...layer,
  name: layer.config.name,
  inbound_nodes: [[[from, 0, 0, {}]]],
});
const functional = (name: string, inputs: string[], outputs: string[], layers: object[]) => ({
  class_name: 'Functional',
  config: {
    name,
    layers,
    input_layers: inputs.map((each) => [each, 0, 0]),
    output_layers: outputs.map((each) => [each, 0, 0]),
  },
});
const pair = (name: string) => entry(name, [2], 1, 2);
const kernel = (name: string) => entry(name, [1, 2], 3, 4);
const filter = (name: string) => entry(name, [1, 1, 1, 2], 3, 4);

/** By layer: the weights whose numbers change when half of its channels go. */
async function partnersIn(files: Files): Promise<Record<string, string[]>> {
  using model = await read(files);
  const found: Record<string, string[]> = {};
  const { weights } = (files.json.weightsManifest as { weights: Entry[] }[])[0]!;
  const sparsifier = new Sparsifier(model, {
    granularity: 'filter',
    context: 'local',
    criteria: 'magnitude',
    layerType: 'all',
  });
  for (const { name } of model.tensors) {
    const before = await Promise.all(weights.map((weight) => decoded(model, weight.name)));
    await sparsifier.sparsifyLayer(name, 50);
    const after = await Promise.all(weights.map((weight) => decoded(model, weight.name)));
    found[name] = weights.filter((_, at) => String(before[at]) !== String(after[at])).map((weight) => weight.name);
  }
  return found;
}

describe('the bias and batch normalisation of a layer', () => {
  test.each([
    ['tfjs_foreign_bias', { dense: ['dense/kernel'] }],
    ['tfjs_foreign_gamma', { fc: ['fc/kernel', 'fc/bias', 'bn/beta'], fc2: ['fc2/kernel', 'fc2/bias'] }],
  ])('The bias and batch normalisation of another layer are not partners: %s', async (name, expected) => {
    const json = jsonOf(await readBytes(`cases/${name}/model.json`));
    const shards = new Map([['w.bin', await readBytes(`cases/${name}/w.bin`)]]);
    expect(await partnersIn({ json, shards })).toEqual(expected);
  });

  test.each<[string, object, Entry[], Record<string, string[]>]>([
    [
      'by the config, even if the file has a bias that the layer does not use',
      sequential(dense('d', { use_bias: false })),
      [kernel('d/kernel'), pair('d/bias')],
      { d: ['d/kernel'] },
    ],
    [
      'by the config of the normalisation',
      sequential(conv('c'), norm('n', { center: false })),
      [filter('c/kernel'), pair('c/bias'), pair('n/gamma'), pair('own/n/beta')],
      { c: ['c/kernel', 'c/bias', 'n/gamma'] },
    ],
    [
      'next to a layer of the same name inside a layer of unknown type',
      sequential(own('blk'), dense('d')),
      [kernel('blk/d/kernel'), pair('blk/d/bias'), kernel('d/kernel'), pair('d/bias')],
      { d: ['d/kernel', 'd/bias'] },
    ],
    [
      'after a prefix that the topology does not contain',
      sequential(dense('d')),
      [kernel('model/d/kernel'), pair('model/d/bias')],
      { d: ['model/d/kernel', 'model/d/bias'] },
    ],
    [
      'in several models, each of which has a layer of the same name',
      sequential(
        { class_name: 'Sequential', config: { name: 'a', layers: [conv('c', { use_bias: false }), norm('n')] } },
        { class_name: 'Sequential', config: { name: 'b', layers: [conv('c'), norm('n', { scale: false })] } },
      ),
      [
        ...[filter('a/c/kernel'), pair('a/n/gamma'), pair('a/n/beta')],
        ...[filter('b/c/kernel'), pair('b/c/bias'), pair('b/n/beta')],
      ],
      { 'a/c': ['a/c/kernel', 'a/n/gamma', 'a/n/beta'], 'b/c': ['b/c/kernel', 'b/c/bias', 'b/n/beta'] },
    ],
    [
      'once for a layer that two models share',
      sequential(
        { class_name: 'Sequential', config: { name: 'a', layers: [dense('d')] } },
        { class_name: 'Sequential', config: { name: 'b', layers: [dense('d')] } },
      ),
      [kernel('a/d/kernel'), pair('a/d/bias')],
      { 'a/d': ['a/d/kernel', 'a/d/bias'] },
    ],
    [
      'for layers whose names contain slashes',
      sequential(conv('a/conv', { use_bias: false }), norm('a/bn'), conv('conv'), norm('bn', { scale: false })),
      [
        ...[filter('a/conv/kernel'), pair('a/bn/gamma'), pair('a/bn/beta')],
        ...[filter('conv/kernel'), pair('conv/bias'), pair('bn/beta')],
      ],
      { 'a/conv': ['a/conv/kernel', 'a/bn/gamma', 'a/bn/beta'], conv: ['conv/kernel', 'conv/bias', 'bn/beta'] },
    ],
    [
      'in a wrapper around a model',
      sequential({
        class_name: 'TimeDistributed',
        config: {
          name: 'td',
          layer: { class_name: 'Sequential', config: { name: 'm', layers: [dense('d')] } },
        },
      }),
      [kernel('td/m/d/kernel'), pair('td/m/d/bias')],
      { d: ['td/m/d/kernel', 'td/m/d/bias'] },
    ],
    [
      'in a model that is called twice',
      functional(
        'm',
        ['x', 'y'],
        ['joined'],
        [
          inputLayer('x'),
          inputLayer('y'),
          {
            ...functional('inner', ['z'], ['n'], [inputLayer('z'), after(dense('d'), 'z'), after(norm('n'), 'd')]),
            name: 'inner',
            inbound_nodes: [[['x', 0, 0, {}]], [['y', 0, 0, {}]]],
          },
          {
            class_name: 'Concatenate',
            name: 'joined',
            config: { name: 'joined', axis: -1 },
            inbound_nodes: [
              [
                ['inner', 1, 0, {}],
                ['inner', 2, 0, {}],
              ],
            ],
          },
        ],
      ),
      [
        kernel('d/kernel'),
        pair('d/bias'),
        pair('n/gamma'),
        pair('n/beta'),
        pair('n/moving_mean'),
        pair('n/moving_variance'),
      ],
      { d: ['d/kernel', 'd/bias', 'n/gamma', 'n/beta'] },
    ],
    [
      'for a layer with an activation that is not known',
      sequential(dense('d', { activation: 'own', batch_input_shape: [null, 1] })),
      [kernel('d/kernel'), pair('d/bias')],
      { d: ['d/kernel', 'd/bias'] },
    ],
  ])(
    'The weights, the bias and the batch normalisation of a layer are found %s',
    async (_title, topology, weights, expected) => {
      expect(await partnersIn(filesOf(topology, weights))).toEqual(expected);
    },
  );

  const first = { data_format: 'channels_first' };
  const flatten = { class_name: 'Flatten', config: { name: 'f' } };
  const input = (...shape: number[]) => ({
    class_name: 'InputLayer',
    config: { name: 'x', batch_input_shape: [null, ...shape] },
  });
  const [normed, plain, unknown] = [['n/gamma', 'n/beta'], [], undefined];
  test.each<[string, object[], string[] | undefined]>([
    ['the last axis of a convolution', [conv('d'), norm('n', { axis: 3 })], normed],
    ['the height of a convolution', [conv('d'), norm('n', { axis: 1 })], plain],
    ['the second axis of a convolution with its channels first', [conv('d', first), norm('n', { axis: [1] })], normed],
    ['the same axis counted from the end', [conv('d', first), norm('n', { axis: -3 })], normed],
    ['the width of a convolution with its channels first', [conv('d', first), norm('n')], plain],
    ['two axes', [conv('d'), norm('n', { axis: [1, 3] })], plain],
    ['the last axis of a dense layer', [dense('d'), norm('n')], normed],
    ['the second axis of two', [input(1), dense('d'), norm('n', { axis: [1] })], normed],
    [
      'the second axis of two, known from the layer itself',
      [dense('d', { batch_input_shape: [null, 1] }), norm('n', { axis: 1 })],
      normed,
    ],
    ['the second axis of three, the steps', [input(2, 1), dense('d'), norm('n', { axis: 1 })], plain],
    ['the third axis of three', [input(2, 1), dense('d'), norm('n', { axis: 2 })], normed],
    ['the second axis of two after Flatten', [flatten, dense('d'), norm('n', { axis: 1 })], normed],
    ['the last axis after a layer of unknown type', [input(1), own('o'), dense('d'), norm('n')], normed],
    ['the second axis of an unknown number', [dense('d'), norm('n', { axis: 1 })], unknown],
    [
      'the second axis after a layer of unknown type',
      [input(1), own('o'), dense('d'), norm('n', { axis: 1 })],
      unknown,
    ],
  ])(
    'A batch normalisation is a partner only if it is along the channels: here it is along %s',
    async (title, layers, expected) => {
      const part = title === 'two axes' ? (name: string) => entry(name, [3, 2], 1, 2, 3, 4, 5, 6) : pair;
      const isDense = layers.some((layer) => (layer as { class_name: string }).class_name === 'Dense');
      const weights = [
        isDense ? kernel('d/kernel') : filter('d/kernel'),
        pair('d/bias'),
        part('n/gamma'),
        part('n/beta'),
      ];
      const files = filesOf(sequential(...layers), weights);
      expect(await partnersIn(files)).toEqual({ d: ['d/kernel', 'd/bias', ...(expected ?? [])] });
      using model = await read(files);
      const reason = expected === undefined ? /does not say how many axes/ : /along axis|one entry per output channel/;
      const leaks = ['n/gamma', 'n/beta'].map((name) => ({ name, reason: expect.stringMatching(reason) as string }));
      expect(model.tensors[0]!.leaks ?? []).toEqual(expected === normed ? [] : leaks);
    },
  );

  test('Without a topology, the bias of a separable layer belongs to its pointwise weight', async () => {
    const weights = [
      entry('s/depthwise_kernel', [1, 1, 2, 1], 1, 2),
      entry('s/pointwise_kernel', [1, 1, 2, 2], 1, 2, 3, 4),
      pair('s/bias'),
    ];
    const { json, shards } = filesOf(undefined, weights);
    using model = await readTfjs(textOf(json.weightsManifest), {
      shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer>,
    });
    expect(model.tensors.map(({ name, partners }) => [name, partners.length])).toEqual([
      ['s/depthwise_kernel', 0],
      ['s/pointwise_kernel', 1],
    ]);
  });

  test('Without a topology, a bias that does not fit its weight is a leak', async () => {
    const { json, shards } = filesOf(undefined, [
      kernel('fits/kernel'),
      pair('fits/bias'),
      kernel('d/kernel'),
      entry('d/bias', [3], 1, 2, 3),
    ]);
    using model = await readTfjs(textOf(json.weightsManifest), {
      shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer>,
    });
    const leaks = [{ name: 'd/bias', reason: 'it does not have one number per output channel' }];
    expect(model.tensors.map(({ partners, leaks }) => [partners.length, leaks])).toEqual([
      [1, undefined],
      [0, leaks],
    ]);
  });

  test('The weights of another layer are not used for a layer without weights', async () => {
    const foreign = filesOf(sequential(own('blk'), dense('d')), [kernel('blk/d/kernel'), pair('blk/d/bias')]);
    const error = await errorOf(() => read(foreign));
    expect([error.code, error.message]).toEqual(['format', expect.stringMatching(/d: .*no weight.*d\/kernel/)]);
  });
});

describe('layers of a GraphModel', () => {
  const weights = [
    entry('w', [1, 1, 2, 3], 1, 2, 3, 4, 5, 6),
    entry('b', [3], 1, 2, 3),
    entry('gamma', [3], 4, 5, 6),
    entry('beta', [3], 7, 8, 9),
    entry('mean', [3], 1, 1, 2),
    entry('variance', [3], 1, 2, 1),
    entry('m', [2, 3], 1, 2, 3, 4, 5, 6),
    entry('table', [4, 2], 1, 2, 3, 4, 5, 6, 7, 8),
    entry('tied', [2, 4], 1, 2, 3, 4, 5, 6, 7, 8),
  ];
  const base64 = (text: string) => btoa(text);
  const graph = graphOf(weights, [
    ['x', 'Placeholder', []],
    ['w/read', 'Identity', ['w']],
    ['conv', 'Conv2D', ['x', 'w/read', '^other']],
    ['biased', 'BiasAdd', ['conv', 'b']],
    ['norm', 'FusedBatchNormV3', ['biased', 'gamma', 'beta', 'mean', 'variance']],
    ['relu', 'Relu', ['norm:0']],
    ['first', '_FusedMatMul', ['relu', 'm', 'b2'], { fused_ops: { list: { s: [base64('BiasAdd'), base64('Relu')] } } }],
    ['second', 'MatMul', ['relu', 'm'], { transpose_b: { b: false } }],
    ['lookup', 'GatherV2', ['table', 'ids', 'axis']],
    ['left', 'MatMul', ['y', 'tied'], { transpose_b: { b: true } }],
    ['right', 'GatherV2', ['tied', 'ids', 'axis']],
  ]);

  test('The layers of a GraphModel are found through identities, with their partners', async () => {
    using model = await read(filesOf(graph, weights));
    const list: unknown[] = [];
    for (const { name, aliases, kind, roles, partners } of model.tensors) {
      const parts: string[] = [];
      for (const { part, values } of partners) {
        parts.push([part, ...new Float32Array((await model.copy(values)).slice().buffer)].join(' '));
      }
      list.push([[name, ...aliases].join(), kind, roles.join(), parts]);
    }
    expect(list).toEqual([
      ['conv', 'conv2d', 'height,width,in,out', ['bias 1 2 3', 'gamma 4 5 6', 'beta 7 8 9']],
      ['first,second', 'dense', 'in,out', []],
      ['lookup', 'embedding', 'out,in', []],
      ['left,right', 'dense', 'out,in', []],
    ]);
    const [onlyWeight] = model.tensors.flatMap((tensor) => tensor.onlyWeight ?? []);
    expect(onlyWeight).toBe('several nodes share it: dense (out, in) / embedding (out, in)');
    expect(model.skipped).toEqual([]);
  });

  test('A bias that another node reads is left alone, and named as a leak', async () => {
    const shared = {
      ...graph,
      node: [...(graph as { node: object[] }).node, { name: 'z', op: 'Sum', input: ['b'], attr: {} }],
    };
    using model = await read(filesOf(shared, weights));
    const sparsifier = new Sparsifier(model, { granularity: 'filter', context: 'local', criteria: 'magnitude' });
    await sparsifier.sparsifyModel(34);
    expect(await decoded(model, 'b')).toEqual([1, 2, 3]);
    expect(await decoded(model, 'gamma')).toEqual([0, 5, 6]);
    // What the bias adds is multiplied by the gamma of 0.
    expect(model.tensors[0]!.leaks).toBe(undefined);
    const node = (shared.node as { name: string }[]).filter(({ name }) => name !== 'norm');
    using unnormed = await read(filesOf({ node }, weights));
    expect(unnormed.tensors[0]!.leaks).toEqual([{ name: 'b', reason: 'Sum node z also uses it' }]);
  });
});

describe('channels of a GraphModel', () => {
  const format = (text: string) => ({ data_format: { s: btoa(text) } });
  const weights = [
    entry('w', [1, 1, 2, 3], 1, 2, 3, 4, 5, 6),
    entry('m', [2, 3], 1, 2, 3, 4, 5, 6),
    entry('b', [3], 1, 2, 3),
    entry('column', [3, 1, 1], 1, 2, 3),
    entry('gamma', [3], 4, 5, 6),
    entry('beta', [3], 7, 8, 9),
    entry('mean', [3], 1, 1, 2),
    entry('variance', [3], 1, 2, 1),
  ];
  test.each<[string, object | undefined, string, string, object, string[], string[]]>([
    ['BiasAdd of the same format', format('NCHW'), 'BiasAdd', 'b', format('NCHW'), ['bias'], []],
    ['BiasAdd of another format', format('NCHW'), 'BiasAdd', 'b', format('NHWC'), [], ['b']],
    [
      // The second of two axes is the last one.
      'BiasAdd, its channels first, to a product',
      undefined,
      'BiasAdd',
      'b',
      format('NCHW'),
      ['bias'],
      [],
    ],
    ['BiasAdd to a product', undefined, 'BiasAdd', 'b', {}, ['bias'], []],
    ['Add along the width', format('NCHW'), 'AddV2', 'b', {}, [], ['b']],
    ['Add along the channels that come first', format('NCHW'), 'AddV2', 'column', {}, ['bias'], []],
    ['Add along the height', format('NHWC'), 'AddV2', 'column', {}, [], ['column']],
    ['Add along the channels that come last', format('NHWC'), 'AddV2', 'b', {}, ['bias'], []],
    [
      'a normalisation of the same format',
      format('NCHW'),
      'FusedBatchNormV3',
      'gamma',
      format('NCHW'),
      ['gamma', 'beta'],
      [],
    ],
    ['a normalisation of another format', format('NCHW'), 'FusedBatchNormV3', 'gamma', {}, [], ['gamma', 'beta']],
    ['a normalisation of a product', undefined, 'FusedBatchNormV3', 'gamma', {}, ['gamma', 'beta'], []],
    [
      'a normalisation, its channels first, of a product',
      undefined,
      'FusedBatchNormV3',
      'gamma',
      format('NCHW'),
      ['gamma', 'beta'],
      [],
    ],
  ])(
    'The partners of a node are those along its channels: %s',
    async (_title, layer, op, constant, attributes, parts, leaks) => {
      const inputs = ['y', constant, ...(constant === 'gamma' ? ['beta', 'mean', 'variance'] : [])];
      const graph = graphOf(weights, [
        ['x', 'Placeholder', []],
        layer === undefined ? ['y', 'MatMul', ['x', 'm']] : ['y', 'Conv2D', ['x', 'w'], layer],
        ['z', op, inputs, attributes],
      ]);
      using model = await read(filesOf(graph, weights));
      const [tensor] = model.tensors;
      expect(tensor!.partners.map(({ part }) => part)).toEqual(parts);
      expect(tensor!.leaks?.map(({ name }) => name) ?? []).toEqual(leaks);
    },
  );
});

test('A bias along several axes that count the channels goes with them', async () => {
  const weights = [
    entry('w', [3, 2, 2], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    entry('rows', [2, 2], 1, 2, 3, 4),
    entry('row', [2], 1, 2),
  ];
  const graph = (bias: string) =>
    graphOf(weights, [
      ['x', 'Placeholder', []],
      ['y', 'Einsum', ['x', 'w'], { equation: { s: btoa('abc,cde->abde') } }],
      ['z', 'AddV2', ['y', bias]],
    ]);
  using whole = await read(filesOf(graph('rows'), weights));
  const [{ partners, leaks, bias } = { partners: [] }] = whole.tensors;
  expect([partners.map(({ part, values }) => [part, values.length]), leaks, bias?.sign]).toEqual([
    [['bias', 4]],
    undefined,
    1,
  ]);
  using part = await read(filesOf(graph('row'), weights));
  expect(part.tensors[0]!.partners).toEqual([]);
  expect(part.tensors[0]!.leaks?.map(({ name }) => name)).toEqual(['row']);
});

describe('quantised weights', () => {
  const quantised = (dtype: 'uint8' | 'uint16', scale: number, min: number, codes: number[]): Files =>
    filesOf(sequential(dense('d', { use_bias: false })), [
      {
        name: 'd/kernel',
        shape: [codes.length / 2, 2],
        dtype: 'float32',
        quantization: { dtype, scale, min },
        bytes: new Uint8Array((dtype === 'uint8' ? Uint8Array.from(codes) : Uint16Array.from(codes)).buffer),
      },
    ]);
  const options = { granularity: 'weight', context: 'local', criteria: 'magnitude', layerType: 'all' } as const;

  test('Quantised weights get an exact zero, change by at most half a step, and a second call changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('uint8' as const, 'uint16' as const),
        fc.double({ min: 1e-4, max: 2, noNaN: true }),
        fc.double({ min: -300, max: 20, noNaN: true }),
        fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 2, maxLength: 20 }),
        async (dtype, scale, steps, list) => {
          const codes = [...list, ...list];
          const min = steps * scale;
          const files = quantised(dtype, scale, min, codes);
          using model = await read(files);
          const before = codes.map((code) => Math.fround(code * scale + min));
          const sparsifier = new Sparsifier(model, options);
          const report = await sparsifier.sparsifyModel(50);
          const after = await decoded(model, 'd/kernel');
          const { data } = sparsifier.mask('d');
          const span = Math.max(...before, 0) - Math.min(...before, 0);
          const step = Math.max(scale, span / (dtype === 'uint8' ? 255 : 65535));
          for (const [at, value] of after.entries()) {
            if (data[at] === 0) expect(Object.is(value, 0)).toBe(true);
            else expect(Math.abs(value - before[at]!)).toBeLessThanOrEqual(step / 2 + 1e-5 * Math.abs(before[at]!));
          }
          expect(report.total.zeros).toBe(after.filter((value) => value === 0).length);
          expect(report.total.removedWeights).toBe(codes.length / 2);
          const bytes = await model.bytes();
          await sparsifier.sparsifyModel(50);
          expect(await decoded(model, 'd/kernel')).toEqual(after);
          expect(await model.bytes()).toEqual(bytes);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('With keepScale, removed weights get the code nearest to zero, or the lower of two', async () => {
    for (const [min, nearest] of [
      [-1.2, -0.2],
      [-1.5, -0.5],
      [3, 3],
    ] as const) {
      const files = quantised('uint8', 1, min, [0, 1, 2, 9]);
      using model = await read(files, { keepScale: true });
      const { total, notes } = await new Sparsifier(model, options).sparsifyModel({ remove: 2 });
      const after = await decoded(model, 'd/kernel');
      const values = [0, 1, 2, 9].map((code) => code + min);
      const smallest = [...values].sort((a, b) => Math.abs(a) - Math.abs(b)).slice(0, 2);
      expect(after.map((value) => Number(value.toFixed(5)))).toEqual(
        values.map((value) => Number((smallest.includes(value) ? Math.fround(nearest) : value).toFixed(5))),
      );
      expect(total).toMatchObject({ zeros: 0, removedWeights: 2 });
      expect(notes[0]).toMatch(/no exact zero: removed weights become/);
      expect(jsonOf(await model.bytes()).weightsManifest).toEqual(jsonOf(textOf(files.json)).weightsManifest);
    }
  });

  test('Weights that are stored in half precision are pruned in place', async () => {
    // 1, -2, 0.5 and -0.25 in 16 bits
    const bits = Uint16Array.from([0x3c00, 0xc000, 0x3800, 0xb400]);
    const files = filesOf(sequential(dense('d', { use_bias: false })), [
      {
        name: 'd/kernel',
        shape: [2, 2],
        dtype: 'float32',
        quantization: { dtype: 'float16' },
        bytes: new Uint8Array(bits.buffer),
      },
    ]);
    using model = await read(files);
    await new Sparsifier(model, options).sparsifyModel(50);
    expect(await decoded(model, 'd/kernel')).toEqual([1, -2, 0, 0]);
  });

  test('Quantised weights can be restored', async () => {
    const codes = [10, 200, 130, 90];
    using model = await read(quantised('uint8', 0.1, -12.83, codes));
    const sparsifier = new Sparsifier(model, { ...options, restorable: true });
    await sparsifier.sparsifyModel(50);
    await sparsifier.restore();
    expect([...(await furtherFiles(model)).values()][0]).toEqual(Uint8Array.from(codes));
  });
});

describe('files', () => {
  test('Files that split weights, with strings among them, are read and written as files of 4 MB', async () => {
    const text = [...new TextEncoder().encode('héllo')];
    const strings = Uint8Array.from([text.length, 0, 0, 0, ...text, 0, 0, 0, 0]);
    const numbers = Float32Array.from({ length: 1_300_000 }, (_, at) => Math.sin(at));
    const entries: Entry[] = [
      { name: 'words', shape: [2], dtype: 'string', bytes: strings },
      { name: 'flag', shape: [3], dtype: 'bool', bytes: Uint8Array.from([1, 0, 1]) },
    ];
    const head = filesOf({}, entries, 7);
    const tail = { name: 'd/kernel', shape: [650_000, 2], dtype: 'float32' };
    const bytes = new Uint8Array(numbers.buffer);
    const json = {
      userDefinedMetadata: { labels: ['a'] },
      modelTopology: sequential(dense('d', { use_bias: false })),
      weightsManifest: [
        { paths: [...head.shards.keys()], weights: (head.json.weightsManifest as { weights: object[] }[])[0]!.weights },
        { paths: ['folder/big.bin'], weights: [tail] },
      ],
    };
    const shards = new Map([...head.shards, ['folder/big.bin', bytes]]);
    using model = await read({ json, shards });
    const written = jsonOf(await model.bytes()) as unknown as typeof json;
    expect(written.userDefinedMetadata).toEqual(json.userDefinedMetadata);
    expect(written.weightsManifest.map(({ paths }) => paths)).toEqual([
      ['group1-shard1of1.bin'],
      ['group2-shard1of2.bin', 'group2-shard2of2.bin'],
    ]);
    const files = await furtherFiles(model);
    expect(files.get('group1-shard1of1.bin')).toEqual(Uint8Array.from([...strings, 1, 0, 1]));
    expect(differsAt(files.get('group2-shard1of2.bin')!, bytes.subarray(0, 2 ** 22))).toBe(-1);
    expect(differsAt(files.get('group2-shard2of2.bin')!, bytes.subarray(2 ** 22))).toBe(-1);
  });

  test('A bare manifest is read by the names of its weights', async () => {
    const { json, shards } = filesOf(undefined, [
      entry('a/weights', [1, 1, 2, 1], 1, 2),
      entry('a/biases', [1], 3),
      entry('b/depthwise_weights', [1, 1, 1, 1], 4),
      entry('other', [1, 1], 5),
    ]);
    using model = await readTfjs(textOf(json.weightsManifest), {
      shards: (name) => shards.get(name)! as Uint8Array<ArrayBuffer>,
    });
    expect(model.tensors.map(({ name, kind, partners }) => [name, kind, partners.length])).toEqual([
      ['a/weights', 'conv2d', 1],
      ['b/depthwise_weights', 'conv2d', 0],
    ]);
    expect(model.skipped.map(({ name }) => name)).toEqual(['other']);
    expect(Array.isArray(jsonOf(await model.bytes()))).toBe(true);
  });

  test('Files have the same bytes if nothing was removed', async () => {
    using model = await read(small);
    await new Sparsifier(model, {
      granularity: 'weight',
      context: 'local',
      criteria: 'magnitude',
      layerType: 'all',
    }).sparsifyModel(0);
    expect([...(await furtherFiles(model)).values()]).toEqual([...small.shards.values()]);
    expect(jsonOf(await model.bytes()).modelTopology).toEqual(small.json.modelTopology);
    expect((await inspect(model)).total).toMatchObject({ weights: 6, zeros: 0 });
  });

  test('A channel is removed with its bias', async () => {
    using model = await read(small);
    const words = { context: 'local', criteria: 'magnitude', layerType: 'all' } as const;
    await new Sparsifier(model, { granularity: Granularity.spanning('in'), ...words }).sparsifyModel(50);
    expect(await decoded(model, 'd/kernel')).toEqual([0, -2, 0, -4, 0, -6]);
    expect(await decoded(model, 'd/bias')).toEqual([0, 8]);
  });
});

describe('models that are refused', () => {
  const manifest = (
    change: (json: { weightsManifest: { paths: string[]; weights: Record<string, unknown>[] }[] }) => void,
  ): Files => {
    const json = jsonOf(textOf(small.json)) as never;
    change(json);
    return { json, shards: small.shards };
  };
  const weight = (more: object) => manifest(({ weightsManifest: [group] }) => Object.assign(group!.weights[0]!, more));
  const path = (name: string) => manifest(({ weightsManifest: [group] }) => (group!.paths = [name]));
  const bytes = (change: (bytes: Uint8Array) => Uint8Array): Files => ({
    json: small.json,
    shards: new Map([...small.shards].map(([name, content]) => [name, change(content)])),
  });
  test.each<[string, Files, string, RegExp]>([
    ['a path to the folder above', path('../w.bin'), 'file', /\.\.\/w\.bin/],
    ['an absolute path', path('/etc/passwd'), 'file', /\/etc\/passwd/],
    ['a path that is a URL', path('https://host/w.bin'), 'file', /https/],
    ['a backslash', path('a\\b.bin'), 'file', /backslash/],
    ['a shard that is missing', path('w.bin'), 'file', /w\.bin/],
    ['a shard that is too short', bytes((all) => all.slice(1)), 'format', /too short.*32 bytes.*31 bytes/],
    [
      'a shard that is too long',
      bytes((all) => Uint8Array.from([...all, 0])),
      'format',
      /too long.*32 bytes.*33 bytes/,
    ],
    [
      'a group without files whose weights take bytes',
      {
        json: { ...small.json, weightsManifest: [{ paths: [], weights: [entry('d/kernel', [3, 2])] }] },
        shards: new Map(),
      },
      'format',
      /a group without files: .*too short/,
    ],
    ['an unknown dtype', weight({ dtype: 'float8' }), 'format', /d\/kernel.*float8.*float32/],
    ['an unknown quantisation', weight({ quantization: { dtype: 'int4' } }), 'format', /int4.*uint8/],
    ['a scale of 0', weight({ quantization: { dtype: 'uint8', scale: 0, min: 0 } }), 'format', /scale above 0/],
    ['a negative size', weight({ shape: [-3, 2] }), 'format', /shape of whole numbers/],
    ['a shape that does not fit in memory', weight({ shape: [2 ** 40, 2 ** 40] }), 'format', /shape of whole numbers/],
    [
      'a weight of another shape than its layer',
      weight({ shape: [2, 3] }),
      'format',
      /d: .*disagree.*out = 2.*\[2, 3\]/,
    ],
    ['a weight of another layer', weight({ name: 'e/kernel' }), 'format', /d: .*no weight.*d\/kernel/],
    ['two weights of the same name', weight({ name: 'd/bias' }), 'format', /same name.*d\/bias/],
    ['weights but no topology', { json: { weightsManifest: [] }, shards: new Map() }, 'format', /no modelTopology/],
    ['no weights', { json: { modelTopology: {} }, shards: new Map() }, 'format', /no weights.*modelTopology/],
    [
      'a topology of something else',
      { json: { ...small.json, modelTopology: { a: 1 } }, shards: small.shards },
      'format',
      /keys a/,
    ],
    [
      'a group without paths',
      { json: { ...small.json, weightsManifest: [{}] }, shards: small.shards },
      'format',
      /paths and weights/,
    ],
  ])('A model with %s is refused', async (_, files, code, message) => {
    const error = await errorOf(() => read(files));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test('Truncated JSON and files of other formats are refused', async () => {
    const cut = await errorOf(() => readTfjs(textOf(small.json).slice(0, -9) as Uint8Array<ArrayBuffer>));
    expect(cut.message).toMatch(/not a model\.json/);
    const zip = await errorOf(() => readTfjs(Uint8Array.from([80, 75, 3, 4, 0, 0])));
    expect(zip.message).toMatch(/zip archive/);
  });

  test('A closed model cannot be used', async () => {
    const model = await read(small);
    model.close();
    model.close();
    expect((await errorOf(() => model.bytes())).code).toBe('usage');
  });
});
