// A cross-origin isolated page in Chromium, for benchmarks.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { Readable } from 'node:stream';
import { chromium } from 'playwright';
import { findChromium } from '../scripts/chromium.mjs';
import { root } from '../scripts/steps.mjs';

const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/**
 * Opens a page with a module that sets `globalThis.answer`, and waits until it has.
 * @param imports its import map
 * @param script the module
 * @param files by path, functions that return a file of the disk, or bytes, in place of a file of the repository
 */
export async function openPage({ imports, script, files }) {
  const page = `<!doctype html><title>bench</title><script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">${script}</script>`;
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    response.setHeader(
      'Content-Type',
      pathname === '/' ? 'text/html' : (types[extname(pathname)] ?? 'application/octet-stream'),
    );
    const found = pathname === '/' ? Buffer.from(page) : (files[pathname]?.() ?? join(root, pathname));
    const stream = typeof found === 'string' ? createReadStream(found) : Readable.from([found]);
    stream.on('error', () => response.writeHead(404).end()).pipe(response);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  // Chromium's sandbox does not work as root, and /dev/shm is small in containers.
  const browser = await chromium.launch({
    executablePath: await findChromium(),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  const tab = await browser.newPage();
  tab.on('pageerror', (error) => console.error(error.message));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction('globalThis.answer');
  if (!(await tab.evaluate('crossOriginIsolated'))) throw new Error('the page is not cross-origin isolated');
  return { browser, tab };
}
