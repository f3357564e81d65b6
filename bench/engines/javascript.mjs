// Plain JavaScript on typed arrays: `javascript.mjs radix` or `javascript.mjs sort`. Removes exactly half of the
// weights of each tensor; of equal magnitudes, the first ones.
import { inPlace, serve } from './serve.mjs';

const cuts = { radix, sort };
const cutOf = cuts[process.argv[2]];

await serve((tensors) =>
  inPlace(() => {
    for (const { data } of tensors) prune(data, Math.floor(data.length / 2));
  }),
);

/** Sets this many weights of the smallest magnitude to zero. */
function prune(weights, remove) {
  const bits = new Uint32Array(weights.buffer, weights.byteOffset, weights.length);
  let { key, equal } = cutOf(weights, bits, remove);
  for (let index = 0; index < bits.length; index++) {
    const own = bits[index] & 0x7fffffff;
    if (own < key || (own === key && equal-- > 0)) bits[index] = 0;
  }
}

/**
 * Magnitudes have the same order as their bits. Two histograms find the cut: one of the upper 16 bits, and one of the
 * lower 15 bits of weights whose upper bits equal those of the cut.
 */
function radix(_weights, bits, remove) {
  const upper = new Uint32Array(1 << 16);
  for (const each of bits) upper[(each & 0x7fffffff) >>> 15]++;
  let rest = remove;
  let high = 0;
  while (rest >= upper[high]) rest -= upper[high++];
  const lower = new Uint32Array(1 << 15);
  for (const each of bits) if ((each & 0x7fffffff) >>> 15 === high) lower[each & 0x7fff]++;
  let low = 0;
  while (rest >= lower[low]) rest -= lower[low++];
  return { key: (high << 15) | low, equal: rest };
}

function sort(weights, _bits, remove) {
  const magnitudes = weights.map(Math.abs).sort();
  const [cut] = new Uint32Array(magnitudes.buffer, 4 * remove, 1);
  return { key: cut, equal: remove - magnitudes.indexOf(magnitudes[remove]) };
}
