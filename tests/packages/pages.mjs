// What pages of a project report, and what is expected of them.
import { Failure } from '../../scripts/steps.mjs';
import { visit } from './browsers.mjs';
import { allCores, notIsolated } from './expected.mjs';
import { openSite } from './site.mjs';

export const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** How pages are served, and how many threads they have then. */
export const settings = {
  isolated: { headers: isolation, expected: allCores },
  bare: { headers: {}, expected: notIsolated },
};

/**
 * Opens the page of a folder or server of a project.
 * @returns what it reports, what the browser says in its console, and the paths that were fetched
 */
export async function pageOf(project, source, headers, browser) {
  const site = await openSite(typeof source === 'string' ? project.at(source) : source, headers);
  try {
    return { ...(await visit(site, browser)), fetched: site.fetched };
  } finally {
    await site.close();
  }
}

/**
 * The page and its worker compute what Node.js does in each setting, and fetch one wasm.
 * @param what names it in messages
 */
export async function expectPages(project, what, source, options = {}) {
  const { contexts = ['page', 'worker'], browser } = options;
  for (const [name, { headers, expected }] of Object.entries(options.settings ?? settings)) {
    const { cores, said, fetched, ...results } = await pageOf(project, source, headers, browser);
    for (const context of contexts) {
      try {
        project.expect(`${what}, ${context}, ${name}`, { cores, ...results[context] }, expected);
      } catch (error) {
        throw new Failure([error.message, ...said].join('\n'));
      }
    }
    const paths = [...fetched].map((address) => address.split('?')[0]);
    const wasm = [...new Set(paths)].filter((path) => path.endsWith('.wasm'));
    if (wasm.length !== 1) throw new Failure(`${what}, ${name} fetched ${wasm.length} wasm files: ${wasm.join(', ')}`);
  }
}
