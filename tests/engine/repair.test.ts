import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';
import { expectNoMemoryInUse } from '../support/layers.js';
import { fitCase, repairCases, seenIn, type Arrays } from '../support/repair-cases.js';

const { cases, arrays } = await repairCases();
const numbersOf = (from: Arrays, name: string) => from.get(name)!.data;
const largest = (numbers: ArrayLike<number>) =>
  Array.from(numbers).reduce((most, each) => Math.max(most, Math.abs(each)), 0);

function expectNear(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  scale = largest(expected),
) {
  expect(found.length).toBe(expected.length);
  for (let place = 0; place < found.length; place++) {
    const difference = Math.abs(found[place]! - expected[place]!);
    if (!(difference <= tolerance * scale)) expect.fail(`at ${place}: ${found[place]} is not ${expected[place]}`);
  }
}

test.each(cases)('Moments, weights, biases and errors of $name are the recorded ones', async (each) => {
  const { name, groups, errors } = each;
  const engine = await loadEngine();
  const { seen, geometry } = await seenIn(each, arrays);
  expectNear(seen.pruned.moment, numbersOf(arrays, `${name}/moment`), 1e-6);
  expectNear(seen.pruned.mean, numbersOf(arrays, `${name}/mean`), 1e-6);
  if (seen.dense) {
    expectNear(seen.dense.own.moment, numbersOf(arrays, `${name}/denseMoment`), 1e-6);
    expectNear(seen.dense.cross, numbersOf(arrays, `${name}/cross`), 1e-6);
  }
  const weight = arrays.get(`${name}/weight`)!;
  const [rows, columns] = weight.shape as [number, number];
  const means = seen.dense?.own.mean ?? seen.pruned.mean;
  const outputMeans = Array.from({ length: rows }, (_, row) => {
    const group = Math.floor(row / (rows / groups));
    let sum = 0;
    for (let column = 0; column < columns; column++)
      sum += weight.data[row * columns + column]! * means[group * columns + column]!;
    return sum;
  });
  for (const [key, steps, hasBias, tolerance] of [
    ['cg3', 3, true, 1e-5],
    ['cg10', 10, true, 1e-5],
    ['rawCg3', 3, false, 1e-4],
  ] as const) {
    const { weights, shift, masked, solved, whole, better } = await fitCase(
      engine,
      each,
      arrays,
      seen,
      [steps],
      hasBias,
    );
    expect(better).toBe(geometry.groups);
    const found = new Float32Array(weights.buffer);
    expectNear(found, numbersOf(arrays, `${name}/${key}`), tolerance);
    const kept = numbersOf(arrays, `${name}/mask`);
    expect(found.every((number, place) => kept[place] === 1 || Object.is(number, 0))).toBe(true);
    if (hasBias) expectNear(shift, numbersOf(arrays, `${name}/${key}Bias`), 1e-5, largest(outputMeans));
    else expect(shift.every((number) => number === 0)).toBe(true);
    if (groups > 1) continue;
    expect(Math.abs(Math.sqrt(solved / whole) - errors[key]![0]!)).toBeLessThan(1e-4);
    expect(Math.abs(Math.sqrt(masked / whole) - errors.mask![0]!)).toBeLessThan(1e-4);
  }
  await expectNoMemoryInUse();
});

test('A fit refuses arrays of other sizes', async () => {
  const engine = await loadEngine();
  const [first, second] = [cases[0]!, cases[7]!];
  const { seen } = await seenIn(second, arrays);
  await expect(
    fitCase(
      engine,
      first,
      arrays,
      seen,
      Array.from({ length: 9 }, (_, step) => step),
    ),
  ).rejects.toThrow('at most 8 checks');
});
