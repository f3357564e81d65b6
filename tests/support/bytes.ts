/** Where two files begin to differ; -1 if they are equal. Far quicker than the test runner's own comparison. */
export function differsAt(first: Uint8Array, second: Uint8Array): number {
  if (first.length !== second.length) return Math.min(first.length, second.length);
  return first.findIndex((byte, index) => byte !== second[index]);
}
