// This package in a cross-origin isolated page in Chromium, on all threads.
import { createInterface } from 'node:readline';
import { openPage } from '../page.mjs';

const dist = '/packages/sparsifier/dist';
const imports = {
  '#host': `${dist}/host/browser.js`,
  sparsifier: `${dist}/index.js`,
  'sparsifier/formats/arrays': `${dist}/arrays.js`,
};
const script = `
import { loadEngine } from 'sparsifier';
import { prune } from '/bench/engines/prune.mjs';
import { look, tensorsOf } from '/bench/engines/weights.mjs';
const engine = await loadEngine();
globalThis.answer = async (request) => {
  const weights = new Float32Array(await (await fetch('/weights')).arrayBuffer());
  const times = await prune(engine, tensorsOf(weights, request.shapes), request);
  return { ...times, ...look(weights) };
};
`;

let file;
const { browser, tab } = await openPage({ imports, script, files: { '/weights': () => file } });

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  file = request.file;
  console.log(JSON.stringify(await tab.evaluate((request) => globalThis.answer(request), request)));
}
await browser.close();
process.exit();
