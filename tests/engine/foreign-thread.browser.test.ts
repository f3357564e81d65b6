import { loadEngine } from 'sparsifier';
import { expect, test } from 'vitest';

// A page loads one engine.

test('A thread of another origin that nothing answers from is named in `why`', async () => {
  // Port 9 is one that browsers never connect to.
  const thread = 'http://localhost:9/browser-thread.js';
  const { threads, why } = await loadEngine({ thread });
  expect(threads).toBe(1);
  expect(why).toContain(`${thread} could not be fetched (`);
});
