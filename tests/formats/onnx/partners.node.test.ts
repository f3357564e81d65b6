import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { numbers, outputsOf, pruned } from '../../support/silence.js';

describe('networks of a layer and what follows it', () => {
  // The shape of the input, and the axis of the channels in the output.
  test.each([
    ['bias_after_reshape', [2, 5, 8], 2],
    ['bias_after_transpose', [1, 3, 8, 8], 3],
    ['bias_reshaped', [1, 3, 8, 8], 1],
    ['bias_sub', [2, 8], 1],
    ['bn_muladd', [1, 3, 8, 8], 1],
    ['bn_scale', [1, 3, 8, 8], 1],
    ['pool_bn', [1, 3, 8, 8], 1],
    ['instancenorm', [1, 3, 8, 8], 1],
  ])('The channels of removed filters are exactly 0: %s', async (name, shape, axis) => {
    const { bytes, layers } = await pruned(await readBytes(`cases/${name}.onnx`));
    expect(layers).toMatchObject([{ leaks: [] }]);
    const size = shape.reduce((product, each) => product * each, 1);
    const { z } = await outputsOf(bytes, { x: { data: numbers(size, 1), shape } });
    const largest = largestAlong(z!.data, z!.shape, axis);
    expect(largest.filter((number) => number === 0)).toHaveLength(largest.length / 2);
  });

  test.each(['known', 'unknown'])('A normalisation along another axis is named if the rank is %s', async (rank) => {
    const { layers } = await pruned(await readBytes(`cases/bn_axis_${rank}.onnx`));
    expect(layers).toMatchObject([{ partners: [], leaks: [{ name: 'g' }, { name: 'be' }] }]);
  });
});

/** The largest magnitude at each index of an axis. */
function largestAlong(data: Float32Array, shape: readonly number[], axis: number): number[] {
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const largest = new Array<number>(shape[axis]!).fill(0);
  for (const [index, number] of data.entries()) {
    const at = Math.floor(index / inner) % shape[axis]!;
    largest[at] = Math.max(largest[at]!, Math.abs(number));
  }
  return largest;
}
