import { dequantize } from 'sparsifier/quantize';
import { readModel } from 'sparsifier/formats';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const file = fileURLToPath(new URL('../cases/quantised/operators.onnx', import.meta.url));

test('Layers that onnxruntime stored for integer operators stay as they are, each with its operator as the reason', async () => {
  using read = await readModel(file);
  const layers = { conv_quant: 'QLinearConv', fc1_quant: 'QLinearMatMul', fc2_quant: 'com.microsoft.QGemm' };
  expect(read.tensors).toEqual([]);
  expect(Object.fromEntries(read.skipped.map(({ name, operator }) => [name, operator]))).toEqual(layers);
  expect(read.skipped.reduce((sum, { weights }) => sum + weights, 0)).toBe(read.weights);
  const { model, report } = await dequantize(read);
  using after = model;
  expect(report.tensors).toEqual([]);
  for (const [name, operator] of Object.entries(layers)) {
    const skipped = report.skipped.find((each) => each.name === name);
    expect(skipped?.reason).toContain(`${operator} ${name} computes with its integers`);
  }
  expect(await after.bytes()).toEqual(await read.bytes());
});
