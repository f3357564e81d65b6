import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { expect, test } from 'vitest';
import { lostOutputs, storedAs, type Form } from '../support/internal.js';
import { xorshift } from '../support/layers.js';

// The same codes, scales and biases in Node and in Chromium, with and without threads.

const random = (length: number, seed: number) => {
  const next = xorshift(seed);
  return Float32Array.from({ length }, () => (next() / 2 ** 31 - 1) * (next() / 2 ** 31 - 1));
};

/** FNV-1a, of 32 bits. */
function digestOf(...arrays: readonly ArrayBufferView[]): string {
  let hash = 0x811c9dc5;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    for (const byte of new Uint8Array(buffer, byteOffset, byteLength)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash.toString(16);
}

test.each<[Form, boolean, string]>([
  ['int8', false, '447042e7'],
  ['int8', true, '89e33bd9'],
  ['int4', true, '941eab52'],
  ['uint8', false, 'edfc86c2'],
  ['uint16', false, 'dc6f20f2'],
  ['float16', false, '2d1c3e61'],
  ['bfloat16', false, '8bac6753'],
])('Weights in the form %s, fitted: %s, have the same bits everywhere', async (form, isFitted, digest) => {
  const data = random(96 * 40, 7);
  const layer: ArrayLayer = { kind: 'dense', roles: ['in', 'out'], shape: [96, 40], data };
  const tensor = fromArrays({ layer }).tensors[0]!;
  const importance = isFitted ? Float64Array.from(random(96, 11), Math.abs) : undefined;
  const { numbers, values, loss } = await storedAs(form, tensor, data, importance);
  const lost = await lostOutputs(tensor, data, values, Float64Array.from(random(96, 13)));
  const stored = Object.values(numbers).filter((each) => ArrayBuffer.isView(each));
  expect(digestOf(...stored, values, lost, Float64Array.of(loss.error))).toBe(digest);
});
