import { readOnnx } from 'sparsifier/formats/onnx';
import { quantize } from 'sparsifier/quantize';
import { expect, test } from 'vitest';
import { mixedNumbers, model, node, tensor } from '../support/onnx-builder.js';

const floats = (count: number, numberAt: (index: number) => number) => ({
  data: new Uint8Array(Float32Array.from({ length: count }, (_, index) => numberAt(index)).buffer),
});

test('Tables of fixed numbers and numbers that are too large keep 32 bits, and the report says why', async () => {
  using read = await readOnnx(
    model({
      nodes: [
        node('MatMul', 'x w', 'a', { name: 'layer' }),
        node('Add', 'a bias', 'b'),
        node('Add', 'b large', 'c'),
        // float16 has no odd numbers above 2048.
        node('Mul', 'c positions', 'd'),
        node('Add', 'd angles', 'y'),
      ],
      initializers: [
        tensor('w', [8, 4096], { data: mixedNumbers(8 * 4096, 1) }),
        tensor('bias', [4096], { data: mixedNumbers(4096, 2) }),
        tensor(
          'large',
          [4096],
          floats(4096, (index) => 7e4 * Math.sin(index * index)),
        ),
        tensor(
          'positions',
          [1, 4096],
          floats(4096, (index) => index),
        ),
        tensor(
          'angles',
          [4096],
          floats(4096, (index) => Math.sin(index / 3)),
        ),
      ],
      inputs: { x: 2 },
      outputs: { y: undefined },
    }),
  );
  const { model: quantized, report } = await quantize(read, { others: 'float16' });
  quantized.close();
  const found = new Map(report.others.map(({ name, form, reason }) => [name, form ?? reason]));
  expect(found.get('bias')).toBe('float16');
  expect(found.get('large')).toMatch(/^it has the number .*, and float16 ends at 65504$/);
  expect(found.get('positions')).toBe('it is a table of fixed numbers: an arithmetic sequence along axis 1');
  expect(found.get('angles')).toBe('it is a table of fixed numbers: sines or cosines along axis 0');
  expect(found.size).toBe(4);
});
