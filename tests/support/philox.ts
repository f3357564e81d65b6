/** Philox4x32-10 (Salmon et al. 2011), with whole numbers of any size so that nothing needs care. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [first, second] = key.map(BigInt) as [bigint, bigint];
  const word = (value: bigint) => BigInt.asUintN(32, value);
  for (let round = 0; round < 10; round++) {
    const [left, right] = [a * 0xd251_1f53n, c * 0xcd9e_8d57n];
    [a, b, c, d] = [(right >> 32n) ^ b ^ first, word(right), (left >> 32n) ^ d ^ second, word(left)];
    [first, second] = [word(first + 0x9e37_79b9n), word(second + 0xbb67_ae85n)];
  }
  return [a, b, c, d].map(Number);
}

/** The score that the criterion `random` gives a unit. */
export const draw = (seed: number, layer: number, unit: number): number =>
  (philox([unit, 0, 0, 0], [seed, layer])[0]! >>> 8) * 2 ** -24;
