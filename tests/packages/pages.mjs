// What pages of a project are expected to report.
import { Failure } from '../../scripts/steps.mjs';
import { visit } from './browsers.mjs';
import { allCores, notIsolated } from './expected.mjs';
import { openSite } from './site.mjs';

/** How a page is served, and how many threads it has then. */
export const settings = {
  isolated: {
    headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
    expected: allCores,
  },
  bare: { headers: {}, expected: notIsolated },
};

/**
 * Opens the page of a folder or server in settings: its page and its worker compute what Node.js does, and fetch one wasm.
 * @param what names it in messages
 */
export async function expectPages(
  project,
  what,
  source,
  { names = ['isolated', 'bare'], contexts = ['page', 'worker'], browser = 'chromium' } = {},
) {
  for (const name of names) {
    const { headers, expected } = settings[name];
    const site = await openSite(typeof source === 'string' ? project.at(source) : source, headers);
    try {
      const { cores, said, ...results } = await visit(site, browser);
      for (const where of contexts) {
        try {
          project.expect(`${what}, ${where}, ${name}`, { cores, ...results[where] }, expected);
        } catch (error) {
          throw new Failure([error.message, ...said].join('\n'));
        }
      }
      const wasm = new Set(
        [...site.fetched].map((address) => address.split('?')[0]).filter((path) => path.endsWith('.wasm')),
      );
      if (wasm.size !== 1)
        throw new Failure(`${what}, ${name}: ${wasm.size} wasm files fetched: ${[...wasm].join(', ')}`);
    } finally {
      await site.close();
    }
  }
}
