import { Tensor } from 'onnxruntime-node';
import { Sparsifier } from 'sparsifier';
import type { FileModel } from 'sparsifier/formats/tfjs';
import { planRemoval } from 'sparsifier/removal';
import { beforeAll, describe, expect, test } from 'vitest';
import { withModel } from '../support/onnx-model.js';
import { Random } from '../support/removal/random.js';
import { run as runOnnx } from '../support/removal/running.js';
import { checkModel, differenceOf, inputsOf, largestOf, readSaved, run } from '../support/removal/tfjs-checking.js';
import { twinNetworks } from '../support/removal/twin-networks.js';
import { moved, Twin, type TwinMask } from '../support/removal/twins.js';
import { tf } from '../support/tfjs.js';

// Networks that are built twice with the same weights: for TensorFlow.js, and as ONNX graphs.

beforeAll(() => tf.setBackend('cpu'));

const networks = Object.keys(twinNetworks);

function twin(name: string, mask: TwinMask): Twin {
  const net = new Twin(7, mask);
  twinNetworks[name]!(net);
  return net;
}

/** The output channels of each layer whose filters are 0. */
async function masksOf(model: FileModel): Promise<Record<string, number[]>> {
  const masks: Record<string, number[]> = {};
  for (const { name, values, shape, roles } of model.tensors) {
    const bytes = await model.copy(values);
    const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const isCounted = (axis: number) => ['out', 'multiplier'].includes(roles[axis]!);
    const alive = new Set<number>();
    let channels = 1;
    for (const [axis, size] of shape.entries()) if (isCounted(axis)) channels *= size;
    for (const [at, number] of numbers.entries()) {
      let [channel, inner, rest] = [0, 1, at];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        const index = rest % shape[axis]!;
        rest = Math.floor(rest / shape[axis]!);
        if (!isCounted(axis)) continue;
        channel += index * inner;
        inner *= shape[axis]!;
      }
      if (number !== 0) alive.add(channel);
    }
    masks[name] = Array.from({ length: channels }, (_, channel) => channel).filter((channel) => !alive.has(channel));
  }
  return masks;
}

/** What a plan says of each group of channels, by its layers. */
async function groupsOf(model: FileModel, roundTo: number) {
  const { groups, notes } = await planRemoval(model, { roundTo });
  expect(notes.filter((note) => note.startsWith('channels that'))).toEqual([]);
  const facts = groups.map(({ layers, channels, dead, exact, kept, removed }) => ({
    ...{ layers: [...layers].sort(), channels, dead, exact, kept, removed },
  }));
  return facts.sort((one, other) => (one.layers.join() < other.layers.join() ? -1 : 1));
}

describe.each(networks)('the network %s', (name) => {
  test('It computes the same in TensorFlow.js and in ONNX Runtime', async () => {
    const net = twin(name, 'none');
    const { keras } = net;
    const [input] = inputsOf(keras, 3);
    const [output] = run(keras, [input!]);
    const isSpace = input!.shape.length === 4;
    const order = [0, 3, 1, 2];
    const data = input!.dataSync() as Float32Array;
    const feed = isSpace
      ? new Tensor(
          'float32',
          moved(data, input!.shape, order),
          order.map((axis) => input!.shape[axis]!),
        )
      : new Tensor('float32', data, input!.shape);
    const [outputs] = await runOnnx(net.onnx, [{ input: feed }], false);
    const [other] = [...outputs!.values()];
    const { shape, numbers: own } = output!;
    const numbers = shape.length === 4 ? moved(own, shape, order) : own;
    const difference = differenceOf({ shape: [], numbers }, { shape: [], numbers: other!.numbers as Float32Array });
    expect(other!.numbers).toHaveLength(numbers.length);
    expect(difference).toBeLessThan(1e-5 * largestOf(output!));
  });

  test.each([
    ['layer by layer', false],
    ['for coupled layers together', true],
  ])('It gets the same masks in both formats, %s', async (_, coupled) => {
    const net = twin(name, 'none');
    using own = await readSaved(net.keras);
    const layerType = coupled ? 'all' : name === 'recurrent' ? 'dense' : 'conv2d';
    const masks = await withModel(net.onnx, async (read) => {
      for (const model of [own, read])
        await new Sparsifier(model, { granularity: 'filter', coupled, layerType }).sparsifyModel(40);
      expect(await groupsOf(own, 1)).toEqual(await groupsOf(read, 1));
      return [await masksOf(own), await masksOf(read)];
    });
    expect(masks[0]).toEqual(masks[1]);
    expect(Object.values(masks[0]!).flat().length).toBeGreaterThan(0);
  });

  test.each(['filters', 'group'] as const)('The same channels go in both formats, with zeros in %s', async (mask) => {
    const net = twin(name, mask);
    using own = await readSaved(net.keras);
    for (const roundTo of [1, 8]) {
      const groups = await groupsOf(own, roundTo);
      expect(groups).toEqual(await withModel(net.onnx, (read) => groupsOf(read, roundTo)));
      if (roundTo === 1) expect(groups.flatMap(({ removed }) => removed).length).toBeGreaterThan(0);
    }
    // TensorFlow.js gives what it gave before, but for its own noise.
    const { findings } = await checkModel(net.keras, new Random(1).between(0, 100));
    expect(findings).toEqual([]);
  });
});
