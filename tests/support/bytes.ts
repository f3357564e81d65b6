/** Where two files begin to differ; -1 if they are equal. Far quicker than the test runner's own comparison. */
export function differsAt(first: Uint8Array, second: Uint8Array): number {
  if (first.length !== second.length) return Math.min(first.length, second.length);
  // Pages have no Buffer.
  if (globalThis.Buffer?.compare(first, second) === 0) return -1;
  for (let place = 0; place < first.length; place++) if (first[place] !== second[place]) return place;
  return -1;
}

/** A number of 32 bits that differs for most bytes that differ (FNV-1a). */
export function digestOf(bytes: Uint8Array): number {
  let digest = 0x811c9dc5;
  for (const byte of bytes) digest = Math.imul(digest ^ byte, 0x01000193);
  return digest >>> 0;
}
