import fc from 'fast-check';
import type { Geometry, WeightTensor } from 'sparsifier';
import { expect, test } from 'vitest';
import { numbers, outputsOf } from '../../support/filters.js';
import { distance, naiveOutput, withAxisLast } from '../../support/naive-rows.js';
import { integerAttribute, integersAttribute, model, node, tensor, textAttribute } from '../../support/onnx-builder.js';
import { withModel } from '../../support/onnx-model.js';

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
