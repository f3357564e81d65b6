import { expect, test } from 'vitest';
import { remembered, type Probe } from '../support/internal.js';

const order = ['a', 'b', 'c', 'd'];
const numbersOf = (value: string, batch: number) =>
  Float32Array.from({ length: 4 }, (_, at) => batch + at + order.indexOf(value) / 8);

/** A probe that counts its runs, and whose values are gone once they are released. */
function counting() {
  const runs: string[] = [];
  let open = 0;
  const probe: Probe<number> = {
    usesOf: () => 'not asked for',
    open: async (values) => {
      open++;
      return {
        run: async (batch) => {
          runs.push(`${values.join('')} ${batch}`);
          const numbers = new Map(values.map((value) => [value, numbersOf(value, batch)]));
          return {
            get: (value) => ({ shape: [4], type: 'float32', numbers: () => numbers.get(value) }),
            release: () => numbers.forEach((each) => each.fill(NaN)),
          };
        },
        release: () => void open--,
      };
    },
  };
  return { probe, runs, isOpen: () => open > 0 };
}

async function ask(probe: Probe<number>, values: readonly string[], batches = 3): Promise<void> {
  const open = await probe.open(values);
  for (let batch = 0; batch < batches; batch++) {
    const activations = await open.run(batch);
    for (const value of values) expect(await activations.get(value)!.numbers()).toEqual(numbersOf(value, batch));
    activations.release();
  }
  await open.release();
}

test.each([
  // Bytes of one value: 16 for each of 3 batches.
  { memory: 4 * 48, runs: 3 },
  { memory: 2 * 48, runs: 6 },
  { memory: 0, runs: 12 },
])('Values that fit into $memory bytes take $runs runs, and are the same', async ({ memory, runs }) => {
  const { probe, ...counted } = counting();
  const known = remembered(probe, order, memory);
  for (const value of order) await ask(known, [value]);
  expect(counted.runs).toHaveLength(runs);
  expect(counted.isOpen()).toBe(false);
});

test('A pass that ends early does not hide the batches that it has not seen', async () => {
  const { probe, ...counted } = counting();
  const known = remembered(probe, order, 1000);
  await ask(known, ['a'], 1);
  await ask(known, ['a', 'b']);
  expect(counted.runs).toEqual(['abcd 0', 'abcd 1', 'abcd 2']);
});

test('Values that are asked for together are kept in any case', async () => {
  const { probe } = counting();
  const known = remembered(probe, order, 0);
  await ask(known, ['a', 'b']);
  await ask(known, ['c', 'd']);
});
