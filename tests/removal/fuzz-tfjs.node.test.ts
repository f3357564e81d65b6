// `npm run fuzz -- removal-tfjs` runs this with more networks. Then what is found is printed as it comes, made small.
import { beforeAll, expect, test } from 'vitest';
import { Random } from '../support/removal/random.js';
import { checkGraph, checkKeras, checkSafely, reduced } from '../support/removal/tfjs-checking.js';
import { tf } from '../support/tfjs.js';

const { FUZZ_COUNT, FUZZ_SEED = '1' } = process.env;
const isLong = FUZZ_COUNT !== undefined;
const networks = Number(FUZZ_COUNT ?? '60');
const first = Number(FUZZ_SEED);

beforeAll(() => tf.setBackend('cpu'));

/** What was found in so many networks. */
async function checkAll(check: typeof checkKeras) {
  const failures: string[] = [];
  const found = { smaller: 0, channels: 0, followed: 0, further: 0, carriers: 0, folded: 0, copies: 0, frozen: 0 };
  for (let seed = first; seed < first + networks; seed++) {
    const choice = { seed, count: new Random(seed, 4000).between(4, 16) };
    const { findings, count, isFollowed, isFurther, ...others } = await checkSafely(check, choice);
    found.channels += count;
    if (count > 0) found.smaller++;
    if (isFollowed) found.followed++;
    if (isFurther) found.further++;
    for (const key of ['carriers', 'folded', 'copies', 'frozen'] as const) found[key] += others[key];
    if (isLong && (seed - first + 1) % 500 === 0) console.log(seed - first + 1, JSON.stringify(found));
    if (findings.length === 0) continue;
    const without = isLong ? (await reduced(check, choice)).without : undefined;
    const left = Array.from({ length: choice.count }, (_, place) => place).filter((place) => !without?.has(place));
    failures.push(`seed ${seed}, layers ${left.join(' ')} of ${choice.count}: ${findings.join('; ')}`);
    if (isLong) console.log(failures.at(-1));
  }
  // As for ONNX models, a second removal rarely finds more.
  expect(found.further).toBeLessThan(0.03 * networks + 5);
  return { failures, found };
}

test('random Keras models without their dead channels compute the same', async () => {
  const { failures, found } = await checkAll(checkKeras);
  expect(failures).toEqual([]);
  // Of some of them nothing can go.
  expect(found.smaller).toBeGreaterThan(0.4 * networks - 5);
  expect(found.followed).toBeGreaterThan(0.9 * networks - 5);
  expect(found.carriers).toBeGreaterThan(0.05 * networks - 5);
  expect(found.folded).toBeGreaterThan(0.1 * networks - 5);
});

test('random GraphModels without their dead channels compute the same', async () => {
  const { failures, found } = await checkAll(checkGraph);
  expect(failures).toEqual([]);
  expect(found.smaller).toBeGreaterThan(0.4 * networks - 5);
  expect(found.followed).toBeGreaterThan(0.6 * networks - 5);
  expect(found.carriers).toBeGreaterThan(0.05 * networks - 5);
  expect(found.folded).toBeGreaterThan(0.1 * networks - 5);
  expect(found.frozen).toBeGreaterThan(0.1 * networks - 5);
});
