// `npm run fuzz -- removal` runs this with more networks. Then what is found is printed as it comes, made small.
import { expect, test } from 'vitest';
import { check, permuted, reduced, type Finding } from '../support/removal/fuzzing.js';
import { randomNetwork, type NetworkChoice } from '../support/removal/random-network.js';
import { Random } from '../support/removal/random.js';

const { FUZZ_COUNT, FUZZ_SEED = '1' } = process.env;
const isLong = FUZZ_COUNT !== undefined;
const networks = Number(FUZZ_COUNT ?? '200');
const first = Number(FUZZ_SEED);

/** How to make a network again, and what it consists of. */
async function described(choice: NetworkChoice, { kind, text }: Finding): Promise<string> {
  const small = isLong ? await reduced(choice, kind) : choice;
  const left = Array.from({ length: choice.count }, (_, place) => place).filter((place) => !small.without?.has(place));
  const lines = isLong ? randomNetwork(small).lines : [];
  return [`seed ${choice.seed}, operators ${left.join(' ')} of ${choice.count}: ${kind}: ${text}`, ...lines].join(
    '\n    ',
  );
}

test('random networks without their dead channels compute the same', async () => {
  const failures: string[] = [];
  const found = { run: 0, smaller: 0, channels: 0, values: 0, compared: 0, further: 0, blurred: 0, permuted: 0 };
  for (let place = 0; place < networks; place++) {
    const seed = first + place;
    const choice = { seed, count: new Random(seed, 4000).between(5, 20) };
    const { findings, count, isRun, further, values, compared, blurred } = await check(choice);
    const order = count > 0 ? await permuted(choice) : undefined;
    const [finding] = [...findings, ...(order?.finding ? [order.finding] : [])];
    found.channels += count;
    found.values += values;
    found.compared += compared;
    if (isRun) found.run++;
    if (count > 0) found.smaller++;
    if (further > 0) found.further++;
    if (blurred > 0) found.blurred++;
    if (order?.isPermuted) found.permuted++;
    if (isLong && (place + 1) % 1000 === 0) console.log(place + 1, JSON.stringify(found));
    if (finding === undefined) continue;
    failures.push(await described(choice, finding));
    if (isLong) console.log(failures.at(-1));
  }
  expect(failures).toEqual([]);
  // Runtimes refuse a few of them, and of many nothing can go.
  expect(found.run).toBeGreaterThan(0.9 * networks - 5);
  expect(found.smaller).toBeGreaterThan(0.3 * networks - 5);
  expect(found.permuted).toBeGreaterThan(0.08 * networks - 5);
  // All values but those behind operators without a rule.
  expect(found.compared).toBeGreaterThan(0.9 * found.values);
  // What `check` allows besides the limit of the judge, and in a second removal, is rare.
  expect(found.blurred).toBeLessThan(0.01 * networks + 5);
  expect(found.further).toBeLessThan(0.03 * networks + 5);
});
