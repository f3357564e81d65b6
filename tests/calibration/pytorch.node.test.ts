import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { calibrate, readStatistics } from 'sparsifier/calibration';
import { readModel } from 'sparsifier/formats';
import { readOnnx } from 'sparsifier/formats/onnx';
import { expect, test } from 'vitest';
import { readBytes, safetensors } from '../support/files.js';
import { root } from '../support/install.js';
import { errorOf } from '../support/layers.js';
import { apart } from '../support/naive-moments.js';
import { integerAttribute, integersAttribute, list, model, node, tensor } from '../support/onnx-builder.js';

// The statistics in cases/statistics, which PyTorch made by the recipe in the documentation.

const folder = 'cases/statistics';
const statisticsOf = async () => readStatistics(await readBytes(`${folder}/statistics.safetensors`));

test('The recipe in the documentation is the code that made the statistics', () => {
  const guide = readFileSync(join(root, 'docs', 'statistics.md'), 'utf8');
  const [, recipe] = /```python\n(.*?)```/s.exec(guide)!;
  const script = readFileSync(join(root, 'tests', folder, 'make.py'), 'utf8');
  expect(script).toContain(`# The recipe\n${recipe!}\n\n# The files\n`);
});

test('Statistics of PyTorch belong to the layers and weights of its checkpoint', async () => {
  const statistics = await statisticsOf();
  const path = join(root, 'tests', folder, 'weights.safetensors');
  using checkpoint = await readModel(path, { layers: { conv2: { kind: 'conv2d', groups: 2 } } });
  expect(await statistics.check(checkpoint)).toEqual([]);
  expect([...statistics.layers.keys()].sort()).toEqual(checkpoint.tensors.map(({ name }) => name).sort());
  // A checkpoint does not say how many groups a layer has.
  using undescribed = await readModel(path);
  const error = await errorOf(() => statistics.check(undescribed));
  expect(error.message).toMatch(/^conv2: .*given: 12 columns.*found: 2 groups of 12 columns.*`layers`/);
  const { heldOut, rows, groups, columns, norm } = statistics.layers.get('conv2')!;
  expect({ rows, held: heldOut!.rows, groups, columns, channels: norm!.length }).toEqual({
    ...{ rows: 6 * 2 * 3 * 2, held: 2 * 2 * 3 * 2, groups: 2, columns: 12, channels: 4 },
  });
});

test('Statistics of PyTorch are those of the same network in ONNX', async () => {
  const weights = safetensors(await readBytes(`${folder}/weights.safetensors`));
  const initializers = [...weights].map(([name, { shape, data }]) =>
    tensor(name, shape, { data: new Uint8Array(data.buffer) }),
  );
  const layer = (name: string, input: string, output: string, attributes: Uint8Array[]) =>
    node('Conv', `${input} ${name}.weight ${name}.bias`, output, { name, attributes });
  const bytes = model({
    nodes: [
      layer('conv1', 'x', 'a', [integersAttribute('strides', [2, 2]), integersAttribute('pads', [1, 1, 1, 1])]),
      node('Relu', 'a', 'b'),
      layer('conv2', 'b', 'c', [integerAttribute('group', 2)]),
      node('Relu', 'c', 'd'),
      node('Reshape', 'd flat', 'e'),
      layer('conv3', 'e', 'f', [integersAttribute('dilations', [2]), integersAttribute('pads', [2, 2])]),
      node('Relu', 'f', 'g'),
      node('Transpose', 'g', 'h', { attributes: [integersAttribute('perm', [0, 2, 1])] }),
      node('Transpose', 'fc.weight', 'w', { attributes: [integersAttribute('perm', [1, 0])] }),
      node('MatMul', 'h w', 'i', { name: 'fc' }),
      node('Add', 'i fc.bias', 'y'),
    ],
    initializers: [...initializers, list('flat', 0, 0, -1)],
    inputs: { x: 4 },
    outputs: { y: 3 },
  });
  const inputs = [...safetensors(await readBytes(`${folder}/inputs.safetensors`))].sort(
    ([a], [b]) => Number(a) - Number(b),
  );
  const feeds = inputs.map(([, { data, shape }]) => ({ x: new Tensor('float32', data as Float32Array, shape) }));
  using network = await readOnnx(bytes);
  const own = await calibrate(network, {
    createSession: (model, files) => InferenceSession.create(model, files),
    batches: () => feeds,
  });
  const { layers } = await statisticsOf();
  expect([...own.layers.keys()].sort()).toEqual([...layers.keys()].sort());
  for (const [name, layer] of layers) {
    const found = own.layers.get(name)!;
    expect(found.sha256).toBe(layer.sha256);
    for (const [ours, theirs] of [
      [found, layer],
      [found.heldOut!, layer.heldOut!],
    ] as const) {
      expect(ours.rows).toBe(theirs.rows);
      // Both compute the values with rounding of their own.
      expect(apart(ours.moment, [...theirs.moment])).toBeLessThan(1e-5);
      expect(apart(ours.mean, [...theirs.mean])).toBeLessThan(1e-5);
      expect(apart(ours.norm!, [...theirs.norm!])).toBeLessThan(1e-5);
    }
  }
});
