import type { WeightTensor } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { describe, expect, test } from 'vitest';
import { importanceOf, inputsOf, layoutOf, lostOutputs, storedAs } from '../support/internal.js';
import { layouts, weightsOnly } from '../support/layers.js';
import { layerStatistics, matricesOf, rowsFor, sizesOf } from '../support/naive-repair.js';

// What outputs lose on average when weights are rounded, recomputed from the rows of the inputs.

const multiplied = layouts.filter((layout) => layoutOf({ ...tensorOf(weightsOnly(layout)) }) !== undefined);

function tensorOf(layer: ArrayLayer): WeightTensor {
  return fromArrays({ layer }).tensors[0]!;
}

describe('outputs', () => {
  test('Layers of all layouts but embeddings are multiplied with rows', () => {
    expect(multiplied.map(({ title }) => title)).toEqual(
      layouts.map(({ title }) => title).filter((title) => title !== 'embedding'),
    );
  });

  test.each(multiplied)('The outputs of a $title lose the difference of the means', async (layout) => {
    const layer = weightsOnly(layout);
    const tensor = tensorOf(layer);
    const sizes = sizesOf(layer);
    const rows = rowsFor(sizes, 40);
    const statistics = inputsOf(layerStatistics(layer, rows));
    const weights = layer.data as Float32Array;
    const { values } = await storedAs('int8', tensor, weights, undefined);
    const lost = await lostOutputs(tensor, weights, values, statistics.mean);
    const [before, after] = [matricesOf(layer), matricesOf(layer, values)];
    const mean = (matrices: number[][][], group: number, output: number) => {
      const outputs = rows[group]!.map((row) =>
        row.reduce((sum, each, column) => sum + each * matrices[group]![output]![column]!, 0),
      );
      return outputs.reduce((sum, each) => sum + each, 0) / outputs.length;
    };
    const naive = Array.from({ length: sizes.groups }, (_, group) =>
      Array.from({ length: sizes.outputs }, (_, output) => mean(before, group, output) - mean(after, group, output)),
    ).flat();
    expect(lost).toHaveLength(naive.length);
    const scale = Math.max(...naive.map(Math.abs));
    expect(scale).toBeGreaterThan(0);
    for (const [channel, each] of naive.entries()) expect(Math.abs(lost[channel]! - each)).toBeLessThan(2e-5 * scale);
  });
});

test.each([true, false])('Means and squares count all rows, with diagonal moments: %s', (isDiagonal) => {
  const layer = weightsOnly({ kind: 'conv1d', roles: ['out', 'in', 'width'], shape: [6, 1, 5], groups: 2 });
  const rows = rowsFor(sizesOf(layer), 24);
  const seen = rows.map((group) => group.slice(0, 16));
  const heldOut = rows.map((group) => group.slice(16));
  const whole = inputsOf(layerStatistics(layer, rows));
  const parts = inputsOf(layerStatistics(layer, seen, { heldOut, isDiagonal }));
  for (const key of ['mean', 'moment'] as const) {
    expect(parts[key]).toHaveLength(10);
    for (const [index, each] of whole[key].entries()) expect(parts[key][index]).toBeCloseTo(each, 5);
  }
  expect(importanceOf(whole, false)).toEqual(whole.moment);
  for (const [index, each] of importanceOf(whole, true).entries())
    expect(each).toBeCloseTo(whole.moment[index]! - whole.mean[index]! ** 2, 10);
});
