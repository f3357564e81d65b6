// A weight that is not finite is an error by every criterion, whatever its bits are: in memory and from file to file.
import { Criteria, Sparsifier, type CriteriaName, type SparsifierOptions } from 'sparsifier';
import { sparsifyFile } from 'sparsifier/file';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { errorOf, expectNoMemoryInUse, in16Bits, refusal, values, weightwise } from '../support/layers.js';
import { layerStatistics, rowsFor, statisticsOf } from '../support/naive-repair.js';
import { safetensorsFile } from '../support/safetensors-builder.js';
import { keeping } from '../support/streams.js';

const types = {
  float32: { name: 'F32', fraction: 23, exponent: 8 },
  float16: { name: 'F16', fraction: 10, exponent: 5 },
  bfloat16: { name: 'BF16', fraction: 7, exponent: 8 },
} as const;
type DataType = keyof typeof types;
const dtypes = Object.keys(types) as DataType[];

/** The bits of infinity, and of quiet and signalling numbers that are none, with either sign. */
function notFinite(dtype: DataType): number[] {
  const { fraction, exponent } = types[dtype];
  const infinity = (2 ** exponent - 1) * 2 ** fraction;
  const payloads = [0, 1, 2 ** (fraction - 1), 2 ** fraction - 1];
  return payloads.flatMap((payload) => [0, 1].map((sign) => sign * 2 ** (fraction + exponent) + infinity + payload));
}

const [out, inputs] = [4, 6];
const count = out * inputs;
const place = 13;

/** A dense layer whose weight at `place` has these bits. */
function layerWith(dtype: DataType, bits: number): ArrayLayer {
  const layer: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [out, inputs], data: values(count) };
  if (dtype === 'float32') {
    new Uint32Array(layer.data.buffer)[place] = bits;
    return layer;
  }
  const half = in16Bits(layer, dtype);
  half.data[place] = bits;
  return half;
}

const gradient = { bad: values(count, 2), good: values(count, 3) };
const activations = { bad: values(inputs, 4).map(Math.abs), good: values(inputs, 5).map(Math.abs) };
const rows = rowsFor({ groups: 1, outputs: out, columns: inputs }, 9);
const own = layerStatistics(layerWith('float32', 0), rows);
const statistics = statisticsOf({ bad: own, good: own });
const givenFor = (criteria: CriteriaName): Partial<SparsifierOptions> => ({
  ...{ initial: gradient, previous: gradient, gradient },
  ...(criteria === 'fluctuation' ? { statistics } : { activations }),
});

const granularities = ['weight', 'filter'] as const;
const reducers = ['mean', 'sum', 'l2', 'max'] as const;

/** `flap` is for coupled channels: see coupled.node.test.ts. */
const ofWeights = (Object.keys(Criteria) as CriteriaName[]).filter((name) => name !== 'flap');

describe.each(ofWeights)('a weight that is not finite is an error by %s', (criteria) => {
  const settings: Partial<SparsifierOptions>[] = granularities.flatMap((granularity) =>
    reducers.map((reducer) => ({ ...givenFor(criteria), criteria, granularity, reducer })),
  );

  test('in memory, and nothing is changed', async () => {
    for (const dtype of dtypes) {
      for (const bits of notFinite(dtype)) {
        const layers = { good: layerWith('float32', 0), bad: layerWith(dtype, bits) };
        for (const setting of settings) {
          const error = await refusal(layers, 50, setting);
          const what = `${dtype} ${bits.toString(16)} ${setting.granularity} ${setting.reducer}`;
          expect([error.code, error.details.subject], what).toEqual(['weights', 'bad']);
          expect(error.message, what).toContain(`index ${place}`);
        }
      }
    }
  });

  test('from file to file, ranked alone and together', async () => {
    for (const dtype of dtypes) {
      for (const bits of notFinite(dtype)) {
        const { data } = layerWith(dtype, bits);
        const file = safetensorsFile({
          'good.weight': [out, inputs],
          'bad.weight': { dtype: types[dtype].name, shape: [out, inputs], data: new Uint8Array(data.buffer) },
        });
        for (const context of ['local', 'global'] as const) {
          const options = { ...weightwise, ...givenFor(criteria), criteria, context, sparsity: 50 };
          const error = await errorOf(() => sparsifyFile(new Blob([file]), () => keeping().stream, options));
          const what = `${dtype} ${bits.toString(16)} ${context}`;
          expect([error.code, error.details.subject], what).toEqual(['weights', 'bad']);
        }
      }
    }
    await expectNoMemoryInUse();
  });
});

test('a weight that was removed and is not finite now is an error by every criterion, too', async () => {
  for (const criteria of ['largeFinal', 'squaredFinal', 'smallFinal'] as const) {
    for (const granularity of granularities) {
      const layers = { bad: layerWith('float32', 0) };
      const sparsifier = new Sparsifier(fromArrays(layers), { ...weightwise, criteria, granularity });
      await sparsifier.sparsifyModel(50);
      const gone = [...sparsifier.mask('bad').data].indexOf(0);
      layers.bad.data[granularity === 'weight' ? gone : gone * inputs] = NaN;
      const error = await errorOf(() => sparsifier.sparsifyModel(75));
      expect([error.code, error.details.subject]).toEqual(['weights', 'bad']);
    }
  }
});
