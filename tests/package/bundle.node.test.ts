import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright';
import { Sparsifier } from 'sparsifier';
import { readModel, sizesOf } from 'sparsifier/formats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findChromium } from '../../scripts/chromium.mjs';
import { namesIn } from '../support/command.js';
import { installTarball } from '../support/install.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { isolation, serve } from '../support/site.js';

// The installed package, bundled by Vite, in pages that are served in different ways. Other bundlers and browsers:
// npm run test:packages.

const executablePath = await findChromium();

let folder: string;
const at = (...names: string[]) => join(folder, ...names);
afterAll(() => rm(folder, { recursive: true }));

const page = `
  import { loadEngine, Sparsifier } from 'sparsifier';
  import { readOnnx } from 'sparsifier/formats/onnx';

  window.result = (async () => {
    // Where a test says where the thread is.
    if (window.thread) await loadEngine({ thread: new URL(window.thread, import.meta.url) });
    const onnx = await readOnnx('model.onnx');
    const words = { granularity: 'weight', context: 'local', criteria: 'largeFinal' };
    const report = await new Sparsifier(onnx, words).sparsifyModel(50);
    const { total, engine } = report;
    const compressed = location.hash === '#sizes' ? await report.sizes() : undefined;
    const { threads, why } = await loadEngine();
    const { length } = await onnx.bytes();
    const setting = { cores: navigator.hardwareConcurrency, isolated: crossOriginIsolated };
    const fetched = performance.getEntriesByType('resource').map(({ name }) => name);
    const result = { ...setting, zeros: total.zeros, threads, why, same: threads === engine.threads, bytes: length };
    return { ...result, ...(compressed && { compressed }), brotli: fetched.filter((name) => /brotli|compressor/.test(name)).length };
  })();
`;

/** Bundles the page into a folder, by the Vite that comes with vitest. */
async function bundle(to: string, options: object = {}): Promise<void> {
  const vite = createRequire(createRequire(import.meta.url).resolve('vitest/package.json')).resolve('vite');
  const { build } = (await import(/* @vite-ignore */ pathToFileURL(vite).href)) as {
    build(options: object): Promise<unknown>;
  };
  const usual = { root: at('site'), configFile: false, logLevel: 'error' };
  await build({ ...usual, ...options, build: { outDir: at(to) } });
}

let emitted: string[];
beforeAll(async () => {
  ({ folder } = await installTarball());
  await writeFile(
    at('model.onnx'),
    model({ nodes: [node('Conv', 'x w', 'y', { name: 'conv' })], initializers: [tensor('w', [4, 1, 1, 1])] }),
  );
  await mkdir(at('site'));
  await writeFile(
    at('site', 'index.html'),
    '<!doctype html><title>page</title><script type="module" src="./page.js"></script>',
  );
  await writeFile(at('site', 'page.js'), page);
  await bundle('built');
  await writeFile(at('built', 'model.onnx'), await readFile(at('model.onnx')));
  emitted = await namesIn(at('built'));
}, 240_000);

test('A bundle contains one wasm file of the package, and that of brotli-wasm', () => {
  const names = emitted.filter((name) => name.endsWith('.wasm')).map((name) => /(\w+?)_bg/.exec(name)?.[1]);
  expect(names.sort()).toEqual(['brotli_wasm', 'sparsifier_wasm']);
});

test('A bundle contains no code for Node', async () => {
  for (const name of (await readdir(at('built', 'assets'))).filter((each) => each.endsWith('.js'))) {
    expect(await readFile(at('built', 'assets', name), 'utf8')).not.toMatch(/node:(fs|worker_threads|os|path)/);
  }
});

/** What the page of a folder makes, where `first` is run before anything else in it. */
async function resultIn(
  built: string,
  headers: Readonly<Record<string, string>>,
  first = '',
  hash = '',
): Promise<{ cores: number; why: string }> {
  const site = await serve(built, headers);
  const browser = await chromium.launch({
    executablePath: executablePath!,
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  try {
    const tab = await browser.newPage();
    const errors: string[] = [];
    tab.on('pageerror', (error) => errors.push(error.message));
    await tab.addInitScript(first);
    await tab.goto(site.address + hash);
    await tab.waitForFunction('window.result');
    const result = await tab.evaluate<{ cores: number; why: string }>('window.result');
    expect(errors).toEqual([]);
    return result;
  } finally {
    await browser.close();
    await site.close();
  }
}

test.skipIf(!executablePath).each([
  ['isolated', isolation],
  ['bare', {}],
])('A bundle runs in a page that is %s', async (_, headers) => {
  const isIsolated = headers === isolation;
  const result = await resultIn(at('built'), headers);
  const { size } = await stat(at('model.onnx'));
  expect(result).toEqual({
    zeros: 2,
    threads: isIsolated ? result.cores : 1,
    same: true,
    why: expect.stringMatching(isIsolated ? /^\d+ threads share the work$/ : /the headers COOP: same-origin and COEP/),
    cores: result.cores,
    isolated: isIsolated,
    bytes: size,
    // Nothing of it is loaded before sizes are asked for.
    brotli: 0,
  });
  const { compressed } = (await resultIn(at('built'), headers, '', '#sizes')) as unknown as {
    compressed: unknown;
  };
  using read = await readModel(at('model.onnx'));
  await new Sparsifier(read, { granularity: 'weight' }).sparsifyModel(50);
  const { raw, gzip } = await sizesOf(read);
  expect(compressed).toMatchObject({ raw, gzip, brotli: expect.any(Number) });
});

test.skipIf(!executablePath)(
  'A bundle has threads if its worker is a classic script, as webpack makes it',
  async () => {
    await cp(at('built'), at('classic'), { recursive: true });
    const [thread] = (await readdir(at('classic', 'assets'))).filter((name) => name.startsWith('browser-thread'));
    const content = await readFile(at('classic', 'assets', thread!), 'utf8');
    // As chunks of vendors are loaded, which modules cannot.
    await writeFile(at('classic', 'assets', thread!), `importScripts('/vendors.js');${content}`);
    await writeFile(at('classic', 'vendors.js'), '');
    const first = `
    Object.defineProperty(Navigator.prototype, 'hardwareConcurrency', { value: 2 });
    globalThis.Worker = class extends Worker { constructor(address) { super(address); } };
  `;
    const result = await resultIn(at('classic'), isolation, first);
    expect(result).toMatchObject({ zeros: 2, threads: 2, same: true, cores: 2, isolated: true });
  },
);

const policy = (text: string) => ({ ...isolation, 'Content-Security-Policy': `default-src 'self'; ${text}` });

test.skipIf(!executablePath)(
  'A Content-Security-Policy allows threads and WebAssembly, or the reason names it',
  async () => {
    const allowed = await resultIn(at('built'), policy("script-src 'self' 'wasm-unsafe-eval'"));
    expect(allowed).toMatchObject({ zeros: 2, threads: allowed.cores });
    const forbidden = await resultIn(at('built'), policy("script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'"));
    expect(forbidden).toMatchObject({ zeros: 2, threads: 1 });
    expect(forbidden.why).toMatch(
      /the Content-Security-Policy forbids workers \(worker-src\); allow them by worker-src 'self'/,
    );
    await expect(resultIn(at('built'), policy('base-uri *'))).rejects.toThrow(/script-src 'self' 'wasm-unsafe-eval'/);
  },
);

test.skipIf(!executablePath)('A bundle on another origin has threads once it is told where its thread is', async () => {
  const shared = { 'Access-Control-Allow-Origin': '*', 'Cross-Origin-Resource-Policy': 'cross-origin' };
  await bundle('modules', { worker: { format: 'es' } });
  const files = await serve(at('modules'), { ...isolation, ...shared });
  try {
    const [thread] = (await readdir(at('modules', 'assets'))).filter((name) => name.startsWith('browser-thread'));
    const html = await readFile(at('modules', 'index.html'), 'utf8');
    await mkdir(at('elsewhere'), { recursive: true });
    await writeFile(at('elsewhere', 'index.html'), html.replaceAll('/assets/', `${files.address}assets/`));
    await writeFile(at('elsewhere', 'model.onnx'), await readFile(at('model.onnx')));
    const untold = await resultIn(at('elsewhere'), isolation);
    expect(untold).toMatchObject({ zeros: 2, threads: 1 });
    expect(untold.why).toContain(`the package is on ${new URL(files.address).origin}, and browsers start workers`);
    const told = await resultIn(at('elsewhere'), isolation, `window.thread = './${thread}';`);
    expect(told).toMatchObject({ zeros: 2, threads: told.cores, why: `${told.cores} threads share the work` });
  } finally {
    await files.close();
  }
});
