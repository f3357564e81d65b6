import fc from 'fast-check';
import type { WeightTensor } from 'sparsifier';
import { fromTfjs, readTfjs } from 'sparsifier/formats/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { distance, naiveOutput, withAxisLast } from '../../support/naive-rows.js';
import { filesOf, graphOf, handlerOf, saved, textOf, tf, type Entry, type Files } from '../../support/tfjs.js';

// What a format says of how a layer goes over its input: rows of the input times the weight must be what TensorFlow.js
// computes.

beforeAll(async () => {
  await tf.setBackend('cpu');
  await tf.ready();
});

const close = 1e-5;
const small = (most: number, least = 1) => fc.integer({ min: least, max: most });
const each = (most: number, least = 1) => fc.tuple(small(most, least), small(most, least), small(most, least));
const settings = { seed: 16, numRuns: 40 };

/** What is random in a layer. */
const cases = fc.record({
  samples: small(2),
  inputs: small(3),
  filters: small(3),
  kernel: each(3),
  strides: each(3),
  dilations: each(2),
  more: each(4, 0),
  before: each(2, 0),
  after: each(2, 0),
  padding: fc.constantFrom('same' as const, 'valid' as const),
  isDilated: fc.boolean(),
  isFirst: fc.boolean(),
});
type Case = typeof cases extends fc.Arbitrary<infer Each> ? Each : never;
const ones: [number, number, number] = [1, 1, 1];

/** One that TensorFlow.js can compute: without strides if it is dilated, with an input that is not too small. */
function possible(given: Case): Case & { readonly size: readonly number[] } {
  const dilations = given.isDilated ? given.dilations : ones;
  const strides = given.isDilated ? ones : given.strides;
  const size = given.more.map((more, axis) => (given.kernel[axis]! - 1) * dilations[axis]! + 1 + more);
  return { ...given, dilations, strides, size };
}

const always = (check: (given: ReturnType<typeof possible>) => Promise<void>, numRuns = settings.numRuns) =>
  fc.assert(
    fc.asyncProperty(cases, (given) => check(possible(given))),
    { ...settings, numRuns },
  );
const last = <Each>(list: readonly Each[], count: number) => list.slice(3 - count);

const numbersIn = (tensor: tf.Tensor) => ({ shape: tensor.shape, data: tensor.dataSync() });
const random = (shape: readonly number[], seed: number) => tf.randomNormal(shape as [number], 0, 1, 'float32', seed);

async function weightsOf(model: ReturnType<typeof fromTfjs>, tensor: WeightTensor): Promise<Float32Array> {
  return new Float32Array((await model.copy(tensor.values)).buffer);
}

const readable = ({ json, shards }: Files) =>
  [
    textOf(json) as Uint8Array<ArrayBuffer>,
    { shards: (name: string) => shards.get(name)! as Uint8Array<ArrayBuffer> },
  ] as const;

/** Checks a layer of one weight, in use and as a file. */
async function checkLayer(layer: tf.layers.Layer, inputShape: readonly number[], axis = -1): Promise<void> {
  const model = tf.sequential({
    layers: [tf.layers.inputLayer({ inputShape: inputShape.slice(1) as number[] }), layer],
  });
  const live = fromTfjs(tf, model);
  using stored = await readTfjs(...readable(await saved(model)));
  expect(stored.tensors.map(({ geometry }) => geometry)).toEqual(live.tensors.map(({ geometry }) => geometry));
  const [tensor] = live.tensors;
  expect(tensor!.geometry).toBeDefined();
  const x = random(inputShape, 3);
  const weights = await weightsOf(live, tensor!);
  const output = naiveOutput(tensor!, tensor!.geometry!, weights, numbersIn(x));
  expect(distance(output, withAxisLast(numbersIn(model.predict(x) as tf.Tensor), axis))).toBeLessThan(close);
  x.dispose();
  model.dispose();
}

describe('Rows of a Keras layer times its weight are what it computes', () => {
  const shared = { useBias: false };

  test('In one dimension', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, dilations, size, padding }) => {
      const layer = tf.layers.conv1d({
        ...shared,
        filters,
        kernelSize: kernel[2],
        strides: strides[2],
        dilationRate: dilations[2],
        padding,
      });
      await checkLayer(layer, [samples, size[2]!, inputs]);
    });
  });

  test.each([2, 3] as const)('In %i dimensions, with channels first or last', async (count) => {
    await always(async ({ samples, inputs, filters, kernel, strides, dilations, size, padding, isFirst }) => {
      // In three dimensions TensorFlow.js has other ideas of padding where the stride is larger than the kernel.
      const steps = strides.map((stride, axis) => (count === 3 ? Math.min(stride, kernel[axis]!) : stride));
      const args = {
        ...shared,
        filters,
        kernelSize: last(kernel, count) as never,
        strides: last(steps, count) as never,
        dilationRate: last(dilations, count) as never,
        padding,
        dataFormat: isFirst ? ('channelsFirst' as const) : ('channelsLast' as const),
      };
      const layer = count === 2 ? tf.layers.conv2d(args) : tf.layers.conv3d(args);
      const space = last(size, count);
      const shape = isFirst ? [samples, inputs, ...space] : [samples, ...space, inputs];
      await checkLayer(layer, shape, isFirst ? 1 : -1);
    }, 25);
  });

  test.each([2, 3] as const)('Transposed, in %i dimensions', async (count) => {
    await always(async ({ samples, inputs, filters, kernel, strides, more, padding, isFirst }) => {
      const steps = strides.map((stride, axis) => (count === 3 ? Math.min(stride, kernel[axis]!) : stride));
      const args = {
        ...shared,
        filters,
        kernelSize: last(kernel, count) as never,
        strides: last(steps, count) as never,
        padding,
        dataFormat: isFirst ? ('channelsFirst' as const) : ('channelsLast' as const),
      };
      const layer = count === 2 ? tf.layers.conv2dTranspose(args) : tf.layers.conv3dTranspose(args);
      const space = last(more, count).map((size) => size + 1);
      const shape = isFirst ? [samples, inputs, ...space] : [samples, ...space, inputs];
      await checkLayer(layer, shape, isFirst ? 1 : -1);
    }, 25);
  });

  test('Depthwise', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, size, padding }) => {
      const stride = strides[2];
      const layer = tf.layers.depthwiseConv2d({
        ...shared,
        depthMultiplier: filters,
        kernelSize: last(kernel, 2) as [number, number],
        strides: [stride, stride],
        padding,
      });
      await checkLayer(layer, [samples, ...last(size, 2), inputs]);
    });
  });

  test('Separable: the second kernel reads what the first one computes', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, dilations, size, padding, isDilated }) => {
      const model = tf.sequential({
        layers: [
          tf.layers.separableConv2d({
            ...shared,
            inputShape: [...last(size, 2), inputs] as [number, number, number],
            filters,
            depthMultiplier: 2,
            kernelSize: last(kernel, 2) as [number, number],
            strides: strides[2],
            dilationRate: isDilated ? (last(dilations, 2) as [number, number]) : 1,
            padding,
          }),
        ],
      });
      const live = fromTfjs(tf, model);
      const [first, second] = live.tensors;
      const x = random([samples, ...last(size, 2), inputs], 5);
      const output = model.predict(x) as tf.Tensor;
      const between = naiveOutput(first!, first!.geometry!, await weightsOf(live, first!), numbersIn(x));
      const shape = [...output.shape.slice(0, -1), 2 * inputs];
      const computed = naiveOutput(second!, second!.geometry!, await weightsOf(live, second!), {
        shape,
        data: between,
      });
      expect(distance(computed, [...output.dataSync()])).toBeLessThan(close);
    });
  });

  test('Dense, also for each step of a sequence', async () => {
    for (const shape of [
      [3, 4],
      [2, 3, 4],
      [2, 3, 2, 4],
    ]) {
      await checkLayer(tf.layers.dense({ ...shared, units: 5 }), shape);
    }
    const inner = tf.layers.conv2d({ ...shared, filters: 2, kernelSize: 2 });
    await checkLayer(tf.layers.timeDistributed({ layer: inner as never }), [2, 3, 4, 4, 2]);
  });
});

test('Kernels of recurrent layers read the input as dense layers do, and states are no input', () => {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 5, outputDim: 3, inputLength: 4, name: 'table' }),
      tf.layers.lstm({ units: 2, returnSequences: true, name: 'lstm' }),
      tf.layers.gru({ units: 2, returnSequences: true, name: 'gru' }),
      tf.layers.simpleRNN({ units: 2, name: 'rnn' }),
    ],
  });
  const dense = { channelAxis: -1, strides: [], dilations: [], pads: [], outputPadding: [] };
  expect(fromTfjs(tf, model).tensors.map(({ name, geometry }) => [name, geometry])).toEqual([
    ['table', undefined],
    ...['lstm', 'gru', 'rnn'].flatMap((name) => [
      [name, dense],
      [`${name}.recurrent`, undefined],
    ]),
  ]);
});

/** A layer of a Keras config, and its weight. */
const configured = async (type: string, config: object, shape: number[]) => {
  const topology = {
    class_name: 'Sequential',
    config: { name: 'm', layers: [{ class_name: type, config: { name: 'c', use_bias: false, ...config } }] },
  };
  const name = type.startsWith('Depthwise') ? 'c/depthwise_kernel' : 'c/kernel';
  const bytes = new Uint8Array(4 * shape.reduce((product, size) => product * size, 1));
  using model = await readTfjs(...readable(filesOf(topology, [{ name, shape, dtype: 'float32', bytes }])));
  return model.tensors[0]!.geometry;
};

test('Padding is given in numbers unless it depends on the size of the input', async () => {
  const pads = async (config: object) => (await configured('Conv2D', { filters: 1, ...config }, [4, 1, 1, 1]))?.pads;
  expect(await pads({ padding: 'same', strides: [1, 2] })).toEqual([
    [1, 2],
    [0, 0],
  ]);
  expect(await pads({ padding: 'same', strides: 2 })).toBe('sameUpper');
  expect(await pads({ padding: 'same', dilation_rate: [2, 1] })).toEqual([
    [3, 3],
    [0, 0],
  ]);
  expect(await pads({})).toEqual([
    [0, 0],
    [0, 0],
  ]);
  expect(await pads({ padding: 'reflect' })).toBeUndefined();
  // TensorFlow.js does not compute this one, which pads with zeros before the first number only.
  const causal = { filters: 1, padding: 'causal', strides: 2, dilation_rate: 3 };
  expect((await configured('Conv1D', causal, [3, 1, 1]))?.pads).toEqual([[6, 0]]);
});

test('Nothing is said of layers that Keras and TensorFlow.js do not compute alike', async () => {
  expect(await configured('DepthwiseConv2D', { dilation_rate: 2 }, [3, 3, 2, 1])).toBeUndefined();
  const transposed = (more: object) => configured('Conv2DTranspose', { filters: 1, ...more }, [3, 3, 1, 1]);
  expect(await transposed({ dilation_rate: 2 })).toBeUndefined();
  expect(await transposed({ strides: 2, padding: 'same', output_padding: 0 })).toBeUndefined();
  const usual = await transposed({ strides: 2, padding: 'same', output_padding: 1 });
  expect(usual).toEqual(await transposed({ strides: 2, padding: 'same', output_padding: null }));
  expect(usual?.pads).toEqual([
    [0, 1],
    [0, 1],
  ]);
  const steps = (strides: number) => configured('Conv3D', { filters: 1, strides, padding: 'same' }, [1, 1, 1, 1, 1]);
  expect(await steps(2)).toBeUndefined();
  expect(await steps(1)).toBeDefined();
});

type Node = readonly [name: string, op: string, input: readonly string[], attr?: object];
const list = (...numbers: readonly number[]) => ({ list: { i: numbers.map(String) } });
const text = (value: string) => ({ s: btoa(value) });
const integers = (name: string, ...numbers: number[]): Entry => ({
  name,
  shape: [numbers.length],
  dtype: 'int32',
  bytes: new Uint8Array(Int32Array.from(numbers).buffer),
});
const scalar = (name: string, number: number): Entry => ({ ...integers(name, number), shape: [] });
const floatsOf = (name: string, shape: number[], seed = 2): Entry => {
  const data = random(shape, seed).dataSync() as Float32Array;
  return { name, shape, dtype: 'float32', bytes: new Uint8Array(data.buffer.slice(0)) };
};

/** Checks the only layer of a graph, whose input is `x` and whose output is `y`. */
async function checkGraph(
  entries: readonly Entry[],
  nodes: readonly Node[],
  inputShape: readonly number[],
  axis = -1,
): Promise<WeightTensor> {
  const shape = { shape: { dim: inputShape.map((size) => ({ size: String(size) })) } };
  const graph = graphOf(entries, [['x', 'Placeholder', [], { dtype: { type: 'DT_FLOAT' }, shape }], ...nodes]);
  const types: Record<string, string> = { float32: 'DT_FLOAT', int32: 'DT_INT32' };
  for (const node of (graph as { node: { name: string; op: string; attr: object }[] }).node) {
    const entry = entries.find(({ name }) => name === node.name);
    if (entry) node.attr = { dtype: { type: types[entry.dtype] } };
  }
  const { json, shards } = filesOf({ ...graph, versions: {} }, entries);
  const files = { json: { ...json, format: 'graph-model' }, shards };
  using model = await readTfjs(...readable(files));
  const loaded = await tf.loadGraphModel(handlerOf(textOf(files.json), shards));
  expect(fromTfjs(tf, loaded).tensors.map(({ geometry }) => geometry)).toEqual(
    model.tensors.map(({ geometry }) => geometry),
  );
  const [tensor] = model.tensors;
  if (tensor!.geometry === undefined) return tensor!;
  const x = random(inputShape, 4);
  const output = numbersIn(loaded.execute(x, 'y') as tf.Tensor);
  const weights = new Float32Array((await model.copy(tensor!.values)).buffer);
  const computed = naiveOutput(tensor!, tensor!.geometry, weights, numbersIn(x));
  expect(distance(computed, withAxisLast(output, axis))).toBeLessThan(close);
  loaded.dispose();
  return tensor!;
}

describe('Rows of a node times its weight are what it computes', () => {
  test('Convolutions, fused ones, and depthwise ones, with all paddings', async () => {
    const ops = ['Conv2D', '_FusedConv2D', 'DepthwiseConv2dNative', 'FusedDepthwiseConv2dNative'];
    let count = 0;
    await always(
      async ({ samples, inputs, filters, kernel, strides, dilations, size, before, after, padding, isFirst }) => {
        const op = ops[count++ % ops.length]!;
        const isDepthwise = op.includes('Depthwise');
        const [height, width] = last(isDepthwise ? [1, strides[2], strides[2]] : strides, 2);
        const explicit = [0, 0, before[1], after[1], before[2], after[2], 0, 0];
        const isExplicit = isFirst && !isDepthwise;
        const attributes = {
          strides: list(1, height!, width!, 1),
          dilations: list(1, ...last(dilations, 2), 1),
          padding: text(isExplicit ? 'EXPLICIT' : padding.toUpperCase()),
          data_format: text('NHWC'),
          ...(isExplicit && { explicit_paddings: list(...explicit) }),
          ...(op.includes('Fused') && { fused_ops: { list: { s: [btoa('BiasAdd')] } }, num_args: { i: '1' } }),
        };
        const outputs = isDepthwise ? inputs * filters : filters;
        const entries = [floatsOf('w', [...last(kernel, 2), inputs, filters])];
        const bias: Entry = { name: 'b', shape: [outputs], dtype: 'float32', bytes: new Uint8Array(4 * outputs) };
        const node: Node = ['y', op, ['x', 'w', ...(op.includes('Fused') ? ['b'] : [])], attributes];
        const tensor = await checkGraph([...entries, bias], [node], [samples, ...last(size, 2), inputs]);
        expect(tensor.geometry).toBeDefined();
      },
    );
  });

  test('Convolutions in three dimensions', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, size, padding }) => {
      const steps = strides.map((stride, axis) => Math.min(stride, kernel[axis]!));
      const attributes = {
        strides: list(1, ...steps, 1),
        dilations: list(1, 1, 1, 1, 1),
        padding: text(padding.toUpperCase()),
        data_format: text('NDHWC'),
      };
      const node: Node = ['y', 'Conv3D', ['x', 'w'], attributes];
      const tensor = await checkGraph(
        [floatsOf('w', [...kernel, inputs, filters])],
        [node],
        [samples, ...size, inputs],
      );
      expect(tensor.geometry).toBeDefined();
    }, 15);
  });

  test('Convolutions whose kernel gets its height only in the graph', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, size, padding, more }) => {
      const attributes = {
        strides: list(1, 1, strides[2], 1),
        dilations: list(1, 1, 1, 1),
        padding: text(padding.toUpperCase()),
      };
      const entries = [floatsOf('w', [kernel[2], inputs, filters]), scalar('zero', 0)];
      const nodes: Node[] = [
        ['k', 'ExpandDims', ['w', 'zero']],
        ['y', 'Conv2D', ['x', 'k'], attributes],
      ];
      // Each row of an image is a sample.
      const tensor = await checkGraph(entries, nodes, [samples, 1 + more[1], size[2]!, inputs]);
      expect(tensor.kind).toBe('conv1d');
      expect(tensor.geometry).toBeDefined();
    }, 20);
    // Of every other row, no geometry can tell.
    const skipping: Node = ['y', 'Conv2D', ['x', 'k'], { strides: list(1, 2, 1, 1), padding: text('VALID') }];
    const entries = [floatsOf('w', [2, 1, 1]), scalar('zero', 0)];
    const expanded: Node = ['k', 'ExpandDims', ['w', 'zero']];
    expect((await checkGraph(entries, [expanded, skipping], [1, 4, 4, 1])).geometry).toBeUndefined();
  });

  test('Transposed convolutions whose output has a stated or a computed size', async () => {
    await always(async ({ samples, inputs, filters, kernel, strides, more, padding, isFirst }) => {
      const space = last(more, 2).map((size) => size + 1);
      const [steps, sizes] = [last(strides, 2), last(kernel, 2)];
      const extra = sizes.map((size, axis) => (padding === 'same' ? 0 : Math.max(0, size - steps[axis]!)));
      const attributes = {
        strides: list(1, ...steps, 1),
        dilations: list(1, 1, 1, 1),
        padding: text(padding.toUpperCase()),
        data_format: text('NHWC'),
      };
      const node: Node = ['y', 'Conv2DBackpropInput', ['sizes', 'w', 'x'], attributes];
      const weight = floatsOf('w', [...sizes, filters, inputs]);
      const input = [samples, ...space, inputs];
      const stated = integers(
        'sizes',
        samples,
        ...space.map((size, axis) => size * steps[axis]! + extra[axis]!),
        filters,
      );
      if (isFirst) {
        expect((await checkGraph([stated, weight], [node], input)).geometry).toBeDefined();
        return;
      }
      const slice = (axis: number): Node => [
        `in${axis}`,
        'StridedSlice',
        ['shape', `at${axis}`, `to${axis}`, 'step'],
        { shrink_axis_mask: { i: '1' } },
      ];
      const computed: Node[] = [
        ['shape', 'Shape', ['x']],
        ...[1, 2].flatMap((axis): Node[] => [
          slice(axis),
          [`times${axis}`, 'Mul', [`in${axis}`, `stride${axis}`]],
          [`plus${axis}`, 'AddV2', [`times${axis}`, `extra${axis}`]],
        ]),
        ['sizes', 'Pack', ['samples', 'plus1', 'plus2', 'filters'], { axis: { i: '0' } }],
        node,
      ];
      const constants = [
        ...[1, 2].flatMap((axis) => [
          integers(`at${axis}`, axis),
          integers(`to${axis}`, axis + 1),
          scalar(`stride${axis}`, steps[axis - 1]!),
          scalar(`extra${axis}`, extra[axis - 1]!),
        ]),
        ...[integers('step', 1), scalar('samples', samples), scalar('filters', filters)],
      ];
      expect((await checkGraph([...constants, weight], computed, input)).geometry).toBeDefined();
    });
  });

  test('Products of matrices, transposed or with the weight on the left', async () => {
    const product = (a: boolean, b: boolean) => ({ transpose_a: { b: a }, transpose_b: { b } });
    const weight = floatsOf('w', [3, 4]);
    await checkGraph([weight], [['y', 'MatMul', ['x', 'w'], product(false, false)]], [5, 3]);
    await checkGraph([weight], [['y', 'MatMul', ['x', 'w'], product(true, false)]], [3, 5]);
    await checkGraph([weight], [['y', 'MatMul', ['x', 'w'], product(false, true)]], [5, 4]);
    await checkGraph([weight], [['y', 'MatMul', ['w', 'x'], product(false, false)]], [4, 5], -2);
    const left = await checkGraph([weight], [['y', 'MatMul', ['w', 'x'], product(true, true)]], [5, 3], -2);
    expect(left.geometry?.channelAxis).toBe(-1);
    const batches = { adj_x: { b: false }, adj_y: { b: true } };
    const last = await checkGraph([weight], [['y', 'BatchMatMulV2', ['x', 'w'], batches]], [2, 5, 4]);
    expect(last.geometry?.channelAxis).toBe(-1);
  });

  test('Sums over labels', async () => {
    const einsum = (equation: string, shape: number[], input: number[], inputs = ['x', 'w']) =>
      checkGraph([floatsOf('w', shape)], [['y', 'Einsum', inputs, { equation: text(equation) }]], input);
    expect((await einsum('bij,jk->bik', [3, 4], [2, 5, 3])).geometry?.channelAxis).toBe(-1);
    expect((await einsum('bji,jk->bik', [3, 4], [2, 3, 5])).geometry?.channelAxis).toBe(-2);
    expect((await einsum('jk,bij->bik', [3, 4], [2, 5, 3], ['w', 'x'])).geometry?.channelAxis).toBe(-1);
    const graph = (equation: string, shape: number[]) =>
      graphOf(
        [floatsOf('w', shape)],
        [
          ['x', 'Placeholder', []],
          ['y', 'Einsum', ['x', 'w'], { equation: text(equation) }],
        ],
      );
    const axisOf = async (equation: string, shape: number[]) => {
      using model = await readTfjs(...readable(filesOf(graph(equation, shape), [floatsOf('w', shape)])));
      return model.tensors[0]!.geometry?.channelAxis;
    };
    // Two axes that the weight has as one: the second one stands for both.
    expect(await axisOf('aecd,cdf->aef', [2, 3, 4])).toBe(-1);
    expect(await axisOf('acde,cdf->aef', [2, 3, 4])).toBe(-2);
    expect(await axisOf('aedc,cdf->aef', [2, 3, 4])).toBeUndefined();
    expect(await axisOf('...j,jk->...k', [3, 4])).toBe(-1);
    expect(await axisOf('j...,jk->...k', [3, 4])).toBeUndefined();
  });
});
