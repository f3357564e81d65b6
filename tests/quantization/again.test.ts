import { readOnnx } from 'sparsifier/formats/onnx';
import { readSafetensors } from 'sparsifier/formats/safetensors';
import { readTfjs } from 'sparsifier/formats/tfjs';
import { dequantize, quantize, type Form } from 'sparsifier/quantize';
import { describe, expect, test } from 'vitest';
import { xorshift } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { filesOf, floats, textOf } from '../support/tfjs.js';

const random = (length: number): Float32Array<ArrayBuffer> => {
  const next = xorshift(1);
  return Float32Array.from({ length }, () => next() / 2 ** 31 - 1);
};
const bytesOf = (numbers: Float32Array<ArrayBuffer>) => new Uint8Array(numbers.buffer);

describe('models that are quantised already', () => {
  test('ONNX codes are not quantised again', async () => {
    const file = model({
      nodes: [node('MatMul', 'x w', 'y', { name: 'dense' })],
      initializers: [tensor('w', [64, 96], { data: bytesOf(random(64 * 96)) })],
      inputs: { x: 2 },
      outputs: { y: 2 },
    });
    using read = await readOnnx(file);
    const { model: first } = await quantize(read, { weights: 'int8' });
    using closing = first;
    await expect(quantize(closing)).rejects.toMatchObject({
      code: 'usage',
      message: 'the model is quantised already. found: it is stored as codes already. Dequantize the model first.',
    });
  });

  test.each<Form>(['float16', 'uint16', 'uint8'])(
    'TensorFlow.js weights of %s are not quantised again',
    async (weights) => {
      const files = filesOf(null, [
        { name: 'dense/kernel', shape: [40, 30], dtype: 'float32', bytes: floats(...random(1200)) },
      ]);
      using read = await readTfjs(textOf(files.json.weightsManifest), {
        shards: (name) => files.shards.get(name)! as Uint8Array<ArrayBuffer>,
      });
      const { model: first } = await quantize(read, { weights });
      using closing = first;
      await expect(quantize(closing, { weights: 'uint8' })).rejects.toMatchObject({
        code: 'usage',
        message:
          'the model is quantised already. given: uint8. ' +
          `found: it is already stored as ${weights}. Dequantize the model first.`,
      });
      const { model: floating } = await dequantize(closing);
      using alsoClosing = floating;
      const { model: second, report } = await quantize(alsoClosing, { weights: 'uint8' });
      second.close();
      expect(report.layers).toHaveLength(1);
    },
  );

  test('safetensors of 16 bits are not quantised again', async () => {
    using read = await readSafetensors(
      safetensorsFile({ 'h.weight': { shape: [16, 16], data: bytesOf(random(256)) } }),
    );
    const { model: first } = await quantize(read, { weights: 'bfloat16' });
    using closing = first;
    await expect(quantize(closing)).rejects.toMatchObject({
      message: 'the model is quantised already. found: it is already stored as bfloat16. Dequantize the model first.',
    });
  });
});
