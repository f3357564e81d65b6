import { readFileSync, readdirSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { Geometry, WeightTensor } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { numbers, outputsOf } from '../../support/filters.js';
import { incomingIn, layoutOf } from '../../support/internal.js';
import { distance, naiveOutput, withAxisLast } from '../../support/naive-rows.js';
import {
  concat,
  floatsAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  localFunction,
  model,
  node,
  tensor,
  textAttribute,
  textField,
} from '../../support/onnx-builder.js';
import { withModel } from '../../support/onnx-model.js';

const exporters = new URL('../../cases/exporters/', import.meta.url);

// Rows of the input, one for each position of the output, times the weight: that must be the output of ONNX Runtime.

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer);

/** A layer with the geometry that the library finds, and what it makes of an input by rows and in ONNX Runtime. */
async function compared(
  bytes: Uint8Array,
  { weight, input, axis }: { weight: Float32Array; input: readonly number[]; axis: number },
): Promise<{ tensor: WeightTensor; geometry: Geometry; apart: number }> {
  const x = { shape: input, data: numbers(sizeOf(input), 7) };
  const layer = await withModel(bytes, ({ tensors }) => tensors[0]!);
  const { y } = await outputsOf(bytes, { x });
  const rows = naiveOutput(layer, layer.geometry!, weight, x);
  return { tensor: layer, geometry: layer.geometry!, apart: distance(rows, withAxisLast(y!, axis)) };
}

const small = (most: number, least = 1) => fc.integer({ min: least, max: most });
const each = (most: number, least = 1) => fc.tuple(small(most, least), small(most, least), small(most, least));

const convolutions = fc.record({
  dimensions: small(3),
  samples: small(2),
  groups: small(3),
  inputs: small(3),
  outputs: small(3),
  kernel: each(3),
  strides: each(3),
  dilations: each(2),
  before: each(2, 0),
  after: each(2, 0),
  size: each(7),
  padding: fc.constantFrom('none', 'pads', 'NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'),
  /** Whether the file states the size of the input. */
  isStated: fc.boolean(),
  outputPadding: each(2, 0),
  /** For transposed convolutions: what the stated size of the output is less than that without pads. */
  less: fc.option(each(3, 0)),
});
type Convolution = typeof convolutions extends fc.Arbitrary<infer Case> ? Case : never;

const reachOf = ({ kernel, dilations }: Convolution) => kernel.map((size, axis) => (size - 1) * dilations[axis]! + 1);

/** The attributes of a convolution, as files state them. */
function attributesOf({ groups, strides, dilations, before, after, padding }: Convolution, dimensions: number) {
  const [isDefault, first] = [padding === 'none', (list: readonly number[]) => list.slice(0, dimensions)];
  return [
    integerAttribute('group', groups),
    ...(isDefault
      ? []
      : [integersAttribute('strides', first(strides)), integersAttribute('dilations', first(dilations))]),
    ...(padding === 'pads' || padding === 'NOTSET'
      ? [integersAttribute('pads', [...first(before), ...first(after)])]
      : []),
    ...(padding === 'none' || padding === 'pads' ? [] : [textAttribute('auto_pad', padding)]),
  ];
}

test('Rows of convolutions times the weight are what ONNX Runtime computes', async () => {
  await fc.assert(
    fc.asyncProperty(convolutions, async (given) => {
      const isDefault = given.padding === 'none';
      const isSame = given.padding.startsWith('SAME');
      // ONNX Runtime does not dilate where it pads by itself.
      const ones: [number, number, number] = [1, 1, 1];
      const dilations = isDefault || isSame ? ones : given.dilations;
      const each = { ...given, dilations, strides: isDefault ? ones : given.strides };
      const { dimensions, samples, groups, inputs, outputs, kernel, isStated, strides } = each;
      const size = each.size.map((size, axis) => Math.max(size, reachOf(each)[axis]!)).slice(0, dimensions);
      const shape = [groups * outputs, inputs, ...kernel.slice(0, dimensions)];
      const input = [samples, groups * inputs, ...size];
      const weight = numbers(sizeOf(shape), 3);
      const bytes = model({
        nodes: [node('Conv', 'x w', 'y', { attributes: attributesOf(each, dimensions) })],
        initializers: [tensor('w', shape, { data: bytesOf(weight) })],
        inputs: { x: isStated ? input : input.length },
        outputs: { y: undefined },
      });
      const { geometry, apart } = await compared(bytes, { weight, input, axis: 1 });
      expect(apart).toBeLessThan(1e-5);
      const isKnown = !isSame || isStated || strides.slice(0, dimensions).every((stride) => stride === 1);
      expect(typeof geometry.pads).toBe(isKnown ? 'object' : 'string');
    }),
    { seed: 16, numRuns: 150 },
  );
});

test('Rows of transposed convolutions times the weight are what ONNX Runtime computes', async () => {
  await fc.assert(
    fc.asyncProperty(convolutions, async (given) => {
      const isDefault = given.padding === 'none';
      const ones: [number, number, number] = [1, 1, 1];
      const each = isDefault ? { ...given, dilations: ones, strides: ones } : given;
      const { dimensions, samples, groups, inputs, outputs, kernel, strides, isStated, less } = each;
      const first = (list: readonly number[]) => list.slice(0, dimensions);
      const outputPadding = strides.map((stride, axis) => Math.min(stride - 1, each.outputPadding[axis]!));
      const whole = each.size.map(
        (size, axis) => (size - 1) * strides[axis]! + reachOf(each)[axis]! + outputPadding[axis]!,
      );
      // Outputs have at least one number.
      const before = each.before.map((pad, axis) => Math.min(pad, whole[axis]! - 1));
      const after = each.after.map((pad, axis) => Math.min(pad, whole[axis]! - 1 - before[axis]!));
      const shape = [groups * inputs, outputs, ...first(kernel)];
      const input = [samples, groups * inputs, ...first(each.size)];
      const weight = numbers(sizeOf(shape), 3);
      const sizes = less?.map((number, axis) => Math.max(1, whole[axis]! - number));
      const bytes = model({
        nodes: [
          node('ConvTranspose', 'x w', 'y', {
            attributes: [
              ...attributesOf({ ...each, before: before as never, after: after as never }, dimensions),
              integersAttribute('output_padding', first(outputPadding)),
              ...(sizes ? [integersAttribute('output_shape', first(sizes))] : []),
            ],
          }),
        ],
        initializers: [tensor('w', shape, { data: bytesOf(weight) })],
        inputs: { x: isStated ? input : input.length },
        outputs: { y: undefined },
      });
      const { geometry, apart } = await compared(bytes, { weight, input, axis: 1 });
      expect(apart).toBeLessThan(1e-5);
      expect(geometry.outputSizes).toEqual(sizes && first(sizes));
      expect(typeof geometry.pads).toBe(sizes === undefined || isStated ? 'object' : 'string');
    }),
    { seed: 16, numRuns: 150 },
  );
});

/** A product: the node, the shapes of weight and input, and the axis of the channels in the output. */
interface Product {
  readonly op: string;
  readonly inputs?: 'x w' | 'w x';
  readonly weight: readonly number[];
  readonly input: readonly number[];
  readonly axis?: number;
  readonly domain?: string;
  readonly flags?: readonly string[];
  readonly equation?: string;
}

const microsoft = 'com.microsoft';

test.each<[string, Product]>([
  ['MatMul', { op: 'MatMul', weight: [4, 5], input: [2, 3, 4] }],
  ['MatMul of a vector', { op: 'MatMul', weight: [4, 5], input: [4] }],
  ['MatMul with its weight on the left', { op: 'MatMul', inputs: 'w x', weight: [5, 4], input: [2, 4, 3], axis: -2 }],
  ['MatMul of a vector on the right', { op: 'MatMul', inputs: 'w x', weight: [5, 4], input: [4] }],
  ['MatMul with a leading axis', { op: 'MatMul', weight: [1, 4, 5], input: [2, 3, 4] }],
  ['Gemm', { op: 'Gemm', weight: [4, 5], input: [3, 4] }],
  ['Gemm of a transposed weight', { op: 'Gemm', weight: [5, 4], input: [3, 4], flags: ['transB'] }],
  ['Gemm of a transposed input', { op: 'Gemm', weight: [4, 5], input: [4, 3], flags: ['transA'] }],
  ['Gemm with its weight on the left', { op: 'Gemm', inputs: 'w x', weight: [5, 4], input: [4, 3], axis: -2 }],
  [
    'Gemm of a transposed weight on the left and a transposed input',
    { op: 'Gemm', inputs: 'w x', weight: [4, 5], input: [3, 4], axis: -2, flags: ['transA', 'transB'] },
  ],
  ['FusedMatMul', { op: 'FusedMatMul', domain: microsoft, weight: [4, 5], input: [2, 3, 4] }],
  [
    'FusedMatMul of a transposed weight',
    { op: 'FusedMatMul', domain: microsoft, weight: [5, 4], input: [2, 3, 4], flags: ['transB'] },
  ],
  [
    'FusedMatMul of a transposed input',
    { op: 'FusedMatMul', domain: microsoft, weight: [4, 5], input: [2, 4, 3], flags: ['transA'] },
  ],
  // One matrix, so that rows are in the same order whichever axis counts them.
  [
    'FusedMatMul of an input whose first axis is moved',
    { op: 'FusedMatMul', domain: microsoft, weight: [1, 4, 5], input: [3, 1, 4], flags: ['transBatchA'] },
  ],
  [
    'FusedMatMul of a transposed input whose first axis is moved',
    { op: 'FusedMatMul', domain: microsoft, weight: [1, 4, 5], input: [4, 1, 3], flags: ['transA', 'transBatchA'] },
  ],
  ['Einsum', { op: 'Einsum', equation: 'bsh,ho->bso', weight: [4, 5], input: [2, 3, 4] }],
  [
    'Einsum of channels before space',
    { op: 'Einsum', equation: 'bhs,oh->bos', weight: [5, 4], input: [2, 4, 3], axis: 1 },
  ],
  [
    'Einsum with its weight on the left',
    { op: 'Einsum', inputs: 'w x', equation: 'oh,hs->os', weight: [5, 4], input: [4, 3], axis: 0 },
  ],
  ['Einsum with an ellipsis', { op: 'Einsum', equation: '...h,ho->...o', weight: [4, 5], input: [2, 3, 4] }],
])('Rows times the weight are what ONNX Runtime computes: %s', async (_, given) => {
  const { op, inputs = 'x w', weight: shape, input, axis = -1, domain = '', flags = [], equation } = given;
  const weight = numbers(sizeOf(shape), 3);
  const attributes = [
    ...flags.map((flag) => integerAttribute(flag, 1)),
    ...(equation ? [textAttribute('equation', equation)] : []),
  ];
  const bytes = model({
    nodes: [node(op, inputs, 'y', { domain, attributes })],
    initializers: [tensor('w', shape, { data: bytesOf(weight) })],
    inputs: { x: input.length },
    outputs: { y: undefined },
  });
  const { apart } = await compared(bytes, { weight, input, axis });
  expect(apart).toBeLessThan(1e-5);
});

test('Rows times the weight are what ONNX Runtime computes: the gates of a cell', async () => {
  // Without a state and with the identity as its activation, a cell gives the product.
  const weight = numbers(5 * 4, 3);
  const bytes = model({
    nodes: [
      node('RNN', 'x w r', 'y', {
        attributes: [
          integerAttribute('hidden_size', 5),
          concat(textField(1, 'activations'), textField(9, 'Affine'), integerField(20, 8)),
          floatsAttribute('activation_alpha', [1]),
          floatsAttribute('activation_beta', [0]),
        ],
      }),
    ],
    initializers: [
      tensor('w', [1, 5, 4], { data: bytesOf(weight) }),
      tensor('r', [1, 5, 5], { data: new Uint8Array(100) }),
    ],
    inputs: { x: 3 },
    outputs: { y: undefined },
  });
  const { tensor: layer, apart } = await compared(bytes, { weight, input: [2, 3, 4], axis: -1 });
  expect(layer.kind).toBe('rnn');
  expect(apart).toBeLessThan(1e-5);
});

test('Fused nodes go over their inputs as those that they were made of do', async () => {
  const moves = [integersAttribute('strides', [2, 1]), integersAttribute('pads', [1, 0, 2, 0])];
  const [geometries] = await withModel(
    model({
      nodes: [
        node('FusedConv', 'x w', 'c', {
          domain: microsoft,
          attributes: [...moves, textAttribute('activation', 'Relu')],
        }),
        node('Attention', 's v - m', 'a', { domain: microsoft, attributes: [integerAttribute('num_heads', 1)] }),
      ],
      initializers: [tensor('w', [2, 3, 3, 1]), tensor('v', [4, 12])],
      inputs: { x: 4, s: 3 },
      outputs: { c: 4, a: 3 },
    }),
    ({ tensors }) => [tensors.map(({ geometry }) => geometry)],
  );
  expect(geometries).toEqual([
    {
      channelAxis: 1,
      strides: [2, 1],
      dilations: [1, 1],
      pads: [
        [1, 2],
        [0, 0],
      ],
      outputPadding: [0, 0],
    },
    { channelAxis: -1, strides: [], dilations: [], pads: [], outputPadding: [] },
  ]);
});

describe('The uses of a weight', () => {
  const usesIn = (bytes: Uint8Array<ArrayBuffer>) => incomingIn({ name: 'model.onnx', bytes });
  const dense = { channelAxis: -1, strides: [], dilations: [], pads: [], outputPadding: [] };

  test('A weight that two convolutions read has the geometry of both', async () => {
    const strided = [integersAttribute('strides', [2])];
    const bytes = model({
      nodes: [
        node('Conv', 'x w', 'a', { name: 'first' }),
        node('Conv', 'a w', 'b', { name: 'second', attributes: strided }),
      ],
      initializers: [tensor('w', [3, 3, 2])],
      inputs: { x: 3 },
      outputs: { b: 3 },
    });
    const one = { channelAxis: 1, strides: [1], dilations: [1], pads: [[0, 0]], outputPadding: [0] };
    expect([...usesIn(bytes)]).toEqual([
      [
        'first',
        [
          { value: 'x', geometry: one },
          { value: 'a', geometry: { ...one, strides: [2] } },
        ],
      ],
    ]);
    expect(await withModel(bytes, ({ tensors }) => tensors[0]!.geometry)).toEqual(one);
  });

  test('A weight that is also multiplied with a state, or inside of a function, has none', () => {
    const body = localFunction('my.own', 'Product', 'a b', 'c', node('Neg', 'a', 'n'), node('MatMul', 'n b', 'c'));
    const bytes = model(
      {
        nodes: [
          node('MatMul', 'x u', 'a', { name: 'outside' }),
          node('Product', 'a v', 'b', { name: 'inside', domain: 'my.own' }),
          node('RNN', 's w w', 'c', { name: 'cell', attributes: [integerAttribute('hidden_size', 3)] }),
        ],
        initializers: [tensor('u', [3, 3]), tensor('v', [3, 3]), tensor('w', [1, 3, 3])],
        inputs: { x: 2, s: 3 },
        outputs: { b: 2, c: 4 },
      },
      17,
      [body],
    );
    expect([...usesIn(bytes)]).toEqual([
      ['outside', [{ value: 'x', geometry: dense }]],
      ['v', []],
      ['cell', []],
    ]);
  });

  test.each(['bsh,ho->bo', 'bshd,hdo->bso'])('An Einsum that sums along other axes has none: %s', (equation) => {
    const shape = equation.includes('d') ? [4, 2, 5] : [4, 5];
    const bytes = model({
      nodes: [node('Einsum', 'x w', 'y', { name: 'sum', attributes: [textAttribute('equation', equation)] })],
      initializers: [tensor('w', shape)],
      inputs: { x: undefined },
      outputs: { y: undefined },
    });
    expect([...usesIn(bytes)]).toEqual([['sum', []]]);
  });
});

test.each(readdirSync(exporters).filter((name) => name.endsWith('.gz')))(
  'All layers of a real graph go over an input, apart from tables and states: %s',
  async (file) => {
    const bytes = new Uint8Array(gunzipSync(readFileSync(new URL(file, exporters))));
    const tensors = await withModel(bytes, ({ tensors }) => tensors);
    const isOther = ({ kind, name }: WeightTensor) => kind === 'embedding' || name.endsWith('.recurrent');
    const without = tensors.filter(({ geometry }) => geometry === undefined);
    expect(without.map(({ name }) => name)).toEqual(tensors.filter(isOther).map(({ name }) => name));
    expect(tensors.length).toBeGreaterThan(without.length);
    for (const tensor of tensors.filter(({ geometry }) => geometry !== undefined)) {
      const { sizes } = layoutOf(tensor)!;
      expect(sizeOf(sizes)).toBe(tensor.values.length);
    }
  },
);
