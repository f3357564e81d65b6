import { readModel, sizesOf } from 'sparsifier/formats';
import { fit } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../support/bytes.js';
import { normal } from '../support/fit-models.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// A transform has the same filters in several places, which a compressor stores once.

const bytesOf = (numbers: Float32Array<ArrayBuffer>) => new Uint8Array(numbers.buffer);
const weight = (seed: number) => ({ shape: [32, 64], data: bytesOf(normal(2048, seed)) });
const checkpoint = safetensorsFile({
  'low.weight': weight(3),
  'middle.weight': weight(3),
  'high.weight': weight(3),
  'first.weight': weight(5),
  'second.weight': weight(6),
});

describe('layers whose zeros save nothing', () => {
  test.each(['br', 'gzip'] as const)(
    'Layers of which the file has copies are left alone, and the report says why (%s)',
    async (encoding) => {
      using model = await readModel(checkpoint);
      const { brotli, gzip } = await sizesOf(model);
      const target = Math.floor(0.8 * (encoding === 'br' ? brotli : gzip));
      const { model: small, report } = await fit(model, { target, encoding, allow: ['prune'] });
      using fitted = small;
      expect(fitted.tensors).toHaveLength(5);
      const { layers } = report;
      const spared = layers.filter(({ reason }) => /zeros in it make .* no smaller/.test(reason ?? ''));
      expect(spared.map(({ name, zeros }) => [name, zeros])).toEqual(
        ['low', 'middle', 'high'].map((name) => [name, 0]),
      );
      const pruned = layers.filter(({ reason }) => reason === undefined);
      expect(pruned.map(({ name, zeros }) => [name, zeros > 0])).toEqual(
        ['first', 'second'].map((name) => [name, true]),
      );
      expect(String(report)).toMatch(/\nnot pruned:\n {2}3 layers: zeros in it .*: low, middle, high\n/);
    },
  );

  test('The model is looked at layer by layer without being changed', async () => {
    using model = await readModel(checkpoint);
    const { brotli } = await sizesOf(model);
    const { model: small } = await fit(model, { target: brotli, allow: ['prune'] });
    using fitted = small;
    expect(differsAt(await fitted.bytes(), checkpoint)).toBe(-1);
    expect(differsAt(await model.bytes(), checkpoint)).toBe(-1);
  });
});
