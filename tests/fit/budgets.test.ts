import { readModel, sizesOf } from 'sparsifier/formats';
import { fit } from 'sparsifier/fit';
import { describe, expect, test } from 'vitest';
import { normal } from '../support/fit-models.js';
import { safetensorsFile } from '../support/safetensors-builder.js';

// Without statistics, what judges a model also says how its zeros are divided among the layers.

const weight = (outputs: number, seed: number, scale: number) => ({
  shape: [outputs, 64],
  data: new Uint8Array(normal(64 * outputs, seed, scale).buffer),
});
const checkpoint = safetensorsFile({ 'wide.weight': weight(96, 3, 0.1), 'narrow.weight': weight(24, 4, 0.4) });

/** The share of zeros in each layer of a file. */
async function sparsities(files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): Promise<number[]> {
  const [bytes] = files.values();
  using model = await readModel(bytes!);
  const shares: number[] = [];
  for (const { values } of model.tensors) {
    const numbers = new Float32Array((await model.copy(values)).slice().buffer);
    shares.push(numbers.filter((number) => number === 0).length / numbers.length);
  }
  return shares;
}

describe('how zeros are divided without statistics', () => {
  test.each([
    ['uniform', (wide: number, narrow: number) => -Math.abs(wide - narrow)],
    ['lamp or erk', (wide: number, narrow: number) => wide - narrow],
  ] as const)('The budget that is best for the judge is taken, and the report names it: %s', async (found, value) => {
    using model = await readModel(checkpoint);
    const target = Math.floor(0.6 * (await sizesOf(model)).brotli);
    const evaluate = async (files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) => {
      const [wide, narrow] = (await sparsities(files)) as [number, number];
      return value(wide, narrow);
    };
    const { model: small, report } = await fit(model, { target, allow: ['prune'], evaluate });
    using fitted = small;
    const [wide, narrow] = (await sparsities(await fitted.toFiles())) as [number, number];
    const note = report.notes.find((each) => each.includes('divided among the layers'));
    expect(note).toMatch(found === 'uniform' ? /by the budget uniform,/ : /by the budget (lamp|erk),/);
    if (found === 'uniform') expect(Math.abs(wide - narrow)).toBeLessThan(0.001);
    else expect(wide - narrow).toBeGreaterThan(0.02);
  });

  test('Without a judge, nothing is compared', async () => {
    using model = await readModel(checkpoint);
    const target = Math.floor(0.6 * (await sizesOf(model)).brotli);
    const { model: small, report } = await fit(model, { target, allow: ['prune'] });
    using fitted = small;
    expect(fitted.tensors).toHaveLength(2);
    expect(report.notes.some((each) => each.includes('divided among the layers'))).toBe(false);
  });
});
