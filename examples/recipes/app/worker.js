// The library in a worker of the page's own.
import { prune } from './prune.js';

addEventListener('message', async ({ data: address }) => {
  try {
    postMessage(await prune(address));
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
