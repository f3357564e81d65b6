import { readFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { dequantize, quantize, type QuantizeOptions } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { at, foldersWith, printed, sparsifier } from '../support/folder.js';
import { npz } from '../support/npz-builder.js';
import { integersAttribute, mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';

// Quantisation on the command line gives what the library gives.

/** A convolution with a bias, one without, and a product of matrices. */
const small = model(
  {
    nodes: [
      node('Conv', 'x w0 b0', 'v0', { name: 'first', attributes: [integersAttribute('pads', [1, 1, 1, 1])] }),
      node('Relu', 'v0', 'v1'),
      node('Conv', 'v1 w1', 'v2', { name: 'second' }),
      node('MatMul', 'v2 w2', 'y', { name: 'third' }),
    ],
    initializers: [
      tensor('w0', [16, 3, 3, 3], { data: mixedNumbers(432, 1) }),
      tensor('b0', [16], { data: mixedNumbers(16, 2) }),
      tensor('w1', [8, 16, 3, 3], { data: mixedNumbers(1152, 3) }),
      tensor('w2', [6, 160], { data: mixedNumbers(960, 4) }),
    ],
    inputs: { x: { shape: ['batch', 3, 8, 8] } },
    outputs: { y: { shape: ['batch', 8, 6, 160] } },
  },
  13,
);
const batches = Array.from({ length: 4 }, (_, index) => {
  const data = new Float32Array(mixedNumbers(192, 10 + index).buffer).map((number) => 1 + number);
  return { shape: [1, 3, 8, 8], data: new Uint8Array(data.buffer) };
});
const data = {
  createSession: (bytes: Uint8Array) => ort.InferenceSession.create(bytes, { logSeverityLevel: 4 }),
  batches: () =>
    batches.map(({ shape, data }) => ({ x: new ort.Tensor('float32', new Float32Array(data.buffer), shape) })),
};

/** Runs a test in a folder of its own with a model and its inputs. */
const inFolder = foldersWith({
  'model.onnx': small,
  'inputs.npz': npz(Object.fromEntries(batches.map((batch, index) => [`${index}.x`, batch]))),
});
const bytesIn = async (name: string) => new Uint8Array(await readFile(at(name)));
const inJson = (value: unknown) => JSON.parse(JSON.stringify(value)) as object;

/** What the library makes of the model: its bytes, and the report. */
async function made(options: QuantizeOptions, isCalibrated = false) {
  using read = await readOnnx(small);
  const statistics = isCalibrated ? await calibrate(read, { ...data, holdOut: 0 }) : undefined;
  const { model: quantised, report } = await quantize(read, { ...options, statistics });
  using closing = quantised;
  return { bytes: await closing.bytes(), report: inJson(report) };
}

describe.concurrent('quantize', () => {
  test.each<[readonly string[], QuantizeOptions, boolean]>([
    [[], {}, false],
    [['--weights', 'int8', '--calibrate', 'inputs.npz'], { weights: 'int8' }, true],
    [
      ['--weights', 'float16', '--others', 'float16', '--layer-type', 'conv2d', '--exclude', 'first'],
      { weights: 'float16', others: 'float16', rules: { layerType: ['conv2d'], exclude: 'first' } },
      false,
    ],
    [
      ['--weights', 'int4', '--include', 'kind:dense'],
      { weights: 'int4', rules: { include: { kind: 'dense' } } },
      false,
    ],
  ])(
    'The file of quantize %j is what the library writes, and its report is in the JSON',
    inFolder(async (words: readonly string[], options: QuantizeOptions, isCalibrated: boolean) => {
      const printedData = JSON.parse(
        await printed('quantize', 'model.onnx', '-o', 'small.onnx', '--json', ...words),
      ) as object;
      const { bytes, report } = await made(options, isCalibrated);
      expect(differsAt(await bytesIn('small.onnx'), bytes)).toBe(-1);
      expect(printedData).toMatchObject({ out: 'small.onnx', layers: (report as { layers: object }).layers });
      expect(differsAt(await bytesIn('model.onnx'), small)).toBe(-1);
    }),
  );

  test(
    'The report says how many bytes there are, and options as the command line writes them',
    inFolder(async () => {
      const text = await printed('quantize', 'model.onnx', '--weights', 'int8', '--layers', '-o', 'small.onnx');
      expect(text).toMatch(/\nlayer +kind +shape +form +weights +zeros +clipped +error +bytes +before +bias\n/);
      for (const name of ['first', 'second', 'third']) expect(text).toMatch(new RegExp(`\\n${name} .* int8 `));
      const after = (await bytesIn('small.onnx')).length;
      expect(text).toContain(
        `3 layers, 2,544 weights, 9 zeros, 0 clipped, ${small.length.toLocaleString('en')} -> ` +
          `${after.toLocaleString('en')} bytes (${((100 * after) / small.length).toFixed(2)} %)\n`,
      );
      expect(text).toContain('with --statistics of the inputs of layers');
      expect(text).toMatch(/written: small\.onnx\n$/);
    }),
  );

  test(
    'With --verify, the outputs of both models are compared',
    inFolder(async () => {
      const text = await printed('quantize', 'model.onnx', '-o', 'small.onnx', '--verify', '--input', 'x:1,3,8,8');
      expect(text).toContain('compared: a is model.onnx, b is small.onnx');
      expect(text).toMatch(/output y: moved by \d\.\d+ % \(relative RMS\)/);
    }),
  );

  test(
    'dequantize makes a model of float32 of it',
    inFolder(async () => {
      await printed('quantize', 'model.onnx', '--weights', 'int8', '-o', 'small.onnx');
      const text = await printed('dequantize', 'small.onnx', '-o', 'floats.onnx');
      expect(text).toMatch(
        /^3 tensors now stored as float32, [\d,]+ -> [\d,]+ bytes \([\d.]+ %\)\n\nbefore:\n {2}3 tensors: int8: /,
      );
      using read = await readOnnx(await bytesIn('small.onnx'));
      const { model: floating } = await dequantize(read);
      using closing = floating;
      expect(differsAt(await bytesIn('floats.onnx'), await closing.bytes())).toBe(-1);
      const { layers } = JSON.parse(
        await printed('compare', 'small.onnx', 'floats.onnx', '--input', 'x:1,3,8,8', '--json'),
      ) as {
        layers: { changed: number }[];
      };
      expect(layers.map(({ changed }) => changed)).toEqual([0, 0, 0]);
    }),
  );

  test.each<[readonly string[], string]>([
    [
      ['quantize', 'model.onnx'],
      '-o, --out <file> must be given. Such as: sparsifier quantize model.onnx -o small.onnx',
    ],
    [['dequantize', 'model.onnx'], '-o, --out <file> must be given'],
    [['quantize', 'model.onnx', '-o', 'x.onnx', '--weights', 'fp16'], 'Did you mean float16?'],
    [
      ['quantize', 'model.onnx', '-o', 'x.onnx', '--weights', 'uint8'],
      'ONNX models have no weights of this form. given: uint8. allowed: int8, int8-dynamic, int4, float16.',
    ],
    [['quantize', 'model.onnx', '-o', 'model.onnx', '--force'], 'an input file cannot be overwritten'],
    [['quantize', 'model.onnx', '-o', 'x.onnx', '--memory', '5'], '--memory is for measuring inputs'],
    [
      ['quantize', 'model.onnx', '-o', 'x.onnx', '--calibrate', 'inputs.npz', '--statistics', 's.safetensors'],
      '--calibrate and --statistics cannot be combined',
    ],
    [
      ['quantize', 'model.onnx', '-o', 'x.onnx', '--input', 'x:1'],
      '--input is for comparing the new model with the input. Add --verify',
    ],
    [
      ['prune', '--quantize', 'model.onnx', '-s', '50', '-o', 'x.onnx'],
      'What follows --quantize is a form. Write the model first, such as: sparsifier prune model.onnx -s 50 --quantize',
    ],
    [['prune', 'model.onnx', '-s', '50', '-o', 'x.onnx', '--quantize', 'fp16'], 'Did you mean float16?'],
    [['prune', 'model.onnx', '-s', '50', '--explain', '--quantize'], '--quantize cannot be combined with --explain'],
    [
      ['prune', 'model.onnx', '-s', '50', '-o', 'x.onnx', '--quantize', 'uint16'],
      'ONNX models have no weights of this form',
    ],
  ])(
    'The command %j ends with an error message',
    inFolder(async (words: readonly string[], message: string) => {
      const { code, stderr } = await sparsifier(...words);
      expect(code).toBeGreaterThan(0);
      expect(stderr).toContain(message);
    }),
  );
});

describe.concurrent('prune --quantize', () => {
  test(
    'The pruned model is measured again, and its weights are stored in the form',
    inFolder(async () => {
      const words = ['--layer-type', 'all', '--calibrate', 'inputs.npz', '--repair', 'solve', '--quantize', 'int8'];
      const { quantized } = JSON.parse(
        await printed('prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', '--json', ...words),
      ) as { quantized: object };
      using read = await readOnnx(small);
      const statistics = await calibrate(read, data);
      const pruning = new Sparsifier(read, { layerType: 'all', statistics });
      await pruning.sparsifyModel(50);
      await pruning.repair();
      const seen = await calibrate(read, { ...data, holdOut: 0 });
      const { model: quantised, report } = await quantize(read, { weights: 'int8', statistics: seen });
      using closing = quantised;
      expect(differsAt(await bytesIn('out.onnx'), await closing.bytes())).toBe(-1);
      expect(quantized).toEqual(inJson(report));
      expect(report.layers.map(({ bias }) => bias)).toEqual(['own', 'own', 'own']);
      for (const { zeros, weights } of report.layers) expect(zeros).toBeGreaterThanOrEqual(weights / 2);
    }),
  );

  test(
    'Without a form, each kind of layer has the one that suits it',
    inFolder(async () => {
      const text = await printed('prune', 'model.onnx', '-s', '50', '-o', 'out.onnx', '--quantize');
      expect(text).toMatch(/\n2 other layers +int8 +1,584 /);
      expect(text).toMatch(/\nthird +dense +6 x 160 +int8-dynamic /);
      const alike = await printed('prune', 'model.onnx', '-s', '50', '-o', 'half.onnx', '--quantize', 'float16');
      expect(alike).toMatch(/\neach layer is stored as float16; --layers lists them\n/);
    }),
  );
});
