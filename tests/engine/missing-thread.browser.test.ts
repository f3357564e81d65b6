import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';

// A page loads one engine.

test('Where the file of the thread is not on the server, `why` says so with its address', async () => {
  const thread = new URL('/nowhere/thread.js', location.href);
  const { threads, why } = await loadEngine({ thread });
  expect(threads).toBe(1);
  expect(why).toContain(`caller's thread`);
  expect(why).toContain(`${thread.href} could not be fetched (status 404)`);
});
