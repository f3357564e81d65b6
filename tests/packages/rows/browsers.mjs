import { cp, rm } from 'node:fs/promises';
import { Failure } from '../../../scripts/steps.mjs';
import { versionOf } from '../browsers.mjs';
import { allCores, oneThread } from '../expected.mjs';
import { expectPages, isolation, pageOf, settings } from '../pages.mjs';
import { openSite } from '../site.mjs';

const browsers = ['chromium', 'firefox'];
const build = (project) => project.command(process.execPath, 'build.mjs');
const site = {
  files: ['examples/recipes/app', 'examples/recipes/esbuild'],
  version: async () => `Chromium ${await versionOf('chromium')}, Firefox ${await versionOf('firefox')}`,
};

const credentialless = {
  headers: { ...isolation, 'Cross-Origin-Embedder-Policy': 'credentialless' },
  expected: allCores,
};

const inBrowser = (name, title) => ({
  ...site,
  name,
  title,
  version: () => versionOf(name),
  where: 'page and worker; isolated, also by COEP credentialless, and not isolated',
  async run(project) {
    await build(project);
    await expectPages(project, title, 'dist', { settings: { ...settings, credentialless }, browser: name });
  },
});

const strict = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'";
const withPolicy = (policy) => ({ ...isolation, 'Content-Security-Policy': policy });

const policy = {
  ...site,
  name: 'policy',
  title: 'a strict Content-Security-Policy',
  where: 'page and worker; the cause where workers or WebAssembly are forbidden',
  async run(project) {
    await build(project);
    for (const browser of browsers) {
      const allowed = { isolated: { headers: withPolicy(strict), expected: allCores } };
      await expectPages(project, browser, 'dist', { settings: allowed, browser });
      const forbidden = {
        workers: {
          headers: withPolicy(`${strict}; worker-src 'none'`),
          expected: oneThread(
            'one if workers are forbidden',
            /Content-Security-Policy forbids workers \(worker-src\).*worker-src 'self'/,
          ),
        },
      };
      await expectPages(project, browser, 'dist', { settings: forbidden, contexts: ['page'], browser });
      const { page } = await pageOf(project, 'dist', withPolicy("default-src 'self'"), browser);
      if (!/wasm-unsafe-eval/.test(page.error)) throw new Failure(`${browser}: the error names no cure: ${page.error}`);
    }
  },
};

const missing = {
  ...site,
  name: 'missing',
  title: 'files that were not served',
  where: 'the cause, for the thread and for the WebAssembly',
  async run(project) {
    await build(project);
    await cp(project.at('dist'), project.at('other'), { recursive: true });
    await rm(project.at('dist', 'browser-thread.js'));
    await rm(project.at('other', 'sparsifier_wasm_bg.wasm'));
    for (const browser of browsers) {
      const why = /the file of the worker could not be loaded; pass the URLs of these files to loadEngine\(/;
      const isolated = { headers: isolation, expected: oneThread('one without the file', why) };
      await expectPages(project, browser, 'dist', { settings: { isolated }, contexts: ['page'], browser });
      const { page } = await pageOf(project, 'other', isolation, browser);
      if (!/status 404.*loadEngine\(/s.test(page.error))
        throw new Failure(`${browser}: no cause is named: ${page.error}`);
    }
  },
};

/** What the page in the folder `page` reports in each browser. */
async function expectOn(project, expected) {
  for (const browser of browsers) {
    const { cores, page } = await pageOf(project, 'page', isolation, browser);
    project.expect(`${browser}, page`, { cores, ...page }, expected);
  }
}

const otherOrigin = {
  ...site,
  name: 'other-origin',
  title: 'files on another origin',
  where: 'page; the cause without the recipe',
  async run(project) {
    await build(project);
    const open = { 'Access-Control-Allow-Origin': '*', 'Cross-Origin-Resource-Policy': 'cross-origin' };
    const assets = await openSite(project.at('dist'), { ...open, ...isolation });
    try {
      await project.write(
        'page/index.html',
        `<script type="module" src="${assets.address}/page.js"></script><output></output>`,
      );
      const why =
        /the package is on http:\/\/localhost:\d+, and browsers start workers from the page's own origin; pass/;
      await expectOn(project, oneThread('one without the recipe', why));
      await project.add('examples/recipes/other-origin');
      await build(project);
      await expectOn(project, allCores);
    } finally {
      await assets.close();
    }
  },
};

export default [inBrowser('chromium', 'Chromium'), inBrowser('firefox', 'Firefox ESR'), policy, missing, otherOrigin];
