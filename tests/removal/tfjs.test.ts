import { readTfjs, type FileModel } from 'sparsifier/formats/tfjs';
import { planRemoval, removeChannels, removeLiveChannels, type RemovalPlan } from 'sparsifier/removal';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { Random } from '../support/removal/random.js';
import { checkModel, readSaved } from '../support/removal/tfjs-checking.js';
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
} from '../support/tfjs.js';

// What goes from models of TensorFlow.js, what stays by name, and what the new files contain.

beforeAll(() => tf.setBackend('cpu'));

type Layer = tf.layers.Layer;

/** The filters of layers that are 0, by the names of the layers. */
type Dead = Readonly<Record<string, readonly number[]>>;

/** A model of layers one after another, with random weights. Zeros are in kernels, and in biases unless `keepsBiases`. */
function sequence(layers: readonly Layer[], dead: Dead, keepsBiases = false): tf.Sequential {
  const model = tf.sequential({ layers: [...layers] });
  fill(model, dead, keepsBiases);
  return model;
}

function fill(model: tf.LayersModel, dead: Dead, keepsBiases = false): void {
  for (const [place, weight] of model.weights.entries()) {
    const [layer] = weight.originalName.split('/');
    const shape = weight.shape as number[];
    const numbers = new Random(11, place).normals(
      shape.reduce((product, size) => product * size, 1),
      0.5,
    );
    if (weight.originalName.endsWith('variance'))
      for (const at of numbers.keys()) numbers[at] = 0.5 + numbers[at]! ** 2;
    const gone = dead[layer!] ?? [];
    const isMasked = shape.length > 1 || !keepsBiases;
    for (const at of numbers.keys()) if (isMasked && gone.includes(at % shape.at(-1)!)) numbers[at] = 0;
    (weight.read() as tf.Variable).assign(tf.tensor(numbers, shape));
  }
}

const conv = (name: string, filters: number, more: object = {}): Layer =>
  tf.layers.conv2d({ name, filters, kernelSize: 3, padding: 'same', ...more });

const first = (name: string, filters: number, more: object = {}): Layer =>
  conv(name, filters, { inputShape: [6, 6, 3], ...more });

/** The plan of a model, which is found right before. */
async function planned(
  model: tf.LayersModel,
  options: Parameters<typeof planRemoval>[1] = { roundTo: 1 },
): Promise<RemovalPlan> {
  using read = await readSaved(model);
  const plan = await planRemoval(read, options);
  expect((await checkModel(model, 4, options)).findings).toEqual([]);
  return plan;
}

const removedIn = ({ groups }: RemovalPlan): Record<string, readonly number[]> =>
  Object.fromEntries(groups.filter(({ removed }) => removed.length > 0).map(({ name, removed }) => [name, removed]));

const readFiles = ({ json, shards }: Files): Promise<FileModel> =>
  readTfjs(textOf(json), { shards: (path) => shards.get(path)! });

interface Config {
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>> & { readonly layers: readonly Config[] };
}

/** The Keras config of a model.json. */
function configIn(json: Record<string, unknown>): Config {
  const { modelTopology } = json as { modelTopology: Record<string, unknown> };
  return (modelTopology.model_config ?? modelTopology) as Config;
}

describe('what goes', () => {
  test('Filters of zeros go with their biases, and only the numbers of channels change in the config', async () => {
    const model = sequence(
      [
        first('a', 8),
        tf.layers.batchNormalization({ name: 'n' }),
        conv('b', 6, { activation: 'relu' }),
        tf.layers.flatten(),
        tf.layers.dense({ name: 'c', units: 3 }),
      ],
      { a: [1, 5], n: [1, 5], b: [0, 2, 3] },
    );
    const { json } = await saved(model);
    using read = await readSaved(model);
    const plan = await planRemoval(read, { roundTo: 1 });
    expect(removedIn(plan)).toEqual({ a: [1, 5], b: [0, 2, 3] });
    const { model: small, report } = await removeChannels(read, plan);
    using made = small;
    const [[, bytes]] = [...(await made.toFiles())] as [[string, Uint8Array]];
    const after = structuredClone(configIn(json)) as unknown as {
      config: { layers: { config: Record<string, unknown> }[] };
    };
    for (const { config } of after.config.layers) {
      if (config.name === 'a') config.filters = 6;
      if (config.name === 'b') config.filters = 3;
    }
    expect(configIn(jsonOf(bytes))).toEqual(after);
    expect(report.indexMap.find(({ tensor }) => tensor === 'c/kernel')).toMatchObject({
      before: [216, 3],
      after: [108, 3],
    });
    expect((await checkModel(model, 4)).findings).toEqual([]);
  });

  test('What a padded convolution reads is carried by one channel, and what others read goes to their biases', async () => {
    const padded = sequence([first('a', 8), conv('b', 3)], { a: [1, 2, 5] }, true);
    using read = await readSaved(padded);
    const { report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
    expect(report).toMatchObject({ carriers: 1, folded: 0 });
    expect(removedIn(await planned(padded)).a).toHaveLength(2);
    const plain = sequence([first('a', 8), conv('b', 3, { padding: 'valid' })], { a: [1, 2, 5] }, true);
    using other = await readSaved(plain);
    expect((await removeChannels(other, await planRemoval(other, { roundTo: 1 }))).report).toMatchObject({
      carriers: 0,
      folded: 1,
    });
    expect(removedIn(await planned(plain))).toEqual({ a: [1, 2, 5] });
  });

  test('What a convolution without a bias no longer reads goes to the mean of the normalisation behind it', async () => {
    const layers = [
      first('a', 8),
      conv('b', 4, { kernelSize: 1, useBias: false }),
      tf.layers.batchNormalization({ name: 'n' }),
      conv('c', 2),
    ];
    const model = sequence(layers, { a: [0, 6] }, true);
    using read = await readSaved(model);
    const { report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
    expect(report).toMatchObject({ carriers: 0, folded: 1 });
    expect(removedIn(await planned(model))).toEqual({ a: [0, 6] });
  });

  test.each([
    ['a sigmoid inside a convolution', [first('a', 8, { activation: 'sigmoid' }), conv('b', 3, { padding: 'valid' })]],
    [
      'a normalisation without gamma',
      [first('a', 8), tf.layers.batchNormalization({ name: 'n', scale: false }), conv('b', 3)],
    ],
    [
      'a normalisation without beta',
      [first('a', 8), tf.layers.batchNormalization({ name: 'n', center: false }), conv('b', 3)],
    ],
    ['a hard sigmoid', [first('a', 8), tf.layers.activation({ activation: 'hardSigmoid' }), conv('b', 3)]],
    [
      'a mean over space',
      [first('a', 8), tf.layers.globalAveragePooling2d({}), tf.layers.dense({ name: 'b', units: 2 })],
    ],
    [
      'a depthwise convolution with two filters for each channel',
      [first('a', 8), tf.layers.depthwiseConv2d({ name: 'd', kernelSize: 3, depthMultiplier: 2 }), conv('b', 2)],
    ],
    [
      'a transposed convolution',
      [
        first('a', 8),
        tf.layers.conv2dTranspose({ name: 'b', filters: 4, kernelSize: 3, strides: 2, padding: 'same' }),
        conv('c', 2),
      ],
    ],
  ])('Constants that go through %s are right', async (_, layers) => {
    const model = sequence(layers, { a: [0, 3, 4] }, true);
    expect(removedIn(await planned(model)).a!.length).toBeGreaterThan(0);
  });

  test('Constants that a layer pads with zeros are none any more, and stay', async () => {
    const layers = [first('a', 8), tf.layers.zeroPadding2d({ padding: 1 }), conv('b', 3, { padding: 'valid' })];
    expect(removedIn(await planned(sequence(layers, { a: [0, 3] }, true)))).toEqual({});
    const silent = [first('a', 8), tf.layers.zeroPadding2d({ padding: 1 }), conv('b', 3, { padding: 'valid' })];
    expect(removedIn(await planned(sequence(silent, { a: [0, 3] })))).toEqual({ a: [0, 3] });
  });

  test('Of a group that dies whole, one channel stays', async () => {
    const model = sequence([first('a', 4), conv('b', 3)], { a: [0, 1, 2, 3] });
    const { groups } = await planned(model);
    expect(groups).toMatchObject([{ name: 'a', channels: 4, dead: 4, kept: 1 }]);
  });

  test('Rows of embeddings keep their number, and columns go', async () => {
    const input = tf.input({ shape: [5], name: 'ids' });
    const embedded = tf.layers.embedding({ name: 'e', inputDim: 9, outputDim: 6 }).apply(input) as tf.SymbolicTensor;
    const model = tf.model({
      inputs: input,
      outputs: tf.layers.dense({ name: 'd', units: 2 }).apply(embedded) as tf.SymbolicTensor,
    });
    fill(model, { e: [0, 4] });
    using read = await readSaved(model);
    const { model: small, report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
    using made = small;
    expect(report.indexMap.find(({ tensor }) => tensor.startsWith('e/'))).toMatchObject({
      before: [9, 6],
      after: [9, 4],
    });
    const [[, bytes]] = [...(await made.toFiles())] as [[string, Uint8Array]];
    const config = configIn(jsonOf(bytes)).config.layers.find((layer) => layer.config.name === 'e')!.config;
    expect([config.input_dim, config.output_dim]).toEqual([9, 4]);
  });
});

describe('what stays, by name', () => {
  const input = (): tf.SymbolicTensor => tf.input({ shape: [6, 6, 3], name: 'input' });
  const apply = (layer: Layer, ...values: tf.SymbolicTensor[]) =>
    layer.apply(values.length === 1 ? values[0]! : values) as tf.SymbolicTensor;

  test.each<[string, RegExp, () => tf.LayersModel]>([
    [
      'the target of a Reshape',
      /Reshape layer r/,
      () =>
        sequence(
          [
            first('a', 8),
            tf.layers.reshape({ name: 'r', targetShape: [36, 8] }),
            tf.layers.dense({ name: 'b', units: 2 }),
          ],
          {},
        ),
    ],
    [
      'a RepeatVector',
      /RepeatVector layer r/,
      () =>
        sequence(
          [
            first('a', 8),
            tf.layers.globalMaxPooling2d({}),
            tf.layers.repeatVector({ name: 'r', n: 2 }),
            tf.layers.dense({ name: 'b', units: 2 }),
          ],
          {},
        ),
    ],
    [
      'a LayerNormalization',
      /LayerNormalization l/,
      () => sequence([first('a', 8), tf.layers.layerNormalization({ name: 'l' }), conv('b', 2)], {}),
    ],
    [
      'a layer that is called twice',
      /Conv2D layer s/,
      () => {
        const shared = conv('s', 8);
        const x = input();
        return tf.model({
          inputs: x,
          outputs: apply(conv('b', 2), apply(shared, apply(shared, apply(conv('a', 8), x)))),
        });
      },
    ],
    [
      'a model inside the model',
      /Model layer m/,
      () => {
        const inner = tf.input({ shape: [6, 6, 8] });
        const model = tf.model({ name: 'm', inputs: inner, outputs: apply(conv('s', 8), inner) });
        const x = input();
        return tf.model({ inputs: x, outputs: apply(conv('b', 2), apply(model as never, apply(conv('a', 8), x))) });
      },
    ],
  ])('%s keeps the channels that it touches', async (_, by, make) => {
    const model = make();
    fill(model, { a: [1, 2], s: [1, 2] });
    const plan = await planned(model);
    expect(removedIn(plan)).toEqual({});
    const found = plan.blocked.filter((each) => by.test(each.by));
    expect(found.flatMap(({ layers }) => layers)).toContain('a');
  });

  test('A Reshape that leaves the number of channels open lets them go', async () => {
    const layers = [
      first('a', 8),
      tf.layers.globalMaxPooling2d({}),
      tf.layers.reshape({ name: 'r', targetShape: [1, 1, 8] }),
    ];
    const { json, shards } = await saved(sequence([...layers, conv('b', 2)], { a: [3] }));
    const change = configIn(json).config.layers.find(({ config }) => config.name === 'r')!.config as unknown as {
      target_shape: unknown;
    };
    change.target_shape = [1, 1, -1];
    using read = await readFiles({ json, shards });
    expect(removedIn(await planRemoval(read, { roundTo: 1 }))).toEqual({ a: [3] });
  });

  test.each([
    ['Lambda', {}, 'there is no rule for it'],
    ['MyLayer', { my_option: 1 }, 'there is no rule for it'],
    ['Conv2D', { groups: 2 }, 'its groups'],
    ['Conv2D', { activation: 'my_activation' }, 'its activation my_activation'],
    ['Conv2D', { my_option: 1 }, 'its option my_option'],
  ])('A %s with %o keeps the channels that it touches, and the plan says why', async (type, options, reason) => {
    const { json, shards } = await saved(
      sequence([first('a', 8), conv('x', 8), conv('b', 4), conv('c', 2)], { a: [1], x: [2], b: [3] }),
    );
    const layers = configIn(json).config.layers as unknown as { class_name: string; config: Record<string, unknown> }[];
    const changed = layers.find(({ config }) => config.name === 'x')!;
    changed.class_name = type;
    Object.assign(changed.config, options);
    using read = await readFiles({ json, shards });
    const plan = await planRemoval(read, { roundTo: 1 });
    expect(removedIn(plan)).toEqual({ b: [3] });
    expect(plan.blocked.map(({ by }) => by)).toContain(`${type} layer x`);
    expect(plan.notes).toContain(`channels that ${type} layer x touches stay: ${reason}`);
  });

  test('A layer that is called with options keeps the channels that it touches', async () => {
    const x = input();
    const model = tf.model({
      inputs: x,
      outputs: apply(conv('b', 2), apply(tf.layers.dropout({ name: 'd', rate: 0.5 }), apply(conv('a', 8), x))),
    });
    fill(model, { a: [1] });
    const { json, shards } = await saved(model);
    const node = configIn(json).config.layers.find(({ config }) => config.name === 'd') as unknown as {
      inbound_nodes: unknown[][][];
    };
    node.inbound_nodes[0]![0]![3] = { training: true };
    using read = await readFiles({ json, shards });
    const plan = await planRemoval(read, { roundTo: 1 });
    expect(removedIn(plan)).toEqual({});
    expect(plan.notes).toContain('channels that Dropout layer d touches stay: it is called with options');
  });

  test('Protected layers keep their channels', async () => {
    const model = sequence([first('a', 8), conv('b', 4), conv('c', 2)], { a: [1], b: [2] });
    expect(removedIn(await planned(model, { roundTo: 1, protect: 'a' }))).toEqual({ b: [2] });
    using read = await readSaved(model);
    expect(await errorOf(() => planRemoval(read, { protect: 'z' }))).toMatchObject({ code: 'layer' });
  });
});

describe('files', () => {
  const model = () =>
    sequence([first('a', 16), conv('b', 4), conv('c', 2, { padding: 'valid' })], { a: [1, 9], b: [0] }, true);

  test('Topologies of Keras 3 give the same plan', async () => {
    const x = tf.input({ shape: [6, 6, 3], name: 'input' });
    const side = conv('a', 8).apply(x) as tf.SymbolicTensor;
    const sum = tf.layers
      .add({ name: 'sum' })
      .apply([side, conv('b', 8).apply(side) as tf.SymbolicTensor]) as tf.SymbolicTensor;
    const whole = tf.model({ inputs: x, outputs: conv('c', 2).apply(sum) as tf.SymbolicTensor });
    fill(whole, { a: [1, 2], b: [1, 2] });
    const { json, shards } = await saved(whole);
    using before = await readFiles({ json: structuredClone(json), shards });
    const config = configIn(json).config as unknown as {
      layers: Record<string, never>[];
      input_layers: unknown;
      output_layers: unknown;
    };
    for (const layer of config.layers as unknown as {
      class_name: string;
      config: Record<string, unknown>;
      inbound_nodes: unknown;
    }[]) {
      const tensors = (layer.inbound_nodes as [string, number, number][][]).map((node) =>
        node.map((history) => ({
          class_name: '__keras_tensor__',
          config: { shape: [null], dtype: 'float32', keras_history: history.slice(0, 3) },
        })),
      );
      layer.inbound_nodes = tensors.map((node) => ({ args: node.length > 1 ? [node] : node, kwargs: { mask: null } }));
      layer.config.dtype = { class_name: 'DTypePolicy', config: { name: 'float32' } };
      layer.config.quantization_config = null;
      if (layer.class_name !== 'InputLayer') continue;
      layer.config.batch_shape = layer.config.batch_input_shape;
      delete layer.config.batch_input_shape;
    }
    config.output_layers = (config.output_layers as unknown[])[0];
    using after = await readFiles({ json, shards });
    const plans = [await planRemoval(before, { roundTo: 1 }), await planRemoval(after, { roundTo: 1 })];
    expect(plans[1]!.groups).toEqual(plans[0]!.groups);
    expect(removedIn(plans[1]!)).toEqual({ a: [1, 2] });
  });

  test('Weights that lie across files are cut', async () => {
    const { json, shards } = await saved(model());
    const entries = entriesOf({ json, shards });
    const files: [string, Uint8Array][][] = [];
    for (const shardBytes of [Infinity, 100]) {
      using read = await readFiles(filesOf(json.modelTopology, entries, shardBytes));
      const { model: small, report } = await removeChannels(read, await planRemoval(read, { roundTo: 1 }));
      using made = small;
      const [, ...weights] = [...(await made.toFiles())];
      expect(weights.map(([, bytes]) => bytes.length)).toEqual([4 * report.parameters.after]);
      files.push(weights);
    }
    expect(files[0]).toEqual(files[1]);
  });

  test.each(['uint8', 'uint16'] as const)(
    'Codes of %s are cut and keep their scale, and biases that take more become floats',
    async (dtype) => {
      const { json, shards } = await saved(model());
      const zero = dtype === 'uint8' ? 128 : 32768;
      const scale = 0.01;
      const entries = entriesOf({ json, shards }).map((entry): Entry => {
        const numbers = new Float32Array(entry.bytes.slice().buffer);
        const rounded = [...numbers].map((number) => zero + Math.round(number / scale));
        const codes = dtype === 'uint8' ? Uint8Array.from(rounded) : Uint16Array.from(rounded);
        return { ...entry, bytes: new Uint8Array(codes.buffer), quantization: { dtype, scale, min: -zero * scale } };
      });
      using read = await readFiles(filesOf(json.modelTopology, entries));
      const plan = await planRemoval(read, { roundTo: 1 });
      const { model: small, report } = await removeChannels(read, plan);
      using made = small;
      expect(report).toMatchObject({ folded: 1, carriers: 1 });
      const [[, bytes], [, weights]] = [...(await made.toFiles())] as [[string, Uint8Array], [string, Uint8Array]];
      const manifest = (jsonOf(bytes) as unknown as { weightsManifest: { weights: Entry[] }[] }).weightsManifest[0]!
        .weights;
      const kinds = Object.fromEntries(
        manifest.map(({ name, dtype: own, quantization }) => [name, quantization?.dtype ?? own]),
      );
      // The kernel of b carries constants, and the bias of c takes them.
      expect(kinds).toEqual({
        ...{
          'a/kernel': dtype,
          'a/bias': dtype,
          'b/kernel': 'float32',
          'b/bias': dtype,
          'c/kernel': dtype,
          'c/bias': 'float32',
        },
      });
      const before = entries.find(({ name }) => name === 'c/kernel')!;
      expect(manifest.find(({ name }) => name === 'c/kernel')!.quantization).toMatchObject({
        dtype,
        scale,
        min: -zero * scale,
      });
      const start = manifest.slice(0, 4).reduce((sum, entry) => sum + bytesOf(entry), 0);
      const width = dtype === 'uint8' ? 1 : 2;
      // [3, 3, 4, 2] without the first input.
      const kept = Array.from({ length: 72 }, (_, at) => at).filter((at) => Math.floor(at / 2) % 4 !== 0);
      expect(weights.slice(start, start + 54 * width)).toEqual(
        Uint8Array.from(kept.flatMap((at) => [...before.bytes.slice(at * width, (at + 1) * width)])),
      );
    },
  );

  test('A bare manifest has no network from which channels could be removed', async () => {
    const { json, shards } = await saved(model());
    using read = await readFiles({ json: json.weightsManifest as never, shards });
    expect(await errorOf(() => planRemoval(read))).toMatchObject({ code: 'usage' });
  });
});

/** The weights of files with their bytes. */
function entriesOf({ json, shards }: Files): Entry[] {
  const { weights } = (json.weightsManifest as { weights: Entry[] }[])[0]!;
  const [bytes] = shards.values();
  let at = 0;
  return weights.map((entry): Entry => ({ ...entry, bytes: bytes!.slice(at, (at += bytesOf(entry))) }));
}

const bytesOf = ({ shape, quantization }: Entry): number =>
  shape.reduce((product, size) => product * size, 1) * ({ uint8: 1, uint16: 2 }[quantization?.dtype ?? ''] ?? 4);

describe('live models', () => {
  test('A live model gives a new one with the numbers of its weights, and stays as it is', async () => {
    const model = sequence([first('a', 8), conv('b', 3)], { a: [1, 2, 5] }, true);
    const before = await Promise.all(model.getWeights().map((weight) => weight.data()));
    const { model: small, report } = await removeLiveChannels(tf, model as tf.LayersModel, {
      roundTo: 1,
      verify: true,
    });
    expect(report).toMatchObject({ carriers: 1, verification: { runs: 2 } });
    expect(small.layers[0]!.outputShape).toEqual([null, 6, 6, 6]);
    const input = tf.tensor(new Random(2).normals(2 * 108), [2, 6, 6, 3]);
    const [one, other] = [model, small].map((each) => (each.predict(input) as tf.Tensor).dataSync());
    for (const [at, number] of one!.entries()) expect(other![at]).toBeCloseTo(number, 4);
    expect(await Promise.all(model.getWeights().map((weight) => weight.data()))).toEqual(before);
  });

  test('Other models are refused', async () => {
    const error = await errorOf(() => removeLiveChannels(tf, { save: () => undefined } as never));
    expect(error).toMatchObject({ code: 'usage' });
    expect(error.message).toContain('the arguments must be TensorFlow.js itself and a tf.LayersModel');
  });
});

describe('graphs', () => {
  const entry = (name: string, shape: readonly number[], dead: readonly number[] = []): Entry => {
    const numbers = new Random(name.length, name.charCodeAt(0)).normals(
      shape.reduce((product, size) => product * size, 1),
    );
    return {
      name,
      shape,
      dtype: 'float32',
      bytes: floats(...numbers.map((number, at) => (dead.includes(at % shape.at(-1)!) ? 0 : number))),
    };
  };
  const integers = (name: string, numbers: readonly number[]): Entry => ({
    ...{ name, shape: [numbers.length], dtype: 'int32' },
    bytes: new Uint8Array(Int32Array.from(numbers).buffer),
  });
  const dims = (...sizes: number[]) => ({ shape: { shape: { dim: sizes.map((size) => ({ size: String(size) })) } } });
  /** Constants that are not 0 behind a Relu. */
  const positive = (name: string, size: number): Entry => ({
    ...{ name, shape: [size], dtype: 'float32' },
    bytes: floats(...Array.from({ length: size }, (_, at) => 1 + at / 8)),
  });
  const ones = { list: { i: ['1', '1', '1', '1'] } };
  const window = { strides: ones, dilations: ones, padding: { s: btoa('SAME') }, data_format: { s: btoa('NHWC') } };
  const plain = { transpose_a: { b: false }, transpose_b: { b: false } };

  /** What a graph computes before and after a removal, and its new files. */
  async function removed(
    entries: readonly Entry[],
    nodes: Parameters<typeof graphOf>[1],
    shape: number[],
    outputs: string[],
  ) {
    const files = filesOf({ ...graphOf(entries, nodes), versions: {} }, entries);
    using read = await readFiles(files);
    const plan = await planRemoval(read, { roundTo: 1 });
    const { model: small, report } = await removeChannels(read, plan);
    using made = small;
    const [[, json], ...shards] = [...(await made.toFiles())] as [[string, Uint8Array], ...[string, Uint8Array][]];
    const input = tf.tensor(new Random(5).normals(shape.reduce((product, size) => product * size, 1)), shape);
    const results = await Promise.all(
      [[textOf(files.json), files.shards] as const, [json, new Map(shards)] as const].map(async ([bytes, weights]) => {
        const graph = await tf.loadGraphModel(handlerOf(bytes, weights));
        return [graph.execute({ x: input }, outputs)].flat().flatMap((tensor) => [...tensor.dataSync()]);
      }),
    );
    for (const [at, number] of results[0]!.entries()) expect(results[1]![at]).toBeCloseTo(number, 4);
    type Node = { readonly name: string; readonly input?: string[]; readonly attr: Record<string, unknown> };
    const topology = jsonOf(json) as unknown as {
      modelTopology: { node: Node[] };
      weightsManifest: { weights: Entry[] }[];
    };
    return { plan, report, nodes: topology.modelTopology.node, weights: topology.weightsManifest[0]!.weights };
  }

  test('Nodes that read one constant and lose other channels get constants of their own', async () => {
    const { plan, report, nodes, weights } = await removed(
      [
        ...[entry('a', [3, 8], [1]), entry('b', [3, 8], [2, 4]), positive('v', 8)],
        ...[entry('c', [8, 2]), entry('d', [8, 2]), entry('k', [2])],
      ],
      [
        ['x', 'Placeholder', [], dims(-1, 3)],
        ...(['a', 'b'] as const).flatMap((own, place) => {
          const other = ['c', 'd'][place]!;
          return [
            [`${own}1`, 'MatMul', ['x', own], plain] as const,
            [`${own}2`, 'BiasAdd', [`${own}1`, 'v']] as const,
            [`${own}3`, 'Relu', [`${own}2`]] as const,
            [`${other}1`, 'MatMul', [`${own}3`, other], plain] as const,
            [`${other}2`, 'BiasAdd', [`${other}1`, 'k']] as const,
          ];
        }),
      ],
      [4, 3],
      ['c2', 'd2'],
    );
    expect(removedIn(plan)).toEqual({ a1: [1], b1: [2, 4] });
    // Each of the last layers takes other constants into its bias, which both had shared.
    expect(report).toMatchObject({ folded: 2, copies: 2 });
    const inputsOf = (name: string) => nodes.find((node) => node.name === name)!.input;
    expect([inputsOf('a2'), inputsOf('b2')]).toEqual([
      ['a1', 'v'],
      ['b1', 'v/channels'],
    ]);
    const shapes = Object.fromEntries(weights.map(({ name, shape }) => [name, shape]));
    expect(shapes).toMatchObject({ v: [7], 'v/channels': [6], k: [2], 'k/channels': [2] });
    expect(nodes.find(({ name }) => name === 'v/channels')).toMatchObject({ op: 'Const' });
  });

  test('Constants that are shapes follow, and notes of converters about shapes go', async () => {
    const { report, nodes, weights } = await removed(
      [
        ...[entry('a', [1, 1, 3, 8], [1, 2]), entry('b', [1, 1, 3, 8]), entry('c', [32, 2]), entry('d', [32, 2])],
        integers('s', [-1, 32]),
      ],
      [
        ['x', 'Placeholder', [], dims(-1, 2, 2, 3)],
        ...(['a', 'b'] as const).flatMap((own, place) => {
          const other = ['c', 'd'][place]!;
          return [
            [`${own}1`, 'Conv2D', ['x', own], { ...window, _output_shapes: { list: {} } }] as const,
            [`${own}2`, 'Reshape', [`${own}1`, 's']] as const,
            [`${other}1`, 'MatMul', [`${own}2`, other], plain] as const,
          ];
        }),
      ],
      [2, 2, 2, 3],
      ['c1', 'd1'],
    );
    expect(report).toMatchObject({ frozen: 1, copies: 1 });
    expect(nodes.find(({ name }) => name === 'a2')!.input).toEqual(['a1', 's/channels']);
    expect(nodes.find(({ name }) => name === 'b2')!.input).toEqual(['b1', 's']);
    expect(weights.find(({ name }) => name === 's/channels')).toMatchObject({ shape: [2], dtype: 'int32' });
    expect(nodes.filter(({ attr }) => '_output_shapes' in attr)).toEqual([]);
  });

  test('A node without a rule keeps the channels that it touches, and the plan names it', async () => {
    const { plan } = await removed(
      [entry('a', [1, 1, 3, 8], [1]), entry('b', [1, 1, 8, 8], [2]), entry('c', [1, 1, 8, 2])],
      [
        ['x', 'Placeholder', [], dims(-1, 4, 4, 3)],
        ['a1', 'Conv2D', ['x', 'a'], window],
        ['l', 'LRN', ['a1'], { depth_radius: { i: '1' }, bias: { f: 1 }, alpha: { f: 1 }, beta: { f: 0.5 } }],
        ['b1', 'Conv2D', ['l', 'b'], window],
        ['c1', 'Conv2D', ['b1', 'c'], window],
      ],
      [1, 4, 4, 3],
      ['c1'],
    );
    expect(removedIn(plan)).toEqual({ b1: [2] });
    expect(plan.blocked.find(({ by }) => by === 'LRN node l')).toMatchObject({ layers: ['a1'], channels: 8, dead: 1 });
    expect(plan.notes).toContain('channels that LRN node l touches stay: there is no rule for it');
  });
});
