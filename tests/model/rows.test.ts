import fc from 'fast-check';
import { SparsifyError, type Geometry, type Kind, type Role, type WeightTensor } from 'sparsifier';
import { beforeAll, describe, expect, test } from 'vitest';
import { layoutOf, rowsOf } from '../support/internal.js';
import { distance, naiveOutput, withAxisLast } from '../support/naive-rows.js';
import { tf } from '../support/tfjs.js';

// Rows of the input, one for each position of the output, times the weight: that must be what TensorFlow.js computes.

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** Numbers between -1 and 1. */
const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, index) => Math.sin(1000 * Math.sin(index + 1 + 1000 * seed)));

/** A weight as a format describes it. */
const weightOf = (kind: Kind, axes: Partial<Record<Role, number>>, groups = 1): WeightTensor => ({
  name: 'layer',
  aliases: [],
  kind,
  roles: Object.keys(axes) as Role[],
  shape: Object.values(axes),
  groups,
  values: { dtype: 'float32', length: sizeOf(Object.values(axes)) },
  partners: [],
  notes: [],
});

const dense = (channelAxis: number): Geometry => ({
  channelAxis,
  strides: [],
  dilations: [],
  pads: [],
  outputPadding: [],
});

/** How far the rows of a layer times its weight are from what TensorFlow.js computes. */
function apart(
  tensor: WeightTensor,
  geometry: Geometry,
  input: readonly number[],
  compute: (x: tf.Tensor, weight: tf.Tensor) => tf.Tensor,
  axis = -1,
): number {
  const [x, weight] = [numbers(sizeOf(input), 1), numbers(tensor.values.length, 2)];
  const output = tf.tidy(() => {
    const computed = compute(tf.tensor(x, [...input]), tf.tensor(weight, [...tensor.shape]));
    return { shape: computed.shape, data: computed.dataSync() };
  });
  return distance(naiveOutput(tensor, geometry, weight, { shape: input, data: x }), withAxisLast(output, axis));
}

const small = (most: number, least = 1) => fc.integer({ min: least, max: most });
const each = (most: number, least = 1) => fc.tuple(small(most, least), small(most, least), small(most, least));
const cases = fc.record({
  samples: small(2),
  inputs: small(3),
  outputs: small(3),
  kernel: each(3),
  strides: each(3),
  dilations: each(2),
  before: each(2, 0),
  after: each(2, 0),
  size: each(6),
  padding: fc.constantFrom('same' as const, 'valid' as const, 'numbers' as const),
  isDilated: fc.boolean(),
  isFirst: fc.boolean(),
});
type Case = typeof cases extends fc.Arbitrary<infer Each> ? Each : never;

const ones: [number, number, number] = [1, 1, 1];

/** A convolution that TensorFlow.js can compute: one that has no strides if it is dilated, and at least one output. */
function possible(given: Case): Case {
  const dilations = given.isDilated ? given.dilations : ones;
  const size = given.size.map((each, axis) => Math.max(each, (given.kernel[axis]! - 1) * dilations[axis]! + 1));
  return { ...given, dilations, strides: given.isDilated ? ones : given.strides, size: size as Case['size'] };
}

const last = (list: readonly number[], count: number) => list.slice(3 - count);

/** The geometry of the last axes. */
function geometryOf({ padding, strides, dilations, before, after }: Case, count: number, channelAxis = -1): Geometry {
  const pads = last(before, count).map((pad, axis) => [pad, last(after, count)[axis]!] as const);
  const none = pads.map(() => [0, 0] as const);
  return {
    channelAxis,
    strides: last(strides, count),
    dilations: last(dilations, count),
    pads: padding === 'same' ? 'sameUpper' : padding === 'valid' ? none : pads,
    outputPadding: none.map(() => 0),
  };
}

const pair = (list: readonly number[]) => list.slice(1) as [number, number];

/** Pads of two dimensions, as TensorFlow.js takes them. */
const padsOf = ({ padding, before, after }: Case, isFirst = false) => {
  if (padding !== 'numbers') return padding;
  const pads = [1, 2].map((axis) => [before[axis]!, after[axis]!] as [number, number]);
  const none: [number, number] = [0, 0];
  return (isFirst ? [none, none, ...pads] : [none, ...pads, none]) as [
    typeof none,
    typeof none,
    typeof none,
    typeof none,
  ];
};

const close = 1e-5;

/** Checks a property of random convolutions. */
const always = (check: (given: Case) => void) =>
  fc.assert(
    fc.property(cases, (given) => check(possible(given))),
    { seed: 16, numRuns: 60 },
  );

/** In three dimensions TensorFlow.js cuts inputs off where the stride is larger than the kernel and it pads by itself. */
const inSpace = (given: Case): Case => ({
  ...given,
  strides: given.strides.map((stride, axis) => Math.min(stride, given.kernel[axis]!)) as Case['strides'],
});

describe('Rows times the weight are what TensorFlow.js computes', () => {
  test('In one dimension', () => {
    always((given) => {
      const each: Case = given.padding === 'numbers' ? { ...given, padding: 'valid' } : given;
      const { samples, inputs, outputs, kernel, size, strides, dilations, padding } = each;
      const tensor = weightOf('conv1d', { width: kernel[2], in: inputs, out: outputs });
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        tf.conv1d(x as tf.Tensor3D, weight as tf.Tensor3D, strides[2], padding as 'same', 'NWC', dilations[2]);
      expect(apart(tensor, geometryOf(each, 1), [samples, size[2], inputs], compute)).toBeLessThan(close);
    });
  });

  test('In two dimensions, with channels first or last', () => {
    always((given) => {
      const { samples, inputs, outputs, kernel, size, strides, dilations, isFirst } = given;
      const [height, width] = pair(kernel) as [number, number];
      const tensor = weightOf('conv2d', { height, width, in: inputs, out: outputs });
      const input = isFirst ? [samples, inputs, ...pair(size)] : [samples, ...pair(size), inputs];
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        tf.conv2d(
          x as tf.Tensor4D,
          weight as tf.Tensor4D,
          pair(strides),
          padsOf(given, isFirst) as 'same',
          isFirst ? 'NCHW' : 'NHWC',
          pair(dilations),
        );
      const axis = isFirst ? -3 : -1;
      expect(apart(tensor, geometryOf(given, 2, axis), input, compute, axis)).toBeLessThan(close);
    });
  });

  test('In two dimensions of which the kernel has one', () => {
    always((given) => {
      const each: Case = { ...given, kernel: [1, 1, given.kernel[2]], strides: [1, 1, given.strides[2]] };
      const flat: Case = { ...each, before: [0, 0, given.before[2]], after: [0, 0, given.after[2]], dilations: ones };
      const { samples, inputs, outputs, kernel, size, strides } = possible({ ...flat, isDilated: false });
      const tensor = weightOf('conv1d', { width: kernel[2], in: inputs, out: outputs });
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        tf.conv2d(x as tf.Tensor4D, weight.expandDims(0) as tf.Tensor4D, pair(strides), padsOf(flat) as 'same');
      expect(apart(tensor, geometryOf(flat, 1), [samples, size[1], size[2], inputs], compute)).toBeLessThan(close);
      expect(apart(tensor, geometryOf(flat, 2), [samples, size[1], size[2], inputs], compute)).toBeLessThan(close);
    });
  });

  test('In three dimensions', () => {
    always((given) => {
      const each = inSpace(given.padding === 'numbers' ? { ...given, padding: 'valid' } : given);
      const { samples, inputs, outputs, size, strides, padding } = possible({ ...each, isDilated: false });
      const [depth, height, width] = each.kernel;
      const tensor = weightOf('conv3d', { depth, height, width, in: inputs, out: outputs });
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        tf.conv3d(x as tf.Tensor5D, weight as tf.Tensor5D, strides, padding as 'same');
      const geometry = geometryOf({ ...each, dilations: ones, strides }, 3);
      expect(apart(tensor, geometry, [samples, ...size, inputs], compute)).toBeLessThan(close);
    });
  });

  test('For each channel by itself', () => {
    always((given) => {
      const { samples, inputs, outputs: multiplier, kernel, size, strides, dilations } = given;
      const [height, width] = pair(kernel) as [number, number];
      const tensor = weightOf('conv2d', { height, width, out: inputs, multiplier }, inputs);
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        tf.depthwiseConv2d(
          x as tf.Tensor4D,
          weight as tf.Tensor4D,
          pair(strides),
          padsOf(given) as 'same',
          'NHWC',
          pair(dilations),
        );
      expect(apart(tensor, geometryOf(given, 2), [samples, ...pair(size), inputs], compute)).toBeLessThan(close);
    });
  });

  test('Transposed, in two and three dimensions', () => {
    always((random) => {
      const given = random.isFirst ? random : inSpace(random);
      const { samples, inputs, outputs, kernel, strides, isFirst: isFlat } = given;
      const count = isFlat ? 2 : 3;
      const [padding, sizes] = [given.padding === 'same' ? 'same' : 'valid', last(given.size, count)] as const;
      const [depth, height, width] = kernel;
      const tensor = isFlat
        ? weightOf('convTranspose2d', { height, width, out: outputs, in: inputs })
        : weightOf('convTranspose3d', { depth, height, width, out: outputs, in: inputs });
      // As Keras asks for it: without pads as many positions as kernels or strides cover.
      const longer = last(kernel, count).map((each, axis) => Math.max(0, last(strides, count)[axis]! - each));
      const target = sizes.map((size, axis) => {
        const stride = last(strides, count)[axis]!;
        return padding === 'same' ? size * stride : size * stride + Math.max(0, last(kernel, count)[axis]! - stride);
      });
      const geometry = {
        ...geometryOf({ ...given, padding, dilations: ones }, count),
        ...(padding === 'valid' && { outputPadding: longer }),
      };
      const shape = [samples, ...target, outputs];
      const compute = (x: tf.Tensor, weight: tf.Tensor) =>
        isFlat
          ? tf.conv2dTranspose(x as tf.Tensor4D, weight as tf.Tensor4D, shape as never, pair(strides), padding)
          : tf.conv3dTranspose(x as tf.Tensor5D, weight as tf.Tensor5D, shape as never, strides, padding);
      const input = [samples, ...sizes, inputs];
      expect(apart(tensor, geometry, input, compute)).toBeLessThan(close);
      const stated = { ...geometryOf({ ...given, padding, dilations: ones }, count), outputSizes: target };
      expect(apart(tensor, stated, input, compute)).toBeLessThan(close);
    });
  });

  test.each([
    ['a vector', [4]],
    ['vectors', [3, 4]],
    ['vectors in time', [2, 3, 4]],
    ['vectors in images', [2, 3, 2, 4]],
  ])('For %s', (_, shape) => {
    const tensor = weightOf('dense', { in: 4, out: 5 });
    const compute = (x: tf.Tensor, weight: tf.Tensor) => x.reshape([-1, 4]).matMul(weight as tf.Tensor2D);
    expect(apart(tensor, dense(-1), shape, compute)).toBeLessThan(close);
  });

  test.each([
    ['the first', 0, [4, 2, 3]],
    ['a middle', 1, [2, 4, 3, 2]],
    ['the last but one', -2, [2, 3, 4, 2]],
  ])('For vectors along %s axis', (_, channelAxis, shape) => {
    const tensor = weightOf('dense', { out: 5, in: 4 });
    const order = [...shape.keys()].filter((axis) => axis !== (channelAxis + shape.length) % shape.length);
    const compute = (x: tf.Tensor, weight: tf.Tensor) =>
      x
        .transpose([...order, (channelAxis + shape.length) % shape.length])
        .reshape([-1, 4])
        .matMul(weight as tf.Tensor2D, false, true);
    expect(apart(tensor, dense(channelAxis), shape, compute)).toBeLessThan(close);
  });
});

describe('An input that the layer cannot have is an error', () => {
  const image = weightOf('conv2d', { height: 3, width: 3, in: 4, out: 2 });
  const space: Geometry = {
    channelAxis: 1,
    strides: [1, 1],
    dilations: [1, 1],
    pads: 'sameUpper',
    outputPadding: [0, 0],
  };
  const volume = { ...space, strides: [1, 1, 1], dilations: [1, 1, 1], outputPadding: [0, 0, 0] };

  test.each([
    ['one of other channels', image, space, [1, 3, 8, 8], '4 channels on axis 1 and 2 spatial axes'],
    ['one without channels', image, space, [4], '4 channels on axis 1 and 2 spatial axes'],
    ['one without width', image, space, [2, 4, 8], '4 channels on axis 1 and 2 spatial axes'],
    [
      'one of one axis too many',
      weightOf('conv3d', { out: 2, in: 4, depth: 1, height: 1, width: 1 }),
      volume,
      [1, 4, 2, 2, 2, 2],
      '4 channels on axis 1 and 3 spatial axes',
    ],
    ['one of another width', weightOf('dense', { in: 4, out: 2 }), dense(-1), [4, 3], '4 channels on axis -1'],
    ['one without the axis', weightOf('dense', { in: 4, out: 2 }), dense(-3), [4, 4], '4 channels on axis -3'],
  ])('It is %s', (_, tensor, geometry, shape, given) => {
    let error: unknown;
    try {
      rowsOf(tensor, geometry, shape);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(SparsifyError);
    expect(error).toMatchObject({
      code: 'criteria',
      details: { subject: 'layer', given, found: `[${shape.join(', ')}]` },
    });
  });
});

test('A kernel that is larger than its input has no rows', () => {
  const tensor = weightOf('conv1d', { width: 5, in: 1, out: 1 });
  const geometry: Geometry = { channelAxis: -1, strides: [1], dilations: [1], pads: [[0, 0]], outputPadding: [0] };
  expect(rowsOf(tensor, geometry, [1, 3, 1]).rows.positions).toEqual([1, 1, 0]);
});

describe('The places of weights', () => {
  test.each([
    [
      'a convolution',
      weightOf('conv2d', { out: 6, in: 2, height: 3, width: 5 }, 3),
      [3, 2, 2, 1, 3, 5],
      [60, 30, 15, 0, 5, 1],
    ],
    [
      'a transposed one',
      weightOf('convTranspose1d', { in: 6, out: 4, width: 3 }, 2),
      [2, 4, 3, 1, 1, 3],
      [36, 3, 12, 0, 0, 1],
    ],
    [
      'a depthwise one',
      weightOf('conv2d', { height: 2, width: 3, out: 4, multiplier: 5 }, 4),
      [4, 5, 1, 1, 2, 3],
      [5, 1, 0, 0, 60, 20],
    ],
    [
      'a depthwise one of one channel',
      weightOf('conv1d', { width: 3, out: 1, multiplier: 5 }),
      [1, 5, 1, 1, 1, 3],
      [5, 1, 0, 0, 0, 5],
    ],
    [
      'a grouped one that stores no inputs',
      weightOf('conv1d', { out: 4, width: 3 }, 4),
      [4, 1, 1, 1, 1, 3],
      [3, 3, 0, 0, 0, 1],
    ],
    ['the gates of a cell', weightOf('lstm', { in: 3, out: 8 }), [1, 8, 3, 1, 1, 1], [8, 1, 8, 0, 0, 0]],
  ])('Each axis of %s has a size and a step', (_, tensor, sizes, steps) => {
    expect(layoutOf(tensor)).toEqual({ sizes, steps });
  });

  test.each([
    ['a table', weightOf('embedding', { out: 6, in: 2 })],
    ['a stack of matrices', weightOf('dense', { out: 3, in: 4, multiplier: 2 })],
    ['a weight that is read in two ways', { ...weightOf('dense', { out: 3, in: 4 }), onlyWeight: 'a reason' }],
  ])('A weight that is not one matrix per group has none: %s', (_, tensor) => {
    expect(layoutOf(tensor)).toBeUndefined();
  });
});
