import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';
import { list, model, node, tensor } from '../../support/onnx-builder.js';
import { withModel } from '../../support/onnx-model.js';
import { numbersOf, readGraphOf } from '../../support/onnx-reader.js';

test('A bias that was added is written with its numbers, and only once they are others', async () => {
  const bytes = model({
    nodes: [
      node('MatMul', 'x w', 'p', { name: 'layer' }),
      node('Gemm', 'p v b', 'q', { name: 'sharing' }),
      node('Mul', 'q b', 'y'),
    ],
    initializers: [tensor('w', [4, 5]), tensor('v', [5, 3]), tensor('b', [3]), list('unused', 1)],
    inputs: { x: 2 },
    outputs: { y: 2 },
  });
  await withModel(bytes, async (read) => {
    const engine = await loadEngine();
    for (const tensor of read.tensors) {
      const bias = await read.addBias(tensor);
      if (typeof bias === 'string') throw new Error(bias);
      expect(await read.bytes()).toEqual(bytes);
      const region = await read.load(engine, bias.values);
      const changed = Float32Array.from({ length: bias.values.length }, (_, at) => at - 1.5);
      await region.block.write(new Uint8Array(changed.buffer), region.offset);
      await read.store(engine, bias.values, region);
      region.release();
      const written = await read.bytes();
      const { constants, nodes } = readGraphOf(written);
      expect(numbersOf(written, constants.get(`${tensor.name}.bias`)!)).toEqual(changed);
      expect(nodes.filter(({ inputs }) => inputs.includes(`${tensor.name}.bias`))).toHaveLength(1);
      // As it was: that of the next layer is looked at alone.
      const again = await read.load(engine, bias.values);
      const first = tensor.name === 'layer' ? new Float32Array(5) : Float32Array.of(1, 2, 3);
      await again.block.write(new Uint8Array(first.buffer), again.offset);
      await read.store(engine, bias.values, again);
      again.release();
    }
    expect(await read.bytes()).toEqual(bytes);
  });
});
