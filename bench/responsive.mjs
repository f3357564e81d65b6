// Measures how long the caller's thread is blocked while 100 million weights are pruned: in Node by the delay of the
// event loop, in Chromium (isolated and bare) by the longest task, and in both by the longest time between two messages
// through a port. All of these should be below 50 ms, except the rows that are synchronous by contract. `npm run bench
// -- responsive node`, `isolated` or `bare`: only this one.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { availableParallelism } from 'node:os';
import { extname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { findChromium, setUpChromium } from '../scripts/chromium.mjs';
import { root } from '../scripts/steps.mjs';
import { run, startTicking } from './responsive/cases.mjs';

const page = `<!doctype html>
<script type="importmap">
  {
    "imports": {
      "sparsifier": "/packages/sparsifier/dist/index.js",
      "sparsifier/formats/arrays": "/packages/sparsifier/dist/arrays.js",
      "#host": "/packages/sparsifier/dist/host/browser.js"
    }
  }
</script>
<script type="module">
  const ended = () => new Promise((resolve) => setTimeout(resolve, 100));
  async function measure(work) {
    const { startTicking } = await import('/bench/responsive/cases.mjs');
    await ended();
    let task = 0;
    const observer = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) task = Math.max(task, duration);
    });
    observer.observe({ entryTypes: ['longtask'] });
    const stop = startTicking();
    const begun = performance.now();
    await work();
    const whole = performance.now() - begun;
    await new Promise((resolve) => setTimeout(resolve));
    const gap = stop();
    await ended();
    observer.disconnect();
    // Tasks of up to 50 ms are not reported.
    return { whole, task, gap };
  }
  window.measured = async (title) => (await import('/bench/responsive/cases.mjs')).run(title, measure);
</script>
`;

const titles = ['ten layers', 'one layer'];
const [first, title] = process.argv.slice(2);

if (title) console.log(JSON.stringify(await run(title, measure)));
else await compare(first ? [first] : ['node', 'isolated', 'bare']);

async function compare(settings) {
  console.log(`100 million weights, float32, Node ${process.version}, ${availableParallelism()} cores, in ms`);
  for (const setting of settings) {
    for (const title of titles) {
      const rows = setting === 'node' ? inNode(title) : await inChromium(title, setting === 'isolated');
      console.log(`\n${`${setting}, ${title}`.padEnd(32)}whole call   longest task   longest time between ticks`);
      for (const { name, whole, task, gap } of rows) {
        const mark = task > 50 ? '  above 50' : '';
        const cells = [whole.toFixed(0).padStart(10), task.toFixed(1).padStart(15), gap.toFixed(1).padStart(29)];
        console.log(`${name.padEnd(32)}${cells.join('')}${mark}`);
      }
    }
  }
}

/** Runs in its own process. */
function inNode(title) {
  const parameters = [fileURLToPath(import.meta.url), 'node', title];
  return JSON.parse(execFileSync(process.execPath, parameters, { encoding: 'utf8' }));
}

/** In Node a task is one turn of the event loop. The monitor's timer adds its own period of a millisecond. */
async function measure(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // The monitor starts to count in its first turn.
  await new Promise((resolve) => setTimeout(resolve, 20));
  const stop = startTicking();
  const begun = performance.now();
  await work();
  const whole = performance.now() - begun;
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.disable();
  return { whole, task: Math.max(0, delay.max / 1e6 - 1), gap: stop() };
}

async function inChromium(title, isIsolated) {
  const server = await serve(isIsolated);
  const executablePath = (await findChromium()) ?? (await setUpChromium());
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => console.error(error));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return await page.evaluate((title) => window.measured(title), title);
  } finally {
    await browser.close();
    server.close();
  }
}

/** Serves the page and the modules of the repository. */
async function serve(isIsolated) {
  const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
  const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const content = pathname === '/' ? page : await readFile(join(root, pathname)).catch(() => undefined);
    const type = pathname === '/' ? 'text/html' : (types[extname(pathname)] ?? 'application/octet-stream');
    response.writeHead(content === undefined ? 404 : 200, { 'Content-Type': type, ...(isIsolated ? isolation : {}) });
    response.end(content);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
