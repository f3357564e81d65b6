// This package in a cross-origin isolated page in Chromium, on all threads.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright';
import { findChromium } from '../../scripts/chromium.mjs';
import { root } from '../../scripts/steps.mjs';

const dist = '/packages/sparsifier/dist';
const imports = {
  '#host': `${dist}/host/browser.js`,
  sparsifier: `${dist}/index.js`,
  'sparsifier/formats/arrays': `${dist}/formats/arrays.js`,
};
const page = `<!doctype html><title>bench</title><script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">
import { loadEngine } from 'sparsifier';
import { prune } from '/bench/engines/prune.mjs';
import { look, tensorsOf } from '/bench/engines/weights.mjs';
const engine = await loadEngine();
globalThis.isolated = crossOriginIsolated;
globalThis.answer = async (request) => {
  const weights = new Float32Array(await (await fetch('/weights')).arrayBuffer());
  const times = await prune(engine, tensorsOf(weights, request.shapes), request);
  return { ...times, ...look(weights) };
};
</script>`;

let file;
const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
  response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
  response.setHeader(
    'Content-Type',
    pathname === '/' ? 'text/html' : (types[extname(pathname)] ?? 'application/octet-stream'),
  );
  if (pathname === '/') response.end(page);
  else
    createReadStream(pathname === '/weights' ? file : join(root, pathname))
      .on('error', () => response.writeHead(404).end())
      .pipe(response);
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
if (!(await tab.evaluate('isolated'))) throw new Error('the page is not cross-origin isolated');

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  file = request.file;
  console.log(JSON.stringify(await tab.evaluate((request) => globalThis.answer(request), request)));
}
await browser.close();
process.exit();
