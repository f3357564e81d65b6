import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { dequantize, quantize, type Form } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { numbers, outputsOf } from '../support/filters.js';
import { expectNoMemoryInUse, product } from '../support/layers.js';
import { integersAttribute, model, node, numbers as stored, tensor } from '../support/onnx-builder.js';

// Layers of unusual shapes, and weights that several layers share, judged by ONNX Runtime.

const floats = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: new Uint8Array(numbers(product(shape), seed).buffer) });
const forms: readonly (Form | undefined)[] = [undefined, 'int8', 'int8-dynamic', 'int4', 'float16'];

interface Network {
  readonly title: string;
  readonly file: Uint8Array<ArrayBuffer>;
  /** Those that are stored in another form. */
  readonly layers: readonly string[];
  /** Why there are no products of codes. */
  readonly shared?: string;
  readonly feeds: Readonly<Record<string, { readonly data: Float32Array<ArrayBuffer>; readonly shape: number[] }>>;
}

const input = (...shape: number[]) => ({ data: numbers(product(shape), 5), shape });
const flat = { inputs: { x: 2 }, outputs: { y: 2 } };

const networks: readonly Network[] = [
  {
    title: 'two products that share a matrix',
    file: model({
      nodes: [
        node('MatMul', 'x w', 'h', { name: 'first' }),
        node('Relu', 'h', 'r'),
        node('MatMul', 'r w', 'y', { name: 'second' }),
      ],
      initializers: [floats('w', [64, 64], 1)],
      ...flat,
    }),
    layers: ['first'],
    feeds: { x: input(3, 64) },
  },
  {
    title: 'an embedding that is tied to the output layer',
    file: model({
      nodes: [
        node('Gather', 'w rows', 'e', { name: 'embedding' }),
        node('Transpose', 'w', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
        node('Add', 'e x', 'h'),
        node('MatMul', 'h t', 'y', { name: 'output' }),
      ],
      initializers: [
        floats('w', [96, 64], 1),
        tensor('rows', [3], { dtype: 'int64', data: stored('int64', [4, 0, 95]) }),
      ],
      ...flat,
    }),
    layers: ['embedding'],
    shared: 'several nodes share it: embedding (out, in) / dense (out, in)',
    feeds: { x: input(3, 64) },
  },
  {
    title: 'layers of a single weight and of none beside a usual one',
    file: model({
      nodes: [
        node('MatMul', 'x u', 's', { name: 'few' }),
        node('MatMul', 's v', 'single', { name: 'one' }),
        node('MatMul', 'x none', 'empty', { name: 'none' }),
        node('MatMul', 'empty left', 'zero', { name: 'left' }),
        node('MatMul', 'x w', 'h', { name: 'usual' }),
        node('Add', 'h zero', 'a'),
        node('Add', 'a single', 'y'),
      ],
      initializers: [
        ...[floats('u', [8, 1], 3), floats('v', [1, 1], 1), floats('none', [8, 0], 1), floats('left', [0, 512], 1)],
        floats('w', [8, 512], 2),
      ],
      ...flat,
    }),
    layers: ['usual'],
    feeds: { x: input(3, 8) },
  },
];

describe.each(networks)('$title', ({ file, feeds, layers, shared }) => {
  test.each(forms)('Weights of %s run, and give about the same outputs', async (weights) => {
    {
      using read = await readOnnx(file);
      if (shared !== undefined && (weights === 'int8-dynamic' || weights === 'int4')) {
        await expect(quantize(read, { weights })).rejects.toMatchObject({
          ...{ code: 'usage', details: { found: shared, allowed: ['int8', 'float16'] } },
        });
        return;
      }
      const { model: quantised, report } = await quantize(read, { weights });
      using closing = quantised;
      const { model: floating } = await dequantize(closing);
      using alsoClosing = floating;
      expect(report.layers.map(({ name }) => name)).toEqual(layers);
      expect(report.layers.every(({ error, bytesAfter }) => error < 0.2 && bytesAfter > 0)).toBe(true);
      const before = (await outputsOf(file, feeds)).y!.data;
      const whole = Math.hypot(...before);
      for (const bytes of [await closing.bytes(), await alsoClosing.bytes()]) {
        const after = (await outputsOf(bytes, feeds)).y!.data;
        expect(Math.hypot(...after.map((each, place) => each - before[place]!)) / whole).toBeLessThan(
          report.layers.some(({ form }) => form === 'int4') ? 0.25 : 0.03,
        );
      }
    }
    await expectNoMemoryInUse();
  });

  test('A pruned model is corrected with statistics, and keeps its zeros', async () => {
    using read = await readOnnx(file);
    const data = {
      createSession: (bytes: Uint8Array) => InferenceSession.create(bytes, { logSeverityLevel: 3 }),
      batches: () => [{ x: new Tensor('float32', feeds.x!.data, feeds.x!.shape) }],
    };
    await new Sparsifier(read, { layerType: 'all' }).sparsifyModel(50);
    const measured = await calibrate(read, data);
    // An embedding is not multiplied with inputs.
    expect(measured.layers.has(layers[0]!)).toBe(shared === undefined);
    const statistics = shared === undefined ? measured : undefined;
    const { model: quantised, report } = await quantize(read, { weights: 'int8', statistics });
    for (const { outputError } of report.layers) expect(outputError === undefined).toBe(statistics === undefined);
    using closing = quantised;
    for (const { zeros, weights } of report.layers) expect(zeros).toBeGreaterThanOrEqual(Math.floor(weights / 2));
    const [before, after] = [await outputsOf(await read.bytes(), feeds), await outputsOf(await closing.bytes(), feeds)];
    const whole = Math.hypot(...before.y!.data);
    expect(Math.hypot(...after.y!.data.map((each, place) => each - before.y!.data[place]!)) / whole).toBeLessThan(0.03);
  });
});
