import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier, type RepairOptions, type SparsifierOptions } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { numbers } from '../support/filters.js';
import { expectNoMemoryInUse, product } from '../support/layers.js';
import {
  floatAttribute,
  integersAttribute,
  model,
  node,
  numbers as bytesOf,
  tensor,
  type GraphOptions,
} from '../support/onnx-builder.js';

// What repairs do to the biases that files have, or are given, judged by the outputs that ONNX Runtime gives.

const floats = (name: string, shape: readonly number[], seed: number) =>
  tensor(name, shape, { data: new Uint8Array(numbers(product(shape), seed).buffer) });
const positive = (name: string, size: number, seed: number) =>
  tensor(name, [size], { data: new Uint8Array(numbers(size, seed).map(Math.abs).buffer) });

const batches = Array.from({ length: 8 }, (_, seed) => ({
  // Inputs of a mean that is not 0: what removed weights add on average.
  x: new Tensor(
    'float32',
    numbers(4 * 25, seed + 3).map((each) => each + 1),
    [1, 4, 5, 5],
  ),
}));
const createSession = (bytes: Uint8Array, files: SessionFiles) => InferenceSession.create(bytes, files);
const data = { createSession, batches: () => batches };

const build = (nodes: readonly Uint8Array[], initializers: readonly Uint8Array[], more: GraphOptions = {}) =>
  model({ nodes, initializers, inputs: { x: 4 }, outputs: { y: 4 }, ...more });
const attributes = [integersAttribute('pads', [1, 1, 1, 1])];
const convolution = (inputs: string, output: string, name = 'layer') =>
  node('Conv', inputs, output, { name, attributes });
const weights = floats('w', [6, 4, 3, 3], 1);

const codes = Array.from({ length: 216 }, (_, index) => ((index * 37) % 255) - 127);
const models: readonly {
  readonly title: string;
  readonly bias: 'own' | 'added';
  readonly isCoded?: boolean;
  readonly file: Uint8Array;
}[] = [
  {
    title: 'a bias input',
    bias: 'own',
    file: build([convolution('x w b', 'y')], [weights, floats('b', [6], 2)]),
  },
  { title: 'no bias', bias: 'added', file: build([convolution('x w', 'y')], [weights]) },
  {
    title: 'a bias that another layer shares',
    bias: 'added',
    file: build(
      [convolution('x w b', 'y'), convolution('x v b', 'z', 'other')],
      [weights, floats('v', [6, 4, 3, 3], 7), floats('b', [6], 2)],
      { outputs: { y: 4, z: 4 } },
    ),
  },
  {
    title: 'a batch normalisation behind',
    bias: 'own',
    file: build(
      [
        convolution('x w', 'c'),
        node('BatchNormalization', 'c g b m v', 'y', { attributes: [floatAttribute('epsilon', 0.01)] }),
      ],
      [weights, floats('g', [6], 3), floats('b', [6], 4), floats('m', [6], 5), positive('v', 6, 6)],
    ),
  },
  {
    title: 'quantised weights',
    bias: 'own',
    isCoded: true,
    file: build(
      [node('DequantizeLinear', 'q s', 'w'), convolution('x w b', 'y')],
      [
        tensor('q', [6, 4, 3, 3], { dtype: 'int8', data: bytesOf('int8', codes) }),
        tensor('s', [], { data: bytesOf('float32', [0.02]) }),
        floats('b', [6], 2),
      ],
    ),
  },
];

async function outputsOf(bytes: Uint8Array): Promise<number[]> {
  const session = await InferenceSession.create(bytes);
  const outputs: number[] = [];
  for (const batch of batches) {
    for (const { data } of Object.values(await session.run(batch))) outputs.push(...(data as Float32Array));
  }
  await session.release();
  return outputs;
}

const distance = (first: readonly number[], second: readonly number[]) =>
  Math.sqrt(first.reduce((sum, each, at) => sum + (each - second[at]!) ** 2, 0));

async function repairing(
  file: Uint8Array,
  repair: RepairOptions<(typeof batches)[number]>,
  options: SparsifierOptions = {},
) {
  using read = await readOnnx(file);
  // All rows that the outputs have.
  const statistics = await calibrate(read, { ...data, holdOut: 0 });
  const sparsifier = new Sparsifier(read, { layerType: 'all', include: ['layer'], ...options, statistics });
  await sparsifier.sparsifyModel(50);
  const masked = await read.bytes();
  const { layers, skipped } = await sparsifier.repair(repair);
  const bytes = await read.bytes();
  await sparsifier.restore();
  expect(differsAt(await read.bytes(), file)).toBe(-1);
  return { masked, bytes, layer: layers[0], skipped };
}

describe('the bias of a repaired layer', () => {
  test.each(models)('A layer with $title comes closer to its dense outputs', async ({ title, file, bias, isCoded }) => {
    const dense = await outputsOf(file);
    const ratios: number[] = [];
    for (const method of ['bias', 'solve'] as const) {
      const { masked, bytes, layer } = await repairing(file, { method });
      expect([layer!.bias, layer!.isRepaired, layer!.heldOutRows]).toEqual([bias, true, 0]);
      const ratio = distance(dense, await outputsOf(bytes)) / distance(dense, await outputsOf(masked));
      ratios.push(ratio);
      if (isCoded) expect([layer!.reason, layer!.repaired]).toEqual([expect.stringContaining('as codes'), undefined]);
      // A normalisation scales channels apart.
      else if (!title.includes('normalisation')) expect(ratio).toBeCloseTo(layer!.repaired! / layer!.masked!, 4);
    }
    const [byBias, bySolution] = ratios as [number, number];
    expect(byBias).toBeLessThan(1);
    if (isCoded) expect(bySolution).toBe(byBias);
    else expect(bySolution).toBeLessThan(byBias);
    await expectNoMemoryInUse();
  });

  test('With addBias false, a layer without a bias is solved without one', async () => {
    const { file } = models.find(({ title }) => title === 'no bias')!;
    const { layer, bytes, masked } = await repairing(file, { addBias: false });
    expect([layer!.bias, layer!.isRepaired]).toEqual(['none', true]);
    expect(layer!.reason).toContain('`addBias: false`');
    expect(bytes).toHaveLength(masked.length);
    const biasOnly = await repairing(file, { addBias: false, method: 'bias' });
    expect([biasOnly.layer!.isRepaired, differsAt(biasOnly.bytes, biasOnly.masked)]).toEqual([false, -1]);
  });

  test.each(models.filter(({ bias }) => bias === 'added'))(
    'A repair with addBias false takes back the bias that an earlier one added to a layer with $title',
    async ({ file }) => {
      using read = await readOnnx(file);
      const statistics = await calibrate(read, data);
      const sparsifier = new Sparsifier(read, { layerType: 'all', include: ['layer'], statistics });
      await sparsifier.sparsifyModel(50);
      for (const options of [{}, { inputs: 'pruned', ...data }] as const) {
        await sparsifier.repair({ ...options, addBias: false });
        const without = await read.bytes();
        const { layers } = await sparsifier.repair(options);
        expect([layers[0]!.bias, differsAt(await read.bytes(), without) >= 0]).toEqual(['added', true]);
        await sparsifier.repair({ ...options, addBias: false });
        expect(differsAt(await read.bytes(), without)).toBe(-1);
      }
    },
  );

  test('Where only a bias can change, addBias false takes back one that an earlier repair added', async () => {
    const nodes = [node('DequantizeLinear', 'q s', 'w'), convolution('x w', 'y')];
    const file = build(nodes, [
      tensor('q', [6, 4, 3, 3], { dtype: 'int8', data: bytesOf('int8', codes) }),
      tensor('s', [], { data: bytesOf('float32', [0.02]) }),
    ]);
    using read = await readOnnx(file);
    const statistics = await calibrate(read, data);
    const sparsifier = new Sparsifier(read, { layerType: 'all', statistics });
    await sparsifier.sparsifyModel(50);
    const masked = await read.bytes();
    for (const options of [{}, { inputs: 'pruned', ...data }] as const) {
      const { layers } = await sparsifier.repair(options);
      expect([layers[0]!.bias, differsAt(await read.bytes(), masked) >= 0]).toEqual(['added', true]);
      const { skipped } = await sparsifier.repair({ ...options, addBias: false });
      expect([skipped.length, differsAt(await read.bytes(), masked)]).toEqual([1, -1]);
    }
  });

  test('A repair that is aborted on its way leaves no bias behind', async () => {
    const { file } = models.find(({ title }) => title === 'no bias')!;
    using read = await readOnnx(file);
    const statistics = await calibrate(read, data);
    const sparsifier = new Sparsifier(read, { layerType: 'all', statistics });
    await sparsifier.sparsifyModel(50);
    const masked = await read.bytes();
    const failing = () => {
      throw new Error('enough');
    };
    for (const options of [{}, { inputs: 'pruned', ...data }] as const) {
      await expect(sparsifier.repair({ ...options, onProgress: failing })).rejects.toThrow('enough');
      expect(differsAt(await read.bytes(), masked)).toBe(-1);
    }
  });

  test('Removed filters give 0 behind a batch normalisation whose mean is the bias', async () => {
    const { file } = models.find(({ title }) => title === 'a batch normalisation behind')!;
    const { bytes, masked } = await repairing(file, { inputs: 'pruned', ...data }, { granularity: 'filter' });
    const zeros = (outputs: readonly number[]) => outputs.filter((each) => each === 0).length;
    expect(zeros(await outputsOf(bytes))).toBe(zeros(await outputsOf(masked)));
    expect(zeros(await outputsOf(masked))).toBe(batches.length * 3 * 25);
  });
});
