import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readModel } from 'sparsifier/formats';
import { readOnnx, type FileModel } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { dequantize, quantize, type Form } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { numbers, outputsOf } from '../support/filters.js';
import { widened } from '../support/internal.js';
import { expectNoMemoryInUse, product } from '../support/layers.js';
import {
  integerAttribute,
  integersAttribute,
  model,
  node,
  tensor,
  type GraphOptions,
} from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// Models as a whole: what `quantize` makes of ONNX and safetensors files, judged by ONNX Runtime.

const floats = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: new Uint8Array(numbers(product(shape), seed).buffer) });
const build = (
  nodes: readonly Uint8Array[],
  initializers: readonly Uint8Array[],
  more: GraphOptions = {},
  opset = 13,
) => model({ nodes, initializers, inputs: { x: 4 }, outputs: { y: 4 }, ...more }, opset);

/** Inputs of a mean that is not 0. */
const inputs = (shape: readonly number[]) =>
  Array.from({ length: 6 }, (_, seed) => ({
    x: { data: numbers(product(shape), seed + 3).map((each) => each + 1), shape },
  }));
const dataFor = (shape: readonly number[]) => ({
  createSession: (bytes: Uint8Array, files: SessionFiles) =>
    InferenceSession.create(bytes, { ...files, logSeverityLevel: 3 }),
  batches: () => inputs(shape).map(({ x }) => ({ x: new Tensor('float32', x.data, x.shape) })),
});

/** The mean of each output channel over all inputs. */
async function meansOf(bytes: Uint8Array, shape: readonly number[], channelAxis: number): Promise<number[]> {
  const sums: number[] = [];
  let count = 0;
  for (const feeds of inputs(shape)) {
    const { y } = await outputsOf(bytes, feeds);
    const inner = product(y!.shape.slice(channelAxis + 1));
    for (const [place, each] of y!.data.entries()) {
      const channel = Math.floor(place / inner) % y!.shape[channelAxis]!;
      sums[channel] = (sums[channel] ?? 0) + each;
    }
    count += y!.data.length / y!.shape[channelAxis]!;
  }
  return sums.map((sum) => sum / count);
}

const weightsIn = async (read: FileModel, name: string) => {
  const { values } = read.tensors.find((each) => each.name === name)!;
  return widened(await read.copy(values), values.dtype);
};

const padded = integersAttribute('pads', [1, 1, 1, 1]);
const convolution = (inputs: string, attributes: readonly Uint8Array[] = [padded], name = 'layer') =>
  node('Conv', inputs, 'y', { name, attributes });

/** Layers whose outputs have channels, with a bias of their own or without one. */
const corrected: readonly {
  readonly title: string;
  readonly bias: 'own' | 'added';
  readonly file: Uint8Array;
  readonly shape: readonly number[];
  readonly axis: number;
}[] = [
  {
    title: 'A convolution with a bias',
    bias: 'own',
    file: build([convolution('x w b')], [floats('w', [16, 4, 3, 3], 1), floats('b', [16], 2)]),
    ...{ shape: [1, 4, 6, 6], axis: 1 },
  },
  {
    title: 'A convolution without a bias',
    bias: 'added',
    file: build([convolution('x w')], [floats('w', [16, 4, 3, 3], 1)]),
    ...{ shape: [1, 4, 6, 6], axis: 1 },
  },
  {
    title: 'A grouped convolution',
    bias: 'added',
    file: build([convolution('x w', [padded, integerAttribute('group', 2)])], [floats('w', [16, 4, 3, 3], 1)]),
    ...{ shape: [1, 8, 6, 6], axis: 1 },
  },
  {
    title: 'A depthwise convolution',
    bias: 'own',
    file: build(
      [convolution('x w b', [padded, integerAttribute('group', 40)])],
      [floats('w', [40, 1, 3, 3], 1), floats('b', [40], 2)],
    ),
    ...{ shape: [1, 40, 6, 6], axis: 1 },
  },
  {
    title: 'A grouped transposed convolution',
    bias: 'added',
    file: build(
      [node('ConvTranspose', 'x w', 'y', { name: 'layer', attributes: [integerAttribute('group', 2)] })],
      [floats('w', [8, 6, 3, 3], 1)],
    ),
    ...{ shape: [1, 8, 5, 5], axis: 1 },
  },
  {
    title: 'A product of matrices',
    bias: 'added',
    file: build([node('MatMul', 'x w', 'y', { name: 'layer' })], [floats('w', [24, 20], 1)], {
      inputs: { x: 2 },
      outputs: { y: 2 },
    }),
    ...{ shape: [5, 24], axis: 1 },
  },
  {
    title: 'A transposed dense layer with a bias',
    bias: 'own',
    file: build(
      [node('Gemm', 'x w b', 'y', { name: 'layer', attributes: [integerAttribute('transB', 1)] })],
      [floats('w', [20, 24], 1), floats('b', [20], 2)],
      { inputs: { x: 2 }, outputs: { y: 2 } },
    ),
    ...{ shape: [5, 24], axis: 1 },
  },
];

describe('statistics', () => {
  test.each(corrected)(
    '$title gives the same means as before it was quantised',
    async ({ bias, file, shape, axis }) => {
      {
        using read = await readOnnx(file);
        const statistics = await calibrate(read, dataFor(shape));
        const { model: plain, report: byRange } = await quantize(read, { weights: 'int8' });
        const { model: quantised, report } = await quantize(read, { weights: 'int8', statistics });
        using closing = plain;
        using alsoClosing = quantised;
        expect(report.layers).toMatchObject([{ name: 'layer', form: 'int8', bias }]);
        expect(report.layers[0]).not.toHaveProperty('biasReason');
        expect(byRange.layers).toMatchObject([{ bias: 'none', clipped: 0 }]);
        // Scales are no longer those of the largest weights.
        expect(report.layers[0]!.error).not.toBe(byRange.layers[0]!.error);
        const before = await meansOf(file, shape, axis);
        const off = async (bytes: Uint8Array) => {
          const means = await meansOf(bytes, shape, axis);
          return Math.max(...means.map((mean, channel) => Math.abs(mean - before[channel]!)));
        };
        const [uncorrected, left] = [await off(await closing.bytes()), await off(await alsoClosing.bytes())];
        expect(uncorrected).toBeGreaterThan(1e-3);
        expect(left).toBeLessThan(2e-5 * Math.max(...before.map(Math.abs)));
        expect(differsAt(await read.bytes(), file)).toBe(-1);
      }
      await expectNoMemoryInUse();
    },
  );

  const file = corrected[1]!.file;

  test('Statistics of a model that was pruned since are only noted', async () => {
    using read = await readOnnx(file);
    const statistics = await calibrate(read, dataFor([1, 4, 6, 6]));
    await new Sparsifier(read, { layerType: 'all' }).sparsifyModel(50);
    const { model: quantised, report } = await quantize(read, { statistics });
    using closing = quantised;
    expect(report.notes).toEqual([
      'the statistics were measured with other weights, such as those before pruning: layer',
    ]);
    expect(report.layers).toMatchObject([{ bias: 'added' }]);
    const [before, after] = [await weightsIn(read, 'layer'), await weightsIn(closing, 'layer')];
    expect(before.filter((each) => each === 0)).toHaveLength(288);
    for (const [place, each] of before.entries()) if (each === 0) expect(after[place]).toBe(0);
  });

  test('Layers without statistics are noted, and those of the wrong shape refused', async () => {
    using read = await readOnnx(file);
    const statistics = await calibrate(read, dataFor([1, 4, 6, 6]));
    const two = build(
      [node('Conv', 'x w', 'h', { name: 'layer', attributes: [padded] }), node('Conv', 'h v', 'y', { name: 'other' })],
      [floats('w', [16, 4, 3, 3], 1), floats('v', [8, 16, 3, 3], 2)],
    );
    using larger = await readOnnx(two);
    const { model: quantised, report } = await quantize(larger, { statistics });
    quantised.close();
    expect(report.layers.map(({ bias }) => bias)).toEqual(['added', 'none']);
    expect(report.notes).toEqual([
      '1 layer had no statistics, so their scales follow from the largest weights and their biases were not corrected: other',
    ]);
    using narrow = await readOnnx(build([convolution('x w')], [floats('w', [16, 8, 3, 3], 1)]));
    await expect(quantize(narrow, { statistics })).rejects.toMatchObject({
      code: 'criteria',
      message: 'layer: the statistics are those of a layer of another shape. given: 72 columns. found: 36 columns.',
    });
    using other = await readOnnx(build([convolution('x w', [padded], 'unknown')], [floats('w', [16, 4, 3, 3], 1)]));
    await expect(quantize(other, { statistics })).rejects.toMatchObject({ code: 'criteria' });
  });
});

/** A convolution, and a product of matrices. */
const mixed = (opset = 13) =>
  build(
    [
      node('Conv', 'x w', 'h', { name: 'conv', attributes: [padded] }),
      node('Relu', 'h', 'r'),
      node('MatMul', 'r v', 'y', { name: 'dense' }),
    ],
    [floats('w', [16, 4, 3, 3], 1), floats('v', [64, 48], 2)],
    {},
    opset,
  );
const mixedShape = [1, 4, 5, 64];

describe('forms', () => {
  test.each<[Form | undefined, readonly Form[]]>([
    [undefined, ['int8', 'int8-dynamic']],
    ['int8', ['int8', 'int8']],
    ['int8-dynamic', ['int8', 'int8-dynamic']],
    ['int4', ['int8', 'int4']],
    ['float16', ['float16', 'float16']],
  ])('Weights of %s become %s', async (weights, expected) => {
    using read = await readOnnx(mixed());
    const { model: quantised, report } = await quantize(read, { weights });
    using closing = quantised;
    expect(report.layers.map(({ form }) => form)).toEqual(expected);
    expect(report.layers[0]!.reason).toBe(
      weights === 'int8-dynamic' || weights === 'int4'
        ? `no ${weights}: only MatMul and Gemm multiply codes, and it is the weight of Conv conv`
        : undefined,
    );
    const bytes = await closing.bytes();
    expect(report.bytes).toEqual({ before: mixed().length, after: bytes.length });
    const files = report.layers.reduce((sum, { bytesBefore, bytesAfter }) => sum + bytesBefore - bytesAfter, 0);
    expect(report.bytes.before - report.bytes.after).toBeGreaterThan(files - 1500);
    const feeds = inputs(mixedShape)[0]!;
    const [before, after] = [await outputsOf(mixed(), feeds), await outputsOf(bytes, feeds)];
    const difference = Math.hypot(...after.y!.data.map((each, place) => each - before.y!.data[place]!));
    const whole = Math.hypot(...before.y!.data);
    expect(difference / whole).toBeLessThan(expected.includes('int4') ? 0.12 : 0.012);
  });

  test.each<Form>(['int8', 'int8-dynamic', 'int4', 'float16'])(
    'Layers that are named after their weights have the same names as %s, and once they are floats again',
    async (weights) => {
      const nodes = [
        node('Conv', 'x conv.weight', 'h'),
        node('GlobalAveragePool', 'h', 'p'),
        node('Flatten', 'p', 'f'),
        node('MatMul', 'f dense.weight', 'y'),
      ];
      const shapes = { 'conv.weight': [64, 3, 3, 3], 'dense.weight': [64, 48] };
      const initializers = Object.entries(shapes).map(([name, shape], seed) => floats(name, shape, seed + 1));
      // Some exporters list initializers among the values of the graph, whose type then is not that of codes.
      const file = build(nodes, initializers, { outputs: { y: undefined }, values: shapes });
      using read = await readOnnx(file);
      const namesIn = ({ tensors }: FileModel) => tensors.map(({ name }) => name);
      expect(namesIn(read)).toEqual(Object.keys(shapes));
      const { model: quantised } = await quantize(read, { weights });
      using small = quantised;
      const isProduct = weights === 'int8-dynamic' || weights === 'int4';
      expect(namesIn(small)).toEqual(isProduct ? ['conv.weight'] : Object.keys(shapes));
      const { model: again } = await dequantize(small);
      using whole = again;
      expect(namesIn(whole)).toEqual(Object.keys(shapes));
      const feeds = { x: { data: numbers(192, 5), shape: [1, 3, 8, 8] } };
      for (const each of [small, whole]) {
        const { y } = await outputsOf([...(await each.toFiles()).values()][0]!, feeds);
        expect(y!.shape).toEqual([1, 48]);
      }
    },
  );

  test('A form that no layer can have is refused with the forms that one of them can have', async () => {
    using read = await readOnnx(build([convolution('x w')], [floats('w', [16, 4, 3, 3], 1)]));
    await expect(quantize(read, { weights: 'int4' })).rejects.toMatchObject({
      code: 'usage',
      details: { given: 'int4', allowed: ['int8', 'float16'] },
    });
  });

  test('A form that the opset lacks is refused with that reason', async () => {
    using read = await readOnnx(mixed(10));
    await expect(quantize(read, { weights: 'int8-dynamic' })).rejects.toMatchObject({
      code: 'usage',
      message:
        'no layer can be stored in this form. given: int8-dynamic. ' +
        'found: its operators need opset 11 or later, and the file has opset 10. allowed: int8, int4, float16.',
    });
    const { model: quantised, report } = await quantize(read);
    quantised.close();
    expect(report.layers.map(({ form }) => form)).toEqual(['int8', 'int8']);
  });

  test('Layers that are quantised already, or that rules leave out, stay as they are', async () => {
    using read = await readOnnx(mixed());
    const { model: first, report } = await quantize(read, { weights: 'int8', rules: { exclude: 'dense' } });
    using closing = first;
    expect(report.layers.map(({ name }) => name)).toEqual(['conv']);
    expect(report.skipped).toEqual([{ name: 'dense', reason: "excluded by 'dense'", weights: 3072 }]);
    const { model: second, report: again } = await quantize(closing, { weights: 'int8' });
    using both = second;
    expect(again.layers.map(({ name }) => name)).toEqual(['dense']);
    expect(again.skipped).toEqual([{ name: 'conv', reason: 'it is stored as codes already', weights: 576 }]);
    await expect(quantize(both, { weights: 'int8' })).rejects.toMatchObject({
      code: 'usage',
      details: { found: 'it is stored as codes already' },
    });
  });

  test('A layer of few weights stays as it is', async () => {
    using read = await readOnnx(
      build(
        [node('Conv', 'x w', 'h', { name: 'small' }), node('Conv', 'h v', 'y', { name: 'large' })],
        [floats('w', [4, 4, 1, 1], 1), floats('v', [16, 4, 3, 3], 2)],
      ),
    );
    const { model: quantised, report } = await quantize(read);
    quantised.close();
    expect(report.layers.map(({ name }) => name)).toEqual(['large']);
    expect(report.skipped).toEqual([
      { name: 'small', reason: 'it has too few weights for int8 to make the file smaller', weights: 16 },
    ]);
  });

  test('Weights above the largest number of float16 stay as they are', async () => {
    const large = numbers(576, 1);
    large[7] = -70000;
    using read = await readOnnx(
      build([convolution('x w')], [tensor('w', [16, 4, 3, 3], { data: new Uint8Array(large.buffer) })]),
    );
    const { model: quantised, report } = await quantize(read, { weights: 'float16' });
    using closing = quantised;
    expect(report.skipped).toEqual([
      { name: 'layer', reason: 'it has the number -70000, and float16 ends at 65504', weights: 576 },
    ]);
    expect(differsAt(await closing.bytes(), await read.bytes())).toBe(-1);
  });

  test('Other numbers have 16 bits if that is asked for', async () => {
    const scales = numbers(100, 3);
    scales[0] = 1e6;
    const file = build(
      [convolution('x w b'), node('Mul', 'y s', 'z')],
      [
        floats('w', [100, 4, 3, 3], 1),
        floats('b', [100], 2),
        tensor('s', [100, 1, 1], { data: new Uint8Array(scales.buffer) }),
      ],
      { outputs: { z: 4 } },
    );
    using read = await readOnnx(file);
    const { model: quantised, report } = await quantize(read, { weights: 'int8', others: 'float16' });
    using closing = quantised;
    expect(report.others).toEqual([
      { name: 'b', length: 100, form: 'float16' },
      { name: 's', length: 100, reason: 'it has the number 1000000, and float16 ends at 65504' },
    ]);
    const feeds = inputs([1, 4, 5, 5])[0]!;
    const [before, after] = [await outputsOf(file, feeds), await outputsOf(await closing.bytes(), feeds)];
    const largest = Math.max(...before.z!.data.map(Math.abs));
    for (const [place, each] of after.z!.data.entries())
      expect(Math.abs(each - before.z!.data[place]!)).toBeLessThan(0.01 * largest);
  });

  test('A safetensors model keeps the description of its layers', async () => {
    const stored = (...shape: readonly number[]) => ({
      shape,
      data: new Uint8Array(numbers(product(shape), shape.length).buffer),
    });
    const file = safetensorsFile({ 'h.c_attn.weight': stored(60, 40), 'h.c_attn.bias': stored(40) });
    using read = await readSafetensors(file, { layers: { 'h.c_attn': { kind: 'dense', roles: ['in', 'out'] } } });
    for (const weights of ['float16', 'bfloat16'] as const) {
      const { model: quantised, report } = await quantize(read, { weights, others: weights });
      using closing = quantised;
      expect(closing.tensors).toMatchObject([{ name: 'h.c_attn', roles: ['in', 'out'], values: { dtype: weights } }]);
      expect(report.others).toMatchObject([{ name: 'h.c_attn.bias', form: weights }]);
      expect(report.bytes.after).toBeLessThan(0.55 * report.bytes.before);
    }
  });
});

describe('dequantize', () => {
  test.each<Form>(['int8', 'int8-dynamic', 'int4', 'float16'])(
    'A model of %s becomes one of float32 that computes the same',
    async (weights) => {
      {
        using read = await readOnnx(mixed());
        const { model: quantised } = await quantize(read, { weights });
        using closing = quantised;
        const bytes = await closing.bytes();
        const { model: floating, report } = await dequantize(closing);
        using last = floating;
        expect(differsAt(await closing.bytes(), bytes)).toBe(-1);
        expect(report.tensors).toHaveLength(2);
        expect(report.bytes).toEqual({ before: bytes.length, after: (await last.bytes()).length });
        expect(report.table()).toContain(`2 tensors now stored as float32, ${bytes.length.toLocaleString('en')} -> `);
        expect(last.tensors.map(({ values }) => values.dtype)).toEqual(['float32', 'float32']);
        const feeds = inputs(mixedShape)[0]!;
        const [before, after] = [await outputsOf(bytes, feeds), await outputsOf(await last.bytes(), feeds)];
        const whole = Math.hypot(...before.y!.data);
        const difference = Math.hypot(...after.y!.data.map((each, place) => each - before.y!.data[place]!));
        // Only dynamic products round their inputs.
        expect(difference / whole).toBeLessThan(weights === 'int8-dynamic' ? 0.01 : 1e-6);
      }
      await expectNoMemoryInUse();
    },
  );

  test('Models that were not read from files, and unknown options, are refused', async () => {
    await expect(dequantize('model.onnx' as never)).rejects.toMatchObject({ code: 'usage' });
    using read = await readOnnx(mixed());
    await expect(dequantize(read, { weights: 'int8' } as never)).rejects.toMatchObject({ code: 'usage' });
    await expect(dequantize(read, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
  });
});

test('The files of the model that was given are never overwritten', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sparsifier-quantize-'));
  try {
    const path = join(folder, 'model.onnx');
    await writeFile(path, mixed());
    using read = await readModel(path);
    const { model: quantised } = await quantize(read);
    using closing = quantised;
    await expect(closing.write(path, { force: true })).rejects.toMatchObject({ code: 'file' });
    await closing.write(join(folder, 'small.onnx'));
    expect(differsAt(await readFile(path), mixed())).toBe(-1);
    expect(differsAt(await readFile(join(folder, 'small.onnx')), await closing.bytes())).toBe(-1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
