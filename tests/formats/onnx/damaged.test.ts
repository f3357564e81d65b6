import { SparsifyError } from 'sparsifier';
import { readOnnx } from 'sparsifier/formats/onnx';
import { dequantize, quantize } from 'sparsifier/quantize';
import { expect, test } from 'vitest';
import { values } from '../../support/layers.js';
import { integerAttribute, model, node, tensor } from '../../support/onnx-builder.js';

// Nodes of damaged files: they lack inputs or outputs, or share names of outputs that must differ.

const matrix = (name: string) => tensor(name, [8, 8], { data: Uint8Array.from(new Uint8Array(values(64).buffer)) });
const codes = (name: string, shape: readonly number[] = [8, 8]) =>
  tensor(name, shape, { dtype: 'int8', data: new Uint8Array(shape[0]! * (shape[1] ?? 1)).fill(3) });
const scale = tensor('s', [], { data: Uint8Array.from(new Uint8Array(Float32Array.of(0.5).buffer)) });
const zero = tensor('z', [], { dtype: 'int8', data: Uint8Array.of(0) });
const float = integerAttribute('to', 1);

const complete = node('MatMul', 'x v', 'end');
const damaged: readonly (readonly [string, ReturnType<typeof node>[]])[] = [
  ['a MatMul without outputs', [node('MatMul', 'x w', '')]],
  ['a Gemm without outputs', [node('Gemm', 'x w', '')]],
  ['a MatMul without its first input', [node('MatMul', '- w', 'y')]],
  ['a product of codes without outputs', [node('DynamicQuantizeMatMul', 'x q s', '', { domain: 'com.microsoft' })]],
  [
    'a product of codes without its first input',
    [node('DynamicQuantizeMatMul', '- q s', 'y', { domain: 'com.microsoft' })],
  ],
  ['a lookup that is decoded to no output', [node('Gather', 'q index', 'r'), node('DequantizeLinear', 'r s z', '')]],
  [
    'a DequantizeLinear that reads its codes twice',
    [node('DequantizeLinear', 'q s z q', 'd'), node('MatMul', 'x d', 'y')],
  ],
  [
    'a Mul whose output has the name of another one',
    [
      node('Cast', 'q', 'c', { attributes: [float] }),
      node('Identity', 'w', 'd'),
      node('Mul', 'c s', 'd'),
      node('MatMul', 'x d', 'y'),
    ],
  ],
  [
    'a Mul of floats whose output has the name of another one',
    [node('Mul', 'x s', 'd'), node('Identity', 'w', 'd'), node('MatMul', 'x d', 'y')],
  ],
];

test.each(damaged)('A model with %s is stored in every form, or refused', async (_, nodes) => {
  const file = model({
    nodes: [...nodes, complete],
    initializers: [matrix('w'), matrix('v'), codes('q'), scale, zero],
    inputs: { x: 2 },
    outputs: { end: 2 },
  });
  using read = await readOnnx(file);
  for (const weights of ['int8', 'int8-dynamic', 'int4', 'float16'] as const) {
    const stored = await quantize(read, { weights }).catch((error: unknown) => error);
    if (stored instanceof Error) expect(stored).toBeInstanceOf(SparsifyError);
    else (stored as Awaited<ReturnType<typeof quantize>>).model.close();
  }
  const { model: floats } = await dequantize(read);
  expect(floats.tensors.map(({ name }) => name).length).toBeGreaterThan(0);
  floats.close();
});
