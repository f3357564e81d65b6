/** Where a test runs: in Node, or in a page with or without the headers that let it share memory. */
export const setting: 'node' | 'isolated' | 'bare' =
  typeof document === 'undefined' ? 'node' : globalThis.crossOriginIsolated ? 'isolated' : 'bare';

/** How many threads the engine has where it may have any. */
export async function cores(): Promise<number> {
  if (setting !== 'node') return navigator.hardwareConcurrency;
  const { availableParallelism } = await import('node:os');
  return availableParallelism();
}
