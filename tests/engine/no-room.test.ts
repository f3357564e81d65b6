import { loadEngine } from 'sparsifier';
import { expect, test, vi } from 'vitest';
import { errorOf } from '../support/layers.js';

// A page loads one engine: these tests follow each other.

test('A host without room for the memory of the engine is an error of the memory, and the next call tries again', async () => {
  // The kernels then run on this thread, where what the host can do can be replaced.
  const thread = 'data:text/javascript,throw 1';
  const { Memory } = WebAssembly;
  const refuse = vi.fn<() => void>(function () {
    throw new RangeError('WebAssembly.Memory(): could not allocate memory');
  });
  WebAssembly.Memory = refuse as unknown as typeof Memory;
  try {
    const error = await errorOf(() => loadEngine({ thread }));
    expect(error).toMatchObject({ code: 'memory', details: { found: expect.stringMatching(/could not allocate/) } });
    expect(error.message).toMatch(/the engine could not be loaded.*address space/);
    expect(error.message).not.toMatch(/bundler/);
    expect(refuse.mock.calls.length, 'smaller memories are tried too').toBeGreaterThan(1);
  } finally {
    WebAssembly.Memory = Memory;
  }
  expect((await loadEngine({ thread })).threads).toBe(1);
});
