import { isKept, maskBytes, unitsOf, type Axis } from '../engine/record.js';
import { inSlices, stepsAtATime } from '../host/slices.js';

// Masks: one bit per unit in whole words, 1 for a unit that is kept; bits beyond the last unit are 1.

const wordsOf = (mask: Uint8Array): Uint32Array => new Uint32Array(mask.buffer, mask.byteOffset, mask.byteLength / 4);

/** The mask that keeps these units. */
export function maskOf(kept: readonly boolean[]): Uint8Array {
  const mask = new Uint8Array(maskBytes(kept.length)).fill(255);
  for (const [unit, stays] of kept.entries()) if (!stays) mask[unit >> 3]! &= ~(1 << (unit & 7));
  return mask;
}

/** How many units a mask removes. */
export async function unitsRemoved(mask: Uint8Array): Promise<number> {
  const words = wordsOf(mask);
  let removed = 0;
  const count = (from: number, to: number) => {
    for (let place = from; place < to; place++) removed += ones(~words[place]!);
  };
  await inSlices(words.length, count, stepsAtATime);
  return removed;
}

/** How many bits of a word are 1 (Warren, Hacker's Delight, section 5-1). */
function ones(word: number): number {
  word -= (word >>> 1) & 0x5555_5555;
  word = (word & 0x3333_3333) + ((word >>> 2) & 0x3333_3333);
  return Math.imul((word + (word >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** The mask that removes what either one removes. */
export async function both(first: Uint8Array, second: Uint8Array): Promise<Uint8Array> {
  const result = new Uint8Array(first.length);
  const [words, a, b] = [wordsOf(result), wordsOf(first), wordsOf(second)];
  const join = (from: number, to: number) => {
    for (let place = from; place < to; place++) words[place] = a[place]! & b[place]!;
  };
  await inSlices(words.length, join, stepsAtATime);
  return result;
}

/** Whether two masks of as many units remove the same ones. */
export async function areSame(first: Uint8Array, second: Uint8Array): Promise<boolean> {
  const [a, b] = [wordsOf(first), wordsOf(second)];
  let same = true;
  const compare = (from: number, to: number) => {
    for (let place = from; same && place < to; place++) same = a[place] === b[place];
  };
  await inSlices(a.length, compare, stepsAtATime);
  return same;
}

/** Writes one byte, 1 or 0, for each unit from `from` to `to`; without a mask all are kept. */
export function unpack(mask: Uint8Array | undefined, units: Uint8Array, from: number, to: number): void {
  if (!mask) units.fill(1, from, to);
  else for (let unit = from; unit < to; unit++) units[unit] = (mask[unit >> 3]! >> (unit & 7)) & 1;
}

/** How many weights belong to the units that a mask removes, `removed` units in all. */
export async function weightsRemoved(axes: readonly Axis[], mask: Uint8Array, removed: number): Promise<number> {
  const uneven = axes.some(({ size, block }) => size % block > 0);
  if (!uneven) return axes.reduce((product, { block }) => product * block, removed);
  let weights = 0;
  const count = (from: number, to: number) => {
    for (let unit = from; unit < to; unit++) {
      if (isKept(mask, unit)) continue;
      let [rest, own] = [unit, 1];
      for (const { size, block } of [...axes].reverse()) {
        const blocks = Math.ceil(size / block);
        // The last block along an axis may be smaller.
        own *= Math.min(block, size - (rest % blocks) * block);
        rest = Math.floor(rest / blocks);
      }
      weights += own;
    }
  };
  await inSlices(unitsOf(axes), count, stepsAtATime);
  return weights;
}
