import fc from 'fast-check';
import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';
import { infinityKey, keyOf, plainEntry, run, surveyWord, surveyWords, writeTable } from '../support/internal.js';
import { expectNoMemoryInUse } from '../support/layers.js';

/** The key that the kernels give a score with these bits: the highest one of a ranking of that score alone. */
async function keyOfKernels(bits: number): Promise<number> {
  const engine = await loadEngine();
  const [scores, counts] = [await engine.allocate(4), await engine.allocate(surveyWords * 4)];
  await scores.write(new Uint8Array(Uint32Array.of(bits).buffer));
  const axes = [{ size: 1, block: 1, order: 0 }];
  const entry = { ...plainEntry, weights: 0, dtype: 'float32', axes, scores: scores.address, limit: 1 } as const;
  const table = await writeTable(engine, [entry]);
  await run(engine, [['survey', table.block.address, 0, 2 ** 32 - 1, counts.address, scores.address, 0]]);
  const words = new Uint32Array((await counts.read(0, new Uint8Array(counts.bytes))).buffer);
  table.release();
  for (const block of [scores, counts]) block.free();
  return words[surveyWord.highest]!;
}

test('The keys of a sample are those that the kernels count by.', async () => {
  const special = [0, 0x8000_0000, 1, 0x8000_0001, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f7f_ffff];
  const check = async (bits: number) => {
    expect(keyOf(bits), bits.toString(16)).toBe(await keyOfKernels(bits));
  };
  for (const bits of special) await check(bits);
  await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 32 - 1 }), check));
  await expectNoMemoryInUse();
});

test('Infinity and what is not a number share one key, above all other keys.', () => {
  for (const bits of [0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0xff80_0001, 0xffff_ffff]) {
    expect(keyOf(bits)).toBe(infinityKey);
  }
  expect(keyOf(0x7f7f_ffff)).toBe(infinityKey - 1);
});
