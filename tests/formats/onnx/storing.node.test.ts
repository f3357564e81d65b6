import type { WeightTensor } from 'sparsifier';
import { describe, expect, test } from 'vitest';
import { storageOf, widened } from '../../support/internal.js';
import { constant, integerAttribute, integersAttribute, list, node, tensor } from '../../support/onnx-builder.js';
import {
  bytesOf,
  expectNear,
  files,
  inBranches,
  narrowNumbers,
  type Network,
  read,
  run,
  stored,
  twoReaders,
  weight,
  withOutputs,
} from '../../support/stored-models.js';
import { setNumbers, storedAs } from '../../support/storing.js';

const layer = (op: string, inputs: string, ...attributes: readonly Uint8Array[]) =>
  node(op, inputs, 'y', { name: 'layer', attributes });

const one = (
  op: string,
  shape: readonly number[],
  from: readonly number[],
  attributes: readonly Uint8Array[] = [],
): Network => ({
  options: {
    nodes: [layer(op, 'x w', ...attributes)],
    initializers: [weight('w', shape)],
    inputs: { x: from },
    outputs: { y: undefined },
  },
  inputs: { x: from },
});

const recurrent = (op: string, gates: number): Network => ({
  options: {
    nodes: [node(op, 'x w r', 'y', { name: 'cell', attributes: [integerAttribute('hidden_size', 4)] })],
    initializers: [weight('w', [1, 4 * gates, 5]), weight('r', [1, 4 * gates, 4])],
    inputs: { x: [3, 2, 5] },
    outputs: { y: undefined },
  },
  inputs: { x: [3, 2, 5] },
  weights: ['w', 'r'],
});

/** A weight that is converted before it is multiplied. */
const narrow = (dtype: 'float16' | 'bfloat16'): Network => ({
  options: {
    nodes: [node('Cast', 'w', 'c', { attributes: [integerAttribute('to', 1)] }), layer('MatMul', 'x c')],
    initializers: [tensor('w', [5, 7], { dtype, data: narrowNumbers(35, dtype) })],
    inputs: { x: [3, 5] },
    outputs: { y: undefined },
  },
  inputs: { x: [3, 5] },
  weights: ['c'],
  forms: ['int8'],
});

const networks: Readonly<Record<string, Network>> = {
  'a convolution': one('Conv', [6, 3, 3, 3], [1, 3, 7, 7]),
  'a convolution along one axis': one('Conv', [6, 3, 3], [1, 3, 9]),
  'a grouped convolution': one('Conv', [6, 2, 3, 3], [1, 4, 7, 7], [integerAttribute('group', 2)]),
  'a depthwise convolution': one('Conv', [4, 1, 3, 3], [1, 4, 7, 7], [integerAttribute('group', 4)]),
  'a transposed convolution': one('ConvTranspose', [4, 3, 3, 3], [1, 4, 5, 5]),
  'a grouped transposed convolution': one('ConvTranspose', [4, 3, 3, 3], [1, 4, 5, 5], [integerAttribute('group', 2)]),
  'a convolution of opset 7': { ...one('Conv', [6, 3, 3, 3], [1, 3, 7, 7]), opset: 7 },
  'a convolution of opset 9 in a file without initializers of its own': {
    options: {
      nodes: [layer('Conv', 'x w')],
      initializers: [weight('w', [6, 3, 3, 3])],
      inputs: { x: [1, 3, 7, 7], w: [6, 3, 3, 3] },
      outputs: { y: undefined },
    },
    inputs: { x: [1, 3, 7, 7] },
    opset: 9,
    version: 3,
  },
  'a weight that is the default of an input': {
    options: {
      nodes: [layer('Conv', 'x w')],
      initializers: [weight('w', [6, 3, 3, 3])],
      inputs: { w: [6, 3, 3, 3], x: [1, 3, 7, 7] },
      outputs: { y: undefined },
    },
    inputs: { x: [1, 3, 7, 7] },
  },
  'a product': one('MatMul', [5, 7], [3, 5]),
  'a stack of products': one('MatMul', [2, 5, 7], [2, 3, 5]),
  'a Gemm with a transposed weight': one('Gemm', [7, 5], [3, 5], [integerAttribute('transB', 1)]),
  'a weight with one output': one('MatMul', [5, 1], [3, 5]),
  'a weight in a Constant node': {
    options: {
      nodes: [node('Relu', 'x', 'z'), constant('w', [5, 7], bytesOf(35, 2)), layer('MatMul', 'z w')],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight in float_data': {
    ...one('MatMul', [5, 7], [3, 5]),
    options: {
      nodes: [layer('MatMul', 'x w')],
      initializers: [weight('w', [5, 7], { storage: 'packed' })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
  },
  'a weight in float_data that is not packed': {
    options: {
      nodes: [layer('MatMul', 'x w')],
      initializers: [weight('w', [5, 7], { storage: 'unpacked' })],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight behind nodes that arrange it': {
    options: {
      nodes: [
        node('Identity', 'w', 'i'),
        node('Transpose', 'i', 't', { attributes: [integersAttribute('perm', [1, 0])] }),
        node('Reshape', 't shape', 'r'),
        layer('MatMul', 'x r'),
      ],
      initializers: [weight('w', [7, 5]), list('shape', 1, 5, 7)],
      inputs: { x: [3, 5] },
      outputs: { y: undefined },
    },
    inputs: { x: [3, 5] },
  },
  'a weight that two nodes share': twoReaders,
  'a table that is also the weight of a product': {
    options: {
      nodes: [node('Gather', 'w indices', 'h', { name: 'table' }), layer('Gemm', 'h w', integerAttribute('transB', 1))],
      initializers: [weight('w', [4, 6])],
      inputs: { indices: { shape: [3], type: 7 } },
      outputs: { y: undefined },
    },
    inputs: { indices: [3] },
  },
  'a table': {
    options: {
      nodes: [layer('Gather', 'w indices')],
      initializers: [weight('w', [4, 6])],
      inputs: { indices: { shape: [2, 3], type: 7 } },
      outputs: { y: undefined },
    },
    inputs: { indices: [2, 3] },
  },
  'a float16 weight behind Cast': narrow('float16'),
  'a bfloat16 weight behind Cast': narrow('bfloat16'),
  'an LSTM': recurrent('LSTM', 4),
  'a GRU': recurrent('GRU', 3),
  'a weight of a subgraph': { ...inBranches, weights: [] },
};

describe.each(Object.entries(networks))('%s', (_name, network) => {
  const weights = network.weights ?? ['w'];

  test.each(network.forms ?? (['int8', 'float16'] as const))(
    'A runtime sees exactly what its numbers as %s stand for',
    async (form) => {
      const { after, reference, values } = await stored(files(network), form);
      for (const level of ['disabled', 'all'] as const) {
        expectNear(await run(after, network.inputs, level), await run(reference, network.inputs, level));
        if (weights.length === 0) continue;
        const seen = await run(withOutputs([...after], ...weights), network.inputs, level);
        // This tells 0 from -0. No zero has a sign, whatever sign that of the weight had.
        weights.forEach((name, place) => expect(seen[name]).toEqual(values[place]));
      }
    },
  );
});

test('A bias that was added is in the files, beside the weights in their new form', async () => {
  const { options, inputs } = networks['a product']!;
  using before = await read(files({ options, inputs }));
  const [layer] = before.tensors as [WeightTensor];
  const bias = await before.addBias(layer);
  if (typeof bias === 'string') throw new Error(bias);
  await setNumbers(before, bias.values, bytesOf(7, 5).data);
  const { storage, current } = storageOf(before);
  const weights = widened(await before.copy(layer.values), 'float32');
  const { numbers, values } = storedAs('int8', layer, weights);
  const after = await storage.rewritten(new Map([[layer.name, numbers]]), new Map(), current);
  await setNumbers(before, layer.values, new Uint8Array(values.buffer));
  const reference = await before.toFiles();
  expect(await run(after, inputs, 'all')).toEqual(await run(reference, inputs, 'all'));
  // The bias matters.
  expect(await run(after, inputs, 'all')).not.toEqual(
    await run((await stored(files({ options, inputs }), 'int8')).after, inputs, 'all'),
  );
});

test('A file none of whose numbers change is the same', async () => {
  using before = await read(files(networks['a weight of a subgraph']!));
  const { storage, current } = storageOf(before);
  expect(await storage.rewritten(new Map(), new Map(), current)).toEqual(await before.toFiles());
});
