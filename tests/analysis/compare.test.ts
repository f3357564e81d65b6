import { Sparsifier, type SparsifyError } from 'sparsifier';
import { compare, sessionsOfTfjs, type CompareSession, type InputMetadata, type Inputs } from 'sparsifier/compare';
import { readModel, type FileModel } from 'sparsifier/formats';
import { quantize } from 'sparsifier/quantize';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/layers.js';
import { naiveArgmax, naiveDifference } from '../support/naive-difference.js';
import { mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { filesOf, floats, graphOf, saved, textOf, tf, type Files } from '../support/tfjs.js';

/** A convolution with a bias, and a matrix product. */
const built = (first = mixedNumbers(48, 1), bias = mixedNumbers(4, 2), second = mixedNumbers(12, 3)) =>
  model({
    nodes: [node('Conv', 'x w b', 'c', { name: 'conv' }), node('MatMul', 'c v', 'y', { name: 'head' })],
    initializers: [
      tensor('w', [4, 3, 2, 2], { data: first }),
      tensor('b', [4], { data: bias }),
      tensor('v', [4, 3], { data: second }),
    ],
    inputs: { x: 4 },
    outputs: { y: 4 },
  });
const inNumbers = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)];

/** The length of the vector of differences and so on are sums of products, which are rounded. */
const close = (value: number) => expect.closeTo(value, 10) as number;

describe('weights', () => {
  test('Layers differ by what a naive comparison finds, with their biases', async () => {
    const [w, b] = [mixedNumbers(48, 7), mixedNumbers(4, 2)];
    using dense = await readModel(built());
    using other = await readModel(built(w, b));
    const { layers, outputs, skipped, notes } = await compare(dense, other);
    const naive = naiveDifference(inNumbers(mixedNumbers(48, 1)), inNumbers(w));
    expect(layers).toMatchObject([
      { name: 'conv', kind: 'conv2d', shape: [4, 3, 2, 2], changed: 48, numbers: 48 },
      { name: 'head', kind: 'dense', shape: [4, 3], changed: 0, numbers: 12, relativeRms: 0, maxDifference: 0 },
    ]);
    expect(layers[0]).toMatchObject({ maxDifference: naive.maxDifference, relativeRms: close(naive.relativeRms) });
    expect(layers[0]!.partners).toMatchObject([{ part: 'bias', numbers: 4, changed: 0 }]);
    expect({ outputs, skipped, notes }).toEqual({ outputs: [], skipped: [], notes: [] });
  });

  test('Of a pruned model, exactly the removed weights differ, and they are zero in the second model', async () => {
    using dense = await readModel(built());
    using sparse = await readModel(built());
    const words = { granularity: 'filter', layerType: 'conv2d' } as const;
    const { total } = await new Sparsifier(sparse, words).sparsifyModel(50);
    const { layers } = await compare(dense, sparse);
    expect(layers[0]).toMatchObject({ changed: total.removedWeights, zeros: { a: 0, b: total.removedWeights } });
    expect(layers[0]!.partners).toMatchObject([{ part: 'bias', changed: 2, zeros: { a: 0, b: 2 } }]);
    expect(layers[1]).toMatchObject({ changed: 0 });
  });

  test('Layers in one model only, or with other shapes or biases, are not compared', async () => {
    using first = await readModel(
      safetensorsFile({ 'a.weight': [2, 3], 'a.bias': [2], 'b.weight': [4, 3], 'c.weight': [3, 3] }),
    );
    using second = await readModel(safetensorsFile({ 'a.weight': [2, 3], 'b.weight': [3, 4], 'd.weight': [3, 3] }));
    const { layers, skipped } = await compare(first, second);
    expect(layers.map(({ name, changed }) => [name, changed])).toEqual([['a', 0]]);
    expect(skipped).toEqual([
      { name: 'a', reason: 'its bias is only in a' },
      { name: 'b', reason: 'its shape is [4, 3] (out, in) in a and [3, 4] (out, in) in b' },
      { name: 'c', reason: 'this layer is only in a' },
      { name: 'd', reason: 'this layer is only in b' },
    ]);
  });

  test('A layer whose weights are no layer of the other model is listed with the reason', async () => {
    using dense = await readModel(
      model({
        nodes: [node('MatMul', 'x w', 'y', { name: 'head' })],
        initializers: [tensor('w', [64, 32], { data: mixedNumbers(2048, 1) })],
        inputs: { x: 2 },
        outputs: { y: 2 },
      }),
    );
    const { model: quantised } = await quantize(dense, { weights: 'int4' });
    using small = quantised;
    const reason = 'it is stored as 4-bit codes (MatMulNBits); dequantize the model to prune it';
    expect((await compare(dense, small)).skipped).toEqual([{ name: 'head', reason: `it is no layer of b: ${reason}` }]);
    expect((await compare(small, dense)).skipped).toEqual([{ name: 'head', reason: `it is no layer of a: ${reason}` }]);
  });

  test('A layer that is stored for integer products cannot be pruned, with that reason', async () => {
    using dense = await readModel(
      model(
        {
          nodes: [node('MatMul', 'x v', 'y', { name: 'head' })],
          initializers: [tensor('v', [64, 64], { data: mixedNumbers(64 * 64, 3) })],
          inputs: { x: 2 },
          outputs: { y: 2 },
        },
        13,
      ),
    );
    const { model: small } = await quantize(dense, { weights: 'int8-dynamic' });
    using second = small;
    const codes = 'it is stored as 8-bit codes (MatMulInteger); dequantize the model to prune it';
    const pruning = new Sparsifier(second, { layerType: 'all' }).sparsifyModel(50);
    await expect(pruning).rejects.toMatchObject({
      code: 'kind',
      details: { found: `no layer that can be pruned; head: ${codes}` },
    });
  });

  test('Layers of different formats are compared by the roles of their axes', async () => {
    const weight = [1, 2, 3, 4, 5, 6];
    const transposed = [1, 4, 2, 5, 3, 60];
    using first = await readModel(safetensorsFile({ 'head.weight': { shape: [2, 3], data: floats(...weight) } }));
    using second = await readModel(safetensorsFile({ 'head.weight': { shape: [3, 2], data: floats(...transposed) } }), {
      layers: { head: { kind: 'dense', roles: ['in', 'out'] } },
    });
    const { layers, skipped } = await compare(first, second);
    expect(skipped).toEqual([]);
    expect(layers).toMatchObject([{ name: 'head', numbers: 6, changed: 1, maxDifference: 54 }]);
  });

  test('Half precision is compared by value, and NaN and infinity are counted apart', async () => {
    const bytes = new Uint8Array(Uint16Array.of(0x3c00, 0x7e00, 0x7c00, 0x8000).buffer);
    using first = await readModel(safetensorsFile({ 'a.weight': { dtype: 'F16', shape: [2, 2], data: bytes } }));
    using second = await readModel(
      safetensorsFile({ 'a.weight': { shape: [2, 2], data: floats(1.5, NaN, -Infinity, 0) } }),
    );
    const { layers } = await compare(first, second);
    expect(layers).toMatchObject([
      {
        numbers: 4,
        changed: 2,
        maxDifference: 0.5,
        relativeRms: 0.5,
        zeros: { a: 1, b: 1 },
        notFinite: { a: 2, b: 2 },
      },
    ]);
  });

  test('Of equal layers, it is said whether the rest of the models is the same', async () => {
    const file = (scale: number) =>
      safetensorsFile({ 'a.weight': [2, 3], thing: [2, 3, 4, 5, 6], norm: { shape: [2], data: floats(1, scale) } });
    using first = await readModel(file(1));
    using second = await readModel(file(2));
    using copy = await readModel(file(1));
    const rest = '720 numbers in 1 tensor of a were not compared, since they are in no layer.';
    expect((await compare(first, copy)).notes).toEqual(['All bytes of the files are the same.']);
    expect((await compare(first, second)).notes).toEqual([rest, 'The files differ in something that is in no layer.']);
    await new Sparsifier(copy, { layerType: 'all' }).sparsifyModel(50);
    expect((await compare(first, copy)).notes).toEqual([rest]);
  });

  test('Files of different lengths are not the same', async () => {
    const of = (...names: string[]) =>
      readModel(safetensorsFile({ 'a.weight': [2, 3], ...Object.fromEntries(names.map((name) => [name, [2]])) }));
    using first = await of();
    using second = await of('b.bias');
    for (const [a, b] of [
      [first, second],
      [second, first],
    ] as const) {
      expect((await compare(a, b)).notes).toEqual(['The files differ in something that is in no layer.']);
    }
  });
});

/** A session that computes with the inputs it is given, and the sessions of two models. */
function sessions(metadata: readonly InputMetadata[], ...runs: ((inputs: Inputs) => Inputs)[]) {
  const seen: Inputs[] = [];
  let released = 0;
  const create = async (): Promise<CompareSession> => {
    const run = runs.shift()!;
    return {
      inputMetadata: metadata,
      run: async (inputs) => {
        seen.push(inputs);
        return run(inputs);
      },
      release: async () => void released++,
    };
  };
  return { create, seen, released: () => released };
}

const x: InputMetadata = { name: 'x', isTensor: true, type: 'float32', shape: [2, 3] };
const float32 = (dims: readonly number[], ...numbers: number[]) => ({
  type: 'float32',
  dims,
  data: Float32Array.from(numbers),
});

describe('outputs', () => {
  let dense: FileModel;
  beforeAll(async () => void (dense = await readModel(built())));

  const both = async (first: Inputs, second: Inputs) => {
    const { create } = sessions(
      [x],
      () => first,
      () => second,
    );
    return compare(dense, dense, { createSession: create });
  };

  test('Outputs move as far as a naive comparison finds, over all runs', async () => {
    const values = [
      [1, 5, 2, 4, 4, 3],
      [0, -1, 7, 2, 9, 9],
    ];
    const moved = [
      [1, 2, 5, 4, 4, 3.5],
      [0, -1, 8, 2, 9, 9.25],
    ];
    const answers = (lists: number[][]) => {
      const rest = lists.map((list) => ({ y: float32([2, 3], ...list) }));
      return () => rest.shift()!;
    };
    const { create, seen, released } = sessions([x], answers(values), answers(moved));
    const inputs = [1, 2].map((value) => ({ x: float32([2, 3], ...Array<number>(6).fill(value)) }));
    const { outputs, skipped } = await compare(dense, dense, { createSession: create, inputs });
    const naive = naiveDifference(values.flat(), moved.flat());
    expect(skipped).toEqual([]);
    expect(outputs).toEqual([
      {
        ...{ name: 'y', type: 'float32', shape: [2, 3], notFinite: { a: 0, b: 0 } },
        ...naive,
        ...{ relativeRms: close(naive.relativeRms), cosine: close(naive.cosine) },
        argmax: naiveArgmax(values.flat(), moved.flat(), 3),
      },
    ]);
    expect(seen.map((each) => each.x)).toEqual([...inputs, ...inputs].map((each) => each.x));
    expect(released()).toBe(2);
  });

  test('Outputs that are not finite are counted, and the others are compared', async () => {
    const { outputs } = await both(
      { y: float32([2, 2], 1, 2, NaN, NaN) },
      { y: float32([2, 2], 1, -Infinity, NaN, 3) },
    );
    expect(outputs).toMatchObject([
      { changed: 2, maxDifference: 0, relativeRms: 0, notFinite: { a: 2, b: 2 }, argmax: { rows: 2, changed: 2 } },
    ]);
  });

  test('An output that was zero has no relative RMS and no cosine', async () => {
    const { outputs } = await both({ y: float32([2], 0, 0) }, { y: float32([2], 0, 3) });
    expect(outputs).toMatchObject([{ changed: 1, maxDifference: 3, relativeRms: undefined, cosine: undefined }]);
  });

  test('Integers and texts are counted, without a cosine or an argmax', async () => {
    // 2^53 + 1 is no float64.
    const large = 9_007_199_254_740_992n;
    const of = (numbers: bigint[], texts: string[]) => ({
      ids: { type: 'int64', dims: [2], data: BigInt64Array.from(numbers) },
      words: { type: 'string', dims: [2], data: texts },
    });
    const { outputs } = await both(of([large, 4n], ['a', 'b']), of([large + 1n, 6n], ['a', 'c']));
    expect(outputs).toMatchObject([
      { name: 'ids', numbers: 2, changed: 2, maxDifference: 2, cosine: undefined, argmax: undefined },
      { name: 'words', numbers: 2, changed: 1, maxDifference: undefined, relativeRms: undefined, cosine: undefined },
    ]);
  });

  test('Outputs in one model only, or of other shapes, are not compared', async () => {
    const { outputs, skipped } = await both(
      { y: float32([1, 2], 1, 2), z: float32([1], 1) },
      { y: float32([2, 1], 1, 2), u: float32([1], 1) },
    );
    expect(outputs).toEqual([]);
    expect(skipped).toEqual([
      { name: 'y', reason: 'this output is float32 [1, 2] in a and float32 [2, 1] in b' },
      { name: 'z', reason: 'this output is only in a' },
      { name: 'u', reason: 'this output is only in b' },
    ]);
  });

  test('A session is released if a run fails', async () => {
    const { create, released } = sessions([x], () => {
      throw new Error('no kernel');
    });
    await expect(compare(dense, dense, { createSession: create })).rejects.toThrow('no kernel');
    expect(released()).toBe(1);
  });

  test('If the second model takes other inputs, only the weights are compared, and a note says why', async () => {
    const answer = (inputMetadata: InputMetadata[]): CompareSession => ({
      inputMetadata,
      run: async () => ({ y: float32([1], 1) }),
    });
    const both = [answer([x]), answer([{ ...x, shape: [2, 4] }])];
    const found = await compare(dense, dense, { createSession: async () => both.shift()! });
    expect(found.layers).toHaveLength(2);
    expect(found.outputs).toEqual([]);
    expect(found.notes).toEqual([
      'All bytes of the files are the same.',
      expect.stringMatching(/^The outputs were not compared, since b takes other inputs: x: .*\[2, 3\].*\[2, 4\]/),
    ]);
  });
});

describe('seeded inputs', () => {
  const seeded = async (type: string, shape: (number | string)[], shapes?: Record<string, number[]>) => {
    using dense = await readModel(built());
    const { create, seen } = sessions([{ ...x, type, shape }], ...Array(2).fill(() => ({ y: float32([1], 1) })));
    await compare(dense, dense, { createSession: create, ...(shapes && { shapes }) });
    expect(seen[1]!.x).toBe(seen[0]!.x);
    return seen[0]!.x!;
  };

  test('Floats are from the standard normal distribution, and always the same', async () => {
    const { dims, data } = await seeded('float32', [100, 100]);
    const numbers = [...(data as Float32Array)];
    expect(dims).toEqual([100, 100]);
    const mean = numbers.reduce((a, b) => a + b) / 1e4;
    const variance = numbers.reduce((sum, each) => sum + (each - mean) ** 2, 0) / 1e4;
    // Five standard errors.
    expect(Math.abs(mean)).toBeLessThan(0.05);
    expect(Math.abs(variance - 1)).toBeLessThan(0.071);
    const within = numbers.filter((each) => Math.abs(each) < 1).length / 1e4;
    expect(Math.abs(within - 0.6827)).toBeLessThan(0.024);
    expect(new Set(numbers).size).toBeGreaterThan(9_900);
    expect([...((await seeded('float32', [100, 100])).data as Float32Array)]).toEqual(numbers);
  });

  test('Half precision has the same numbers, rounded to the nearest', async () => {
    const numbers = [...((await seeded('float64', [1000])).data as Float64Array)];
    const bits = [...((await seeded('float16', [1000])).data as Uint16Array)];
    for (const [index, half] of bits.entries()) {
      const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
      const value = sign * (exponent ? 1 + fraction / 1024 : fraction / 1024) * 2 ** (Math.max(exponent, 1) - 15);
      expect(Math.abs(value - numbers[index]!)).toBeLessThanOrEqual(2 ** (Math.max(exponent, 1) - 15 - 11));
    }
  });

  test.each(['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'bool'])(
    'Inputs of the type %s are 0 or 1',
    async (type) => {
      const { data } = await seeded(type, [1000]);
      const ones = Array.from(data as ArrayLike<number | bigint>, Number).filter((each) => each === 1).length;
      expect(Array.from(data as ArrayLike<number | bigint>, Number).every((each) => each === 0 || each === 1)).toBe(
        true,
      );
      expect(Math.abs(ones - 500)).toBeLessThan(80);
    },
  );

  test('The shape of an input with axes of any size is given', async () => {
    const { dims, data } = await seeded('float32', ['batch', 3], { x: [4, 3] });
    expect(dims).toEqual([4, 3]);
    expect(data).toHaveLength(12);
  });

  test.each<[(number | string)[], Record<string, number[]> | undefined, RegExp]>([
    [
      ['batch', 3, -1, ''],
      undefined,
      /^x: the inputs of the model have axes of any size\. found: x float32 \[batch, 3, \?, \?\]\. Set `shapes: \{ "x": \[N, 3, N, N\] \}`/,
    ],
    [
      ['batch', 3],
      { x: [4, 2] },
      /^x: the shape does not fit\. given: float32 \[4, 2\]\. allowed: x float32 \[batch, 3\]/,
    ],
    [['batch', 3], { x: [3] }, /the shape does not fit/],
    [['batch', 3], { z: [3] }, /the model has no such input\. given: z\. allowed: x float32/],
    [['batch', 3], { x: [2.5, 3] }, /a shape is a list of sizes/],
  ])('For an input of shape %j, the shapes %j are refused', async (shape, shapes, message) => {
    const error = await errorOf(() => seeded('float32', shape, shapes));
    expect([error.code, error.message]).toEqual(['usage', expect.stringMatching(message)]);
  });

  test('All inputs with axes of any size are in the error', async () => {
    using dense = await readModel(built());
    const { create } = sessions([
      { ...x, shape: ['n', 2] },
      { ...x, name: 'y' },
      { ...x, name: 'z', shape: [-1] },
    ]);
    expect((await errorOf(() => compare(dense, dense, { createSession: create }))).message).toBe(
      'x, z: the inputs of the model have axes of any size. found: x float32 [n, 2]; y float32 [2, 3]; z float32 [?]. ' +
        'Set `shapes: { "x": [N, 2], "z": [N] }`, with numbers for N.',
    );
  });

  test('An input of texts is an error, since there are no random texts', async () => {
    expect((await errorOf(() => seeded('string', [1]))).message).toMatch(/no random values.*found: string/);
  });
});

describe('wrong options', () => {
  const cases: [string, object, SparsifyError['code'], RegExp][] = [
    ['an unknown option', { input: {} }, 'usage', /unknown option.*Did you mean inputs\?/],
    ['no inputs', { inputs: [] }, 'usage', /no inputs/],
    ['inputs and shapes', { inputs: {}, shapes: {} }, 'usage', /`shapes` are for seeded inputs/],
    ['a missing input', { inputs: { z: float32([1], 1) } }, 'usage', /^x: an input of the model is missing\. found: z/],
    ['an input of another shape', { inputs: { x: float32([3, 2]) } }, 'usage', /^x: the shape does not fit/],
    [
      'an input of another type',
      { inputs: { x: { ...float32([2, 3]), type: 'int64' } } },
      'usage',
      /^x: the type does not fit\. given: int64 \[2, 3\]\. allowed: x float32 \[2, 3\]/,
    ],
  ];
  test.each(cases)('compare refuses %s', async (_, options, code, message) => {
    using dense = await readModel(built());
    const { create } = sessions([x], () => ({ y: float32([1], 1) }));
    const error = await errorOf(() => compare(dense, dense, { createSession: create, ...options }));
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
  });

  test('Paths in place of models, and sessions without metadata, are errors', async () => {
    using dense = await readModel(built());
    expect((await errorOf(() => compare('model.onnx' as never, dense))).message).toMatch(/must be a model/);
    const createSession = async () => ({ run: async () => ({}) }) as never;
    expect((await errorOf(() => compare(dense, dense, { createSession }))).message).toMatch(/since version 1\.22/);
  });
});

describe('TensorFlow.js', () => {
  beforeAll(async () => {
    await tf.setBackend('cpu');
    await tf.ready();
  });
  const read = ({ json, shards }: Files) =>
    readModel(textOf(json) as Uint8Array<ArrayBuffer>, {
      shards: (name) => shards.get(name) as Uint8Array<ArrayBuffer>,
    });

  test('The outputs of LayersModels are those of TensorFlow.js itself, and no tensor leaks', async () => {
    const network = tf.sequential({
      layers: [
        tf.layers.conv2d({ inputShape: [4, 4, 2], filters: 5, kernelSize: 2, activation: 'relu', name: 'conv' }),
        tf.layers.flatten(),
        tf.layers.dense({ units: 6, name: 'head' }),
      ],
    });
    const files = await saved(network);
    using dense = await read(files);
    using sparse = await read(files);
    await new Sparsifier(sparse, { layerType: 'all' }).sparsifyModel(50);
    const numbers = inNumbers(mixedNumbers(3 * 32, 1));
    const inputs = { conv_input: float32([3, 4, 4, 2], ...numbers) };
    const { numTensors } = tf.memory();
    const found = await compare(dense, sparse, { createSession: sessionsOfTfjs(tf), inputs });
    expect(tf.memory().numTensors).toBe(numTensors);

    const predict = () => (network.predict(tf.tensor4d(numbers, [3, 4, 4, 2])) as typeof kept).dataSync();
    const kept = tf.zeros([1]);
    const before = [...predict()];
    for (const { name, values, shape } of sparse.tensors) {
      const variable = network.getLayer(name).weights[0]!;
      variable.write(tf.tensor(new Float32Array(((await sparse.copy(values)) as Uint8Array).buffer), [...shape]));
    }
    const naive = naiveDifference(before, [...predict()]);
    expect(naive.relativeRms).toBeGreaterThan(0.01);
    expect(found.outputs).toMatchObject([
      {
        ...{ name: 'head', type: 'float32', shape: [3, 6], numbers: 18 },
        ...{ relativeRms: expect.closeTo(naive.relativeRms, 5) as number },
        argmax: { rows: 3 },
      },
    ]);
  });

  const graphFiles = (weights: readonly number[], nodes: Parameters<typeof graphOf>[1]) => {
    const entries = [{ name: 'w', shape: [2, 3], dtype: 'float32', bytes: floats(...weights) }];
    const shape = { shape: { dim: [{ size: '-1' }, { size: '2' }] } };
    const input = ['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }] as const;
    const product = { transpose_a: { b: false }, transpose_b: { b: false }, T: { type: 'DT_FLOAT' } };
    const graph = graphOf(entries, [input, ['y', 'MatMul', ['x', 'w'], product], ...nodes]);
    return filesOf({ ...graph, versions: { producer: 1 } }, entries);
  };
  const inputs = { x: float32([1, 2], 10, 1) };

  test('GraphModels are run by the names of their inputs and outputs', async () => {
    using first = await read(graphFiles([1, 2, 3, 4, 5, 6], []));
    using second = await read(graphFiles([1, 2, 3, 4, 5, 0], []));
    const { outputs, layers } = await compare(first, second, { createSession: sessionsOfTfjs(tf), inputs });
    // [14, 25, 36] and [14, 25, 30]
    expect(outputs).toMatchObject([{ name: 'y', changed: 1, maxDifference: 6, argmax: { rows: 1, changed: 0 } }]);
    expect(layers).toMatchObject([{ changed: 1, zeros: { a: 0, b: 1 } }]);
    const error = await errorOf(() => compare(first, second, { createSession: sessionsOfTfjs(tf) }));
    expect(error.message).toMatch(/x float32 \[\?, 2\]/);
  });

  test('GraphModels with operators whose outputs have any size are run, too', async () => {
    const nodes = [
      ['positive', 'Cast', ['y'], { SrcT: { type: 'DT_FLOAT' }, DstT: { type: 'DT_BOOL' } }],
      ['places', 'Where', ['positive'], {}],
    ] as const;
    using first = await read(graphFiles([1, 2, 0, 4, 5, 0], nodes));
    using second = await read(graphFiles([1, 0, 3, 4, 0, 6], nodes));
    using third = await read(graphFiles([1, 2, 3, 4, 5, 6], nodes));
    const createSession = sessionsOfTfjs(tf);
    const { numTensors } = tf.memory();
    // [[0, 0], [0, 1]] and [[0, 0], [0, 2]]
    expect((await compare(first, second, { createSession, inputs })).outputs).toMatchObject([
      { name: 'places', type: 'int32', shape: [2, 2], numbers: 4, changed: 1, maxDifference: 1, argmax: undefined },
    ]);
    expect((await compare(first, third, { createSession, inputs })).skipped).toEqual([
      { name: 'places', reason: 'this output is int32 [2, 2] in a and int32 [3, 2] in b' },
    ]);
    expect(tf.memory().numTensors).toBe(numTensors);
  });
});
