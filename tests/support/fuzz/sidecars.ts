// What is read beside a model: statistics of the inputs of its layers, and masks.
import { Sparsifier } from 'sparsifier';
import { readStatistics, Statistics } from 'sparsifier/calibration';
import { fromArrays } from 'sparsifier/formats/arrays';
import { differsAt } from '../bytes.js';
import { copyOf } from '../oracle.js';
import { expectNoMemoryInUse, layerOf, layoutOf } from '../layers.js';
import { keeping } from '../streams.js';
import { safetensorsFile, type TensorsToStore } from '../safetensors-builder.js';
import { attempt, hold, type Target } from './target.js';

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer as ArrayBuffer);
const rows = { dtype: 'I64', shape: [], data: bytesOf(BigInt64Array.of(4n)) };
const floats = (shape: readonly number[], ...numbers: number[]) => ({
  shape,
  data: bytesOf(Float32Array.from(numbers)),
});

const statisticsFile = (tensors: TensorsToStore, metadata: Record<string, string> = {}) => ({
  bytes: safetensorsFile(tensors, { metadata: { format: 'sparsifier-statistics', version: '1', ...metadata } }),
});

const whole: TensorsToStore = {
  'd/rows': rows,
  'd/moment': floats([1, 2, 2], 4, 1, 1, 4),
  'd/mean': floats([1, 2], 1, -1),
  'd/norm': floats([2], 2, 2),
};

export const statistics: Target = {
  files: ['calibration/file', 'calibration/statistics', 'calibration/layer-statistics', 'formats/safetensors/header'],
  seeds: async () => ({
    'statistics of a layer': statisticsFile(whole, { 'sha256:d': '0'.repeat(64) }),
    'with batches that were held out': statisticsFile({
      ...whole,
      'd/heldOut/rows': rows,
      'd/heldOut/moment': floats([1, 2, 2], 4, 1, 1, 4),
      'd/heldOut/mean': floats([1, 2], 1, -1),
    }),
    'the diagonal alone': statisticsFile({
      'd/rows': rows,
      'd/moment': floats([1, 2], 4, 4),
      'd/mean': floats([1, 2], 1, 1),
    }),
    'a layer that is named like held-out batches': statisticsFile({
      'heldOut/rows': rows,
      'heldOut/moment': floats([1, 2], 4, 4),
      'heldOut/mean': floats([1, 2], 1, 1),
    }),
    'no layer': statisticsFile({}),
    'moments that no inputs have': statisticsFile({ ...whole, 'd/moment': floats([1, 2, 2], 4, 9, 9, 4) }),
    'numbers that are no numbers': statisticsFile({ ...whole, 'd/mean': floats([1, 2], NaN, Infinity) }),
    'a number of rows above 2^53': statisticsFile({
      ...whole,
      'd/rows': { ...rows, data: bytesOf(BigInt64Array.of(2n ** 62n)) },
    }),
    'a layer with the name of a property': statisticsFile({
      ['__proto__/rows']: rows,
      ['__proto__/moment']: floats([1, 2], 4, 4),
      ['__proto__/mean']: floats([1, 2], 1, 1),
    }),
    'moments of no columns': statisticsFile({ ...whole, 'd/moment': { shape: [1, 0, 0], data: new Uint8Array(0) } }),
  }),
  check: async ({ bytes }) => {
    const found = await attempt(() => readStatistics(bytes));
    if (found === undefined) return false;
    const written = await attempt(() => found.bytes());
    if (written !== undefined) {
      const again = await readStatistics(written);
      hold(differsAt(await again.bytes(), written) < 0, 'what was written and read is written differently');
      await attempt(() => found.merge(again).bytes());
    }
    await attempt(() => new Statistics(found.layers));
    await attempt(() =>
      found.check(fromArrays({ d: layerOf({ kind: 'dense', roles: ['out', 'in'], shape: [3, 2] }) })),
    );
    return true;
  },
};

const layers = { conv: layerOf(layoutOf('conv2d')), dense: layerOf(layoutOf('dense')) };
const model = () => fromArrays(copyOf(layers));
const maskOptions = [{ granularity: 'weight' }, { granularity: 'filter' }].map(
  (options) => ({ ...options, layerType: 'all' }) as const,
);

/** The file of the masks that a call makes. */
async function maskFile(options: (typeof maskOptions)[number]): Promise<Uint8Array<ArrayBuffer>> {
  const sparsifier = new Sparsifier(model(), options as never);
  await sparsifier.sparsifyModel(50);
  return masksOf(sparsifier);
}

async function masksOf(sparsifier: Sparsifier): Promise<Uint8Array<ArrayBuffer>> {
  const kept = keeping();
  await sparsifier.saveMasks(kept.stream);
  return Uint8Array.from(kept.bytes());
}

export const masks: Target = {
  files: ['pruning/mask-file', 'formats/safetensors/header'],
  seeds: async () => ({
    'masks of weights': { bytes: await maskFile(maskOptions[0]!) },
    'masks of filters': { bytes: await maskFile(maskOptions[1]!) },
    'masks of no layer': { bytes: safetensorsFile({}, { metadata: { format: 'sparsifier masks', version: '1' } }) },
    'another file': { bytes: safetensorsFile({ dense: { dtype: 'U8', shape: [5, 7] } }) },
  }),
  check: async ({ bytes }) => {
    let isRead = false;
    for (const options of maskOptions) {
      const sparsifier = new Sparsifier(model(), options as never);
      if ((await attempt(async () => (await sparsifier.loadMasks(bytes), true))) === undefined) continue;
      isRead = true;
      await attempt(() => sparsifier.apply());
      const written = await attempt(() => masksOf(sparsifier));
      if (written === undefined) continue;
      const again = new Sparsifier(model(), options as never);
      await again.loadMasks(written);
      hold(differsAt(await masksOf(again), written) < 0, 'what was written and read is written differently');
    }
    await expectNoMemoryInUse();
    return isRead;
  },
};
