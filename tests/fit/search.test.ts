import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AmountSearch } from '../support/internal.js';

/** Sizes that fall with the amount, from `size` to a share of it, along a curve. */
const anySizes = fc.record({
  size: fc.integer({ min: 1000, max: 10_000_000 }),
  least: fc.double({ min: 0.01, max: 0.9, noNaN: true }),
  power: fc.double({ min: 0.3, max: 4, noNaN: true }),
  /** What exact sizes are of estimates, at no zeros and at most. */
  ratios: fc.tuple(fc.double({ min: 0.7, max: 1.3, noNaN: true }), fc.double({ min: 0.7, max: 1.3, noNaN: true })),
});

describe('the search for an amount', () => {
  test('The result is never above the target, and with fewer zeros it would be, but for a hundredth of its bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        anySizes,
        fc.double({ min: 0.005, max: 1.4, noNaN: true }),
        async ({ size, least, power, ratios }, part) => {
          const estimateAt = (amount: number) => size * (1 - (1 - least) * (amount / 9500) ** power);
          const exactAt = (amount: number) =>
            Math.round(estimateAt(amount) * (ratios[0] + ((ratios[1] - ratios[0]) * amount) / 9500));
          const target = Math.ceil(part * exactAt(0));
          const made: number[] = [];
          const search = new AmountSearch(async (amount) => Math.round(estimateAt(amount)), true);
          const { model, fits } = await search.within(target, async (amount) => {
            made.push(amount);
            return { amount, bytes: exactAt(amount) };
          });
          expect(new Set(made).size).toBe(made.length);
          // The exact sizes need not fall where their ratio grows.
          fc.pre(Array.from({ length: 95 }, (_, at) => exactAt(100 * at) > exactAt(100 * at + 100)).every(Boolean));
          expect(fits).toBe(exactAt(9500) <= target);
          if (!fits) {
            expect(model.bytes).toBe(exactAt(9500));
            return;
          }
          expect(model.bytes).toBeLessThanOrEqual(target);
          const isNear = model.bytes >= 0.99 * target || model.amount === 0 || exactAt(model.amount - 1) > target;
          expect(isNear || made.length >= 5).toBe(true);
          expect(made.length).toBeLessThanOrEqual(16);
        },
      ),
    );
  });

  test('Each amount is estimated once, and without zeros only the amount 0 is made', async () => {
    const estimated: number[] = [];
    const search = new AmountSearch(async (amount) => {
      estimated.push(amount);
      return 1000 - amount / 10;
    }, true);
    for (const target of [900, 500, 910])
      await search.within(target, async (amount) => ({ bytes: Math.ceil(1000 - amount / 10) }));
    expect(new Set(estimated).size).toBe(estimated.length);
    const fixed = new AmountSearch(async () => 1000, false);
    const make = async (amount: number) => ({ amount, bytes: 1000 });
    expect(await fixed.within(999, make)).toEqual({ model: { amount: 0, bytes: 1000 }, fits: false });
    expect(await fixed.within(1000, make)).toEqual({ model: { amount: 0, bytes: 1000 }, fits: true });
  });
});
