import { fromArrays } from 'sparsifier/formats/arrays';
import { readOnnx } from 'sparsifier/formats/onnx';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { quantize, type QuantizeOptions } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { expectNoMemoryInUse, values } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { filesOf, floats, textOf } from '../support/tfjs.js';

// What `quantize` refuses, and what it warns of.

const convolution = (weights: Float32Array<ArrayBuffer>, shape: readonly number[] = [16, 4, 3, 3]) =>
  model({
    nodes: [node('Conv', 'x w', 'y', { name: 'conv' })],
    initializers: [tensor('w', shape, { data: new Uint8Array(weights.buffer) })],
    inputs: { x: 4 },
    outputs: { y: 4 },
  });
const file = convolution(values(576) as Float32Array<ArrayBuffer>);

describe('options', () => {
  test.each<[string, unknown, string]>([
    [
      'an unknown form',
      { weights: 'fp16' },
      'unknown form of `weights`. given: fp16. allowed: int8, int8-dynamic, int4, float16. Did you mean float16?',
    ],
    [
      'a form that is spelt wrong',
      { weights: 'int-8' },
      'unknown form of `weights`. given: int-8. allowed: int8, int8-dynamic, int4, float16. Did you mean int8?',
    ],
    [
      'a form of another format',
      { weights: 'uint16' },
      'ONNX models have no weights of this form. given: uint16. allowed: int8, int8-dynamic, int4, float16.',
    ],
    [
      'a form of the others that is none',
      { others: 'int8' },
      'ONNX models have no other numbers of this form. given: int8. allowed: float16.',
    ],
    [
      'an unknown option',
      { form: 'int8' },
      'unknown option. given: form. allowed: weights, rules, statistics, others, signal, onProgress.',
    ],
    [
      'unknown rules',
      { rules: { includes: 'conv' } },
      'unknown option. given: includes. allowed: layerType, include, exclude. Did you mean include?',
    ],
    [
      'statistics that are a promise',
      { statistics: Promise.resolve() },
      '`statistics` are what `calibrate` measures or `readStatistics` reads',
    ],
    ['a signal that is none', { signal: new AbortController() }, '`signal` is an AbortSignal'],
  ])('Options with %s are refused', async (_, options, message) => {
    {
      using read = await readOnnx(file);
      const error: Error = await quantize(read, options as QuantizeOptions).then(
        () => expect.fail('it is not refused'),
        (reason: Error) => reason,
      );
      expect(error).toMatchObject({ code: 'usage' });
      expect(error.message).toContain(message);
    }
    await expectNoMemoryInUse();
  });

  test('Rules that match no layer are refused', async () => {
    using read = await readOnnx(file);
    await expect(quantize(read, { rules: { include: 'none' } })).rejects.toMatchObject({ code: 'layer' });
    await expect(quantize(read, { rules: { layerType: 'conv9d' as never } })).rejects.toMatchObject({ code: 'kind' });
  });

  test('Models that were not read from files are refused', async () => {
    const arrays = fromArrays({ w: { kind: 'dense', roles: ['out', 'in'], shape: [1, 2], data: values(2) } });
    await expect(quantize(arrays as never)).rejects.toMatchObject({
      code: 'usage',
      message: 'only models from files can be stored in another form. Read the model with `readModel`.',
    });
    await expect(quantize('model.onnx' as never)).rejects.toMatchObject({ code: 'usage' });
    const closed = await readOnnx(file);
    closed.close();
    await expect(quantize(closed)).rejects.toMatchObject({ code: 'usage', message: 'model: the model is closed.' });
  });

  test('A call that is aborted has no result, and the model stays as it is', async () => {
    {
      using read = await readOnnx(file);
      await expect(quantize(read, { signal: AbortSignal.abort('before') })).rejects.toBe('before');
      const controller = new AbortController();
      const progress: number[] = [];
      const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }) => {
        expect([stage, total]).toEqual(['quantize', 576]);
        progress.push(done);
        controller.abort('during');
      };
      await expect(quantize(read, { signal: controller.signal, onProgress })).rejects.toBe('during');
      expect(progress).toEqual([576]);
      expect(await read.bytes()).toEqual(file);
    }
    await expectNoMemoryInUse();
  });
});

describe('weights', () => {
  test('A layer of which few weights are much larger than the others is warned of', async () => {
    const weights = values(16 * 2304, 1, 3) as Float32Array<ArrayBuffer>;
    for (let channel = 0; channel < 16; channel++) weights[channel * 2304] = 400;
    using read = await readOnnx(convolution(weights, [16, 64, 6, 6]));
    const { model: quantised, report } = await quantize(read);
    quantised.close();
    const { error, zeros } = report.layers[0]!;
    expect(zeros).toBeGreaterThan(1000);
    expect(error).toBeGreaterThan(0.05);
    const message = expect.stringMatching(
      /^weights changed so much that .* is 0\.\d+ in conv; .* `exclude`$/,
    ) as string;
    expect(report.warnings).toEqual([
      {
        code: 'high-error',
        layer: 'conv',
        details: { layers: [{ name: 'conv', kind: 'conv2d', form: 'int8', error }] },
        message,
      },
    ]);
  });

  test('Usual weights are not warned of, and the report is plain data', async () => {
    using read = await readOnnx(file);
    const { model: quantised, report } = await quantize(read);
    quantised.close();
    expect(report.warnings).toEqual([]);
    const data = JSON.parse(JSON.stringify(report)) as object;
    expect(Object.keys(data)).toEqual(['layers', 'skipped', 'others', 'bytes', 'notes', 'warnings']);
    expect(String(report)).toBe(report.table());
    const lines = report.table({ layers: true }).split('\n');
    expect(lines[0]).toMatch(/^1 layer, 576 weights, \d zeros?, 0 clipped, 2,458 -> 896 bytes \(36\.45 %\)$/);
    expect(lines[2]).toMatch(/^layer +kind +shape +form +weights +zeros +clipped +error +bytes +before +bias$/);
    expect(lines[4]).toMatch(/^conv +conv2d +16 x 4 x 3 x 3 +int8 +576 +\d+ +0 +\d\.\d\d % +640 +2,304 +none$/);
  });
});

describe('TensorFlow.js', () => {
  const kernels = { 'conv/kernel': [3, 3, 8, 16], 'dense/kernel': [40, 30] };
  const files = filesOf(
    null,
    Object.entries(kernels).map(([name, shape]) => ({
      name,
      shape,
      dtype: 'float32',
      bytes: floats(...values(shape.reduce((product, size) => product * size, 1))),
    })),
  );
  const read = () =>
    readTfjs(textOf(files.json.weightsManifest), {
      shards: (name) => files.shards.get(name)! as Uint8Array<ArrayBuffer>,
    });

  test('Convolutions have 16 bits by default, other layers 8 and a warning', async () => {
    using given = await read();
    const { model: quantised, report } = await quantize(given);
    using closing = quantised;
    expect(report.layers.map(({ name, form }) => [name, form])).toEqual([
      ['conv/kernel', 'uint16'],
      ['dense/kernel', 'uint8'],
    ]);
    expect(report.warnings).toEqual([
      {
        code: 'one-scale',
        layer: 'dense/kernel',
        details: { layers: [{ name: 'dense/kernel', kind: 'dense', error: report.layers[1]!.error }] },
        message: expect.stringMatching(
          /^uint8 has one scale for all channels of a layer, .*`weights: 'uint16'` or `weights: 'float16'`$/,
        ) as string,
      },
    ]);
    const [conv, dense] = closing.tensors;
    for (const [tensor, original, steps] of [
      [conv!, given.tensors[0]!, 65535],
      [dense!, given.tensors[1]!, 255],
    ] as const) {
      const [before, after] = [await given.copy(original.values), await closing.copy(tensor.values)].map(
        (bytes) => new Float32Array(bytes.buffer),
      );
      const step = (Math.max(...before!) - Math.min(...before!)) / (steps - 1);
      for (const [place, each] of after!.entries())
        expect(Math.abs(each - before![place]!)).toBeLessThanOrEqual(0.501 * step);
    }
  });

  test('A form for codes that are multiplied is none of TensorFlow.js', async () => {
    using given = await read();
    await expect(quantize(given, { weights: 'int8' })).rejects.toMatchObject({
      message: 'TensorFlow.js models have no weights of this form. given: int8. allowed: float16, uint16, uint8.',
    });
  });
});
